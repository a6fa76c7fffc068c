"""A cascade: the cheap model answers first, and its answer is kept if the checks say that it is good enough."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from llmthrift_core.errors import ConfigurationError, place_of
from llmthrift_core.lexical import LEXICAL, lexical
from llmthrift_core.routing.calibration import threshold_for
from llmthrift_core.routing.checks import BUILT_IN, Check, CheckList
from llmthrift_core.routing.confidence import Confidence, is_learnable
from llmthrift_core.routing.example import Example, checked
from llmthrift_core.routing.one_thread import one_thread
from llmthrift_core.routing.state import packed, unpacked, version_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from llmthrift_core.routing.cascade_policy import CascadePolicy

    Floats = NDArray[np.float64]

logger = logging.getLogger("llmthrift")

KIND: Final = "llmthrift.Cascade/2"
THRESHOLD: Final = 0.7
"""Confidence from which an answer is accepted before anything was learned."""
_PRIOR: Final = 0.85
"""Confidence in an answer that no check objects to, before anything was learned."""
_FEWEST_OF_TIER: Final = 20
"""With fewer answers of a model, all of them are escalated."""
_NOTHING: Final[Mapping[str, Any]] = {}


class Cascade:
    """Judges whether a model's answer may be kept, or the next model is asked.

    Before `fit`, the confidence is a heuristic: 0.85 times the checks' scores; 0.7 accepts. After `fit` it is the probability that the
    answer is good, less how much more likely than usual the last model's would be, and the thresholds are chosen so that on answers that
    were not learned from, the cascade reaches `min_quality` times the last model's quality, by the margin of a one-sided bound of 95%.

    Args:
        models: names, cheapest first.
        checks: functions of a prompt and an answer to one or more floats, the first of which is a score: 1 if nothing speaks against the
            answer, 0 if it cannot be good. None: the built-in ones, `llmthrift_core.routing.checks.BUILT_IN`.
        min_quality: of the last model's mean quality, above 0 and up to 1.
        seed: of the folds.

    Raises:
        ConfigurationError: an option that cannot be used.

    >>> from llmthrift_core.routing import Cascade
    >>> cascade = Cascade(["weak", "strong"])
    >>> cascade.accepts("What is 12 * 12?", "12 * 12 = 144")
    True
    >>> cascade.accepts("What is 12 * 12?", "I'm sorry, but I cannot help with that.")
    False
    """

    def __init__(self, models: Sequence[str], checks: Iterable[Check] | None = None, min_quality: float = 0.98, *, seed: int = 0) -> None:
        self._models = tuple(models)
        if isinstance(models, str) or len(self._models) < 2 or len(set(self._models)) < len(self._models):
            raise ConfigurationError(f"a cascade needs two or more different models, cheapest first, not {models!r}")
        if isinstance(min_quality, bool) or not isinstance(min_quality, int | float) or not 0 < min_quality <= 1:
            raise ConfigurationError(f"min_quality must be a share of the last model's quality, above 0 and up to 1, not {min_quality!r}")
        self._checks = CheckList(BUILT_IN if checks is None else checks)
        self._min_quality = float(min_quality)
        self._seed = seed
        self._learned: tuple[Confidence, tuple[float, ...]] | None = None
        self._warned = False

    @property
    def models(self) -> tuple[str, ...]:
        return self._models

    @property
    def min_quality(self) -> float:
        """The share of the last model's quality that is to be kept."""
        return self._min_quality

    @property
    def fitted(self) -> bool:
        """Whether confidence and thresholds were learned."""
        return self._learned is not None

    def fit(self, examples: Iterable[Example]) -> Cascade:
        """Learn from labelled answers, instead of what was learned before.

        Learned from are the answers of all models but the last. Labels of the last model, with or without the answer's text, tell what
        escalating is worth; a prompt without one counts as the mean, and without any the last model counts as perfect. With fewer than 20
        answers, or fewer than three good or bad ones, nothing is learned and the heuristic stays.

        Raises:
            ConfigurationError: an example or what a check found cannot be used, or no example of these models has an answer.
            MissingExtraError: scikit-learn is not installed.
        """
        given = checked(examples)
        answers = [each for each in given if each.answer is not None and each.model in self._models[:-1]]
        if given and not answers:
            raise ConfigurationError(
                f"no example has an answer of {', '.join(self._models[:-1])}; a cascade learns from answers"
                '; a ledger has them where Thrift(capture="text") stored them'
            )
        quality = np.array([float(each.quality) for each in answers])
        if not is_learnable(quality):
            self._learned = None
            logger.info("a cascade learned nothing: %d answers, %d of them good", len(answers), int((quality >= 0.5).sum()))
            return self
        measures = np.array([self._measures(each.prompt, each.answer or "", each.model, _NOTHING) for each in answers])
        escalated = self._escalated(given, answers)
        with one_thread():
            model, unseen = Confidence.fitted(measures, quality, escalated, seed=self._seed)
        usual = 1.0 if np.isnan(escalated).all() else float(np.nanmean(escalated))
        escalated = np.where(np.isnan(escalated), usual, escalated)
        tiers = np.array([self._models.index(each.model) for each in answers])
        thresholds = tuple(
            threshold_for(unseen[tiers == tier], quality[tiers == tier], escalated[tiers == tier], self._min_quality)
            if (tiers == tier).sum() >= _FEWEST_OF_TIER
            else float("inf")
            for tier in range(len(self._models) - 1)
        )
        self._learned = model, thresholds
        return self

    def confidence(self, prompt: str, answer: str, *, model: str | None = None, context: Mapping[str, Any] | None = None) -> float:
        """How much an answer is trusted, 0 to 1. 0 where a check fails, which is logged once.

        Args:
            model: who answered; None is the first.
            context: what else is known of the answer, for checks that have a parameter `context`.
        """
        name = self._models[0] if model is None else model
        self._tier(name)
        try:
            if self._learned is not None:
                return self._learned[0](self._measures(prompt, answer, name, context or _NOTHING))
            confidence = _PRIOR
            for score, *_ in self._checks.measure(prompt, answer, context or _NOTHING):
                confidence *= min(max(score, 0.0), 1.0)
        except Exception as error:
            if not self._warned:
                self._warned = True
                logger.warning("a check of a cascade failed with %s; its answers are not accepted", place_of(error))
            return 0.0
        return confidence

    def accepts(self, prompt: str, answer: str, *, model: str | None = None, context: Mapping[str, Any] | None = None) -> bool:
        """Whether the answer may be kept. The last model's always is, since nobody is left to ask."""
        tier = self._tier(self._models[0] if model is None else model)
        if tier == len(self._models) - 1:
            return True
        return self.confidence(prompt, answer, model=model, context=context) >= self.thresholds[tier]

    @property
    def thresholds(self) -> tuple[float, ...]:
        """The confidence that accepts, for each model but the last; infinite where every answer is escalated."""
        return self._learned[1] if self._learned is not None else (THRESHOLD,) * (len(self._models) - 1)

    @property
    def version(self) -> str:
        """Hash of the models, the checks' names, the options and what was learned."""
        return version_of(*self._state())

    def to_policy(self) -> CascadePolicy:
        """As a policy for a router, with streams that are held until they are accepted."""
        from llmthrift_core.routing.cascade_policy import CascadePolicy

        return CascadePolicy(self)

    def to_bytes(self) -> bytes:
        """The cascade without its checks, to be stored; data only, no code."""
        return packed(*self._state())

    @classmethod
    def from_bytes(cls, data: bytes, *, checks: Iterable[Check] | None = None) -> Cascade:
        """The cascade that `to_bytes` stored.

        Args:
            checks: the ones it was fitted with.

        Raises:
            ConfigurationError: these bytes are no cascade, or one with other checks.
        """
        header, arrays = unpacked(data, KIND)
        cascade = cls(header["models"], checks, header["min_quality"], seed=header["seed"])
        if list(cascade._checks.names) != header["checks"]:
            raise ConfigurationError(
                f"the stored cascade has the checks {', '.join(header['checks'])}, not {', '.join(cascade._checks.names)}"
            )
        if header["thresholds"] is not None:
            thresholds = tuple(float("inf") if threshold is None else float(threshold) for threshold in header["thresholds"])
            cascade._learned = Confidence.restored(arrays), thresholds
        return cascade

    def _state(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        header = {
            "kind": KIND,
            "models": self._models,
            "checks": self._checks.names,
            "min_quality": self._min_quality,
            "seed": self._seed,
            "thresholds": None
            if self._learned is None
            else [None if threshold == float("inf") else threshold for threshold in self._learned[1]],
        }
        return header, {} if self._learned is None else self._learned[0].state

    def _tier(self, model: str) -> int:
        if model not in self._models:
            raise ConfigurationError(f"model={model!r} is not one of {', '.join(self._models)}")
        return self._models.index(model)

    def _measures(self, prompt: str, answer: str, model: str, context: Mapping[str, Any]) -> Floats:
        found = [each for floats in self._checks.measure(prompt, answer, context) for each in floats]
        tiers = [float(model == name) for name in self._models[:-1]]
        measures: Floats = np.concatenate([found, lexical(prompt), tiers])
        if self._learned is not None and len(measures) != self._learned[0].measures:
            raise ConfigurationError(
                f"the checks gave {len(found)} numbers, {self._learned[0].measures - LEXICAL - len(tiers)} when the cascade was fitted"
            )
        return measures

    def _escalated(self, examples: Sequence[Example], answers: Sequence[Example]) -> Floats:
        """The quality of the last model's answer to each answer's prompt, NaN where that is not known."""
        labels: dict[str, list[float]] = {}
        for each in examples:
            if each.model == self._models[-1]:
                labels.setdefault(each.prompt, []).append(float(each.quality))
        means = {prompt: float(np.mean(found)) for prompt, found in labels.items()}
        return np.array([means.get(each.prompt, np.nan) for each in answers])
