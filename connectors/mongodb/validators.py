"""What a collection's validator says of its fields, where every write has to keep to it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from bson import Int64

from tranship.connectors.profile import Declared


def declared(options: Mapping[str, Any]) -> dict[tuple[str, ...], Declared]:
    """By path; the elements of an array have the step `[]`. Values only where the server refuses all others: an older
    document may still have one."""
    schema = options.get("validator", {}).get("$jsonSchema")
    strict = (
        options.get("validationLevel", "strict") == "strict" and options.get("validationAction", "error") == "error"
    )
    return dict(_below(schema, (), strict=strict)) if isinstance(schema, dict) else {}


def _below(
    schema: Mapping[str, Any], path: tuple[str, ...], *, strict: bool
) -> Iterator[tuple[tuple[str, ...], Declared]]:
    listed = schema.get("enum") if strict else None
    found = [one for one in listed if one is not None] if isinstance(listed, list) else []
    values = tuple(int(one) if isinstance(one, Int64) else one for one in found)
    about = schema.get("description")
    if path and (values or isinstance(about, str)):
        yield path, Declared(values, about if isinstance(about, str) else "")
    parts = [((*path, name), part) for name, part in schema.get("properties", {}).items()]
    for where, part in [*parts, ((*path, "[]"), schema.get("items"))]:
        if isinstance(part, dict):
            yield from _below(part, where, strict=strict)
