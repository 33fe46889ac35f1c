"""What the two routing records say together: where to write, or that writes have to wait. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

SOURCE: Literal["source"] = "source"
TARGET: Literal["target"] = "target"
Name = Literal["source", "target"]


@dataclass(frozen=True)
class Record:
    """A side's routing record. `poll_s`: how often it asks to be looked at; None: as usual."""

    id: str
    state: str
    version: int
    poll_s: float | None = None


@dataclass(frozen=True)
class Open:
    """Writes go to a side, whose record has this version; 0 where it has none."""

    side: Name
    version: int
    poll_s: float | None = None


@dataclass(frozen=True)
class Shut:
    """Writes wait. `fence`: side, run and version of the fence that is to be acknowledged, where one stands."""

    why: str
    fence: tuple[Name, str, int] | None = None


Verdict = Open | Shut
Read = Callable[[Name], Record | None]
"""Reads a side's record; None where there is none."""


def judge(read: Read, at: Name, initial: Name | None) -> Verdict:
    """Where writes go now, beginning with the side where they went last: whoever can write there can read the record
    that decides (`rules.md` J). Raises what `read` raises."""
    if at == TARGET:
        target = read(TARGET)
        found = _at_target(target)
        if found is not None:
            return found
        initial = initial if target is None else None  # it says something else: then a source without a record is none
    return _at_source(read, initial)


def judge_alone(record: Record | None) -> Verdict | None:
    """What the target's record says while the source's cannot be read: decisive only where it is the primary, which it
    became after the source had handed over."""
    if record is not None and record.state == "primary":
        return Open(TARGET, record.version, record.poll_s)
    return None


def _at_source(read: Read, initial: Name | None) -> Verdict:
    source = read(SOURCE)
    if source is None:
        if initial is None:
            return Shut("the source has no routing record of the plan, and no `initial` side is given")
        return Open(initial, 0)
    if source.state == "primary":
        return Open(SOURCE, source.version, source.poll_s)
    if source.state in ("fenced", "lifting"):
        return Shut("a cutover is under way", (SOURCE, source.id, source.version))
    return _between(source, read(TARGET))


def _between(source: Record, target: Record | None) -> Verdict:
    """What both say while the source's record is handed over, or ready to take its writes back."""
    if target is None:
        return Shut(f"the source's record says {source.state}, and the target has none")
    said = (target.state, target.version)
    if source.state == "ready" and said == ("handed_over", source.version):  # to this very version, and to no later one
        return Open(SOURCE, source.version, source.poll_s)
    ready = said == ("ready", source.version)
    if source.state == "handed_over" and (ready or (target.state == "primary" and target.version >= source.version)):
        return Open(TARGET, target.version, target.poll_s)
    return Shut(f"the source's record says {source.state}, the target's {target.state}", _fence_of(target))


def _at_target(target: Record | None) -> Verdict | None:
    if target is not None and target.state == "primary":
        return Open(TARGET, target.version, target.poll_s)
    if target is not None and target.state == "fenced":
        return Shut("a way back is under way", _fence_of(target))
    return None  # handed over, or ready: the source's record decides


def _fence_of(target: Record) -> tuple[Name, str, int] | None:
    return (TARGET, target.id, target.version) if target.state == "fenced" else None
