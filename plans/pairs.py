"""Which BSON type may feed which logical type without residue: the one table of lossless pairs.

A value of another BSON type is not lost: it is residue, quarantined or refused by the stream's policy. A pair is
lossless when every value of the BSON type that the column can hold comes back as exactly that type.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

from tranship.plans.streams import LogicalType

Bson = Literal["bool", "int32", "int64", "double", "decimal128", "string", "binary", "uuid", "objectid", "date", "any"]

PAIRS: Mapping[LogicalType, tuple[Bson, ...]] = MappingProxyType(
    {
        LogicalType.BOOL: ("bool",),
        LogicalType.INT32: ("int32",),
        LogicalType.INT64: ("int64", "int32"),
        LogicalType.FLOAT64: ("double", "int32"),
        LogicalType.DECIMAL: ("decimal128", "int32", "int64"),
        LogicalType.TEXT: ("string",),
        LogicalType.BYTES: ("binary",),  # subtype 0
        LogicalType.UUID: ("uuid",),  # binary subtype 4: the byte order of subtype 3 depends on the driver
        LogicalType.OBJECTID: ("objectid",),
        LogicalType.TIMESTAMP: ("date",),
        LogicalType.DATE: ("date",),
        LogicalType.JSON: ("any",),
    }
)
"""The allowed BSON types of each logical type; the first is its default."""
