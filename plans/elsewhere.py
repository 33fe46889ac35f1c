"""What the types of columns are called elsewhere: in SQL, in BSON, in programming languages.

Each leads to a type that holds all values of it: to `timestamp` and not to `date`, which has no time of day; to `int64`
where an integer has no width of its own.
"""

from __future__ import annotations

from tranship.plans.streams import LogicalType

_NAMES: dict[LogicalType, str] = {
    LogicalType.BOOL: "boolean bit",
    LogicalType.INT32: "int4 smallint int2 int16 tinyint mediumint short serial",
    LogicalType.INT64: "int integer bigint int8 long number bigserial numberlong",
    LogicalType.FLOAT64: "float double real float4 float8 float32 numberdouble",
    LogicalType.DECIMAL: "numeric decimal128 money numberdecimal",
    LogicalType.TEXT: "string str varchar char character nvarchar clob enum",
    LogicalType.BYTES: "binary bytea blob bindata varbinary",
    LogicalType.UUID: "guid uniqueidentifier",
    LogicalType.OBJECTID: "oid object_id",
    LogicalType.TIMESTAMP: "datetime timestamptz time isodate datetime2",
    LogicalType.JSON: "jsonb bson document object dict map struct any mixed",
    LogicalType.ARRAY: "list set",
}

TYPES: dict[str, str] = {
    **{name: kind.value for kind, names in _NAMES.items() for name in names.split()},
    "double precision": LogicalType.FLOAT64.value,
    "timestamp with time zone": LogicalType.TIMESTAMP.value,
    "character varying": LogicalType.TEXT.value,
}
"""By their names elsewhere, in small letters."""
