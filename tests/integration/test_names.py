"""Whole runs with every kind of name that a plan may give: quoting, keywords, letter case, marks of parameters."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from tests.integration.route import Route, wait_until

FINISHED, ROLLED_BACK = 0, 4

NAMES = [
    "two-words",
    "UPPER",
    "select",
    "user",
    "100%",
    "%s",
    "%(name)s",
    ":name",
    "a::b",
    "it's",
    'say "x"',
    "back\\slash",
    "{brace}",
    "$1",
    "a.b",
    "é ü 漢",
    " ",
    "_",
    "a__b",
    "é" * 25,
]


CASES = [
    (':name two-words say "x" %s', "UPPER it's {brace} a::b é$1\\ 100%", NAMES),
    ("select", "user", ["user", "select", "two-words"]),
]
"""Schema and state schema, with all that is awkward beside each other in one run; a keyword is one only by itself."""


def _plan(route: Route, schema: str, state: str, names: Sequence[str]) -> Path:
    """A plan in which everything that has a name has each of these, or one that begins with it."""
    streams = {
        f"{name}0": {
            "from": f"things {number}",
            "table": name,
            "key": {"_id": "text"},
            "columns": {
                f"{name}1": {"path": "a", "type": "text"},
                f"{name}2": {"path": "b", "type": "int32", "unique": True},
            },
            "children": {f"{name}3": {"path": "c", "columns": {f"{name}4": {"path": "d", "type": "text"}}}},
            "indexes": [{"columns": [f"{name}1"]}, {"columns": [f"{name}1", f"{name}2"]}],
        }
        for number, name in enumerate(names)
    }
    target = {"postgresql": "${env:TARGET_URI}", "schema": schema, "state_schema": state}
    return route.plan(streams, target=target)


def _rows(route: Route, schema: str, table: str, *columns: str) -> list[tuple[Any, ...]]:
    names = sql.SQL(", ").join(map(sql.Identifier, columns))
    statement = sql.SQL("select {} from {} order by 1, 2").format(names, sql.Identifier(schema, table))
    with psycopg.connect(route.target_uri) as connection:
        return connection.execute(statement).fetchall()


def _moved(route: Route, schema: str, names: Sequence[str]) -> list[str]:
    """Under which names everything is as wanted."""
    return [
        name
        for name in names
        if _rows(route, schema, name, "_id", f"{name}1", f"{name}2") == [("k0", "a0", 0), ("k1", "new", 1)]
        and _rows(route, schema, f"{name}3", "_root_id", f"{name}4") == [("k0", "x"), ("k0", "y"), ("k1", "x")]
    ]


@pytest.mark.parametrize(("schema", "state", "names"), CASES)
def test_a_run_moves_and_is_taken_back_whatever_the_names(
    route: Route, schema: str, state: str, names: Sequence[str]
) -> None:
    collections = [route.documents(f"things {number}") for number in range(len(names))]
    for documents in collections:
        documents.insert_many({"_id": f"k{n}", "a": f"a{n}", "b": n, "c": [{"d": "x"}, {"d": "y"}]} for n in range(3))
    before = route.target()
    plan = _plan(route, schema, state, names)
    code, said = route.tranship("check", plan)
    assert code == FINISHED, said
    child = route.run_to_approval(plan)
    for documents in collections:
        documents.update_one({"_id": "k1"}, {"$set": {"a": "new"}, "$pop": {"c": 1}})
        documents.delete_one({"_id": "k2"})
    wait_until(lambda: _moved(route, schema, names) == names, child, "changes to be applied")
    assert route.tranship("reconcile", plan)[0] == FINISHED
    child.kill()
    assert route.tranship("rollback", plan)[0] == FINISHED
    assert route.tranship("purge", plan, "--yes")[0] == FINISHED
    assert route.target() == before
    again = route.run_to_approval(plan)
    assert route.tranship("approve", plan)[0] == FINISHED
    assert again.wait() == FINISHED, again.output
    assert _moved(route, schema, names) == names


def test_names_that_would_be_one_stay_apart(route: Route) -> None:
    """Joined by one underscore, these indexes would be called alike."""
    for collection in ("user", "user_order"):
        route.documents(collection).insert_one({"_id": "k", "order_id": 1, "id": 2, "a": 3, "b": 4, "a_b": 5})
    columns = {name: {"type": "int32", "unique": True} for name in ("order_id", "id")}
    more = dict.fromkeys(("a", "b", "a_b"), "int32")
    streams = {
        name: {
            "key": {"_id": "text"},
            "columns": {**columns, **more},
            "indexes": [{"columns": ["a_b"]}, {"columns": ["a", "b"]}],
        }
        for name in ("user", "user_order")
    }
    plan = route.plan(streams)
    child = route.run_to_approval(plan)
    assert route.tranship("approve", plan)[0] == FINISHED
    assert child.wait() == FINISHED, child.output
