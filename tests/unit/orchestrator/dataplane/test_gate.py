"""The gate between lanes: many together, or one alone."""

from __future__ import annotations

import threading

from tranship.orchestrator.dataplane.gate import Gate

LIMIT_S = 5.0


def test_shared_passages_meet() -> None:
    gate, together = Gate(), threading.Barrier(3)

    def pass_through() -> None:
        with gate.shared():
            together.wait(LIMIT_S)

    threads = [threading.Thread(target=pass_through) for _ in range(2)]
    for thread in threads:
        thread.start()
    together.wait(LIMIT_S)  # breaks unless both are inside at once
    for thread in threads:
        thread.join(LIMIT_S)


def test_the_exclusive_passage_meets_nobody() -> None:
    gate, inside, highest = Gate(), [0], [0]
    lock, alone_met = threading.Lock(), []

    def shared() -> None:
        for _ in range(200):
            with gate.shared():
                with lock:
                    inside[0] += 1
                    highest[0] = max(highest[0], inside[0])
                with lock:
                    inside[0] -= 1

    def alone() -> None:
        for _ in range(50):
            with gate.exclusive():
                alone_met.append(inside[0])

    threads = [threading.Thread(target=work) for work in (shared, shared, shared, alone, alone)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LIMIT_S)
        assert not thread.is_alive()
    assert alone_met == [0] * 100
    assert highest[0] >= 1


def test_the_gate_opens_again_after_an_error() -> None:
    gate = Gate()
    for passage in (gate.exclusive, gate.shared):
        try:
            with passage():
                raise KeyError
        except KeyError:
            pass
    with gate.exclusive():
        pass
