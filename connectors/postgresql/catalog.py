"""What the catalog says about tables and indexes, and how that differs from the plan.

Nothing is left behind: a temporary table, with which the server is asked how it writes a condition, is rolled back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, text

from tranship.connectors.postgresql.layout import Layout
from tranship.connectors.postgresql.naming import order_index
from tranship.connectors.postgresql.predicates import listed


@dataclass(frozen=True)
class IndexState:
    """An index as it is. `columns`: each with its direction where it is not the usual one; `where`: which rows it
    holds, as the server writes it."""

    table: str
    columns: tuple[str, ...]
    unique: bool
    valid: bool
    constraint: bool
    where: str | None = None


def ddl(connection: Connection, statement: str) -> None:
    """Run a statement whose names are already quoted."""
    connection.exec_driver_sql(statement.replace("%", "%%"))


def relation_exists(connection: Connection, name: str) -> bool:
    """Whether anything (table, view, index…) has this quoted name."""
    return connection.execute(text("SELECT to_regclass(:name)"), {"name": name}).scalar() is not None


def type_exists(connection: Connection, name: str) -> bool:
    """Whether a type has this quoted name: a table's rows are a type of its name, so that no table can be made."""
    return connection.execute(text("SELECT to_regtype(:name)"), {"name": name}).scalar() is not None


def schema_exists(connection: Connection, schema: str) -> bool:
    found = text("SELECT 1 FROM pg_namespace WHERE nspname = :schema")
    return connection.execute(found, {"schema": schema}).first() is not None


def schema_is_empty(connection: Connection, schema: str) -> bool:
    """Whether nothing lies in the schema (any kind of object depends on it)."""
    statement = text(
        "SELECT 1 FROM pg_depend WHERE refclassid = 'pg_namespace'::regclass AND refobjid = "
        "(SELECT oid FROM pg_namespace WHERE nspname = :schema) LIMIT 1"
    )
    return connection.execute(statement, {"schema": schema}).first() is None


def dependents(connection: Connection, names: Sequence[str]) -> list[str]:
    """Views and foreign keys of other tables that depend on these tables (quoted names)."""
    statement = text(
        "WITH ours AS (SELECT to_regclass(name) AS id FROM unnest(CAST(:names AS text[])) AS name) "
        "SELECT 'view ' || r.ev_class::regclass FROM pg_depend d JOIN pg_rewrite r ON r.oid = d.objid "
        "WHERE d.classid = 'pg_rewrite'::regclass AND d.refclassid = 'pg_class'::regclass "
        "AND d.refobjid IN (SELECT id FROM ours) AND r.ev_class NOT IN (SELECT id FROM ours) UNION "
        "SELECT 'foreign key ' || quote_ident(conname) || ' of ' || conrelid::regclass FROM pg_constraint "
        "WHERE contype = 'f' AND confrelid IN (SELECT id FROM ours) AND conrelid NOT IN (SELECT id FROM ours) "
        "ORDER BY 1"
    )
    return list(connection.execute(statement, {"names": list(names)}).scalars())


def server_identity(connection: Connection) -> str:
    """System identifier and database: the same after a restart or a move, another one after initdb."""
    statement = text("SELECT system_identifier::text || '/' || current_database() FROM pg_control_system()")
    identity: str = connection.execute(statement).scalar_one()
    return identity


# --- tables -----------------------------------------------------------------------------------------------------------


def table_differences(connection: Connection, table: Layout) -> list[str]:
    """What in one table differs from its layout."""
    label = f"table {table.schema}.{table.table}"
    if not relation_exists(connection, table.name):
        return [f"{label} is missing"]
    wanted = {field.name: (field.native, not field.nullable, field.collate_c) for field in table.fields}
    wanted |= {field.identity: ("bytea", True, False) for field in table.key if field.long}
    found = _columns(connection, table)
    problems = [f"{label}: column {name} is missing" for name in wanted if name not in found]
    problems += [f"{label}: column {name} is not in the plan" for name in found if name not in wanted]
    problems += [
        f"{label}: column {name} is {_spoken(found[name])}, the plan wants {_spoken(wanted[name])}"
        for name in wanted
        if name in found and found[name] != wanted[name]
    ]
    primary = _primary_key(connection, table)
    if primary != list(table.primary):
        problems.append(f"{label}: its primary key is ({', '.join(primary)})")
    if table.is_ordered_apart and index_state(connection, table.schema, order_index(table)) is None:
        problems.append(f"{label}: its index {order_index(table)}, for reading in key order, is missing")
    return problems + _check_differences(connection, table, label)


def _check_differences(connection: Connection, table: Layout, label: str) -> list[str]:
    wanted = listed(table)
    if not wanted:
        return []
    statement = text(
        "SELECT conname AS name, pg_get_expr(conbin, conrelid) AS expression FROM pg_constraint "
        "WHERE conrelid = to_regclass(:name) AND contype = 'c' AND convalidated"
    )
    found = {row.name: row.expression for row in connection.execute(statement, {"name": table.name})}
    stored = dict(zip(wanted, as_stored(connection, table, list(wanted.values())), strict=True))
    missing = [f"{label}: the constraint {name} is missing or not valid" for name in wanted if name not in found]
    return missing + [
        f"{label}: the constraint {name} is {found[name]}, the plan wants {stored[name]}"
        for name in wanted
        if name in found and found[name] != stored[name]
    ]


def as_stored(connection: Connection, table: Layout, conditions: Sequence[str]) -> list[str]:
    """Conditions on a table's rows as the server writes them: it is asked, over a table that is gone again.

    Nobody else knows how it will write one: that depends on its release.
    """
    columns = [field.definition for field in table.fields]
    checks = [f"CONSTRAINT c{number} CHECK ({condition})" for number, condition in enumerate(conditions)]
    with connection.begin_nested() as probe:
        ddl(connection, f"CREATE TEMPORARY TABLE tranship_conditions ({', '.join(columns + checks)})")
        statement = text(
            "SELECT conname, pg_get_expr(conbin, conrelid) AS expression FROM pg_constraint "
            "WHERE conrelid = 'pg_temp.tranship_conditions'::regclass AND contype = 'c'"
        )
        found = {str(row.conname): str(row.expression) for row in connection.execute(statement)}
        probe.rollback()
    return [found[f"c{number}"] for number in range(len(conditions))]


def _spoken(column: tuple[str, bool, bool]) -> str:
    native, required, collate_c = column
    return native + (' COLLATE "C"' if collate_c else "") + (" NOT NULL" if required else "")


def _columns(connection: Connection, table: Layout) -> dict[str, tuple[str, bool, bool]]:
    statement = text(
        "SELECT a.attname AS name, format_type(a.atttypid, a.atttypmod) AS native, a.attnotnull AS required, "
        "coalesce(c.collname = 'C', false) AS collate_c FROM pg_attribute a "
        "LEFT JOIN pg_collation c ON c.oid = a.attcollation "
        "WHERE a.attrelid = to_regclass(:name) AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum"
    )
    rows = connection.execute(statement, {"name": table.name})
    return {row.name: (row.native, row.required, row.collate_c) for row in rows}


def _primary_key(connection: Connection, table: Layout) -> list[str]:
    statement = text(
        "SELECT a.attname FROM pg_index i "
        "CROSS JOIN LATERAL unnest(i.indkey::int2[]) WITH ORDINALITY AS k(number, place) "
        "JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.number "
        "WHERE i.indrelid = to_regclass(:name) AND i.indisprimary ORDER BY k.place"
    )
    return list(connection.execute(statement, {"name": table.name}).scalars())


# --- indexes ----------------------------------------------------------------------------------------------------------


def index_state(connection: Connection, schema: str, name: str) -> IndexState | None:
    """An index by name, or None."""
    statement = text(
        "SELECT t.relname AS table_name, i.indisunique AS is_unique, i.indisvalid AND i.indisready AS valid, "
        "EXISTS (SELECT 1 FROM pg_constraint WHERE conindid = i.indexrelid AND contype = 'u') AS is_constraint, "
        "pg_get_expr(i.indpred, i.indrelid) AS condition, "
        "ARRAY(SELECT coalesce(a.attname, pg_get_indexdef(i.indexrelid, k.place::int, true)) "
        "|| CASE k.option WHEN 0 THEN '' WHEN 3 THEN ' DESC' "
        "WHEN 1 THEN ' DESC NULLS LAST' ELSE ' NULLS FIRST' END "
        "FROM unnest(i.indkey::int2[], i.indoption::int2[]) WITH ORDINALITY AS k(number, option, place) "
        "LEFT JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.number ORDER BY k.place) AS columns "
        "FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_class t ON t.oid = i.indrelid "
        "JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = :schema AND c.relname = :name"
    )
    row = connection.execute(statement, {"schema": schema, "name": name}).first()
    if row is None:
        return None
    return IndexState(row.table_name, tuple(row.columns), row.is_unique, row.valid, row.is_constraint, row.condition)
