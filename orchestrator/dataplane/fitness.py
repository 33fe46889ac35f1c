"""Whether what has arrived looks as the plan says: what of it keeps a switch from happening.

A plan with a misspelt field or a wrong type loses nothing, because the residue keeps it; yet an application that reads
the target finds NULL. So a column that no document has filled, and one of whose values too many did not fit, are a
person's to decide about.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from tranship.connectors.fit import Cell, Effect, Field, Fit, fields
from tranship.plans.streams import Stream

_NAMED = 5
"""How many reasons a refusal names."""


def against(stream: Stream, fit: Fit, most: float) -> list[str]:
    """What of a stream is against a switch, a sentence each. `most`: the share of misfits that is allowed."""
    return [*never_filled(stream, fit), *(why for _, why in misfits(stream, fit, most))]


def refusal(streams: Sequence[Stream], fits: Mapping[str, Fit], most: float) -> str | None:
    """Why nothing is switched over, for all streams together; None when nothing is against it."""
    known = [(stream, fits.get(stream.name, Fit())) for stream in streams]
    found = [why for stream, fit in known for why in against(stream, fit, most)]
    if not found:
        return None
    empty = any(True for stream, fit in known for _ in never_filled(stream, fit))
    ways = ["`filled: optional` for what may be empty"] if empty else []
    ways += ["a larger `limits.misfit`"] if any(_reasons(fit) for _, fit in known) else []
    more = f"; and {len(found) - _NAMED} more, which `tranship status` names" if len(found) > _NAMED else ""
    return (
        f"{'; '.join(found[:_NAMED])}{more}. If that is right, write {' and '.join(ways)} into the plan, "
        "pause, and run it again; else roll back and correct the plan"
    )


def _empty_fields(stream: Stream, fit: Fit) -> list[Field]:
    """Columns that are NULL in all rows of a table that has some, and child tables without a row below such a table."""

    def empty(field: Field) -> bool:
        cell = Cell(field.table, field.column.name if field.column is not None else "")
        return fit.filled.get(Cell(field.within), 0) > 0 and not fit.filled.get(cell, 0)

    return [field for field in fields(stream) if empty(field)]


def _reasons(fit: Fit) -> dict[str, dict[str, int]]:
    """How many values did not fit, by place and reason."""
    found: dict[str, dict[str, int]] = {}
    for kind, count in sorted(fit.notes.items()):
        if kind.effect is Effect.MISFIT and kind.place and count > 0:
            found.setdefault(kind.place, {})[kind.reason] = count
    return found


def never_filled(stream: Stream, fit: Fit) -> Iterator[str]:
    """Columns and child tables that no document has filled, a sentence each."""
    reasons = _reasons(fit)
    for field in _empty_fields(stream, fit):
        if field.optional:
            continue
        why = [reasons[place] for place in reasons if _covers(place, field.path)]
        found = ", ".join(f"{count:,} have {reason}" for found in why for reason, count in found.items())
        but = f"of the documents {found}" if found else f"no document has filled it from {field.path}"
        if field.column is None:
            yield f"stream {stream.name}: child table {field.table} has no row: {but}"
        else:
            rows = fit.filled[Cell(field.within)]
            yield f"stream {stream.name}: column {field.table}.{field.column.name} is NULL in all {rows:,} rows: {but}"


def misfits(stream: Stream, fit: Fit, most: float) -> Iterator[tuple[str, str]]:
    """Places whose values do not fit in a larger share than is allowed, each with a sentence."""
    told = {field.path for field in _empty_fields(stream, fit) if not field.optional}
    for place, reasons in _reasons(fit).items():
        columns = [field for field in fields(stream) if field.column is not None and _covers(place, field.path)]
        if not columns or all(field.path in told for field in columns):
            continue
        values = max(fit.filled.get(Cell(field.table, field.column.name), 0) for field in columns if field.column)
        count = sum(reasons.values())
        share = count / (count + values)
        if share > most:
            named = ", ".join(f"{reason} {n:,}" for reason, n in reasons.items())
            yield (
                place,
                f"stream {stream.name}: {count:,} of {count + values:,} values at {place} are NULL because they did "
                f"not fit ({named}); that is {share:.2%}, and limits.misfit allows {most * 100:g}%",
            )


def _covers(place: str, path: str) -> bool:
    """Whether what does not fit at a place leaves the column at the path NULL."""
    return path == place or path.startswith(f"{place}.")
