"""The page of a dry run: all that the report says, nothing that a browser would fetch or run."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest

from tests.unit.orchestrator.rehearsal.reports import EVIL, full
from tranship.orchestrator.rehearsal.page import page

VOID = {"meta", "br"}


class Read(HTMLParser):
    """What stands in a page, and whether each element is closed where it belongs."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words = ""
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words += data


def test_nothing_is_fetched_or_run() -> None:
    read = Read(page(full()))
    assert {tag for tag, _ in read.elements} & {"script", "img", "link", "iframe", "object", "a", "form"} == set()
    attributes = {name for _, named in read.elements for name in named}
    assert not attributes & {"src", "href", "style", "srcset", "action"}
    assert not any(name.startswith("on") for name in attributes)
    assert "url(" not in page(full())
    (policy,) = [named["content"] for tag, named in read.elements if named.get("http-equiv")]
    assert policy is not None
    assert policy.startswith("default-src 'none'")


def test_what_people_called_things_is_shown_as_it_is() -> None:
    read = Read(page(full()))
    assert read.words.count(EVIL) == 4


def test_all_is_said() -> None:
    words = Read(page(full())).words
    for said in (
        "The run may not start.",
        "6 min 50 s (between 5 min and 10 min)",
        "2.0 s and the quiet time",
        "5.0 GiB",
        "1 d",
        "220,007",
        "4,000,000",
        "data.off_type",
        "type string",
        "of a sample only so much is known",
        "approvals: nobody is asked",
        "shop__dry_1: in use",
        "CREATE TABLE x ()",
    ):
        assert said in words, said


def test_bars_are_as_long_as_what_they_say() -> None:
    read = Read(page(full()))
    widths = [float(str(named["width"])) for tag, named in read.elements if tag == "rect"]
    backfill, reconcile, rows, quarantined = widths
    assert backfill / reconcile == pytest.approx(250 / 160, rel=0.01)
    assert rows / quarantined == pytest.approx(200_000 / 20_007, rel=0.01)


def test_it_is_readable_on_paper() -> None:
    assert re.search(r"@media print \{.*break-inside: avoid", page(full()), re.DOTALL)
