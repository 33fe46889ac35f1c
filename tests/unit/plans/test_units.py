"""Sizes and durations."""

from __future__ import annotations

import pytest

from tranship.plans.units import parse_duration, parse_size


@pytest.mark.parametrize(
    ("text", "size"),
    [("1B", 1), ("64KiB", 65_536), ("512MiB", 536_870_912), ("1.5GiB", 1_610_612_736), ("4 MiB", 4_194_304), ("0B", 0)],
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    ("text", "seconds"), [("500ms", 0.5), ("10s", 10), ("2m", 120), ("1.5h", 5400), ("7d", 604_800), ("0s", 0)]
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "10",
        "MiB",
        "-1MiB",
        "1MB",
        "1mib",
        "1e3MiB",
        "1MiB ",
        " 1MiB",
        "1  MiB",
        "1MiB\n",
        "\u0661MiB",
        "9" * 13 + "B",
    ],
)
def test_sizes_refused(text: str) -> None:
    with pytest.raises(ValueError, match="512MiB"):
        parse_size(text)


@pytest.mark.parametrize("text", ["", "10", "s", "-1s", "1m30s", "1 week", "1S", "inf s", "1s\n", ".5s"])
def test_durations_refused(text: str) -> None:
    with pytest.raises(ValueError, match="10s"):
        parse_duration(text)
