"""`Cascade`: how good an answer is and what asking the next model is worth; `CascadePolicy`: a router that asks it."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np

from llmthrift_core.background.forks import ForkedLock
from llmthrift_core.display import counted
from llmthrift_core.errors import ConfigurationError, place_of
from llmthrift_core.lexical import LEXICAL, lexical
from llmthrift_core.routing.cascades.confidence import Confidence, is_learnable
from llmthrift_core.routing.cascades.escalation import escalation_alert
from llmthrift_core.routing.checks import BUILT_IN, Check, CheckList, StructureCheck, Verifier
from llmthrift_core.routing.checks.check import name_of
from llmthrift_core.routing.examples import Example, checked
from llmthrift_core.routing.learned.calibration import checked_min_quality, threshold_for
from llmthrift_core.routing.learned.quality_model import one_thread
from llmthrift_core.routing.learned.trade_offs import CascadeEvidence
from llmthrift_core.routing.policies.rules import PolicyWrapper
from llmthrift_core.routing.policy import RoutingPolicy
from llmthrift_core.routing.state import packed, restoring, unpacked, version_of
from llmthrift_core.routing.types import Review, RouteDecision, RouteRequest, Tiers

if TYPE_CHECKING:
    from numpy.typing import NDArray

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

    Verifiers (`llmthrift_core.routing.checks`: `JudgeCheck`, `ConsistencyCheck`, `StructureCheck`) stand beside this confidence: an answer
    that one of them rejects is not kept. Structured answers and tool calls are always verified. Verifiers take no part in `fit`, which
    would ask a model about every example, and thresholds are chosen as if there were none: with them, more answers are escalated than `fit`
    and simulations count on, and none less.

    Args:
        models: names, cheapest first.
        checks: functions of a prompt and an answer to one or more floats, the first of which is a score: 1 if nothing speaks against the
            answer, 0 if it cannot be good; and verifiers. None: the built-in ones, `llmthrift_core.routing.checks.BUILT_IN`; with more:
            `checks=[*BUILT_IN, JudgeCheck(judge)]`.
        min_quality: of the last model's mean quality, above 0 and up to 1.
        seed: of the folds.
        threshold: the confidence from which an answer is kept, 0 to 1; of each model but the last, or one for all. It takes the place of
            0.7, and of what `fit` finds.

    Raises:
        ConfigurationError: an option that cannot be used.

    >>> from llmthrift_core.routing import Cascade
    >>> cascade = Cascade(["weak", "strong"])
    >>> cascade.accepts("What is 12 * 12?", "12 * 12 = 144")
    True
    >>> cascade.accepts("What is 12 * 12?", "I'm sorry, but I cannot help with that.")
    False
    """

    def __init__(
        self,
        models: Sequence[str],
        checks: Iterable[Check | Verifier] | None = None,
        min_quality: float = 0.98,
        *,
        seed: int = 0,
        threshold: float | Sequence[float] | None = None,
    ) -> None:
        self._models = tuple(models)
        if isinstance(models, str) or len(self._models) < 2 or len(set(self._models)) < len(self._models):
            raise ConfigurationError(f"a cascade needs two or more different models, cheapest first, not {models!r}")
        self._checks = CheckList(BUILT_IN if checks is None else checks, always=StructureCheck())
        self._min_quality = checked_min_quality(min_quality, "last model")
        self._seed = seed
        self._thresholds = _thresholds_of(threshold, len(self._models) - 1)
        self._learned: tuple[Confidence, tuple[float, ...]] | None = None
        self._evidence: tuple[Floats, Floats, Floats, NDArray[np.intp]] | None = None
        self._versioned: tuple[tuple[Confidence, tuple[float, ...]] | None, str] = None, ""
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

    @property
    def asks_models(self) -> bool:
        """Whether a verifier asks a model before an answer is kept."""
        return any(verifier.waits for verifier in self._checks.verifiers)

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
                f"no example has an answer of {', '.join(self._models[:-1])}; a cascade learns from answers, "
                'which a ledger has where Thrift(capture="text") stored them'
            )
        quality = np.array([float(each.quality) for each in answers])
        if not is_learnable(quality):
            self._learned = self._evidence = None
            logger.info("a cascade learned nothing: %d answers, %d of them good", len(answers), int((quality >= 0.5).sum()))
            return self
        measures = np.array([self._measures(each.prompt, each.answer or "", each.model, each.context or _NOTHING) for each in answers])
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
        self._evidence = unseen, quality, escalated, tiers
        return self

    def evidence(self, usd: Sequence[float]) -> CascadeEvidence | None:
        """What the last `fit` found of the answers that thresholds decide on; None before, and of a cascade that was loaded.

        Args:
            usd: what an answer of each model costs.
        """
        return None if self._evidence is None else CascadeEvidence(*self._evidence, np.array(usd, dtype=float))

    def settle(self, thresholds: Sequence[float]) -> None:
        """Take other thresholds than those that keep `min_quality`, one for each model but the last; an infinite one: it is not asked."""
        if self._learned is not None:
            self._learned = self._learned[0], tuple(map(float, thresholds))

    def confidence(self, prompt: str, answer: str, *, model: str | None = None, context: Mapping[str, Any] | None = None) -> float:
        """How much the checks trust an answer, 0 to 1. 0 where a check fails, which is logged once. Verifiers are not asked.

        Args:
            model: who answered; None is the first.
            context: what else is known of the answer, for checks that have a parameter `context`; see `AnswerContext`.
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
            self._note_failure(error)
            return 0.0
        return confidence

    def verdict(self, prompt: str, answer: str, *, model: str | None = None, context: Mapping[str, Any] | None = None) -> Verdict:
        """Whether the answer may be kept, and why. Verifiers that ask a model are asked last, where nothing else objects.

        An answer that calls tools is judged by verifiers that ask no model alone: what the other checks read is text. The last model's
        answer is not checked, since nobody is left to ask. A verifier that fails does not accept, which is logged once.

        Args:
            model, context: as for `confidence`.
        """
        tier, given = self._tier(self._models[0] if model is None else model), context or _NOTHING
        name = self._models[tier]
        if tier == len(self._models) - 1:
            return Verdict(True, None, f"{name} is the last model")
        confidence = None
        try:
            if (found := self._checks.rejection(prompt, answer, given, waiting=False)) is not None:
                return Verdict(False, None, f"the answer of {name}: {found.reason}")
            if given.get("tool_calls"):
                return Verdict(True, None, f"{name} calls tools")
            confidence = self.confidence(prompt, answer, model=name, context=given)
            threshold = self.thresholds[tier]
            if confidence < threshold:
                return Verdict(False, confidence, f"confidence {confidence:.2f} in the answer of {name} is below {threshold:.2f}")
            if not given.get("is_out") and (found := self._checks.rejection(prompt, answer, given, waiting=True)) is not None:
                return Verdict(False, confidence, f"the answer of {name}: {found.reason}")
        except Exception as error:
            self._note_failure(error)
            return Verdict(False, confidence, f"a check of the answer of {name} failed")
        return Verdict(True, confidence, f"confidence {confidence:.2f} in the answer of {name} reaches {threshold:.2f}")

    def accepts(self, prompt: str, answer: str, *, model: str | None = None, context: Mapping[str, Any] | None = None) -> bool:
        """Whether the answer may be kept: see `verdict`. The last model's always is, since nobody is left to ask."""
        return self.verdict(prompt, answer, model=model, context=context).is_kept

    @property
    def thresholds(self) -> tuple[float, ...]:
        """The confidence that accepts, for each model but the last; infinite where every answer is escalated."""
        if self._thresholds is not None:
            return self._thresholds
        return self._learned[1] if self._learned is not None else (THRESHOLD,) * (len(self._models) - 1)

    @property
    def version(self) -> str:
        """Hash of the models, the names of checks and verifiers, the options and what was learned."""
        learned, (of, version) = self._learned, self._versioned
        if not version or of is not learned:
            version = version_of(*self._state())
            self._versioned = learned, version
        return version

    def to_policy(self) -> CascadePolicy:
        """As a policy for a router, with streams that are held until they are accepted."""

        return CascadePolicy(self)

    def to_bytes(self) -> bytes:
        """The cascade without its checks, to be stored; data only, no code."""
        return packed(*self._state())

    @classmethod
    def from_bytes(cls, data: bytes, *, checks: Iterable[Check | Verifier] | None = None) -> Cascade:
        """The cascade that `to_bytes` stored.

        Args:
            checks: the ones it was fitted with, verifiers included; None: those of the built-in ones that it was fitted with, which may be
                fewer than there are today.

        Raises:
            ConfigurationError: these bytes are no cascade, or one with other checks.
            StorageError: a part of them is missing or damaged.
        """
        header, arrays = unpacked(data, KIND)
        with restoring(KIND):
            return cls._restored(header, arrays, checks)

    @classmethod
    def _restored(cls, header: dict[str, Any], arrays: dict[str, NDArray[Any]], checks: Iterable[Check | Verifier] | None) -> Cascade:
        if checks is None:
            stored = set(header["checks"])
            checks = [each for each in BUILT_IN if name_of(each) in stored] or None
        cascade = cls(header["models"], checks, header["min_quality"], seed=header["seed"], threshold=header.get("set_thresholds"))
        of_now = cascade._state()[0]
        for kind in ("checks", "verifiers"):
            wanted = header[kind]
            if list(of_now[kind]) != wanted:
                raise ConfigurationError(
                    f"the stored cascade has the {kind} {', '.join(wanted) or 'none'}, not {', '.join(of_now[kind]) or 'none'}"
                )
        if header["thresholds"] is not None:
            thresholds = tuple(float("inf") if threshold is None else float(threshold) for threshold in header["thresholds"])
            cascade._learned = Confidence.restored(arrays), thresholds
        return cascade

    def _state(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        header: dict[str, Any] = {
            "kind": KIND,
            "models": self._models,
            "checks": self._checks.names,
            "verifiers": [verifier.name for verifier in self._checks.verifiers],
            "min_quality": self._min_quality,
            "seed": self._seed,
            "thresholds": None
            if self._learned is None
            else [None if threshold == float("inf") else threshold for threshold in self._learned[1]],
        }
        if self._thresholds is not None:
            header["set_thresholds"] = self._thresholds
        return header, {} if self._learned is None else self._learned[0].state

    def _note_failure(self, error: Exception) -> None:
        if not self._warned:
            self._warned = True
            logger.warning("a check of a cascade failed with %s; its answers are not accepted", place_of(error))

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


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether an answer is kept, and why.

    Attributes:
        is_kept: or the next model is to be asked.
        confidence: what the checks that measure give, 0 to 1; None where they were not asked.
        reason: in words that fit a ledger row. It quotes nothing of the answer.
    """

    is_kept: bool
    confidence: float | None
    reason: str


class CascadePolicy(PolicyWrapper):
    """Asks the cheapest tier of a `Cascade`, and the next one where its answer is not good enough. Every answer is billed to the call.

    Answers that call tools are kept, unless a tool was not offered or its arguments are invalid. Where no budget has room for a stronger
    model, or the stronger ones are down, the answer is kept. A warning is logged, once, when more than 30% of 100 or more answers were
    escalated.

    Args:
        cascade: the names of its models are the names of the tiers.
        stream: "hold" gives a stream to its reader once its answer is accepted; "pass" gives it at once, and only notes in the ledger
            what the checks say.
        first: a policy that chooses the tier to begin with, as `ChatRouter(policy=...)` takes it; None begins with the cheapest.

    Raises:
        ConfigurationError: an option that cannot be used.

    >>> from llmthrift_core.routing import Cascade, CascadePolicy, RouteRequest, Tiers
    >>> policy = CascadePolicy(Cascade(["weak", "strong"]))
    >>> tiers, request = Tiers(("weak", "strong")), RouteRequest("What is 12 * 12?")
    >>> policy.decide(request, tiers).tier
    'weak'
    >>> policy.review(request, "weak", "I'm sorry, but I cannot help with that.", tiers).next.tier
    'strong'
    """

    def __init__(self, cascade: Cascade, *, stream: Literal["hold", "pass"] = "hold", first: Any = None) -> None:
        if stream not in ("hold", "pass"):
            raise ConfigurationError(f'stream must be "hold" or "pass", not {stream!r}')
        super().__init__(CheapestFirst(cascade) if first is None else first)
        self.cascade = cascade
        self._stream = stream
        self._reviewed = _Reviewed()

    @property
    def version(self) -> str:
        """The cascade's: a hash of its models, checks, options and of what it learned; after that of the first policy, where it has one."""
        return self.cascade.version if isinstance(self.policy, CheapestFirst) else f"{self.policy.version}-{self.cascade.version}"

    @property
    def holds_streams(self) -> bool:
        """Whether `stream` is "hold"."""
        return self._stream == "hold"

    @property
    def reviews(self) -> bool:
        return True

    @property
    def reviews_wait(self) -> bool:
        """Whether a verifier asks a model."""
        return self.cascade.asks_models

    @property
    def escalation_rate(self) -> float | None:
        """The share of this process's answers that were not good enough; None before the first."""
        return self._reviewed.rate

    def review(
        self, request: RouteRequest, tier: str, answer: str, tiers: Tiers, context: Mapping[str, Any] | None = None
    ) -> Review | None:
        """The confidence in the answer of a tier and, where it is not good enough, the tier to ask next; None of the last tier, whose
        answer is kept unseen.

        Args:
            answer: the whole text.
            context: what else is known of the answer; see `AnswerContext`.
        """
        known = known_to(self.cascade, tiers)
        if tier not in known or tier == known[-1]:
            return None
        verdict = self.cascade.verdict(request.question, answer, model=tier, context=context)
        self._reviewed.note(escalated=not verdict.is_kept)
        if verdict.is_kept:
            return Review(verdict.confidence)
        following = known[known.index(tier) + 1]
        decision = RouteDecision(following, verdict.reason, score=verdict.confidence, rejected=((tier, verdict.reason),))
        return Review(verdict.confidence, decision)


def _thresholds_of(given: float | Sequence[float] | None, models: int) -> tuple[float, ...] | None:
    if given is None:
        return None
    each = (given,) * models if isinstance(given, int | float) else tuple(given)
    if len(each) != models or not all(isinstance(value, int | float) and 0 <= value <= 1 for value in each):
        raise ConfigurationError(
            f"threshold must lie within 0..1, one for all or one for each of {counted(models, 'model')}, not {given!r}"
        )
    return tuple(map(float, each))


class CheapestFirst(RoutingPolicy):
    """Begins with the cheapest allowed model of a cascade."""

    def __init__(self, cascade: Cascade) -> None:
        self._cascade = cascade

    @property
    def version(self) -> str:
        return self._cascade.version

    def decide(self, request: RouteRequest, tiers: Tiers) -> RouteDecision:
        known = known_to(self._cascade, tiers)
        if not known:
            return RouteDecision(tiers.names[-1], "the cascade knows none of the allowed tiers; the strongest")
        for name in known[:-1]:
            if (tier := self._cascade.models.index(name)) < len(self._cascade.thresholds) and self._cascade.thresholds[tier] < float("inf"):
                return RouteDecision(name, "a cascade begins with its cheapest model")
        return RouteDecision(known[-1], "no answer of a cheaper model would be kept")


def known_to(cascade: Cascade, tiers: Tiers) -> list[str]:
    """The allowed models of a cascade, in its order."""
    return [name for name in cascade.models if name in tiers.names]


class _Reviewed:
    """How many answers this process reviewed, and escalated. Safe to share between threads."""

    def __init__(self) -> None:
        self._lock = ForkedLock()
        self._answers = self._escalated = 0
        self._warned = False

    @property
    def rate(self) -> float | None:
        return self._escalated / self._answers if self._answers else None

    def note(self, *, escalated: bool) -> None:
        """Count an answer; warn once where too many were escalated."""
        with self._lock:
            self._answers += 1
            self._escalated += escalated
            alert = None if self._warned else escalation_alert("a cascade", answers=self._answers, rate=self.rate)
            self._warned = self._warned or alert is not None
        if alert is not None:
            logger.warning(alert)
