"""Lines that cannot be written are counted, and the count is told once one can be."""

from __future__ import annotations

import os

import pytest

from tranship.orchestrator.stderr import Tolerant


def test_lines_are_written_at_once() -> None:
    read, write = os.pipe()
    with os.fdopen(write, "w") as stream, os.fdopen(read) as reader:
        Tolerant(stream).write("one\ntwo é\n")
        assert os.read(reader.fileno(), 100) == "one\ntwo é\n".encode()


def test_lines_without_a_reader_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    read, write = os.pipe()
    with os.fdopen(write, "w") as stream:
        tolerant = Tolerant(stream)
        os.close(read)
        for _ in range(3):
            assert tolerant.write("gone\n") == 5
        assert tolerant.dropped == 3
        written: list[bytes] = []
        monkeypatch.setattr(os, "write", lambda _, data: (written.append(data), len(data))[1])
        tolerant.write("back\n")
        assert (written, tolerant.dropped) == ([b"3 lines before this one could not be written\nback\n"], 0)


def test_a_line_that_is_taken_in_parts_is_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[bytes] = []
    monkeypatch.setattr(os, "write", lambda _, data: (written.append(data[:2]), len(data[:2]))[1])
    read, write = os.pipe()
    with os.fdopen(write, "w") as stream, os.fdopen(read):
        Tolerant(stream).write("abcde")
    assert b"".join(written) == b"abcde"
