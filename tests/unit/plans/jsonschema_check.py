"""A small validator for the keywords of JSON Schema that `plans/schema.json` uses; any other keyword is an error."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

_KINDS: Mapping[str, Callable[[Any], bool]] = {
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
    "string": lambda value: isinstance(value, str),
    "integer": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "number": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
    "boolean": lambda value: isinstance(value, bool),
}

_IGNORED = {"$schema", "$defs", "$id", "title", "description", "default", "properties"}


def valid(value: Any, schema: dict[str, Any], root: dict[str, Any]) -> bool:
    """Whether the value is valid under the schema."""
    return all(_KEYWORDS[word](value, schema, root) for word in schema if word not in _IGNORED) and all(
        valid(value[key], part, root)
        for key, part in schema.get("properties", {}).items()
        if isinstance(value, dict) and key in value
    )


def _others(value: Any, schema: dict[str, Any], root: dict[str, Any]) -> bool:
    if not isinstance(value, dict):
        return True
    others = [part for key, part in value.items() if key not in schema.get("properties", {})]
    allowed = schema["additionalProperties"]
    if isinstance(allowed, bool):
        return allowed or not others
    return all(valid(part, allowed, root) for part in others)


_Keyword = Callable[[Any, dict[str, Any], dict[str, Any]], bool]

_KEYWORDS: Mapping[str, _Keyword] = {
    "$ref": lambda value, schema, root: valid(value, root["$defs"][schema["$ref"].rpartition("/")[2]], root),
    "anyOf": lambda value, schema, root: any(valid(value, part, root) for part in schema["anyOf"]),
    "not": lambda value, schema, root: not valid(value, schema["not"], root),
    "type": lambda value, schema, _: _KINDS[schema["type"]](value),
    "enum": lambda value, schema, _: value in schema["enum"],
    "const": lambda value, schema, _: value == schema["const"] and type(value) is type(schema["const"]),
    "pattern": lambda value, schema, _: not isinstance(value, str) or bool(re.search(schema["pattern"], value)),
    "minimum": lambda value, schema, _: not isinstance(value, int) or value >= schema["minimum"],
    "maximum": lambda value, schema, _: not isinstance(value, int) or value <= schema["maximum"],
    "minLength": lambda value, schema, _: not isinstance(value, str) or len(value) >= schema["minLength"],
    "minItems": lambda value, schema, _: not isinstance(value, list) or len(value) >= schema["minItems"],
    "minProperties": lambda value, schema, _: not isinstance(value, dict) or len(value) >= schema["minProperties"],
    "required": lambda value, schema, _: not isinstance(value, dict) or set(schema["required"]) <= set(value),
    "items": lambda value, schema, root: (
        not isinstance(value, list) or all(valid(part, schema["items"], root) for part in value)
    ),
    "propertyNames": lambda value, schema, root: (
        not isinstance(value, dict) or all(valid(key, schema["propertyNames"], root) for key in value)
    ),
    "additionalProperties": _others,
}
