"""The published JSON Schema of plan files, made from the models: `tranship plan schema > plans/schema.json`.

Editors use it for completion; short forms are in it. What needs more than one key to judge is left to `plans.rules`.
"""

from __future__ import annotations

import json
from functools import cache
from typing import Any

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from tranship.plans.models import Plan
from tranship.plans.problems import Path

DIALECT = "https://json-schema.org/draft/2020-12/schema"


class _Generator(GenerateJsonSchema):
    """Leaves out generated titles, and that an optional key is None inside the program when it is left out."""

    def nullable_schema(self, schema: core_schema.NullableSchema) -> JsonSchemaValue:
        return self.generate_inner(schema["schema"])

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        if "default" in schema and schema["default"] is None:
            return self.generate_inner(schema["schema"])
        return super().default_schema(schema)

    def field_title_should_be_set(self, schema: Any) -> bool:
        del schema
        return False


def json_schema() -> dict[str, Any]:
    """The JSON Schema of a plan file."""
    generated = Plan.model_json_schema(by_alias=True, schema_generator=_Generator)
    generated.update({"$schema": DIALECT, "title": "tranship plan"})
    return generated


def schema_text() -> str:
    """The content of `plans/schema.json`."""
    return json.dumps(json_schema(), indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def keys_at(path: Path) -> tuple[str, ...]:
    """The keys that are available in the mapping at a path of a plan."""
    node = _mapping(_schema())
    for step in path:
        properties = node.get("properties", {})
        if isinstance(step, int):
            node = _mapping(node["items"])
        else:
            node = _mapping(properties[step] if step in properties else node["additionalProperties"])
    return tuple(key for key, value in node.get("properties", {}).items() if "not" not in value)


@cache
def _schema() -> dict[str, Any]:
    return json_schema()


def _mapping(node: dict[str, Any]) -> dict[str, Any]:
    """The long form of a node: follows references, and picks the mapping (or list) among alternatives."""
    if "$ref" in node:
        return _mapping(_schema()["$defs"][node["$ref"].rpartition("/")[2]])
    for alternative in node.get("anyOf", ()):
        if alternative.get("type") in ("object", "array"):
            return _mapping(alternative)
    return node
