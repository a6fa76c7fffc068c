"""How far to trust estimates for texts that may be of a new task: chosen by leaving whole call sites out of the examples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from llmthrift_core.routing.learning.calibration import chosen, surplus, weight_for
from llmthrift_core.routing.learning.quality_model import QualityModel

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

FEWEST_SITES: Final = 3
"""With fewer call sites, leaving one out tells nothing about the next new one."""
_FOLDS: Final = 5
_UNSEEN_QUALITY: Final = 0.99
"""What new tasks keep of the default model's quality where the user allows more to be lost: the user's figure is about the known ones."""
_CAUTIONS: Final = (0.0, *(float(caution) for caution in np.geomspace(0.01, 10.0, 30)))
"""Qualities that a doubt of 1 takes off."""
_LEAST_FAMILIARITY: Final = 0.05


@dataclass(frozen=True, slots=True)
class LeftOut:
    """For each row, what a model expects that has seen no row of its call site: qualities, shape (rows, models), and how familiar its text
    is, shape (rows,)."""

    expected: Floats
    familiarity: Floats

    @classmethod
    def of(cls, vectors: Floats, call_sites: Sequence[str | None], sites: Sequence[str], quality: Floats, reference: int) -> LeftOut:
        """Some call sites are left out at a time, in the order of `sites`; rows of other call sites go with the first ones."""
        place = {site: number * min(_FOLDS, len(sites)) // len(sites) for number, site in enumerate(sites)}
        folds = np.array([place.get(site, 0) if site is not None else 0 for site in call_sites])
        expected, familiarity = np.empty(quality.shape), np.empty(len(quality))
        for fold in np.unique(folds):
            out = folds == fold
            others = [site for site, away in zip(call_sites, out, strict=True) if not away]
            model, _ = QualityModel.fitted(vectors[~out], others, quality[~out], reference, told=False)
            expected[out] = model.predict(vectors[out], None)
            familiarity[out] = model.familiarity(vectors[out])
        return cls(expected, familiarity)


def caution_for(
    left_out: LeftOut, expected: Floats, familiarity: Floats, observed: Floats, cost: Floats, reference: int, min_quality: float
) -> tuple[float, float | None]:
    """The caution, and the weight of cost that goes with it: of those that keep `min_quality` on known call sites and 0.99 on left-out
    ones, the ones that cost least on known call sites. The weight is None where there are none.

    Args:
        left_out: of the same rows as all else.
        expected, familiarity: of models that had not seen the row, but had seen its call site.
        observed: labels, NaN where there is none; shape (rows, models).
        cost: as for `weight_for`.
    """
    rows = np.arange(len(observed))
    target = max(min_quality, _UNSEEN_QUALITY)
    best: tuple[float, float, float] | None = None
    for caution in _CAUTIONS:
        known = cautious(expected, familiarity, caution, reference)
        weight = weight_for(known, observed, cost, reference, min_quality)
        if weight is None:
            continue
        choice = chosen(cautious(left_out.expected, left_out.familiarity, caution, reference), cost, weight)
        if surplus(left_out.expected, observed, choice, reference, target).mean < 0:
            continue
        spent = float(cost[rows, chosen(known, cost, weight)].mean())
        if best is None or spent < best[0]:
            best = spent, caution, weight
    return (0.0, None) if best is None else best[1:]


def cautious(expected: Floats, familiarity: Floats, caution: float, reference: int) -> Floats:
    """The expected qualities, shape (rows, models), less `caution` times the doubt of each row, but for the reference model's.

    The doubt of a text is the inverse of its familiarity less 1: nothing where it clearly belongs to a known call site.
    """
    doubt = 1 / np.clip(familiarity, _LEAST_FAMILIARITY, 1.0) - 1
    less: Floats = expected - caution * doubt[:, None] * (np.arange(expected.shape[1]) != reference)
    return less


def abstaining(expected: Floats, strange: NDArray[np.bool_], reference: int) -> Floats:
    """The expected qualities, shape (rows, models), with the reference model as the only choice of strange rows."""
    others = np.arange(expected.shape[1]) != reference
    only: Floats = np.where(strange[:, None] & others, -np.inf, expected)
    return only
