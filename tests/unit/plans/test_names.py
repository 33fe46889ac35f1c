"""The map from paths to identifiers keeps its law for any paths."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tranship.plans.names import MAX_BYTES, FieldPath, hashed, identifier, identifiers, is_plain, is_reserved

STEPS = st.one_of(
    st.sampled_from(
        ["", "a", "A", "b", "a.b", "$oid", "ctid", "XMIN", "oid", "_key", "_residue", "_ordinal", "_Root_id", "_root",
         "id", "ß", "ss", "\u017f", "İ", "x" * 63, "x" * 64, "é" * 32, "\n", "\ud800", "\U0001f600", "a_12345678",
         "createdAt"]
    ),
    st.text(st.characters(exclude_characters="\0"), max_size=6),
    st.text("aA.$_é\u202e", min_size=50, max_size=70),
)  # fmt: skip
PATHS = st.lists(STEPS, max_size=3).map(tuple)


def check_name(name: str, most: int = MAX_BYTES) -> None:
    assert 1 <= len(name.encode()) <= most
    assert name.isprintable()
    assert not is_reserved(name)


@given(PATHS)
def test_a_name_fits_and_is_free(path: FieldPath) -> None:
    check_name(identifier(path))
    check_name(hashed(path, most=40), 40)


@given(PATHS)
def test_a_plain_path_passes_unchanged_and_can_be_read_back(path: FieldPath) -> None:
    if is_plain(path):
        assert tuple(identifier(path).split(".")) == path
    else:
        digest = hashlib.sha256("".join("\0" + step for step in path).encode(errors="surrogatepass")).hexdigest()
        assert identifier(path).endswith("_" + digest[:8])


@given(PATHS, PATHS)
@example(("a.b",), ("a", "b"))
@example((), ("",))
@example(("ctid",), (hashed(("ctid",)),))
@example(("x" * 64,), ("x" * 65,))
def test_two_paths_have_two_names(one: FieldPath, other: FieldPath) -> None:
    assert (identifier(one) == identifier(other)) == (one == other)


@given(st.lists(PATHS, max_size=30))
@example([("City",), ("city",), ("CITY",)])
def test_the_names_of_a_table_differ_without_regard_to_case(paths: list[FieldPath]) -> None:
    names = identifiers(paths)
    assert list(names) == list(dict.fromkeys(paths))
    assert len({name.casefold() for name in names.values()}) == len(names)
    for name in names.values():
        check_name(name)


@given(st.lists(PATHS, max_size=10), PATHS)
def test_a_path_keeps_its_name_when_others_come_behind_it(paths: list[FieldPath], last: FieldPath) -> None:
    names = identifiers(paths)
    assert {path: name for path, name in identifiers([*paths, last]).items() if path in names} == names


@given(st.lists(PATHS, max_size=10))
def test_only_clashes_keep_a_path_from_the_name_it_has_alone(paths: list[FieldPath]) -> None:
    alone = [identifier(path) for path in dict.fromkeys(paths)]
    if len({name.casefold() for name in alone}) == len(alone):
        assert list(identifiers(paths).values()) == alone


@pytest.mark.parametrize(
    ("path", "name"),
    [
        (("status",), "status"),
        (("address", "city"), "address.city"),
        (("$oid",), "$oid"),
        (("createdAt",), "createdAt"),
        (("a b",), "a b"),
        (("a.b",), "a.b_fc7d33be"),
        (("",), "_6e340b9c"),
        (("ctid",), "ctid_f10bb7a6"),
        (("_root_x",), "root_x_24a6d2f8"),
        (("x" * 70,), "x" * 54 + "_7569444e"),
        (("é" * 35,), "é" * 27 + "_95aa5e3b"),
        (("line\nbreak",), "line_break_3c969960"),
        (("total_20240101",), "total_20240101_e1c7af55"),
    ],
)
def test_names_are_the_same_in_every_release(path: FieldPath, name: str) -> None:
    """Golden values: a release that finds others suggests other names for the same fields."""
    assert identifier(path) == name
