"""Plan texts for tests: the smallest plan that is right, and ways to bend it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tranship.plans import Plan, PlanError, load

ENV = {"SOURCE_URI": "mongodb://127.0.0.1:27017", "TARGET_URI": "postgresql://127.0.0.1/app"}

HEAD = """\
version: 1
plan: shop
source: {mongodb: "${env:SOURCE_URI}", database: shop}
target: {postgresql: "${env:TARGET_URI}", schema: shop}
"""

STREAMS = "streams: {orders: {columns: {status: text}}}\n"


def write(folder: Path, text: str) -> Path:
    """A plan file with this text."""
    path = folder / "plan.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def plan_of(folder: Path, text: str, env: Mapping[str, str] = ENV) -> Plan:
    """The plan that a text is."""
    return load(write(folder, text), env)


def problems_of(folder: Path, text: str, env: Mapping[str, str] = ENV) -> list[str]:
    """What is wrong with a text, each problem as it is shown, from its line number on."""
    try:
        plan_of(folder, text, env)
    except PlanError as error:
        return str(error).replace(f"{folder}/plan.yaml:", "").splitlines()
    return []
