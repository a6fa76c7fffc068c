"""Thresholds that keep a promise of quality, chosen on predictions for data that the predictor had not seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from llmthrift_core.errors import ConfigurationError
from llmthrift_core.routing.learned.quality_model import QualityModel

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

MARGIN: Final = 1.0
"""Standard errors between the estimated quality and the promise. Without it, a promise is broken in every other sample."""
THRESHOLD_MARGIN: Final = 1.645
"""The same for the threshold of a cascade, which is chosen on some hundred answers: the one-sided bound of 95%."""
WEIGHTS: Final = (0.0, *(float(weight) for weight in np.geomspace(0.003, 30.0, 120)))
"""Weights of cost that are tried."""
FEWEST_SITES: Final = 3
"""With fewer call sites, leaving one out tells nothing about the next new one."""
_FOLDS: Final = 5
_UNSEEN_QUALITY: Final = 0.99
"""What new tasks keep of the default model's quality where the user allows more to be lost: the user's figure is about the known ones."""
_CAUTIONS: Final = (0.0, *(float(caution) for caution in np.geomspace(0.01, 10.0, 30)))
"""Qualities that a doubt of 1 takes off."""
_LEAST_FAMILIARITY: Final = 0.05


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
    for weight in WEIGHTS:
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


def cheapest_reaching(required: float, quality: Floats, usd: Floats, may: NDArray[np.bool_]) -> int:
    """The place of the cheapest model that is expected to reach a quality; of the best one, where none is. Of those that may be chosen."""
    open_to = np.where(may & np.isfinite(quality), quality, -np.inf)
    reaching = open_to >= required
    return int(np.argmin(np.where(reaching, usd, np.inf))) if reaching.any() else int(np.argmax(open_to))
