"""Which side is source and which is target, by the direction of a round."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.support import memory_connect
from tranship.connectors.errors import RefusedError
from tranship.connectors.memory import MemoryStore
from tranship.connectors.protocols import Feed
from tranship.orchestrator.journal.rounds import Round


def test_rounds_go_forward_and_back() -> None:
    assert [Round(number).feed for number in (1, 2, 3)] == [Feed.FORWARD, Feed.REVERSE, Feed.FORWARD]


def test_each_direction_has_its_own_source() -> None:
    back = memory_connect(MemoryStore("second"), ())
    connect = replace(memory_connect(MemoryStore("first"), ()), back=back)
    assert connect.toward(Feed.FORWARD).source().identity() == "memory:first:source"
    assert connect.toward(Feed.REVERSE).source().identity() == "memory:second:source"


def test_a_side_that_cannot_take_the_other_role_is_named() -> None:
    """Nothing is opened to find that out."""
    with pytest.raises(RefusedError, match="nothing can be moved back"):
        memory_connect(MemoryStore("first"), ()).toward(Feed.REVERSE)
