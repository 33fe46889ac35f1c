"""PostgreSQL arrays on the wire. The driver reads one of several dimensions as a plain list, and takes some that do not
count from 1 for a lost connection; so the server looks at the shapes, and odd arrays are never sent.
"""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from tranship.connectors.errors import ConnectorError
from tranship.connectors.postgresql.layout import Field, quote
from tranship.plans.streams import LogicalType


def selection(fields: Sequence[Field]) -> str:
    """What a SELECT names to read these columns: the columns, then for each array whether it is no plain list."""
    columns = [_plain(field) for field in fields]
    return ", ".join((*columns, *(f"({_is_odd(quote(field.name))}) IS TRUE" for field in _arrays(fields))))


def check_shapes(fields: Sequence[Field], table: pa.Table) -> None:
    """Raise `ConnectorError` where a table that `selection` gave has arrays that are no plain lists."""
    for place, field in enumerate(_arrays(fields), len(fields)):
        if pc.any(table.column(place)).as_py():
            raise ConnectorError(
                f"column {field.name} ({field.native}) holds an array of several dimensions, or one that does not "
                "count from 1, which a MongoDB array cannot stand for; tranship never writes one"
            )


def _arrays(fields: Sequence[Field]) -> list[Field]:
    return [field for field in fields if field.type is LogicalType.ARRAY]


def _plain(field: Field) -> str:
    name = quote(field.name)
    return f"CASE WHEN {_is_odd(name)} THEN NULL ELSE {name} END" if field.type is LogicalType.ARRAY else name


def _is_odd(name: str) -> str:
    """NULL for NULL and for an empty array."""
    return f"array_ndims({name}) > 1 OR array_lower({name}, 1) <> 1"
