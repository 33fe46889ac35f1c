"""What others have hung on the tables of a run: foreign keys, triggers, rules, policies, publications, views.

Reads only."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

from sqlalchemy import Connection, Row, text

from tranship.connectors.errors import RefusedError
from tranship.connectors.postgresql.layout import Layout
from tranship.connectors.postgresql.naming import foreign_key
from tranship.connectors.postgresql.routes import TRIGGER
from tranship.connectors.postgresql.tables import walk
from tranship.connectors.protocols import Finding
from tranship.plans.streams import Endpoint, Stream

_PUBLISHES_GENERATED = 18
"""From this version on PostgreSQL refuses to change a published row whose key is generated and not published."""


def findings(connection: Connection, endpoint: Endpoint, streams: Sequence[Stream]) -> list[Finding]:
    """All of them, for tables that are there and, of publications, for those that will be."""
    ours = [table for table, _ in walk(streams, endpoint.schema)]
    names = {table.table: stream.name for stream in streams for table, _ in walk([stream], endpoint.schema)}
    found = [*_foreign_keys(connection, endpoint, ours, names), *_publications(connection, endpoint, ours)]
    for stream in streams:
        attached = _attached(connection, [table for table, _ in walk([stream], endpoint.schema)])
        found += [replace(finding, stream=stream.name) for finding in attached]
    return found


def refuse_referring(connection: Connection, endpoint: Endpoint, streams: Sequence[Stream]) -> None:
    """`RefusedError` when foreign keys of others refer to the tables: they can be neither emptied nor dropped then."""
    ours = [table for table, _ in walk(streams, endpoint.schema)]
    referring = [row for row in _foreign_key_rows(connection, endpoint, ours) if row.inward]
    if referring:
        named = ", ".join(f"{row.name} of table {row.schema}.{row.table}" for row in referring)
        raise RefusedError(
            f"the run's tables cannot be emptied, because foreign keys of others refer to them: {named}. Nothing was "
            "changed. Drop these foreign keys, then do the same again"
        )


def _foreign_keys(
    connection: Connection, endpoint: Endpoint, ours: Sequence[Layout], names: Mapping[str, str]
) -> Iterator[Finding]:
    """Each with the stream whose rows it refuses or whose rows it holds. `names`: streams by their tables."""
    for row in _foreign_key_rows(connection, endpoint, ours):
        stream = names.get(row.table, "") if row.schema == endpoint.schema else ""
        yield replace(_foreign_key(row, endpoint), stream=stream or names.get(row.referred, ""))


def _foreign_key_rows(connection: Connection, endpoint: Endpoint, ours: Sequence[Layout]) -> Iterator[Row[Any]]:
    """Those that the run did not make and that lead to its tables (`inward`) or away from them."""
    own = {(endpoint.schema, table.table, foreign_key(table)) for table in ours if table.ordinals}
    statement = text(
        "SELECT c.conname AS name, n.nspname AS schema, r.relname AS table, f.relname AS referred, i.indisprimary AS "
        "on_key, c.confrelid = ANY(o.oids) AS inward FROM pg_constraint AS c "
        "CROSS JOIN (SELECT array_agg(to_regclass(t)::oid) AS oids FROM unnest(CAST(:ours AS text[])) AS t) AS o "
        "JOIN pg_class AS r ON r.oid = c.conrelid JOIN pg_namespace AS n ON n.oid = r.relnamespace "
        "JOIN pg_class AS f ON f.oid = c.confrelid JOIN pg_index AS i ON i.indexrelid = c.conindid "
        "WHERE c.contype = 'f' AND c.conparentid = 0 AND (c.confrelid = ANY(o.oids) OR c.conrelid = ANY(o.oids)) "
        "ORDER BY 2, 3, 1"
    )
    for row in connection.execute(statement, {"ours": [table.name for table in ours]}):
        if (row.schema, row.table, row.name) not in own:
            yield row


def _foreign_key(row: Row[Any], endpoint: Endpoint) -> Finding:
    """What follows from one: rows of others would go with ours, or refuse that ours go."""
    schema, table = row.schema, row.table
    what = f"foreign key {row.name} of table {schema}.{table}, which this run did not make, refers to {row.referred}"
    if not row.inward:
        hint = "Drop it until after the cutover."
        return Finding("target.foreign_key", "error", f"{what}: rows are refused by it", hint)
    if not row.on_key:
        hint = "Drop it until after the cutover: such values pass from row to row, so `accept` does not help here."
        return Finding("target.foreign_key", "error", f"{what} by columns that are not the key", hint)
    if {f"{schema}.{table}", table if schema == endpoint.schema else ""}.isdisjoint(endpoint.accept):
        hint = (
            "It acts when a document is deleted. Drop it until after the cutover, or, if that is what it is for, name "
            f"the table in the plan: target.accept: [{schema}.{table}]."
        )
        return Finding("target.foreign_key", "error", what, hint)
    return Finding("target.foreign_key", "warning", f"{what} and is accepted", "It acts when a document is deleted.")


def _publications(connection: Connection, endpoint: Endpoint, ours: Sequence[Layout]) -> Iterator[Finding]:
    version: int = connection.execute(text("SELECT current_setting('server_version_num')::int / 10000")).scalar_one()
    by_schema = (
        "EXISTS (SELECT FROM pg_publication_namespace AS s JOIN pg_namespace AS n ON n.oid = s.pnnspid "
        "WHERE s.pnpubid = p.oid AND n.nspname = :schema)"
    )
    unpublished = "p.pubgencols = 'n'" if version >= _PUBLISHES_GENERATED else "false"
    statement = text(
        f"SELECT p.pubname, {unpublished} "
        "AND (p.pubupdate OR p.pubdelete) AS refuses FROM pg_publication AS p WHERE p.puballtables "
        f"OR {by_schema if version >= 15 else 'false'} OR EXISTS (SELECT FROM pg_publication_rel AS r "
        "JOIN unnest(CAST(:ours AS text[])) AS t ON r.prrelid = to_regclass(t) WHERE r.prpubid = p.oid) ORDER BY 1"
    )
    names = {"ours": [table.name for table in ours], "schema": endpoint.schema}
    generated = sorted(table.table for table in ours if table.is_long)
    for row in connection.execute(statement, names):
        if row.refuses and generated:
            yield Finding(
                "target.publication",
                "error",
                f"publication {row.pubname} publishes the run's tables, but not the generated key columns of "
                f"{', '.join(generated)}: PostgreSQL would refuse to change a row of theirs",
                f"ALTER PUBLICATION {row.pubname} SET (publish_generated_columns = stored), or leave the tables out.",
            )
        else:
            message = f"publication {row.pubname} publishes the run's tables: subscribers get every row that is copied"
            yield Finding("target.publication", "warning", message)


_ATTACHED: tuple[tuple[str, Literal["error", "warning"], str, str], ...] = (
    (
        "target.trigger",
        "warning",
        "SELECT tgrelid AS relation, tgname AS name FROM pg_trigger WHERE NOT tgisinternal AND tgenabled <> 'D' "
        f"AND tgname <> '{TRIGGER}'",
        "trigger {name} on table {table} acts on each row that is copied or applied",
    ),
    (
        "target.rule",
        "error",
        "SELECT ev_class AS relation, rulename AS name FROM pg_rewrite WHERE rulename <> '_RETURN'",
        "rule {name} on table {table} rewrites what is applied to it",
    ),
    (
        "target.policy",
        "error",
        "SELECT oid AS relation, relname AS name FROM pg_class WHERE relforcerowsecurity",
        "row security is forced on table {table}: rows may be hidden or refused",
    ),
    (
        "target.policy",
        "warning",
        "SELECT polrelid AS relation, polname AS name FROM pg_policy",
        "policy {name} is on table {table}; it does not bind its owner, tranship's role",
    ),
    (
        "target.view",
        "warning",
        "SELECT DISTINCT d.refobjid AS relation, v.oid::regclass::text AS name FROM pg_depend AS d "
        "JOIN pg_rewrite AS r ON d.classid = 'pg_rewrite'::regclass AND r.oid = d.objid "
        "JOIN pg_class AS v ON v.oid = r.ev_class AND v.oid <> d.refobjid "
        "WHERE d.refclassid = 'pg_class'::regclass",
        "view {name} is on table {table}: a rollback cannot drop the table before the view is gone",
    ),
)
"""Code, severity, a query for relations and names, what it means."""


def _attached(connection: Connection, ours: Sequence[Layout]) -> Iterator[Finding]:
    for code, severity, query, meaning in _ATTACHED:
        statement = text(
            f"SELECT o.number, found.name FROM ({query}) AS found "
            "JOIN unnest(CAST(:ours AS text[])) WITH ORDINALITY AS o(name, number) "
            "ON found.relation = to_regclass(o.name) ORDER BY 1, 2"
        )
        for row in connection.execute(statement, {"ours": [table.name for table in ours]}):
            table = ours[row.number - 1]
            message = meaning.format(name=row.name, table=f"{table.schema}.{table.table}")
            yield Finding(code, severity, message, "Drop it until after the cutover.")
