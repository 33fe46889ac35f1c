"""What every store of routing records has to do: a compare-and-swap that no late copy of an earlier one passes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from itertools import pairwise, product

from tranship.connectors.protocols import Owner, RecordStore, Routing, RoutingRecord

Open = Callable[[], RecordStore]
Beat = Callable[[str, str, float, tuple[str, int] | None], None]

ONE, TWO = (Owner(id, f"shop-{id}", "the target", "state", "shop") for id in "12")  # noqa: A001


def record(state: Routing, version: int) -> RoutingRecord:
    return RoutingRecord(state, version)


START = record(Routing.PRIMARY, 0)
CUTOVER = (
    START,
    record(Routing.FENCED, 1),
    record(Routing.LIFTING, 2),
    record(Routing.PRIMARY, 2),
    record(Routing.FENCED, 3),
    record(Routing.HANDED_OVER, 3),
    record(Routing.READY, 4),
    record(Routing.PRIMARY, 4),
)
"""An attempt that is lifted, one that switches, and the way back."""


class RoutingSuite:
    """`open_records` opens another connection to the same records; `beat` is what a router does."""

    def test_the_first_record_is_kept_once(self, open_records: Open) -> None:
        store = open_records()
        assert store.read("1") is None
        assert store.begin(ONE, START) == START
        assert store.swap("1", START, CUTOVER[1])
        assert open_records().begin(ONE, START) == CUTOVER[1], "what is there stays"
        assert open_records().read("1") == CUTOVER[1]

    def test_a_swap_compares_state_and_version(self, open_records: Open) -> None:
        store = open_records()
        assert not store.swap("1", START, CUTOVER[1]), "there is none"
        store.begin(ONE, record(Routing.FENCED, 5))
        for other in (record(Routing.FENCED, 4), record(Routing.PRIMARY, 5), record(Routing.FENCED, 6)):
            assert not store.swap("1", other, record(Routing.HANDED_OVER, 5))
        assert store.read("1") == record(Routing.FENCED, 5)
        assert store.swap("1", record(Routing.FENCED, 5), record(Routing.HANDED_OVER, 5))

    def test_no_late_copy_of_a_swap_changes_anything(self, open_records: Open) -> None:
        """Each swap is sent twice: once when it is due, and again after each of those that follow."""
        store, late = open_records(), open_records()
        store.begin(ONE, START)
        swaps = list(pairwise(CUTOVER))
        for number, (old, new) in enumerate(swaps):
            assert store.swap("1", old, new)
            for earlier_old, earlier_new in swaps[: number + 1]:
                assert not late.swap("1", earlier_old, earlier_new)
            assert store.read("1") == new

    def test_of_lifting_and_switching_exactly_one_wins(self, open_records: Open) -> None:
        fenced = record(Routing.FENCED, 1)
        ways = (record(Routing.HANDED_OVER, 1), record(Routing.PRIMARY, 2))
        for number in range(8):
            owner = Owner(f"race {number}", "shop-1", "the target", "state")
            open_records().begin(owner, fenced)
            barrier, won = threading.Barrier(4), list[RoutingRecord]()

            def swap(way: RoutingRecord, owner: Owner = owner, barrier: threading.Barrier = barrier) -> None:
                store = open_records()
                barrier.wait()
                if store.swap(owner.id, fenced, way):
                    won.append(way)  # noqa: B023  joined before the next round

            threads = [threading.Thread(target=swap, args=(way,)) for way, _ in product(ways, range(2))]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert len(won) == 1
            assert open_records().read(owner.id) == won[0]

    def test_a_deadline_is_judged_by_the_servers_clock(self, open_records: Open) -> None:
        store = open_records()
        store.begin(ONE, START)
        first, second, third = record(Routing.FENCED, 1), record(Routing.FENCED, 2), record(Routing.HANDED_OVER, 2)
        assert not store.swap("1", START, first, in_time=True), "it has none"
        assert not store.swap("1", START, first, deadline=store.now() - 0.1), "it comes behind its own deadline"
        assert store.swap("1", START, first, deadline=store.now() + 0.2)
        found = store.read("1")
        assert found is not None
        assert found.left_s is not None
        assert found.left_s <= 0.2
        while _left(store) >= 0:
            time.sleep(0.02)
        assert not store.swap("1", first, third, in_time=True)
        assert store.swap("1", first, second, deadline=store.now() + 60), "without the question it is late, not lost"
        assert 50 < _left(store) <= 60
        assert store.swap("1", second, third, in_time=True)
        assert store.begin(ONE, START).left_s is None, "the next one has none"

    def test_the_time_is_the_servers(self, open_records: Open) -> None:
        before = open_records().now()
        time.sleep(0.02)
        assert 0 < open_records().now() - before < 60

    def test_routers_live_as_long_as_their_leases(self, open_records: Open, beat: Beat) -> None:
        store = open_records()
        assert store.routers("shop") == []
        beat("shop", "one", 60.0, None)
        beat("shop", "two", 60.0, ("1", 3))
        beat("shop", "gone", 0.05, None)
        beat("other", "three", 60.0, None)
        time.sleep(0.1)
        found = {one.instance: one for one in open_records().routers("shop")}
        assert set(found) == {"one", "two"}
        assert (found["one"].acknowledged, found["two"].acknowledged) == (None, ("1", 3))
        assert 50 < found["one"].left_s <= 60
        beat("shop", "one", 60.0, ("1", 5))
        assert {one.acknowledged for one in store.routers("shop")} == {("1", 3), ("1", 5)}

    def test_routers_are_asked_to_look_more_often(self, open_records: Open, poll_ms: Callable[[], int | None]) -> None:
        store = open_records()
        store.hasten("1", 0.02)
        assert store.read("1") is None
        store.begin(ONE, START)
        assert poll_ms() is None
        store.hasten("1", 0.02)
        assert store.swap("1", START, CUTOVER[1])
        assert poll_ms() == 20, "a swap does not end it"
        store.hasten("1", None)
        assert poll_ms() is None
        assert store.read("1") == CUTOVER[1]

    def test_records_of_others_stay(self, open_records: Open) -> None:
        store = open_records()
        assert store.records() == []
        store.begin(ONE, START)
        store.begin(TWO, CUTOVER[5])
        assert sorted(open_records().records(), key=str) == [(ONE, START), (TWO, CUTOVER[5])]
        for _ in range(2):
            store.forget("1")
        assert open_records().records() == [(TWO, CUTOVER[5])]
        store.forget("2")
        assert open_records().records() == []


def _left(store: RecordStore) -> float:
    found = store.read("1")
    assert found is not None
    assert found.left_s is not None
    return found.left_s
