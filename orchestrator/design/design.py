"""A plan for a whole database, or what is new for one that is there: read, decide, write."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass

from tranship.connectors.profile import CollectionProfile
from tranship.connectors.registry import open_profiler
from tranship.orchestrator.dataplane.work import Work
from tranship.orchestrator.design import indexes, references
from tranship.orchestrator.design.merge import Merge
from tranship.orchestrator.design.naming import name_streams
from tranship.orchestrator.design.proposals import Stream
from tranship.orchestrator.design.record import Known
from tranship.orchestrator.design.streams import streams_of
from tranship.orchestrator.design.survey import Extent, survey
from tranship.orchestrator.design.writer import written_plan
from tranship.plans import Plan
from tranship.plans.document import read_document
from tranship.plans.edits import extended
from tranship.plans.streams import Endpoint


class NothingToMoveError(ValueError):
    """The database has no collection that can be moved."""


@dataclass(frozen=True)
class Design:
    """A plan's text, and what it was made from."""

    text: str
    identity: str
    profiles: Sequence[CollectionProfile]
    streams: Sequence[Stream]


def design(source: Endpoint, only: Sequence[str], extent: Extent, work: Work) -> Design:
    """A plan for the database, from what is in it now. Raises `NothingToMoveError` and what `survey` raises."""
    identity, profiles, streams = _proposed(source, only, extent, work)
    if not streams:
        reasons = "; ".join(f"{profile.name}: {profile.left_out}" for profile in profiles)
        raise NothingToMoveError(
            f"nothing of database {source.database} can be moved: {reasons or 'it has no collections'}"
        )
    for profile in profiles:
        for stream in streams:
            if stream.collection == profile.name:
                indexes.translate(stream, profile.indexes)
    return Design(written_plan(source.database, streams, profiles, extent), identity, profiles, streams)


def update(
    source: Endpoint, plan: Plan, text: str, known: Known, *, extent: Extent, work: Work
) -> tuple[Design, list[str]]:
    """The plan's text with what is new in its database, and what a person has to decide. Raises `EditError` where the
    text has no place for it, and what `survey` raises."""
    identity, profiles, streams = _proposed(source, (), extent, work)
    data = read_document(text, "").data
    merge = Merge(plan, data, known)
    merge.add(streams, profiles)
    return Design(extended(text, data, merge.data, merge.report.lines), identity, profiles, streams), merge.report.said


def _proposed(
    source: Endpoint, only: Sequence[str], extent: Extent, work: Work
) -> tuple[str, list[CollectionProfile], list[Stream]]:
    with closing(open_profiler(source)) as profiler:
        identity = profiler.identity()
        profiles = survey(profiler, source, only, extent, work)
        streams = [stream for profile in profiles if not profile.left_out for stream in streams_of(profile)]
        name_streams(streams)
        work.begin("references")
        references.propose(streams, profiler)
    return identity, profiles, streams
