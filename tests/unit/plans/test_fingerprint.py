"""What changes a plan's meaning and what does not, and how a change is explained."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.unit.plans.texts import ENV, HEAD, plan_of
from tranship.plans import differences, fingerprint, meaning, meaning_document
from tranship.plans.fingerprint import _declared, relaxed
from tranship.plans.streams import Column, LogicalType, Stream
from tranship.plans.targetprofile import TargetProfile

BODY = """\
streams:
  orders:
    columns: {status: text, total: {type: decimal, precision: 12, scale: 2}, who: {type: objectid, references: users}}
    children: {items: {columns: {sku: text}}}
    indexes: [{columns: [status]}]
  users: {where: {kind: user}}
"""

TEXT = HEAD + BODY

TUNED = {
    "limits": TEXT + "limits: {workers: 4, memory: 1GiB, chunk: 1MiB, lease: 30s}\n",
    "cutover": TEXT + "cutover: {quiet: 1s, deadline: 60s, max_lag: 5s, max_quarantined: 3}\n",
    "reconcile": TEXT + "reconcile: {max_divergences: 2, on_divergence: repair}\n",
    "approval": TEXT + "approval: [backfill, cutover]\n",
    "rollback": TEXT + "rollback: {on_failure: pause}\n",
    "name": TEXT.replace("plan: shop", "plan: other"),
    "comment of the catalog": TEXT.replace("status: text", "status: {type: text, comment: how it stands}"),
    "comment": TEXT.replace("streams:", "streams:  # all of them"),
    "order of streams": HEAD + "streams:\n" + BODY.splitlines()[-1] + "\n" + "\n".join(BODY.splitlines()[1:-1]) + "\n",
}

CHANGED = {
    'target.schema: "shop" → "store"': TEXT.replace("schema: shop", "schema: store"),
    'target.state_schema: "tranship" → "state"': TEXT.replace("schema: shop", "schema: shop, state_schema: state"),
    'source.database: "shop" → "store"': TEXT.replace("database: shop", "database: store"),
    "streams.orders.columns.total.scale: 2 → 3": TEXT.replace("scale: 2", "scale: 3"),
    "streams.orders.columns.total.unique: added": TEXT.replace("scale: 2", "scale: 2, unique: true"),
    "streams.orders.columns.status.values: added": TEXT.replace("status: text", "status: {type: text, values: [a]}"),
    "streams.orders.columns.status.null: added": TEXT.replace("status: text", "status: {type: text, null: null}"),
    "streams.orders.columns.who.references: removed": TEXT.replace(", references: users", ""),
    "streams.orders.children.items.empty: added": TEXT.replace("items: {", "items: {empty: missing, "),
    'streams.orders.indexes: [{"columns": ["status"]}] → [{"columns": ["status", "total"]}]': TEXT.replace(
        "[status]", "[status, total]"
    ),
    'streams.orders.indexes: [{"columns": ["status"]}] → [{"columns": ["status"], "where": '
    '[{"column": "total", "test": "gt", "values": [5]}]}]': TEXT.replace(
        "[status]", "[status], where: {total: {gt: 5}}"
    ),
    'streams.users.where: "{\\"kind\\":\\"user\\"}" → "{\\"kind\\":\\"admin\\"}"': TEXT.replace(
        "kind: user", "kind: admin"
    ),
    "streams.users.where: removed": TEXT.replace("where: {kind: user}", ""),
    "streams.users.rest: added": TEXT.replace("users: {", "users: {rest: fail, "),
    "streams.users.rest_column: added": TEXT.replace("users: {", "users: {rest: {json: x}, "),
    "streams.events: added": TEXT + "  events: {}\n",
}


@pytest.mark.parametrize("name", TUNED)
def test_tuning_keeps_the_meaning(name: str, tmp_path: Path) -> None:
    old, new = plan_of(tmp_path, TEXT), plan_of(tmp_path, TUNED[name])
    assert meaning(old) == meaning(new)
    assert differences(meaning_document(old), meaning_document(new)) == []


@pytest.mark.parametrize("difference", CHANGED)
def test_a_change_of_meaning_is_explained(difference: str, tmp_path: Path) -> None:
    old, new = plan_of(tmp_path, TEXT), plan_of(tmp_path, CHANGED[difference])
    assert meaning(old) != meaning(new)
    assert differences(meaning_document(old), meaning_document(new)) == [difference]


def test_a_new_column_changes_the_order_too(tmp_path: Path) -> None:
    old = plan_of(tmp_path, TEXT)
    new = plan_of(tmp_path, TEXT.replace("{sku: text}", "{sku: text, qty: int32}"))
    assert differences(meaning_document(old), meaning_document(new)) == [
        "streams.orders.children.items.columns.qty: added",
        'streams.orders.children.items.columns_order: ["sku"] → ["sku", "qty"]',
    ]


def test_the_order_of_columns_has_a_meaning(tmp_path: Path) -> None:
    other = TEXT.replace("{sku: text}", "{qty: int32, sku: text}")
    assert meaning(plan_of(tmp_path, TEXT.replace("{sku: text}", "{sku: text, qty: int32}"))) != meaning(
        plan_of(tmp_path, other)
    )


POLICIES = ("fail", "quarantine", "residue")


def _with_rests(folder: Path, orders: str, users: str, text: str = TEXT) -> dict[str, Any]:
    text = text.replace("orders:\n", f"orders:\n    rest: {orders}\n").replace("users: {", f"users: {{rest: {users}, ")
    document = meaning_document(plan_of(folder, text))
    kept: dict[str, Any] = json.loads(json.dumps(document))
    return kept


@pytest.mark.parametrize("before", POLICIES)
@pytest.mark.parametrize("after", POLICIES)
def test_rest_may_become_more_lenient_and_nothing_else(before: str, after: str, tmp_path: Path) -> None:
    old, new = _with_rests(tmp_path, before, "quarantine"), _with_rests(tmp_path, after, "quarantine")
    assert relaxed(old, new) == (("orders",) if POLICIES.index(after) > POLICIES.index(before) else ())
    assert relaxed(old, _with_rests(tmp_path, after, "fail")) == (), "another stream's became stricter"
    both = ("orders", "users") if POLICIES.index(after) > POLICIES.index(before) else ("users",)
    lenient = _with_rests(tmp_path, after, "residue")
    assert relaxed(old, lenient) == (both if POLICIES.index(after) >= POLICIES.index(before) else ())


@pytest.mark.parametrize("difference", [difference for difference in CHANGED if ".rest" not in difference])
def test_any_other_change_beside_it_is_one_too_many(difference: str, tmp_path: Path) -> None:
    old = _with_rests(tmp_path, "quarantine", "fail")
    assert relaxed(old, _with_rests(tmp_path, "residue", "quarantine")) == ("orders", "users")
    assert relaxed(old, _with_rests(tmp_path, "residue", "quarantine", CHANGED[difference])) == ()


def test_the_column_for_the_rest_stays(tmp_path: Path) -> None:
    forms = ["{json: x, policy: quarantine}", "{json: x}", "{json: y}", "quarantine", "residue"]
    documents = {form: _with_rests(tmp_path, form, "residue") for form in forms}
    allowed = [(old, new) for old in forms for new in forms if relaxed(documents[old], documents[new]) == ("orders",)]
    assert allowed == [("{json: x, policy: quarantine}", "{json: x}"), ("quarantine", "residue")]


def test_addresses_are_no_part_of_it_but_servers_are(tmp_path: Path) -> None:
    here = plan_of(tmp_path, TEXT)
    there = plan_of(tmp_path, TEXT, {name: uri + "?x=1" for name, uri in ENV.items()})
    assert fingerprint(here, "rs0/shop", "7301") == fingerprint(there, "rs0/shop", "7301")
    prints = {fingerprint(here, source, target) for source in ("a", "b") for target in ("a", "b")}
    assert len(prints) == 4


def test_the_document_survives_json(tmp_path: Path) -> None:
    document = meaning_document(plan_of(tmp_path, TEXT))
    assert json.loads(json.dumps(document)) == document


def test_what_the_target_holds_is_part_of_it() -> None:
    key = Column("_id", ("_id",), LogicalType.TEXT, "string")
    usual = Stream("things", "things", "things", (key,), ())
    assert "target" not in _declared(usual), "of PostgreSQL nothing is said, so that plans mean what they always have"
    other = _declared(replace(usual, target=TargetProfile(nul_in_text=True)))
    assert other["target"] == {"nul_in_text": True}
    assert json.loads(json.dumps(other)) == other


def test_meaning_is_the_same_in_every_release(tmp_path: Path) -> None:
    """A golden value: a release in which it differs would refuse the runs of the release before."""
    golden = "fc209dff4e6f88a3694a972b5f0350bf10eb72720fc8b0eaa6c125c61855d2fb"
    assert meaning(plan_of(tmp_path, TEXT)) == golden
