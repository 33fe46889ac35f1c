"""What a person sees for each kind of mistake: exact texts, with line, column, path, found, "
"allowed, near spelling."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.plans.texts import HEAD, STREAMS, problems_of
from tranship.plans import PlanError, load

TYPES = "bool, int32, int64, float64, decimal, text, bytes, uuid, objectid, timestamp, date, json, array"
ITEMS = TYPES.removesuffix(", json, array")
PHASES = "preflight, expand, capture, backfill, index, catch-up, constrain, reconcile, cutover"
COLUMN_KEYS = "type, path, bson, precision, scale, items, null, filled, values, comment, unique, references"


def stream(body: str) -> str:
    """A plan whose fifth line is this stream."""
    return f"{HEAD}streams: {{orders: {body}}}\n"


CASES = {
    "values that a column cannot list": (
        stream(
            "{columns: {a: {type: text, values: [x, x]}, b: {type: int32, values: [y]}, c: {type: bool, "
            "values: [true]}, d: {type: int32, values: [4294967296]}, e: {type: text, values: []}}}"
        ),
        "5:46: P009 streams.orders.columns.a.values: 'x' is there twice (found a list)",
        "5:80: P009 streams.orders.columns.b.values: 'y' is no value of int32 (found a list)",
        "5:119: P005 streams.orders.columns.c.values[0]: not a value that can be listed (found true); "
        "allowed: texts, whole numbers",
        "5:144: P009 streams.orders.columns.d.values: 4294967296 is beyond int32 (found a list)",
        "5:183: P009 streams.orders.columns.e.values: out of range (found a list); allowed: at least 1 of them",
    ),
    "conditions of an index": (
        stream(
            "{columns: {a: text}, indexes: [{columns: [{a: down}], where: {a: open}}, {columns: [7], where: {a: {}}},"
            " {columns: [a], where: {a: {eq: [1]}}}, {columns: [a], where: {a: {ne: 1}}}, {columns: []}]}"
        ),
        "5:61: P006 streams.orders.indexes[0].columns[0]: not a direction of a (found a mapping); allowed: asc, desc",
        '5:81: P006 streams.orders.indexes[0].where.a.is: says nothing of the column (found "open"); '
        "allowed: absent, present, {eq: VALUE}",
        "5:103: P005 streams.orders.indexes[1].columns[0]: not a column (found 7); "
        "allowed: a column's name, {NAME: desc}",
        "5:115: P009 streams.orders.indexes[1].where.a: says nothing of the column (found a mapping); "
        "allowed: absent, present, {eq: VALUE}, {gt: VALUE}",
        "5:151: P005 streams.orders.indexes[2].where.a.eq: not a single value (found a list); "
        "allowed: a text, a number, true or false",
        "5:190: P003 streams.orders.indexes[3].where.a.ne: unknown key; allowed: is, eq, gt, gte, lt, lte, in",
        "5:201: P009 streams.orders.indexes[4].columns: out of range (found a list); allowed: at least 1 of them",
    ),
    "a comment that cannot stand": (
        stream('{comment: "", columns: {a: {type: text, comment: "a\\0b"}}}'),
        '5:20: P009 streams.orders.comment: out of range (found ""); allowed: a text that is not empty',
        '5:59: P009 streams.orders.columns.a.comment: a comment cannot hold U+0000 (found "a\\x00b")',
    ),
    "unknown key": (
        HEAD + STREAMS + "limit: {workers: 2}\n",
        "6:1: P003 limit: unknown key; did you mean limits?; allowed: version, plan, strategy, source, target, "
        "streams, reconcile, cutover, approval, rollback, require, limits",
    ),
    "unknown key of a column": (
        stream("{columns: {total: {type: decimal, scael: 2}}}"),
        f"5:53: P003 streams.orders.columns.total.scael: unknown key; did you mean scale?; allowed: {COLUMN_KEYS}",
    ),
    "missing key": (
        HEAD.replace(", database: shop", "") + STREAMS,
        "3:1: P004 source.database: this key is missing",
    ),
    "missing top key": (HEAD, "1:1: P004 streams: this key is missing"),
    "no streams": (
        HEAD + "streams: {}\n",
        "5:1: P009 streams: out of range (found a mapping); allowed: at least 1 of them",
    ),
    "wrong type": (
        stream("{table: 7, columns: [a], indexes: {a: 1}}"),
        "5:20: P005 streams.orders.table: must be a text: put it in quotes (found 7)",
        "5:30: P005 streams.orders.columns: must be a mapping (found a list)",
        "5:44: P005 streams.orders.indexes: must be a list (found a mapping)",
    ),
    "text for a switch": (
        stream("{columns: {a: {type: text, unique: yes}}}"),
        '5:46: P005 streams.orders.columns.a.unique: must be true or false (found "yes")',
    ),
    "text for a number": (
        HEAD + STREAMS + 'limits: {workers: "2"}\n',
        '6:10: P005 limits.workers: must be a whole number (found "2")',
    ),
    "nothing given": (
        stream("{where: , columns: {a: {type: text, path: }}}"),
        "5:20: P005 streams.orders.where: nothing is given: write a value or leave the key out (found nothing)",
        "5:55: P005 streams.orders.columns.a.path: nothing is given: write a value or leave the key out "
        "(found nothing)",
    ),
    "misspelt type in the short form": (
        stream("{columns: {status: txt}}"),
        f'5:30: P006 streams.orders.columns.status.type: not one of the allowed values (found "txt"); '
        f"did you mean text?; allowed: {TYPES}",
    ),
    "type that cannot be a key": (
        stream("{key: {_id: float64}}"),
        '5:26: P006 streams.orders.key._id.type: not one of the allowed values (found "float64"); allowed:'
        " int32, int64, decimal, text, bytes, uuid, objectid, timestamp, date, canonical",
    ),
    "pair that is not lossless": (
        stream("{columns: {n: {type: int32, bson: int64}}}"),
        '5:47: P006 streams.orders.columns.n.bson: does not feed int32 exactly (found "int64"); did you mean '
        "int32?; allowed: int32",
    ),
    "decimal without scale": (
        stream("{columns: {total: decimal}}"),
        "5:30: P004 streams.orders.columns.total.scale: a decimal needs its number of digits after the point",
    ),
    "scale beyond the precision": (
        stream("{columns: {total: {type: decimal, precision: 2, scale: 3}}}"),
        "5:67: P009 streams.orders.columns.total.scale: larger than the precision (found 3)",
    ),
    "precision beyond what batches hold": (
        stream("{columns: {total: {type: decimal, precision: 39, scale: 3}}}"),
        "5:53: P009 streams.orders.columns.total.precision: out of range (found 39); allowed: at most 38",
    ),
    "scale without decimal": (
        stream("{columns: {total: {type: int64, scale: 0}}}"),
        "5:51: P009 streams.orders.columns.total.scale: only a decimal has it, not int64 (found 0)",
    ),
    "canonical key with a path": (
        stream("{key: {k: {type: canonical, path: _id}}}"),
        "5:47: P009 streams.orders.key.k.path: a canonical key does not have it: it stands for the whole _id "
        '(found "_id")',
    ),
    "long key of a type that is short": (
        stream("{key: {_id: {type: objectid, long: true}}}"),
        "5:48: P009 streams.orders.key._id.long: values of objectid are short (found true); allowed: text, bytes, "
        "canonical",
    ),
    "path with an empty step": (
        stream("{columns: {a: {type: text, path: a..b}}}"),
        "5:46: P009 streams.orders.columns.a.path: an empty field name in the path: write the path as a list "
        'if that is meant (found "a..b")',
    ),
    "path without steps": (
        stream("{columns: {a: {type: text, path: []}}}"),
        "5:46: P009 streams.orders.columns.a.path: the path names no field: only a child table's column stands "
        "for the element itself (found a list)",
    ),
    "path with U+0000": (
        stream('{columns: {a: {type: text, path: "a\\0b"}}}'),
        '5:46: P009 streams.orders.columns.a.path: a field name cannot hold U+0000 (found "a\\x00b")',
    ),
    "path of numbers": (
        stream("{columns: {a: {type: text, path: [1]}}}"),
        "5:46: P005 streams.orders.columns.a.path: not a path (found a list); allowed: a text such as "
        "address.city, a list of field names",
    ),
    "array without items": (
        stream("{columns: {a: array}}"),
        "5:30: P004 streams.orders.columns.a.items: an array needs the type of its elements",
    ),
    "items without an array": (
        stream("{columns: {a: {type: text, items: text}}}"),
        '5:46: P009 streams.orders.columns.a.items: only an array has it, not text (found "text")',
    ),
    "items of a kind that arrays do not hold": (
        stream("{columns: {a: {type: array, items: json}, b: {type: array, items: array}}}"),
        f'5:47: P006 streams.orders.columns.a.items: not one of the allowed values (found "json"); allowed: {ITEMS}',
        f'5:78: P006 streams.orders.columns.b.items: not one of the allowed values (found "array"); allowed: {ITEMS}',
    ),
    "an array's pair that is not lossless": (
        stream("{columns: {a: {type: array, items: int64, bson: date}}}"),
        '5:61: P006 streams.orders.columns.a.bson: does not feed int64 exactly (found "date"); allowed: int64, int32',
    ),
    "an array of decimals without scale": (
        stream("{children: {c: {columns: {a: {type: array, items: decimal}}}}}"),
        "5:45: P004 streams.orders.children.c.columns.a.scale: a decimal needs its number of digits after the point",
    ),
    "an array that is unique": (
        stream("{columns: {a: {type: array, items: text, unique: true}}}"),
        "5:60: P009 streams.orders.columns.a.unique: an array cannot be unique (found true)",
    ),
    "an array of references": (
        stream("{columns: {a: {type: array, items: objectid, references: orders}}}"),
        "5:64: P009 streams.orders.columns.a.references: an array holds no references; in a child table its "
        'elements can be joined (found "orders")',
    ),
    "an array as key": (
        stream("{key: {_id: array}}"),
        '5:26: P006 streams.orders.key._id.type: not one of the allowed values (found "array"); allowed: int32, '
        "int64, decimal, text, bytes, uuid, objectid, timestamp, date, canonical",
    ),
    "rest": (
        stream("{rest: {json: x, policy: drop}}"),
        '5:36: P006 streams.orders.rest.policy: not one of the allowed values (found "drop"); allowed: '
        "residue, quarantine, fail",
    ),
    "filter that is not JSON": (
        stream("{where: {a: .nan}}"),
        '5:20: P009 streams.orders.where: not JSON: write infinities and NaN as {$numberDouble: "NaN"} '
        "(found a mapping)",
    ),
    "integer beyond 64 bits": (
        stream("{where: {a: [9223372036854775808]}}"),
        "5:20: P009 streams.orders.where: an integer beyond 64 bits (found a mapping)",
    ),
    "version": (
        HEAD.replace("version: 1", "version: 2") + STREAMS,
        "1:1: P006 version: not one of the allowed values (found 2); allowed: 1",
    ),
    "version as truth": (
        HEAD.replace("version: 1", "version: true") + STREAMS,
        "1:1: P006 version: not one of the allowed values (found true); allowed: 1",
    ),
    "plan name": (
        HEAD.replace("plan: shop", "plan: My Shop") + STREAMS,
        '2:1: P009 plan: out of range (found "My Shop"); allowed: a text that matches ^[a-z][a-z0-9_-]{0,39}$',
    ),
    "duration without unit": (
        HEAD + STREAMS + "cutover: {deadline: 10}\n",
        "6:11: P005 cutover.deadline: a unit is missing (found 10); allowed: a number with a unit, such as "
        "512MiB or 10s",
    ),
    "unknown unit": (
        HEAD + STREAMS + "limits: {memory: 1GB}\n",
        '6:10: P009 limits.memory: cannot be read (found "1GB"); allowed: a size with its unit '
        "(B, KiB, MiB, GiB), such as 512MiB",
    ),
    "too small": (
        HEAD + STREAMS + "limits: {memory: 1MiB, workers: 0}\nreconcile: {max_divergences: -1}\n",
        '6:10: P009 limits.memory: out of range (found "1MiB"); allowed: at least 256MiB',
        "6:24: P009 limits.workers: out of range (found 0); allowed: at least 1",
        "7:13: P009 reconcile.max_divergences: out of range (found -1); allowed: at least 0",
    ),
    "unknown phase": (
        HEAD + STREAMS + "approval: [cutovr]\nrollback: {phases: {backfil: pause, index: stop}}\n",
        f'6:12: P006 approval[0]: not one of the allowed values (found "cutovr"); did you mean cutover?; '
        f"allowed: {PHASES}",
        f'7:21: P006 rollback.phases.backfil: not one of the allowed values (found "backfil"); did you mean '
        f"backfill?; allowed: {PHASES}",
        '7:37: P006 rollback.phases.index: not one of the allowed values (found "stop"); allowed: rollback, pause',
    ),
    "not a mapping": ("- a\n", "1:1: P005 must be a mapping (found a list)"),
    "a key that needs quotes in its path": (
        stream('{columns: {"ship to": txt}}'),
        f'5:30: P006 streams.orders.columns."ship to".type: not one of the allowed values (found "txt"); '
        f"did you mean text?; allowed: {TYPES}",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_message(name: str, tmp_path: Path) -> None:
    text, *expected = CASES[name]
    assert problems_of(tmp_path, text) == expected


LATER = {
    "soak: {for: 7d}": "6:1: P007 soak: not available yet: remove this key",
    "applications: {mongodb: [app]}": "6:1: P007 applications: not available yet: remove this key",
    "soak:": "6:1: P007 soak: not available yet: remove this key",
    "strategy: dual-write": "6:1: P007 strategy: dual-write is not available yet; allowed: expand-contract",
    "strategy: blue-green": "6:1: P007 strategy: blue-green is not available yet; allowed: expand-contract",
    "approval: [contract]": f"6:12: P007 approval[0]: contract is not available yet; allowed: {PHASES}",
    "approval: [soak]": f"6:12: P007 approval[0]: soak is not available yet; allowed: {PHASES}",
    "rollback: {phases: {soak: pause}}": "6:21: P007 rollback.phases.soak: soak is not available yet; "
    f"allowed: {PHASES}",
    "reconcile: {mode: sampled}": "6:13: P007 reconcile.mode: sampled is not available yet; allowed: full",
}


@pytest.mark.parametrize("line", LATER)
def test_what_is_not_available_yet_is_refused(line: str, tmp_path: Path) -> None:
    assert problems_of(tmp_path, f"{HEAD}{STREAMS}{line}\n") == [LATER[line]]


@pytest.mark.parametrize("key", ["unique: true", "references: customers", "unique: false"])
def test_what_child_columns_cannot_have_yet_is_refused(key: str, tmp_path: Path) -> None:
    text = stream(f"{{children: {{items: {{columns: {{sku: {{type: text, {key}}}}}}}}}}}")
    name = key.partition(":")[0]
    path = f"streams.orders.children.items.columns.sku.{name}"
    assert problems_of(tmp_path, text) == [f"5:67: P007 {path}: not available yet: remove this key"]


def test_enforced_references_are_refused(tmp_path: Path) -> None:
    text = stream("{columns: {c: {type: text, references: {to: orders, enforce: yes}}}}")
    assert problems_of(tmp_path, text) == [
        "5:71: P007 streams.orders.columns.c.references.enforce: yes is not available yet; allowed: report"
    ]


def test_all_problems_come_at_once_in_the_order_of_the_file(tmp_path: Path) -> None:
    text = HEAD.replace("version: 1", "version: 0") + STREAMS.replace("text", "txt") + "soak: 1\nlimits: {workers: 0}\n"
    found = problems_of(tmp_path, text)
    assert [line.split(": ")[1].split()[0] for line in found] == ["P006", "P006", "P007", "P009"]
    assert [int(line.split(":")[0]) for line in found] == [1, 5, 6, 7]


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(PlanError) as caught:
        load(tmp_path / "none.yaml")
    assert str(caught.value) == f"{tmp_path}/none.yaml: P001 the file cannot be read: No such file or directory"


def test_a_file_that_is_not_text(tmp_path: Path) -> None:
    path = tmp_path / "plan.yaml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(PlanError, match="P001 the file is not UTF-8 text"):
        load(path)


ELSEWHERE = {
    "datetime": "timestamp",
    "timestamptz": "timestamp",
    "int": "int64",
    "integer": "int64",
    "bigint": "int64",
    "smallint": "int32",
    "numeric": "decimal",
    "varchar": "text",
    "string": "text",
    "double": "float64",
    "float": "float64",
    "boolean": "bool",
    "jsonb": "json",
    "guid": "uuid",
    "blob": "bytes",
    "JSONB": "json",
}
"""Names of types elsewhere, and the one of ours that holds all their values: a date has no time of day, and an int32
not each integer."""


@pytest.mark.parametrize("name", ELSEWHERE)
def test_a_type_by_its_name_elsewhere_leads_to_one_that_loses_nothing(name: str, tmp_path: Path) -> None:
    (problem,) = problems_of(tmp_path, stream(f"{{columns: {{total: {name}}}}}"))
    assert f"did you mean {ELSEWHERE[name]}?" in problem


def test_of_items_and_keys_only_what_they_can_be_is_meant(tmp_path: Path) -> None:
    (problem,) = problems_of(tmp_path, stream("{columns: {total: {type: array, items: jsonb}}}"))
    assert "did you mean" not in problem
    (problem,) = problems_of(tmp_path, stream("{key: {_id: string}}"))
    assert "did you mean text?" in problem
