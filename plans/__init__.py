"""What the user declares: the plan of a move.

A plan is a YAML file. `load` reads it (`PlanError` lists every mistake with its place), `resolve` turns its streams
into the frozen form that connectors and orchestrator share, `source_endpoint` and `target_endpoint` give its servers,
`fingerprint` tells whether a run may go on with it. `json_schema` describes the file for editors.

This package knows no driver and opens no connection. Modules, in the order of a plan's way through them:

- `document`: YAML to data with places; `addresses`: URIs and their secrets; `units`: sizes and durations
- `models`, `columns`, on `forms` and `pairs`: the declared form; `translation`, `problems`: what is wrong with it
- `rules`, `naming`, on `levels`, `names`: what no single key can tell; `loader`: all of these together
- `streams`, `resolution`: the resolved form; `strategies`: the phases; `fingerprint`, `schema`
"""

from __future__ import annotations

from tranship.plans.fingerprint import differences, fingerprint, meaning, meaning_document
from tranship.plans.loader import Loaded, load, load_with_warnings, load_without_addresses
from tranship.plans.models import Plan
from tranship.plans.problems import PlanError, Problem
from tranship.plans.resolution import resolve, source_endpoint, state_endpoint, target_endpoint
from tranship.plans.schema import json_schema, schema_text
from tranship.plans.strategies import STRATEGIES, PhaseName
from tranship.plans.streams import (
    Child,
    Column,
    Condition,
    Endpoint,
    Index,
    LogicalType,
    Reference,
    Rest,
    Stream,
)

__all__ = [
    "STRATEGIES",
    "Child",
    "Column",
    "Condition",
    "Endpoint",
    "Index",
    "Loaded",
    "LogicalType",
    "PhaseName",
    "Plan",
    "PlanError",
    "Problem",
    "Reference",
    "Rest",
    "Stream",
    "differences",
    "fingerprint",
    "json_schema",
    "load",
    "load_with_warnings",
    "load_without_addresses",
    "meaning",
    "meaning_document",
    "resolve",
    "schema_text",
    "source_endpoint",
    "state_endpoint",
    "target_endpoint",
]
