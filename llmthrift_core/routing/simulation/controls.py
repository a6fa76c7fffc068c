"""Controls that a router has to beat: simple ways to divide prompts between a cheap and a strong model."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Rows = NDArray[np.intp]

_PRIOR_LABELS: Final = 10
"""As if a call site had so many labels of the overall mean."""


def split(rows: int, learn: int, seed: int) -> tuple[Rows, Rows]:
    """`learn` rows drawn at random to learn from, and the others to judge by."""
    order = np.random.default_rng(seed).permutation(rows)
    return order[:learn], order[learn:]


def apgr(score: Floats, quality: Floats) -> float:
    """Average performance gap recovered: the area of the quality gap recovered when the strong model answers the prompts of the highest
    score, over the share of prompts (RouteLLM, arXiv 2406.18665). 0.5 is random; NaN where the models are equally good.

    Args:
        score: shape (rows,).
        quality: shape (rows, 2): of the cheap and of the strong model.
    """
    gap = (quality[:, 1] - quality[:, 0])[np.argsort(-score, kind="stable")]
    if gap.sum() == 0:
        return float("nan")
    recovered = np.concatenate([[0.0], np.cumsum(gap)]) / gap.sum()
    return float(np.mean((recovered[1:] + recovered[:-1]) / 2))


def site_means(sites: Sequence[str | None], quality: Floats, learn: Rows, judge: Rows) -> Floats:
    """For each row of `judge` the mean quality of its call site in the learning part, drawn to the overall mean.

    Args:
        quality: shape (rows, models), of all rows.

    Returns:
        Shape (rows of judge, models).
    """
    named = np.array(sites, dtype=object)
    overall = quality[learn].mean(axis=0)
    means = {}
    for site in set(named[learn]):
        here = quality[learn][named[learn] == site]
        means[site] = (here.sum(axis=0) + _PRIOR_LABELS * overall) / (len(here) + _PRIOR_LABELS)
    return np.array([means.get(site, overall) for site in named[judge]])


def control_scores(
    prompts: Sequence[str], sites: Sequence[str | None] | None, quality: Floats, learn: Rows, judge: Rows, seed: int
) -> Mapping[str, Floats]:
    """Rankings of the rows of `judge`: by each, the prompts of the highest score go to the strong model.

    Args:
        sites: None where no call site is known.
        quality: shape (rows, 2): of the cheap and of the strong model, for all rows.
    """
    lengths = np.array([float(len(prompts[row])) for row in judge])
    found: dict[str, Any] = {
        "random": np.random.default_rng(seed).random(len(judge)),
        "length (longest to strong)": lengths,
        "shortest to strong": -lengths,
        "oracle": quality[judge, 1] - quality[judge, 0],
    }
    if sites is not None:
        means = site_means(sites, quality, learn, judge)
        found["call-site table"] = means[:, 1] - means[:, 0]
    return found


def spread(values: Sequence[float]) -> float:
    """1.96 standard deviations over the splits. Splits of one data set share their prompts: dividing by the root of their number would
    promise too much. NaN of one value."""
    return 1.96 * statistics.stdev(values) if len(values) > 1 else float("nan")
