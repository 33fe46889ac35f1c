"""The numbered example plans: each can be used, none gives a warning, and each says what it is for."""

from __future__ import annotations

from pathlib import Path

import pytest

import tranship.plans
from tests.unit.plans.texts import ENV
from tranship.plans import LogicalType, load_with_warnings, resolve

EXAMPLES = sorted((Path(tranship.plans.__file__).parent / "examples").glob("*.yaml"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_example(path: Path) -> None:
    loaded = load_with_warnings(path, ENV)
    assert loaded.warnings == ()
    assert resolve(loaded.plan)
    assert path.read_text(encoding="utf-8").startswith("# ")


def test_examples_are_numbered_without_a_gap() -> None:
    assert [path.name[:3] for path in EXAMPLES] == [f"{number:02}-" for number in range(1, len(EXAMPLES) + 1)]
    assert len(EXAMPLES) >= 5


def test_examples_do_not_share_schemas_or_names() -> None:
    plans = [load_with_warnings(path, ENV).plan for path in EXAMPLES]
    assert len({plan.target.schema_name for plan in plans}) == len(plans)
    assert len({plan.name for plan in plans}) == len(plans)


def test_the_shop() -> None:
    shop = next(path for path in EXAMPLES if path.stem.endswith("shop"))
    streams = {stream.name: stream for stream in resolve(load_with_warnings(shop, ENV).plan)}
    assert {name: stream.key[0].type for name, stream in streams.items()} == {
        "customers": LogicalType.OBJECTID,
        "products": LogicalType.TEXT,
        "orders": LogicalType.OBJECTID,
        "events": LogicalType.INT64,
    }
    # The demo's documents have their fields in this order; another one would be residue in every row.
    assert {name: stream.order for name, stream in streams.items()} == {
        "customers": ("_id", "email", "name", "address", "created_at", "tags"),
        "products": ("_id", "title", "price", "stock", "attrs"),
        "orders": ("_id", "order_no", "customer_id", "status", "total", "placed_at", "address", "items"),
        "events": ("_id", "kind", "at", "amount", "payload"),
    }
