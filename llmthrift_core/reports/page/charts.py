"""Charts as inline SVG: stacked columns over time. Colours come from the page's style, so that they follow light and dark."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from html import escape
from typing import ClassVar, Final

from llmthrift_core.display import cell, usd

_WIDTH, _HEIGHT = 720, 240
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 8, 12, 28
_TICKS: Final = 4
_MOST_LABELS: Final = 9
_HALF_LABEL: Final = 30.0  # units
_LONGEST: Final = 8  # letters of an amount that have room beside the chart; longer ones are made narrower
_GAP: Final = 0.25  # of a column's place


def stacked_columns(title: str, labels: Sequence[str], series: Mapping[str, Sequence[Decimal]]) -> str:
    """Stacked columns of dollars, one for each label, with a legend, gridlines and the amounts as tooltips.

    Args:
        labels: one for each column, in their order; as many are written as have room.
        series: what is stacked, from the bottom up: name -> one amount for each label. Negative amounts count as none.
    """
    if not labels:
        return ""
    totals = [sum((max(Decimal(0), values[place]) for values in series.values()), Decimal(0)) for place in range(len(labels))]
    top = nice_ceiling(float(max(totals)))
    wide, high = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM
    step = wide / len(labels)
    parts = [_grid(top, wide, high)]
    for place, label in enumerate(labels):
        x, y, shown = _LEFT + place * step + step * _GAP / 2, float(_TOP + high), []
        for number, values in enumerate(series.values(), 1):
            amount = max(Decimal(0), values[place])
            size = float(amount) / top * high
            if size > 0:
                y -= size
                shape = f'x="{x:.2f}" y="{y:.2f}" width="{step * (1 - _GAP):.2f}" height="{size:.2f}"'
                shown.append(f'<rect class="s{number}" {shape}/>')
        told = "; ".join(f"{name} {usd(values[place])}" for name, values in series.items() if values[place])
        tooltip = f"{cell(label)}: {usd(totals[place])}{f' ({told})' if told else ''}"
        parts.append(f"<g>{''.join(shown)}<title>{escape(tooltip)}</title></g>")
    parts += _labels(labels, step, high)
    legend = "".join(
        f'<span><i class="s{number}"></i>{escape(name)}</span>' for number, (name, values) in enumerate(series.items(), 1) if any(values)
    )
    return (
        f'<figure><figcaption>{escape(title)}<span class="legend">{legend}</span></figcaption>'
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(title)}">{"".join(parts)}</svg></figure>'
    )


@dataclass(frozen=True, slots=True)
class Frame:
    """Where a chart's columns and amounts stand, with its gridlines and labels.

    Attributes:
        ceiling: the amount at the top.
        labels: one for each column.
    """

    WIDTH: ClassVar[int] = _WIDTH
    HEIGHT: ClassVar[int] = _HEIGHT
    left: ClassVar[int] = _LEFT
    right: ClassVar[int] = _WIDTH - _RIGHT
    top: ClassVar[int] = _TOP
    bottom: ClassVar[int] = _HEIGHT - _BOTTOM

    ceiling: float
    labels: Sequence[str]

    @property
    def step(self) -> float:
        """The width of a column's place."""
        return (self.right - self.left) / max(1, len(self.labels))

    @property
    def grid(self) -> str:
        """Gridlines, amounts and labels."""
        high = self.bottom - self.top
        return _grid(self.ceiling, self.right - self.left, high) + "".join(_labels(self.labels, self.step, high))

    def x(self, place: float) -> float:
        """Where a column begins."""
        return self.left + place * self.step

    def y(self, amount: float) -> float:
        """How high an amount stands; never outside."""
        return self.bottom - min(max(amount / self.ceiling, 0.0), 1.0) * (self.bottom - self.top)


def nice_ceiling(amount: float) -> float:
    """The smallest of 1, 1.2, 1.6, 2, 2.4, 3, 4, 5, 6, 8 times a power of ten that is not below an amount: its quarters are round.

    >>> nice_ceiling(7.3), nice_ceiling(0.0021), nice_ceiling(0)
    (8.0, 0.0024, 1.0)
    """
    if not amount > 0:
        return 1.0
    power = math.floor(math.log10(amount))
    for factor in (1, 1.2, 1.6, 2, 2.4, 3, 4, 5, 6, 8):
        if (found := round(factor * 10.0**power, 12 - power)) >= amount:
            return found
    return 10.0 ** (power + 1)


def _grid(top: float, wide: int, high: int) -> str:
    lines = []
    amounts = _axis([top * tick / _TICKS for tick in range(_TICKS + 1)])
    for tick, amount in enumerate(amounts):
        y = _TOP + high - high * tick / _TICKS
        lines.append(f'<line class="{"axis" if tick == 0 else "grid"}" x1="{_LEFT}" x2="{_LEFT + wide}" y1="{y:.1f}" y2="{y:.1f}"/>')
        narrow = f' textLength="{_LEFT - 10}" lengthAdjust="spacingAndGlyphs"' if len(amount) > _LONGEST else ""
        lines.append(f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end"{narrow}>{amount}</text>')
    return "".join(lines)


def _labels(labels: Sequence[str], step: float, high: int) -> list[str]:
    """The labels that have room. The style of a narrow page, whose letters are larger, hides those of the class "second"."""
    every = -(-len(labels) // _MOST_LABELS)
    parts = []
    for place in range(0, len(labels), every):
        x = _LEFT + (place + 0.5) * step
        if x + _HALF_LABEL > _WIDTH:  # it would be cut
            continue
        kind = "label second" if place // every % 2 or x + 1.6 * _HALF_LABEL > _WIDTH else "label"
        parts.append(f'<text class="{kind}" x="{x:.1f}" y="{_TOP + high + 18}" text-anchor="middle">{escape(cell(labels[place]))}</text>')
    return parts


def _axis(amounts: Sequence[float]) -> list[str]:
    """Dollars for an axis, all with the same decimals.

    >>> _axis([0, 0.5, 1, 1.5, 2]), _axis([0, 0.0006, 0.0012]), _axis([0, 750, 1500]), _axis([0, 1e6, 2.5e6])
    (['$0', '$0.50', '$1.00', '$1.50', '$2.00'], ['$0', '$0.0006', '$0.0012'], ['$0', '$750', '$1,500'], ['$0', '$1.0M', '$2.5M'])
    """
    unit, name, least = (1e6, "M", 1) if max(amounts) >= 1_000_000 else (1.0, "", 2)
    parts = [amount / unit for amount in amounts]
    decimals = next((count for count in range(12) if all(math.isclose(round(part, count), part, abs_tol=1e-12) for part in parts)), 12)
    decimals = max(decimals, least) if decimals else 0
    return [f"${part:,.{decimals}f}{name}" if part else "$0" for part in parts]
