"""The reference page of all findings: `python -m tranship.orchestrator.reports.reference` prints it."""

from __future__ import annotations

import sys

from tranship.orchestrator.reports.findings import FINDINGS

HEAD = """# Findings

What `tranship check` and `tranship dry-run` find, and what a run's preflight refuses to begin with. A finding is an
error unless its meaning says that it is a warning or an info. `tranship explain CODE` prints the same. This page is
generated.

| code | about | what to do |
|---|---|---|
"""


def page() -> str:
    """As Markdown."""
    rows = (f"| `{code}` | {_cell(found.means)} | {_cell(found.then)} |\n" for code, found in FINDINGS.items())
    return HEAD + "".join(rows)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    sys.stdout.write(page())
