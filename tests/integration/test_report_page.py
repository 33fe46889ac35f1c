"""The page of a dry run in a real browser: drawn, printed, and asking nobody for anything."""

from __future__ import annotations

import json
import shutil
import struct
import subprocess
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.orchestrator.rehearsal.reports import full
from tranship.orchestrator.rehearsal.page import page

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium (Debian: apt-get install chromium)")

BAR, PART = bytes.fromhex("2f6fde"), bytes.fromhex("d9822b")
WHITE = b"\xff\xff\xff"


def opened(file: Path, *options: str) -> set[str]:
    """Opens a page without a window; the addresses that it asked for. What the browser asks for itself has no page."""
    folder = file.parent
    log = folder / "net.json"
    command = [str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"]
    command += ["--disable-background-networking", f"--user-data-dir={folder / 'profile'}", f"--log-net-log={log}"]
    subprocess.run([*command, *options, file.as_uri()], check=True, capture_output=True, timeout=120)
    events = json.loads(log.read_text(encoding="utf-8"))["events"]
    asked = [event["params"] for event in events if "url" in event.get("params", {})]
    return {one["url"] for one in asked if one.get("initiator", "not an origin") != "not an origin"}


def pixels(png: bytes) -> Iterator[bytes]:
    """The colours of a picture of eight bits without a palette (PNG, ISO/IEC 15948)."""
    at, data, width, channels = 8, b"", 0, 3
    while at < len(png):
        size, kind = struct.unpack_from(">I4s", png, at)
        body = png[at + 8 : at + 8 + size]
        if kind == b"IHDR":
            width, channels = int.from_bytes(body[:4], "big"), {2: 3, 6: 4}[body[9]]
        data += body if kind == b"IDAT" else b""
        at += 12 + size
    raw, stride = zlib.decompress(data), width * channels
    before = bytearray(stride)
    for start in range(0, len(raw), stride + 1):
        line = _unfiltered(raw[start], bytearray(raw[start + 1 : start + 1 + stride]), before, channels)
        yield from (bytes(line[x : x + 3]) for x in range(0, stride, channels))
        before = line


def _unfiltered(kind: int, line: bytearray, above: bytearray, step: int) -> bytearray:
    for place in range(len(line)):
        left = line[place - step] if place >= step else 0
        up, corner = above[place], above[place - step] if place >= step else 0
        line[place] = (line[place] + (0, left, up, (left + up) // 2, _paeth(left, up, corner))[kind]) & 0xFF
    return line


def _paeth(left: int, up: int, corner: int) -> int:
    guess = left + up - corner
    return min((left, up, corner), key=lambda one: abs(guess - one))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    made = tmp_path / "report.html"
    made.write_text(page(full()), encoding="utf-8")
    return made


def test_its_charts_are_drawn_and_nobody_is_asked(file: Path) -> None:
    picture = file.with_suffix(".png")
    assert opened(file, f"--screenshot={picture}", "--window-size=900,1600", "--force-device-scale-factor=1") == set()
    drawn = list(pixels(picture.read_bytes()))
    # Two bars of phases and one of rows, of 14 points each, up to a third of the page wide.
    assert drawn.count(BAR) > 14 * 300
    assert drawn.count(PART) > 14 * 20
    assert drawn.count(WHITE) > len(drawn) / 2


def test_who_would_ask_is_seen(tmp_path: Path) -> None:
    """That the look at a page's requests sees one."""
    file = tmp_path / "asks.html"
    file.write_text('<img src="http://127.0.0.1:18099/x.png">', encoding="utf-8")
    assert opened(file, f"--screenshot={tmp_path / 'x.png'}") == {"http://127.0.0.1:18099/x.png"}


def test_it_is_printed(file: Path) -> None:
    printed = file.with_suffix(".pdf")
    assert opened(file, f"--print-to-pdf={printed}", "--no-pdf-header-footer") == set()
    content = printed.read_bytes()
    assert content.startswith(b"%PDF-")
    assert content.count(b"/Type /Page\n") >= 1
