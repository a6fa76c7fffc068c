"""Charts of the dashboard as inline SVG: days with what is expected, and a period's sum against its budgets. Colours are the page's."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from html import escape
from typing import Final

from llmthrift_core.display import usd
from llmthrift_core.reports.forecast import Forecast
from llmthrift_core.reports.page.charts import Frame, nice_ceiling
from llmthrift_core.reports.projection import DailyAmount

Line = tuple[str, Decimal]
_GAP: Final = 0.25  # of a column's place
_LEAST_BETWEEN: Final = 14.0  # units between two texts at the right
_LETTERS: Final = 13.0  # units that a text is high, on a phone


def daily_chart(days: Sequence[DailyAmount], limits: Sequence[Line] = ()) -> str:
    """Columns of what was spent, days to come with their interval, and lines at the limits of daily budgets.

    Args:
        days: in their order, without gaps.
        limits: name and US dollars.
    """
    if not days:
        return ""
    amounts = [max(day.high_usd, day.spent_usd or Decimal(0)) for day in days]
    top = nice_ceiling(float(max([*amounts, *(amount * 21 / 20 for amount in _near(limits, days))])))
    drawn = Frame(top, [day.day.isoformat() for day in days])
    parts = [drawn.grid]
    for place, day in enumerate(days):
        x, width = drawn.x(place + _GAP / 2), drawn.step * (1 - _GAP)
        told = f"{day.day}: "
        if day.high_usd > (day.spent_usd or 0):
            low, high = drawn.y(float(day.low_usd)), drawn.y(float(day.high_usd))
            middle = drawn.y(float(day.expected_usd))
            parts.append(f'<rect class="band" x="{x:.1f}" width="{width:.1f}" y="{high:.1f}" height="{max(low - high, 0.5):.1f}"/>')
            parts.append(f'<line class="expected" x1="{x:.1f}" x2="{x + width:.1f}" y1="{middle:.1f}" y2="{middle:.1f}"/>')
            told += f"{usd(day.expected_usd)} expected, {usd(day.low_usd)} to {usd(day.high_usd)}; "
        if day.spent_usd is not None:
            y = drawn.y(float(day.spent_usd))
            parts.append(f'<rect class="s1" x="{x:.1f}" width="{width:.1f}" y="{y:.1f}" height="{drawn.bottom - y:.1f}"/>')
            told += f"{usd(day.spent_usd)} spent"
        hit = f'<rect class="hit" x="{drawn.x(place):.1f}" width="{drawn.step:.1f}" y="{drawn.top}" height="{drawn.bottom - drawn.top}">'
        parts.append(f"{hit}<title>{escape(told.removesuffix('; '))}</title></rect>")
    parts += _limit_lines(drawn, limits, top)
    return _figure("By day", "".join(parts), [("s1", "spent"), ("band", "expected, 80% of cases"), *_legend(limits)])


def sum_chart(forecast: Forecast, limits: Sequence[Line] = ()) -> str:
    """What a period came to so far, where it is going, and lines at the limits of its budgets."""
    days = forecast.daily
    top = nice_ceiling(float(max([forecast.high_usd, *(amount for _, amount in limits if amount <= forecast.high_usd * 4)])))
    drawn = Frame(top, [day.day.isoformat() for day in days])
    total, points, today = Decimal(0), [(0.0, 0.0)], 0.0
    for place, day in enumerate(days, 1):
        if day.spent_usd is None:
            break
        total, today = total + day.spent_usd, float(place)
        points.append((today, float(total)))
    line = " ".join(f"{drawn.x(x):.1f},{drawn.y(y):.1f}" for x, y in points)
    area = f"{drawn.x(0):.1f},{drawn.bottom} {line} {drawn.x(today):.1f},{drawn.bottom}"
    parts = [drawn.grid, f'<polygon class="area" points="{area}"/>', f'<polyline class="line" points="{line}"/>']
    if today < len(days):
        here, end = (today, float(total)), float(len(days))
        fan = [here, (end, float(forecast.high_usd)), (end, float(forecast.low_usd))]
        parts.append(f'<polygon class="band" points="{" ".join(f"{drawn.x(x):.1f},{drawn.y(y):.1f}" for x, y in fan)}"/>')
        x1, y1, x2, y2 = drawn.x(here[0]), drawn.y(here[1]), drawn.x(end), drawn.y(float(forecast.projected_usd))
        parts.append(f'<line class="expected" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>')
    parts += _limit_lines(drawn, limits, top)
    title = f"This {forecast.period}, added up"
    return _figure(title, "".join(parts), [("s1", "spent"), ("band", "expected, 80% of cases"), *_legend(limits)])


def _near(limits: Sequence[Line], days: Sequence[DailyAmount]) -> list[Decimal]:
    """Limits that may stretch the chart: one far above what is spent would flatten it."""
    most = max(max(day.high_usd, day.spent_usd or Decimal(0)) for day in days)
    return [amount for _, amount in limits if amount <= most * 4]


def _limit_lines(drawn: Frame, limits: Sequence[Line], top: float) -> list[str]:
    parts, last = [], float("inf")
    for name, amount in sorted(limits, key=lambda line: line[1]):
        if float(amount) > top:
            continue
        y = drawn.y(float(amount))
        at = min(y - 4, last - _LEAST_BETWEEN)
        if at < drawn.top + _LETTERS:  # no room above the line
            at = y + _LETTERS + 2
        last = at
        parts.append(f'<line class="limit" x1="{drawn.left}" x2="{drawn.right}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text class="limit" x="{drawn.right - 4}" y="{at:.1f}" text-anchor="end">{escape(name)} {usd(amount)}</text>')
    return parts


def _legend(limits: Sequence[Line]) -> list[tuple[str, str]]:
    return [("limit", "limit of a budget")] if limits else []


def _figure(title: str, drawn: str, legend: Sequence[tuple[str, str]]) -> str:
    marks = "".join(f'<span><i class="{kind}"></i>{escape(name)}</span>' for kind, name in legend)
    return (
        f'<figure><figcaption>{escape(title)}<span class="legend">{marks}</span></figcaption>'
        f'<svg viewBox="0 0 {Frame.WIDTH} {Frame.HEIGHT}" role="img" aria-label="{escape(title)}">{drawn}</svg></figure>'
    )
