"""The expected quality of each model for a prompt, with the call site and without."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from llmthrift_core.errors import MissingExtraError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

FEWEST_LABELS: Final = 20
"""A model with fewer labelled prompts is never chosen for its quality."""
_FEWEST_OF_SITE: Final = 3
"""A call site with fewer labelled prompts counts as unseen."""
_SITE_STRENGTH: Final = 10.0
"""A call site's mean is drawn towards the overall mean as if by so many labels."""
_SITE_PENALTY: Final = 1.0
"""Of the ridge that tells call sites by the text: light, since the labels have no noise."""
_PENALTIES: Final = (10.0, 20.0, 40.0, 80.0)


@dataclass(frozen=True, slots=True)
class Unseen:
    """Predictions for each row of the examples by a model that had not seen that row."""

    with_site: Floats
    without_site: Floats
    familiarity: Floats


@dataclass(frozen=True, slots=True)
class QualityModel:
    """Expected qualities, one column for each model. A model with too few labels is expected at -inf, the reference model then at 1.

    Attributes:
        sites: the known call sites.
        with_site: heads on a text's vector followed by one indicator for each known site, which are drawn towards 0 as all weights are: a
            site with few labels is judged by the others.
        without_site: heads on the vector alone.
        site_of: heads that tell how likely a text comes from each site.
        site_means: shape (sites, models).
        offsets: shape (models,): what is added to all predictions, to mark models without labels.
    """

    sites: tuple[str, ...]
    with_site: Heads
    without_site: Heads
    site_of: Heads
    site_means: Floats
    offsets: Floats

    @classmethod
    def fitted(
        cls, vectors: Floats, call_sites: Sequence[str | None], quality: Floats, reference: int, *, told: bool = True
    ) -> tuple[QualityModel, Unseen]:
        """The model of these rows, and its predictions for them where each was left out.

        Args:
            vectors: shape (rows, dimensions).
            quality: shape (rows, models), NaN where there is no label.
            reference: the column of the reference model.
            told: call sites will be given to `predict`. False saves a third of the time, and `predict` then takes None only.
        """
        labelled = (~np.isnan(quality)).sum(axis=0) >= FEWEST_LABELS
        offsets = np.where(labelled, 0.0, -np.inf)
        if not labelled[reference]:
            offsets[reference] = 1.0
        counts = Counter(site for site in call_sites if site is not None)
        sites = tuple(sorted(site for site, count in counts.items() if count >= _FEWEST_OF_SITE))
        indicators = np.array([[float(site == known) for known in sites] for site in call_sites]).reshape(len(call_sites), len(sites))
        usable = np.where(labelled, quality, 0.0)
        without, unseen_without = fit_heads(vectors, usable)
        known, unseen_known = fit_heads(np.hstack([vectors, indicators]), usable) if sites and told else (without, unseen_without)
        if len(sites) > 1:
            site_of, unseen_site = fit_heads(vectors, indicators, (_SITE_PENALTY,))
        else:
            site_of, unseen_site = Heads(np.zeros((vectors.shape[1], 0)), np.zeros(0)), np.zeros((len(vectors), 0))
        table = _SiteTable.of(indicators, usable)
        made = cls(sites, known, without, site_of, table.means, offsets)
        alone = _blended(unseen_without, unseen_site, table.means, indicators, table.own_share(indicators, usable))
        familiarity = unseen_site.max(axis=1) if unseen_site.size else np.ones(len(vectors))
        return made, Unseen(unseen_known + offsets, alone + offsets, familiarity)

    def predict(self, vector: Floats, call_site: str | None) -> Floats:
        """Expected qualities, shape (models,), of a text from a known call site, or None; of texts from None, (texts, models)."""
        if call_site is None:
            expected: Floats = _blended(self.without_site(vector), self.site_of(vector), self.site_means) + self.offsets
            return expected
        indicators = np.zeros(len(self.sites))
        indicators[self.sites.index(call_site)] = 1.0
        return self.with_site(np.concatenate([vector, indicators])) + self.offsets

    def familiarity(self, vectors: Floats) -> Floats:
        """How clearly each text, shape (dimensions,) or (texts, dimensions), belongs to one of the known call sites; 1 where fewer than two
        are known."""
        shares = self.site_of(vectors)
        most: Floats = shares.max(axis=-1) if shares.shape[-1] else np.ones(shares.shape[:-1])
        return most

    @property
    def state(self) -> dict[str, NDArray[Any]]:
        """Everything but the names of the call sites."""
        return {
            "with_site": np.vstack([self.with_site.weights, self.with_site.intercepts]),
            "without_site": np.vstack([self.without_site.weights, self.without_site.intercepts]),
            "site_of": np.vstack([self.site_of.weights, self.site_of.intercepts]),
            "site_means": self.site_means,
            "offsets": self.offsets,
        }

    @classmethod
    def restored(cls, sites: Sequence[str], state: Mapping[str, NDArray[Any]]) -> QualityModel:
        """What `state` described."""
        with_site, without_site, site_of = (Heads(state[name][:-1], state[name][-1]) for name in ("with_site", "without_site", "site_of"))
        return cls(tuple(sites), with_site, without_site, site_of, state["site_means"], state["offsets"])


@dataclass(frozen=True, slots=True)
class _SiteTable:
    """Sums and counts of labels, shape (sites, models), and the means that follow, drawn towards the overall means."""

    sums: Floats
    counts: Floats
    means: Floats

    @classmethod
    def of(cls, indicators: Floats, quality: Floats) -> _SiteTable:
        known = ~np.isnan(quality)
        sums = indicators.T @ np.where(known, quality, 0.0) + _SITE_STRENGTH * np.nanmean(quality, axis=0)
        counts = indicators.T @ known + _SITE_STRENGTH
        return cls(sums, counts, sums / counts)

    def own_share(self, indicators: Floats, quality: Floats) -> Floats:
        """What each row's own labels add to the mean of its site, shape (rows, models)."""
        known = ~np.isnan(quality)
        means = indicators @ self.means
        without = (indicators @ self.sums - np.where(known, quality, 0.0)) / np.maximum(indicators @ self.counts - known, 1.0)
        share: Floats = np.where(known & (indicators.sum(axis=1, keepdims=True) > 0), means - without, 0.0)
        return share


def _blended(regressed: Floats, shares: Floats, means: Floats, indicators: Floats | None = None, own: Floats | None = None) -> Floats:
    """The mean of a regression, which sees differences within a call site, and of the sites' table, weighted by how likely the text comes
    from each: the two err in different ways. Shape (models,) or (rows, models), as `regressed`.

    Args:
        shares: how likely the text comes from each site, shape (sites,) or (rows, sites).
        indicators, own: the rows' own sites, and what to take off these sites' means.
    """
    likely = np.clip(shares, 0.0, None) ** 2
    total = likely.sum(axis=-1, keepdims=True)
    if not total.size or not likely.shape[-1]:
        return regressed
    weights = likely / np.where(total > 0, total, 1.0)
    expected = weights @ means
    if indicators is not None and own is not None:
        expected = expected - (weights * indicators).sum(axis=-1, keepdims=True) * own
    blended: Floats = np.where(total > 0, (regressed + expected) / 2, regressed)
    return blended


@dataclass(frozen=True, slots=True)
class Heads:
    """Linear functions of a vector, shape (dimensions, heads), and their intercepts, shape (heads,)."""

    weights: Floats
    intercepts: Floats

    def __call__(self, vectors: Floats) -> Floats:
        """The heads' values: shape (heads,) for one vector, (rows, heads) for several."""
        values: Floats = vectors @ self.weights + self.intercepts
        return values


def fit_heads(vectors: Floats, observed: Floats, penalties: tuple[float, ...] = _PENALTIES) -> tuple[Heads, Floats]:
    """Heads fitted to the labels, and leave-one-out predictions of shape (rows, heads).

    Heads with labels on the same rows share the penalty that has the least leave-one-out error.

    Args:
        vectors: shape (rows, dimensions).
        observed: shape (rows, heads), NaN where there is no label; every head needs two labels or more.
        penalties: to choose from.
    """
    try:
        from sklearn.linear_model import RidgeCV
    except ImportError:
        raise MissingExtraError("routing", "scikit-learn") from None
    known = ~np.isnan(observed)
    weights = np.empty((vectors.shape[1], observed.shape[1]))
    intercepts = np.empty(observed.shape[1])
    unseen = np.empty(observed.shape)
    patterns, membership = np.unique(known, axis=1, return_inverse=True)
    for place in range(patterns.shape[1]):
        rows, heads = patterns[:, place], np.flatnonzero(membership == place)
        labels = observed[np.ix_(rows, heads)]
        ridge = RidgeCV(alphas=list(penalties), scoring="neg_mean_squared_error", store_cv_results=True).fit(vectors[rows], labels)
        weights[:, heads] = ridge.coef_.reshape(len(heads), -1).T
        intercepts[heads] = ridge.intercept_
        unseen[np.ix_(~rows, heads)] = vectors[~rows] @ weights[:, heads] + intercepts[heads]
        best = penalties.index(float(ridge.alpha_))
        unseen[np.ix_(rows, heads)] = ridge.cv_results_[..., best].reshape(len(labels), -1)
    return Heads(_rounded(weights), _rounded(intercepts)), unseen


def _rounded(values: Floats) -> Floats:
    """To single precision: where an array lies in memory decides the last bits of a sum, which should not make another version."""
    rounded: Floats = values.astype(np.float32).astype(np.float64)
    return rounded


def one_thread() -> AbstractContextManager[object]:
    """Within this, the linear algebra libraries use one thread: a refit in the background leaves the other cores to the application, and
    matrices of this size gain little from a second one and lose much where it is busy.

    Raises:
        MissingExtraError: threadpoolctl, which scikit-learn brings, is not installed.
    """
    try:
        from threadpoolctl import threadpool_limits
    except ImportError:
        raise MissingExtraError("routing", "scikit-learn") from None
    limits: AbstractContextManager[object] = threadpool_limits(1)
    return limits
