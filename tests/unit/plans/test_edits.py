"""What is put into a plan's text: what was there stays as it was, and what is read is what was meant."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tranship.plans.document import flow, read_document
from tranship.plans.edits import EditError, Entry, Insertion, inserted

X = (Entry(("x: 1",), "x: 1"),)
NOTED = (Entry(("# why", "x: {a: 1}"), "x: {a: 1}"),)
ITEM = (Entry(("x",), "x"),)


@pytest.mark.parametrize(
    ("before", "insertion", "after"),
    [
        pytest.param("a: 1\n", Insertion((), "a", X), "a: 1\nx: 1\n", id="behind the last"),
        pytest.param("a: 1", Insertion((), "a", X), "a: 1\nx: 1", id="no end of line"),
        pytest.param("a: 1\nb: 2\n", Insertion((), "a", X), "a: 1\nx: 1\nb: 2\n", id="in the middle"),
        pytest.param("a: 1\n", Insertion((), None, X), "x: 1\na: 1\n", id="before the first"),
        pytest.param("a: 1  # one\n\n# two\nb: 2\n", Insertion((),
                     "a", X), "a: 1  # one\nx: 1\n\n# two\nb: 2\n", id="comments"),
        pytest.param("m:\n    a: 1\nn: 2\n", Insertion(("m",),
                     "a", NOTED), "m:\n    a: 1\n    # why\n    x: {a: 1}\nn: 2\n", id="indented"),
        pytest.param("m:\n  a:\n    - b:\n        c: 1 # d\n\nn: 2\n", Insertion((),
                     "m", X), "m:\n  a:\n    - b:\n        c: 1 # d\nx: 1\n\nn: 2\n", id="deep"),
        pytest.param("m: {a: 1}\n", Insertion(("m",), "a", NOTED), "m: {a: 1, x: {a: 1}}\n", id="flow"),
        pytest.param("m: { a: 1 , }\n", Insertion(("m",),
                     "a", X), "m: { a: 1, x: 1 , }\n", id="flow, with a comma left"),
        pytest.param("m: {a: 1, b: 2}\n", Insertion(("m",), None, X), "m: {x: 1, a: 1, b: 2}\n", id="flow, the first"),
        pytest.param("m: {a: 1, # one\n  b: 2 # two\n  }\n", Insertion(("m",),
                     "b", X), "m: {a: 1, # one\n  b: 2, x: 1 # two\n  }\n", id="flow, several lines"),
        pytest.param("m: {}\n", Insertion(("m",), None, X), "m: {x: 1}\n", id="empty"),
        pytest.param("m: {a: {b: 1}}\n", Insertion(("m", "a"), "b", X), "m: {a: {b: 1, x: 1}}\n", id="flow in flow"),
        pytest.param("m: [a, b]\n", Insertion(("m",), 0, ITEM), "m: [a, x, b]\n", id="flow list"),
        pytest.param("m: []\n", Insertion(("m",), None, ITEM), "m: [x]\n", id="empty list"),
        pytest.param("m:\n  - a # one\n  - b\n", Insertion(("m",),
                     0, ITEM), "m:\n  - a # one\n  - x\n  - b\n", id="list"),
        pytest.param("m:\n- a\n-   b\n", Insertion(("m",), 1, ITEM), "m:\n- a\n-   b\n- x\n", id="list without indent"),
        pytest.param("m:\n  - a\n", Insertion(("m",), None, ITEM), "m:\n  - x\n  - a\n", id="list, the first"),
        pytest.param('m:\n  a: "x\n    y"\n  b: 1\n', Insertion(("m",),
                     "a", X), 'm:\n  a: "x\n    y"\n  x: 1\n  b: 1\n', id="quoted over lines"),
        pytest.param("m:\n  a: |\n    x\n    y\n  b: 1\n", Insertion(("m",),
                     "a", X), "m:\n  a: |\n    x\n    y\n  x: 1\n  b: 1\n", id="block of text"),
        pytest.param("m:\n  a: >-\n    x\n\nn: 1\n", Insertion(("m",), "a", X), None, id="block of text at the end"),
        pytest.param("é: ü\nm: {ß: 1}\n", Insertion(("m",), "ß", X), "é: ü\nm: {ß: 1, x: 1}\n", id="letters"),
        pytest.param("m:\r\n  a: 1\r\n", Insertion(("m",), "a", X), None, id="lines of another system"),
    ],
)  # fmt: skip
def test_where_it_comes(before: str, insertion: Insertion, after: str | None) -> None:
    found = inserted(before, [insertion])
    if after is not None:
        assert found == after
    assert _without(found, insertion) == read_document(before, "before").data


def _without(text: str, insertion: Insertion) -> Any:
    """What the text says, but for what was inserted."""
    data = read_document(text, "after").data
    at = data
    for step in insertion.path:
        at = at[step]
    del at["x" if isinstance(at, dict) else at.index("x")]
    return data


def test_several_at_one_place_keep_their_order() -> None:
    entries = tuple(Entry((f"x{n}: {n}",), f"x{n}: {n}") for n in range(3))
    one, two, three = ((entry,) for entry in entries)
    assert inserted(
        "a: 1\nm: {}\n", [Insertion((), "a", one), Insertion((), "a", two + three), Insertion(("m",), None, one)]
    ) == ("a: 1\nx0: 0\nx1: 1\nx2: 2\nm: {x0: 0}\n")


@pytest.mark.parametrize(
    ("text", "insertion", "why"),
    [
        ("a: 1\n", Insertion(("a",), None, X), "a is no mapping or list"),
        ("a: 1\n", Insertion(("b",), None, X), "b is no mapping or list"),
        ("a: {}\n", Insertion(("a",), "b", X), "a.b is not there"),
        ("a: &one {b: 1}\nc: *one\n", Insertion(("c",), "b", X), "an alias"),
        ("a: &one {b: {d: 1}}\nc: *one\n", Insertion(("a", "b"), "d", X), "an alias"),
        ("a:\n- b: 1\n", Insertion(("a", 0), None, X), "in the middle of a line"),
    ],
)
def test_what_has_no_place(text: str, insertion: Insertion, why: str) -> None:
    with pytest.raises(EditError, match=why):
        inserted(text, [insertion])


def _written(value: Any, indent: int, draw: Any) -> str:
    """Data as YAML in block or flow form, with comments and empty lines."""
    if not isinstance(value, dict | list) or not value or draw(st.booleans()):
        return " " + flow(value) + draw(st.sampled_from(["", " # note: {x}"])) + "\n"
    lines = []
    pad = " " * indent
    step = draw(st.sampled_from([2, 4]))
    for part in value:
        lines.append(draw(st.sampled_from(["", "\n", f"{pad}# - [comment\n"])))
        if isinstance(value, dict):
            lines.append(f"{pad}{flow(part)}:" + _written(value[part], indent + step, draw))
        else:
            lines.append(f"{pad}-" + (" " + flow(part) + "\n"))
    return "\n" + "".join(lines)


KEYS = st.sampled_from(["a", "b", "c d", "e: f", "ü", "null"])
DATA = st.recursive(
    st.sampled_from(["text", "# no comment", "a: b", 7, True, ""]),
    lambda inner: st.dictionaries(KEYS, inner, max_size=4) | st.lists(inner, max_size=3),
    max_leaves=12,
)


@given(data=st.data())
def test_any_text_keeps_what_it_says(data: st.DataObject) -> None:
    value = data.draw(st.dictionaries(KEYS, DATA, min_size=1, max_size=4))
    text = _written(value, 0, data.draw)
    text = text.removeprefix("\n") if text.startswith("\n") else text[1:]
    assert read_document(text, "t").data == value
    paths = [path for path, found in _walk(value, ()) if isinstance(found, dict | list)]
    path = data.draw(st.sampled_from(paths))
    expected = copy.deepcopy(value)
    at = expected
    for step in path:
        at = at[step]
    if isinstance(at, dict):
        after = data.draw(st.sampled_from([*at, None] if not at else list(at)))
        at["new"] = {"k": [1, "x"]}
        entry = Entry(("# above", "new: {k: [1, x]}"), "new: {k: [1, x]}")
    else:
        after = data.draw(st.sampled_from(range(len(at)))) if at else None
        at.insert(0 if after is None else after + 1, "new")
        entry = Entry(("new",), "new")
    found = inserted(text, [Insertion(path, after, (entry,))])
    assert read_document(found, "t").data == expected
    letters = iter(found)
    assert all(letter in letters for letter in text), "every character stays, in its order"


def _walk(value: Any, path: tuple[Any, ...]) -> Any:
    yield path, value
    if isinstance(value, dict):
        for key, part in value.items():
            yield from _walk(part, (*path, key))
    elif isinstance(value, list):
        for number, part in enumerate(value):
            yield from _walk(part, (*path, number))
