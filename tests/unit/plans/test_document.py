"""YAML as the loader reads it: core types, places, and what is refused."""

from __future__ import annotations

import pytest

from tranship.plans import PlanError
from tranship.plans.document import MAX_NODES, read_document


def problem(text: str) -> str:
    with pytest.raises(PlanError) as caught:
        read_document(text, "p.yaml")
    return str(caught.value)


def test_scalars_are_those_of_the_core_schema() -> None:
    text = "[no, on, yes, 2026-01-31, 1_000, 017, 0o17, 0x1F, 1.5, 1e3, .inf, true, null, ~, '1', 12:30]"
    expected = ["no", "on", "yes", "2026-01-31", "1_000", 17, 15, 31, 1.5, 1000.0, float("inf"), True, None, None, "1"]
    assert read_document(text, "p.yaml").data == [*expected, "12:30"]


def test_keys_are_always_text() -> None:
    assert read_document("{null: null, 1: a, true: b, no: c}", "p.yaml").data == {
        "null": None,
        "1": "a",
        "true": "b",
        "no": "c",
    }


def test_anchors_are_followed() -> None:
    assert read_document("{a: &x {k: [1]}, b: *x}", "p.yaml").data == {"a": {"k": [1]}, "b": {"k": [1]}}


def test_every_key_and_item_has_its_place() -> None:
    document = read_document("a:\n  b: [x,\n    {c: 1}]\n", "p.yaml")
    assert document.place(("a",)) == (1, 1)
    assert document.place(("a", "b")) == (2, 3)
    assert document.place(("a", "b", 1)) == (3, 5)
    assert document.place(("a", "b", 1, "c")) == (3, 6)


def test_what_is_not_written_has_the_place_of_its_parent() -> None:
    document = read_document("a:\n  b: 1\n", "p.yaml")
    assert document.place(("a", "b", "type")) == (2, 3)
    assert document.place(("z", "b")) == (1, 1)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "p.yaml: P001 the file is empty"),
        ("# only a comment\n", "p.yaml: P001 the file is empty"),
        (
            "a: 1\nb: {c: 1, c: 2}\n",
            "p.yaml:2:11: P002 b.c: this key is already on line 2",
        ),
        ("a: 1\n1: x\n'1': y\n", 'p.yaml:3:1: P002 "1": this key is already on line 2'),
        ("a: [1\n", "p.yaml:2:1: P001 not valid YAML: expected ',' or ']', but got '<stream end>'"),
        ("a: 1\n---\nb: 2\n", "p.yaml:2:1: P001 not valid YAML: but found another document"),
        (
            "source: {mongodb: ${env:URI}}\n",
            "p.yaml:1:20: P001 not valid YAML: expected ',' or '}', but got '{': put references in quotes, "
            '"${env:NAME}"',
        ),
        ("a: *nothing\n", "p.yaml:1:4: P001 not valid YAML: found undefined alias 'nothing'"),
        ("a: &x {b: *x}\n", "p.yaml:1:4: P001 a.b: an alias inside its own anchor"),
        (
            "a: !!python/name:os.system x\n",
            "p.yaml:1:4: P001 a: the tag tag:yaml.org,2002:python/name:os.system is not supported",
        ),
        ("a: !!int x\n", "p.yaml:1:4: P001 a: not a value of the kind int"),
        ("{[a]: 1}\n", "p.yaml:1:2: P001 a key must be a text"),
        ('a: "\\ud800"\n', "p.yaml:1:4: P001 a: a lone surrogate is no character"),
        ("a: 1\nb: \x07\n", "p.yaml:2:4: P001 not valid YAML: the character U+0007 is not allowed"),
    ],
)
def test_refused(text: str, expected: str) -> None:
    assert problem(text) == expected


def test_all_duplicates_are_named() -> None:
    assert len(problem("{a: 1, a: 2, b: 1, b: 2, b: 3}").splitlines()) == 3


def test_aliases_of_aliases_do_not_fill_the_memory() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 30)]
    assert problem("\n".join(lines)) == f"p.yaml: P001 more than {MAX_NODES} values"


def test_deep_nesting_is_refused_not_crashed_on() -> None:
    assert problem("[" * 600) == "p.yaml: P001 nested too deeply"
