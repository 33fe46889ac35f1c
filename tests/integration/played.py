"""Commands that a page shows, played and compared with what it says that they print.

Figures, times, names of people and folders differ from run to run: they are masked on both sides. With
`TRANSHIP_WRITE_DOCS=1` a test writes its page anew instead, after a change of words.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

from tests.integration.route import Child, Route
from tranship.orchestrator.journal.person import person

WRITES = bool(os.environ.get("TRANSHIP_WRITE_DOCS"))
OPENS, CLOSES = "```console\n", "\n```\n"


def said(child: Child) -> str:
    """All that is no line of the log."""
    return "\n".join(line.rstrip() for line in child.output.splitlines() if not line.startswith('{"'))


def block(route: Route, plan: str, line: str, text: str) -> str:
    """What is typed or happens, and what is said, as a page shows it: without what is of this machine alone."""
    text = text.replace(str(route.folder / plan), plan).replace(f"{route.folder}/", "")
    text = re.sub(rf"\bby {re.escape(person())}\b", "by ann", text)
    text = re.sub(r"from mongodb:\w+/\w+ to \d+/\w+", "from mongodb:1a2b3c/shop to 7712970787011184172/shop", text)
    typed = line.replace(f"{route.folder}/", "").replace(route.source.name, "shop")
    return f"{OPENS}$ {typed}\n{text}{CLOSES}"


def compare(section: str, blocks: Sequence[str]) -> None:
    """A section of a page against what was played."""
    shown = re.findall(f"{OPENS}.*?{CLOSES}", section, re.DOTALL)
    assert len(shown) == len(blocks)
    for expected, found in zip(shown, blocks, strict=True):
        assert masked(expected) == masked(found)


def masked(text: str) -> str:
    """The words alone: figures, times, people and the wrapping of lines say nothing."""
    text = re.sub(r"\d{4}-\d\d-\d\dT[\d:.]+Z|\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", "TIME", text)
    text = re.sub(r"\bby [\w.@-]+", "by SOMEBODY", text)
    text = re.sub(r"(\d[\d.,]* (d|h|min|s) )*\d[\d.,]* (d|h|min|s)\b", "AGE", text)
    text = re.sub(r"\d[\d,.]* (\w+?)s?\b", r"0 \1", text)  # one document, two documents
    return re.sub(r"\s+", " ", re.sub(r"\d[\d,.]*", "0", text)).strip()
