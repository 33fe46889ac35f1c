"""How well the documents of a run fit its plan: as values for programs, and as lines for people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass

from tranship.connectors.fit import Cell, Effect, Fit, fields
from tranship.connectors.printable import printable
from tranship.connectors.protocols import Scope
from tranship.orchestrator.dataplane.fitness import against
from tranship.orchestrator.engine.session import Session
from tranship.plans.document import flow
from tranship.plans.streams import Stream

ORDER_ROWS = 200
"""So many documents tell their usual order."""

NAMES_ROWS = 1_000
"""In so many rows with residue names are looked for that the plan does not have."""

_NEARLY_ALL = 0.9


@dataclass(frozen=True)
class Kept:
    """How many parts of documents are kept as residue for one reason at one place of the plan."""

    place: str
    reason: str
    effect: str
    count: int


@dataclass(frozen=True)
class Filled:
    """How many of a table's rows have a value in a column; without a column, how many rows a child table has, and
    `rows` are then its parent's."""

    table: str
    column: str | None
    values: int
    rows: int


@dataclass(frozen=True)
class StreamFit:
    """`kept` is of the rows that the target holds now; `filled` was counted at `filled_at`, or, where that is None, as
    the backfill loaded them. `order`: what to write into the plan where nearly all that is kept comes from another
    order of fields. `against_switch`: what keeps the cutover from happening."""

    kept: tuple[Kept, ...] = ()
    filled: tuple[Filled, ...] = ()
    filled_at: str | None = None
    order: tuple[str, ...] = ()
    against_switch: tuple[str, ...] = ()


def stream_fit(session: Session, scope: Scope, stream: Stream, fit: Fit, filled_at: str | None) -> StreamFit:
    """Asks the target for rows only where the order of their documents' fields matters."""
    kept = [Kept(kind.place, kind.reason, kind.effect.value, n) for kind, n in sorted(fit.notes.items()) if n > 0]
    filled = []
    for field in fields(stream) if fit.filled else ():
        column = field.column.name if field.column is not None else None
        rows = fit.filled.get(Cell(field.within), 0)
        filled.append(Filled(field.table, column, fit.filled.get(Cell(field.table, column or ""), 0), rows))
    order = _usual_order(session, scope, stream) if _is_order(stream, fit) else ()
    why = tuple(against(stream, fit, session.plan.limits.misfit))
    return StreamFit(tuple(kept), tuple(filled), filled_at, order, why)


def _is_order(stream: Stream, fit: Fit) -> bool:
    """Whether nearly all that is kept is about the order of top fields, in most of the rows."""
    kept = sum(count for count in fit.notes.values() if count > 0)
    order = {kind.place: n for kind, n in fit.notes.items() if kind.reason == "order" and kind.place in stream.order}
    most_rows = max(order.values(), default=0) * 2 > fit.filled.get(Cell(stream.table), 0)
    return most_rows and sum(order.values()) >= _NEARLY_ALL * kept


def _usual_order(session: Session, scope: Scope, stream: Stream) -> tuple[str, ...]:
    with closing(session.connect.source()) as source, closing(session.connect.target(scope.reading)) as target:
        return tuple(source.usual_order(stream, target.some_with_residue(stream, ORDER_ROWS)))


# --- for people -------------------------------------------------------------------------------------------------------

_WORDS = {
    Effect.MISFIT: "NULL because it does not fit",
    Effect.FORM: "equal, of another form",
    Effect.SHAPE: "kept of how fields stood",
    Effect.UNNAMED: "not named by the plan",
}


def lines(stream: str, fit: StreamFit) -> list[str]:
    """What is to be known of a stream, in a few lines; none when all of it fits."""
    found = [*_kept(fit), *_never_filled(fit)]
    if fit.order:
        found.append(f"most documents have their fields in another order; for the plan: order: {flow(list(fit.order))}")
    found += [f"AGAINST THE SWITCH: {why}" for why in fit.against_switch]
    return [f"fit of {stream}:", *(f"  {line}" for line in found)] if found else []


def _kept(fit: StreamFit) -> Iterator[str]:
    for effect, words in _WORDS.items():
        of_it = [kept for kept in fit.kept if kept.effect == effect]
        if effect is Effect.SHAPE:  # how, and not where: every field may stand elsewhere
            counts = Counter[str]()
            for kept in of_it:
                counts[kept.reason] += kept.count
            named = [f"{count:,} {reason}" for reason, count in counts.most_common()]
        elif effect is Effect.UNNAMED:
            named = [f"{kept.count:,} fields {f'in {kept.place}' if kept.place else 'at the top'}" for kept in of_it]
            named += ["`tranship status --names` shows some"] if named else []
        else:
            named = [f"{kept.count:,} {kept.place or 'other fields'} ({kept.reason})" for kept in of_it]
        if named:
            yield f"{words}: {', '.join(named)}"


def _never_filled(fit: StreamFit) -> Iterator[str]:
    empty = [one for one in fit.filled if one.rows and not one.values]
    if empty:
        names = ", ".join(f"{one.table}.{one.column}" if one.column else f"table {one.table}" for one in empty)
        yield f"filled by no document (as of {fit.filled_at or 'the backfill'}): {names}"


def unnamed(session: Session, run: str) -> Iterator[tuple[str, int, Mapping[str, int]]]:
    """Per stream: how many rows with residue were looked at, and which paths among them the plan does not name.

    These names are the data's: they are shown because a person asked for them, and kept nowhere.
    """
    state = session.state(run)
    scope = Scope(run, state.feed, state.epoch).reading
    with closing(session.connect.source()) as source, closing(session.connect.target(scope)) as target:
        for stream in session.streams:
            rows = target.some_with_residue(stream, NAMES_ROWS)
            notes = [note for found in source.notes(stream, rows).values() for note in found]
            paths = Counter(printable(note.path) for note in notes if note.effect is Effect.UNNAMED)
            yield stream.name, rows.num_rows, dict(paths.most_common())
