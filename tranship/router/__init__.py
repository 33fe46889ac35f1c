"""The router: where an application writes while its database is migrated under it.

    from tranship import Router

    router = Router("shop", source=mongo_database, target=lambda: psycopg.connect(URI), initial="source")
    with router.writing() as side:
        if side == "source":
            mongo_database.orders.insert_one(order)
        else:
            with psycopg.connect(URI) as connection:
                connection.execute(side.statement)
                connection.execute("INSERT INTO orders …")

It follows the routing records by the published protocol (`docs/router-protocol.md`); one in another language is its
equal. Importing it loads no driver: the application brings its own.
"""

from __future__ import annotations

from tranship.router.gate import NoRouteError, OutcomeUnknownError, Side
from tranship.router.router import Router

__all__ = ["NoRouteError", "OutcomeUnknownError", "Router", "Side"]
