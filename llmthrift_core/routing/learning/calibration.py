"""Thresholds that keep a promise of quality, chosen on predictions for data that the predictor had not seen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from llmthrift_core.errors import ConfigurationError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

MARGIN: Final = 1.0
"""Standard errors between the estimated quality and the promise. Without it, a promise is broken in every other sample."""
THRESHOLD_MARGIN: Final = 1.645
"""The same for the threshold of a cascade, which is chosen on some hundred answers: the one-sided bound of 95%."""

# Weights of cost that are tried.
_WEIGHTS: Final = (0.0, *(float(weight) for weight in np.geomspace(0.003, 30.0, 120)))


def checked_min_quality(min_quality: float, of: str) -> float:
    """The share of a model's quality that is to be kept.

    Args:
        of: whose quality, for the message.

    Raises:
        ConfigurationError: not above 0 and up to 1.
    """
    if isinstance(min_quality, bool) or not isinstance(min_quality, int | float) or not 0 < min_quality <= 1:
        raise ConfigurationError(f"min_quality must be a share of the {of}'s quality, above 0 and up to 1, not {min_quality!r}")
    return float(min_quality)


@dataclass(frozen=True, slots=True)
class Bound:
    """An estimate and its standard error."""

    mean: float
    standard_error: float

    @property
    def lower(self) -> float:
        """The estimate less the margin."""
        return self.mean - MARGIN * self.standard_error


def chosen(quality: Floats, cost: Floats, weight: float) -> NDArray[np.intp]:
    """For each row the model with the best quality - weight * cost.

    Args:
        quality, cost: shape (rows, models). A model whose quality is -inf is never chosen.
    """
    best: NDArray[np.intp] = np.argmax(quality - weight * cost, axis=1)
    return best


def surplus(predicted: Floats, observed: Floats, choice: NDArray[np.intp], reference: int, min_quality: float) -> Bound:
    """The quality of a choice of models less `min_quality` times the reference model's.

    Labels that are missing are filled with predictions, and the predictions are corrected by the mean error on the rows that have labels
    (the difference estimator of survey sampling). With all labels that is the plain mean of the observed differences.

    Args:
        predicted: out-of-sample predictions, shape (rows, models).
        observed: labels of the same shape, NaN where there is none. A reference without any label counts as perfect.
        choice: the chosen model of each row.
    """
    rows = np.arange(len(choice))
    if np.isnan(observed[rows, choice]).all():
        return Bound(-np.inf, 0.0)
    terms = _terms(predicted[rows, choice], observed[rows, choice])
    if np.isnan(observed[:, reference]).all():
        terms = terms - min_quality
    else:
        terms = terms - min_quality * _terms(predicted[:, reference], observed[:, reference])
    return Bound(float(terms.mean()), float(terms.std() / np.sqrt(len(terms))))


def gain(predicted: Floats, observed: Floats, choice: NDArray[np.intp], other: NDArray[np.intp]) -> Bound:
    """The quality of a choice of models less that of another choice, estimated as in `surplus`.

    Only rows that the choices differ on say something of the difference, and they alone correct the predictions for it: labels of the same
    models on other rows are of other prompts.

    Args:
        predicted, observed: as for `surplus`. A choice without any label on the rows in question counts as predicted.
        choice, other: the chosen model of each row.
    """
    rows = np.flatnonzero(choice != other)
    if not len(rows):
        return Bound(0.0, 0.0)
    terms = np.zeros(len(rows))
    for sign, models in ((1, choice[rows]), (-1, other[rows])):
        guess, label = predicted[rows, models], observed[rows, models]
        terms = terms + sign * (guess if np.isnan(label).all() else _terms(guess, label))
    share = len(rows) / len(choice)
    return Bound(share * float(terms.mean()), share * float(terms.std() / np.sqrt(len(rows))))


def weight_for(predicted: Floats, observed: Floats, cost: Floats, reference: int, min_quality: float) -> float | None:
    """The weight of cost whose choices cost least while `surplus` stays positive by the margin; None where none does.

    Args:
        cost: shape (rows, models); the differences between models should be about 1, which the weights that are tried are made for.
    """
    rows = np.arange(len(cost))
    best: tuple[float, float] | None = None
    for weight in _WEIGHTS:
        choice = chosen(predicted, cost, weight)
        if surplus(predicted, observed, choice, reference, min_quality).lower < 0:
            continue
        spent = float(cost[rows, choice].mean())
        if best is None or spent < best[0]:
            best = (spent, weight)
    return best[1] if best is not None else None


def threshold_for(probability: Floats, kept: Floats, escalated: Floats, min_quality: float) -> float:
    """The lowest probability from which on answers may be kept: the quality, with all others escalated, stays above `min_quality` times
    that of escalating all. Infinite where no answer may be kept.

    Two estimates of that must agree. One takes each kept answer as good as its probability says, less `THRESHOLD_MARGIN` standard errors:
    of all thresholds, labels alone would pick the one that luck favours. The other takes the labels, so that probabilities that promise too
    much do not count.

    Args:
        probability: out-of-sample and calibrated, that an answer is good; shape (rows,).
        kept, escalated: the quality of the answer and of the one that escalation gives, same shape.
    """
    rows, slack = len(probability), (1 - min_quality) * escalated.mean()
    order = np.argsort(-probability, kind="stable")
    falling, gained = probability[order], (kept - escalated)[order]
    expected = np.cumsum(falling - escalated.mean()) / rows + slack
    observed = np.cumsum(gained) / rows + slack
    # Each term of the mean is escalated * (1 - min_quality), and gained as well where the answer is kept.
    base = escalated[order] * (1 - min_quality)
    squares = np.cumsum((base + gained) ** 2 - base**2) + (base**2).sum()
    variance = np.maximum(squares / rows - observed**2, 0.0)
    fine = (expected >= THRESHOLD_MARGIN * np.sqrt(variance / rows)) & (observed >= 0)
    last_of_equals = np.append(falling[1:] != falling[:-1], True)
    places = np.flatnonzero(fine & last_of_equals)
    return float(falling[places[-1]]) if len(places) else float("inf")


def _terms(predicted: Floats, observed: Floats) -> Floats:
    known = ~np.isnan(observed)
    filled: Floats = predicted + np.where(known, observed - predicted, 0.0) * (len(known) / known.sum())
    return filled
