"""The numbered example plans: each can be used, none gives a warning, and each says what it is for."""

from __future__ import annotations

from pathlib import Path

import pytest

import tranship.plans
from tests.unit.plans.texts import ENV
from tranship.plans import LogicalType, load_with_warnings, meaning, resolve

EXAMPLES = sorted((Path(tranship.plans.__file__).parent / "examples").glob("*.yaml"))


MEANINGS = {
    "01-smallest": "d045961440eb09cbb9804c15dd7d10843cf8da3a48900ef0abfdb16fffc789c6",
    "02-shop": "9a358804748c4407e742cd037142f27d83da35a467f450f5d5a34ec3d20691bc",
    "03-polymorphic": "21948d84fa6e69d068a984cdb26ceae677a86789cc9b75b2816e55c44e03e92f",
    "04-mixed-ids": "71a9fdd22aa243ee845f67ccb68a3b3112a7b18762100c08a4c0dc92d0292bae",
    "05-nested-children": "339949e42f53469a06834d27aa50000dd4fb33b54e0cc99477d142a423b9b46e",
    "06-composite-key": "6e0538986b4ecf17f1c4a6958ee7bd29abded31b8915cd8f198a97d5a50bad21",
    "07-loose-documents": "e6ac817c3ab351ecf89bdee57e27870a97836a4226c8855e33dd342ab213876e",
    "08-arrays": "4fe5184573b8841335c03d8c15b4b046db1e2a16737514bdd0594d8aa6cc71ed",
}
"""Golden values, of before plans knew what their target holds: a release in which one differs would refuse the runs of
the release before."""


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_means_what_it_always_has(path: Path) -> None:
    assert meaning(load_with_warnings(path, ENV).plan) == MEANINGS[path.stem]


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
