"""Charts as SVG inside of a page: bars beside their names, drawn by nobody but the browser."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

_WIDTH, _ROW, _BAR = 760, 24, 14
_NAMES, _FIGURES = 150, 110
_COLOURS = ("#2f6fde", "#d9822b")

Row = tuple[str, float, str]
"""Name, value, and the value as people read it."""


def bars(title: str, rows: Sequence[Row]) -> str:
    """One bar each, the longest as long as there is room."""
    most = max((value for _, value, _ in rows), default=0.0)
    drawn = [
        _bar(place, name, [(value, _COLOURS[0])], most, figure) for place, (name, value, figure) in enumerate(rows)
    ]
    return _chart(title, drawn)


def stacks(title: str, rows: Sequence[tuple[str, Sequence[int]]]) -> str:
    """A bar of several parts each."""
    most = max((sum(parts) for _, parts in rows), default=0)
    drawn = [
        _bar(place, name, list(zip(parts, _COLOURS, strict=False)), most, " + ".join(f"{part:,}" for part in parts))
        for place, (name, parts) in enumerate(rows)
    ]
    return _chart(title, drawn)


def _bar(place: int, name: str, parts: Sequence[tuple[float, str]], most: float, figure: str) -> str:
    top = place * _ROW + (_ROW - _BAR) // 2
    base = top + _BAR - 3
    room = _WIDTH - _NAMES - _FIGURES
    drawn, left = [], float(_NAMES)
    for value, colour in ((value, colour) for value, colour in parts if value):
        # At least a hair of what is there at all.
        width = max(value / most * room, 1.0)
        drawn.append(f'<rect x="{left:.1f}" y="{top}" width="{width:.1f}" height="{_BAR}" fill="{colour}"/>')
        left += width
    label = f'<text x="{_NAMES - 8}" y="{base}" text-anchor="end">{escape(_short(name))}</text>'
    return f'{label}{"".join(drawn)}<text x="{left + 6:.1f}" y="{base}">{escape(figure)}</text>'


def _short(name: str) -> str:
    return name if len(name) <= 22 else f"{name[:21]}…"


def _chart(title: str, drawn: Sequence[str]) -> str:
    return (
        f'<figure><svg viewBox="0 0 {_WIDTH} {len(drawn) * _ROW}" role="img" aria-label="{escape(title)}">'
        f'{"".join(drawn)}</svg><figcaption class="faint">{escape(title)}</figcaption></figure>'
    )
