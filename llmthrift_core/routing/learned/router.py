"""A router that learns from labelled answers which model is good enough for which prompt."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from llmthrift_core.display import counted
from llmthrift_core.errors import ConfigurationError, place_of
from llmthrift_core.lexical import chars_of, stored_counts
from llmthrift_core.routing.examples import Example, checked
from llmthrift_core.routing.learned.calibration import (
    FEWEST_SITES,
    LeftOut,
    abstaining,
    caution_for,
    cautious,
    cheapest_reaching,
    checked_min_quality,
    chosen,
    weight_for,
)
from llmthrift_core.routing.learned.observations import ANSWER_TOKENS, Observations
from llmthrift_core.routing.learned.quality_model import FEWEST_LABELS, QualityModel, one_thread
from llmthrift_core.routing.learned.representation import CountedRepresentation, Embedder, Representation
from llmthrift_core.routing.learned.trade_offs import Evidence
from llmthrift_core.routing.models import ModelPrices, tokens_of
from llmthrift_core.routing.policy import RoutingPolicy
from llmthrift_core.routing.state import packed, restoring, unpacked, version_of
from llmthrift_core.routing.types import RouteDecision, RouteRequest, Tiers

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from llmthrift_core.pricing import PriceCatalog

    Floats = NDArray[np.float64]

logger = logging.getLogger("llmthrift")
KIND: Final = "llmthrift.LearnedRouter/1"
_STRANGE: Final = 0.1
"""So many of the known texts are as strange as an outlier, where call sites cannot tell: errors are on the side of the default model."""
_UNLIKE: Final = "the prompt is unlike the examples"


@dataclass(frozen=True, slots=True)
class _Learned:
    """All that `fit` finds.

    Attributes:
        weight_with_site, weight_without: the quality that `spread_usd` must buy; None: always the default model.
        caution: what a doubt of 1 about a text without a call site takes off the quality of all models but the default.
        least_likeness: a text that is less like the known ones is an outlier; 0 where the call sites tell doubts.
        answer_tokens: for each model.
        spread_usd: how much more the most expensive model costs than the cheapest one, for an average call.
        prompts: how many were learned from.
    """

    representation: Representation | CountedRepresentation
    qualities: QualityModel
    weight_with_site: float | None
    weight_without: float | None
    caution: float
    least_likeness: float
    answer_tokens: Floats
    spread_usd: float
    prompts: int


class LearnedRouter:
    """Chooses the model with the best expected quality for its price, and keeps to a stated quality.

    Two heads or more estimate each model's quality from the prompt (hashed n-grams, lexical counts, embeddings where given) and from the
    call site. The price of quality is chosen so that on prompts that the estimates had not seen, the chosen models together reach
    `min_quality` times the default model's quality, by a margin of one standard error. The default model answers whatever is unlike the
    examples: before `fit`, on call sites without examples, and, where no call site is given, on texts that may be of a new task: how
    careful to be there is learned by leaving whole call sites out.

    A router can be shared between threads; `fit` replaces what was learned at once, and `evidence`, which no stored router has.

    Args:
        models: names -> US dollars per million tokens, or the name under which the price lists know the model.
        default: the model for what the router cannot judge, and the one whose quality is the reference; None is the most expensive.
        min_quality: of the default model's mean quality, above 0 and up to 1.
        embedder: adds embeddings to what the router sees: from n texts to an array (n, dimensions). It is asked for every decision.
        catalog: where names of models are looked up; None is a `PriceCatalog` of its own.
        seed: of what is drawn at random; the same examples and seed give the same router.

    Raises:
        ConfigurationError: an option that cannot be used.

    >>> from llmthrift_core.routing import Example, LearnedRouter
    >>> router = LearnedRouter(models={"weak": 0.6, "strong": 12.0}, default="strong")
    >>> router.decide("What is 2 + 2?").model
    'strong'
    """

    def __init__(
        self,
        models: Mapping[str, float | str],
        default: str | None = None,
        min_quality: float = 0.98,
        *,
        embedder: Embedder | None = None,
        catalog: PriceCatalog | None = None,
        seed: int = 0,
    ) -> None:
        self._prices = ModelPrices.of(models, catalog)
        names = self._prices.names
        self._by_price = tuple(sorted(names, key=self._prices.blended))
        if default is not None and default not in names:
            raise ConfigurationError(f"default={default!r} is not one of the models {', '.join(names)}")
        self._default = default if default is not None else self._by_price[-1]
        self._min_quality = checked_min_quality(min_quality, "default model")
        self._embedder = embedder
        self._seed = seed
        self._learned: _Learned | None = None
        self.evidence: Evidence | None = None
        self._versioned: tuple[_Learned | None, str] = None, ""
        self._why_not = "no examples yet"
        self._warned = False

    @property
    def models(self) -> tuple[str, ...]:
        return self._prices.names

    @property
    def prices(self) -> ModelPrices:
        """Of the models."""
        return self._prices

    @property
    def default(self) -> str:
        return self._default

    @property
    def min_quality(self) -> float:
        """The share of the default model's quality that is to be kept."""
        return self._min_quality

    @property
    def fitted(self) -> bool:
        """Whether there is something learned to decide by."""
        return self._learned is not None

    @property
    def needs_text(self) -> bool:
        """Whether it judges prompts by their text: not before `fit`, nor where it learned from counts and call sites alone."""
        return self._learned is not None and isinstance(self._learned.representation, Representation)

    def fit(self, examples: Iterable[Example]) -> LearnedRouter:
        """Learn from labelled answers, instead of what was learned before. 10,000 take some seconds.

        Where examples have counts instead of a prompt (from a ledger with capture="features"), all are learned from by their counts and
        call sites alone.

        Not every model needs a label for every prompt. Examples of other models are left out. With fewer than 20 prompts, or 20 for each
        of two models, the router learns nothing and abstains, which `decide` gives as its reason. Where the default model has too few
        labels, it is taken to be perfect.

        Raises:
            ConfigurationError: an example cannot be used, or has no text for the embedder; what was learned before stays.
            MissingExtraError: scikit-learn is not installed.
        """
        seen = Observations.of(checked(examples), self.models)
        labels = (~np.isnan(seen.quality)).sum(axis=0)
        reference = self.models.index(self._default)
        others = [count for place, count in enumerate(labels) if place != reference]
        if max(others, default=0) < FEWEST_LABELS:
            self._learned = self.evidence = None
            seen_prompts = counted(len(seen.prompts), "prompt")
            self._why_not = f"too few examples: {seen_prompts}, at least {FEWEST_LABELS} are needed of a model beside the default"
            return self
        with one_thread():
            representation, vectors, held_out = self._represented(seen)
            qualities, unseen = QualityModel.fitted(vectors, seen.call_sites, seen.quality, reference)
        answer_tokens = seen.usual_answer_tokens
        usd = np.array([self._usd(chars, answer_tokens) for chars in seen.chars])
        spread_usd = float((usd.max(axis=1) - usd.min(axis=1)).mean()) or 1.0
        cost = usd / spread_usd
        if len(qualities.sites) >= FEWEST_SITES:
            with one_thread():
                left_out = LeftOut.of(vectors, seen.call_sites, qualities.sites, seen.quality, reference)
            least = 0.0
            caution, weight_without = caution_for(
                left_out, unseen.without_site, unseen.familiarity, seen.quality, cost, reference, self._min_quality
            )
            careful = unseen.without_site
        else:
            likeness = representation.explained(vectors)
            caution, least = 0.0, float(np.quantile(likeness[held_out], _STRANGE))
            careful = abstaining(unseen.without_site, likeness < least, reference)
            weight_without = weight_for(careful, seen.quality, cost, reference, self._min_quality)
        at_site = np.array([site in qualities.sites for site in seen.call_sites])
        rows, predicted = (at_site, unseen.with_site) if at_site.any() else (np.ones_like(at_site), careful)
        siteless = float(np.mean([site is None for site in seen.call_sites])) if at_site.any() else 0.0
        lost = siteless * (1 - self._min_quality)
        self.evidence = Evidence(predicted[rows], seen.quality[rows], usd[rows], reference, spread_usd, float(rows.mean()), lost)
        self._learned = _Learned(
            representation,
            qualities,
            weight_for(predicted[rows], seen.quality[rows], cost[rows], reference, self._min_quality) if at_site.any() else None,
            weight_without,
            caution,
            least,
            answer_tokens,
            spread_usd,
            len(seen.prompts),
        )
        return self

    def decide(
        self,
        prompt: str,
        call_site: str | None = None,
        *,
        allowed: Collection[str] | None = None,
        counts: tuple[float, ...] | None = None,
        required_quality: float | None = None,
    ) -> RouteDecision:
        """The model for a prompt. Never raises for what a prompt holds: what cannot be judged goes to the default model.

        Args:
            call_site: where the call is made, as in the examples. None: judged by the text alone.
            allowed: the models that may be chosen; None is all. Where the default model is not among them, the most expensive of them
                takes its place.
            required_quality: 0 to 1; the cheapest model that is expected to reach it, else the best one. None: as `min_quality` says.
            counts: of a prompt whose text is not known, as in an example; `prompt` is "" then. A router that needs texts abstains.

        Raises:
            ConfigurationError: none of the models is allowed.
        """
        names = self.models if allowed is None else tuple(name for name in self.models if name in allowed)
        if not names:
            raise ConfigurationError(f"none of the allowed models ({', '.join(sorted(allowed or ()))}) is one of {', '.join(self.models)}")
        chars = len(prompt) if counts is None else chars_of(counts)
        learned = self._learned
        if learned is None:
            return self._abstained(chars, names, self._why_not)
        known = bool(learned.qualities.sites)
        if call_site is not None and known and call_site not in learned.qualities.sites:
            return self._abstained(chars, names, f"call site {call_site!r:.80} has no examples")
        try:
            if counts is None:
                vector = learned.representation(prompt)
            elif isinstance(learned.representation, CountedRepresentation):
                vector = learned.representation.of_counts(counts)
            else:
                return self._abstained(chars, names, "the text of the prompt is not known, and it learned from texts")
            if vector.shape != learned.qualities.without_site.weights.shape[:1]:
                raise ConfigurationError(f"the embedder gives other vectors than when the router was fitted: {vector.shape}")
        except Exception as error:
            if not self._warned:
                self._warned = True
                logger.warning("the embedder of a learned router failed with %s; the default model is used", place_of(error))
            return self._abstained(chars, names, f"the embedder failed with {type(error).__name__}")
        site = call_site if known else None
        if site is None and float(learned.representation.explained(vector[None])[0]) < learned.least_likeness:
            return self._abstained(chars, names, _UNLIKE)
        quality = learned.qualities.predict(vector, site)
        usd = self._usd(chars, learned.answer_tokens)
        may = np.array([name in names for name in self.models])
        if required_quality is not None and may[np.isfinite(quality)].any():
            return self._decision(cheapest_reaching(required_quality, quality, usd, may), quality, usd, 0.0, learned, names)
        weight = learned.weight_without if site is None else learned.weight_with_site
        if weight is None:
            why = f"no cheaper choice keeps {self._min_quality:g} of {self._default}'s quality for certain"
            return self._abstained(chars, names, why, quality)
        open_to = np.where(may, quality, -np.inf)[None]
        cost = usd[None] / learned.spread_usd
        place = int(chosen(open_to, cost, weight)[0])
        if not may[place]:  # none of the allowed models has enough labels
            return self._abstained(chars, names, "no allowed model has enough examples", quality)
        if site is None and learned.caution:
            reference = self.models.index(self._default)
            careful = int(
                chosen(cautious(open_to, learned.qualities.familiarity(vector[None]), learned.caution, reference), cost, weight)[0]
            )
            if careful == reference != place:
                return self._abstained(chars, names, _UNLIKE, quality)
            place = careful
        return self._decision(place, quality, usd, weight, learned, names)

    def settle(self, weight: float | None) -> None:
        """Take another weight of cost, a `TradeOff.setting`; None: the default model always answers. Prompts without a call site keep to
        `min_quality` where others have one."""
        if (learned := self._learned) is not None:
            of_sites = bool(learned.qualities.sites)
            self._learned = replace(learned, weight_with_site=weight) if of_sites else replace(learned, weight_without=weight)

    def to_policy(self) -> LearnedPolicy:
        """This router as the policy of a `ChatRouter` whose tiers are named as the models."""
        return LearnedPolicy(self)

    def gain(self, prompt: str, call_site: str | None = None) -> float:
        """How much better the most expensive model's answer is expected to be than the cheapest one's, -1 to 1: what to rank prompts by.

        Unlike `decide` it does not abstain: a prompt of an unknown call site is judged by its text. 0.0 where nothing was learned of one
        of the two models.
        """
        learned = self._learned
        if learned is None:
            return 0.0
        site = call_site if call_site in learned.qualities.sites else None
        quality = learned.qualities.predict(learned.representation(prompt), site)
        gained = quality[self.models.index(self._by_price[-1])] - quality[self.models.index(self._by_price[0])]
        return float(gained) if np.isfinite(gained) else 0.0

    @property
    def version(self) -> str:
        """Hash of the models, the options and what was learned."""
        learned, (of, version) = self._learned, self._versioned
        if learned is None or of is not learned:
            version = version_of(*self._state())
            self._versioned = learned, version
        return version

    def to_bytes(self) -> bytes:
        """The router without its embedder, to be stored; data only, no code."""
        return packed(*self._state())

    @classmethod
    def from_bytes(cls, data: bytes, *, embedder: Embedder | None = None) -> LearnedRouter:
        """The router that `to_bytes` stored.

        Args:
            embedder: the one it was fitted with.

        Raises:
            ConfigurationError: these bytes are no router, or one that needs an embedder.
            StorageError: a part of them is missing or damaged.
        """
        header, arrays = unpacked(data, KIND)
        with restoring(KIND):
            router = cls._restored(header, arrays, embedder)
            if (learned := router._learned) is not None and embedder is None:  # see that the parts go together
                vector = learned.representation("?")
                for site in (None, *learned.qualities.sites[:1]):
                    learned.qualities.predict(vector, site)
                    router.decide("?", site)
                version_of(*router._state())
        return router

    @classmethod
    def _restored(cls, header: dict[str, Any], arrays: dict[str, NDArray[Any]], embedder: Embedder | None) -> LearnedRouter:
        router = cls(
            {name: 0.0 for name, *_ in header["prices"]}, header["default"], header["min_quality"], embedder=embedder, seed=header["seed"]
        )
        router._prices = ModelPrices({name: (sent, made) for name, sent, made in header["prices"]})
        router._by_price = tuple(sorted(router.models, key=router._prices.blended))
        router._why_not = header["why_not"]
        if header["embedded"] and embedder is None:
            raise ConfigurationError("the stored router was fitted with an embedder; give the same one: from_bytes(data, embedder=...)")
        if (kept := header["learned"]) is not None:
            router._learned = _Learned(
                Representation(arrays, embedder) if "basis" in arrays else CountedRepresentation(arrays),
                QualityModel.restored(kept.pop("sites"), arrays),
                answer_tokens=arrays["answer_tokens"],
                **kept,
            )
        return router

    def _state(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        learned = self._learned
        header = {
            "kind": KIND,
            "prices": [[name, *usd] for name, usd in self._prices.usd_per_million.items()],
            "default": self._default,
            "min_quality": self._min_quality,
            "seed": self._seed,
            "embedded": self._embedder is not None,
            "why_not": self._why_not,
            "learned": None
            if learned is None
            else {
                "sites": learned.qualities.sites,
                "weight_with_site": learned.weight_with_site,
                "weight_without": learned.weight_without,
                "caution": learned.caution,
                "least_likeness": learned.least_likeness,
                "spread_usd": learned.spread_usd,
                "prompts": learned.prompts,
            },
        }
        if learned is None:
            return header, {}
        return header, {**learned.representation.state, **learned.qualities.state, "answer_tokens": learned.answer_tokens}

    def _represented(self, seen: Observations) -> tuple[Representation | CountedRepresentation, Floats, NDArray[np.intp]]:
        if not (textless := seen.textless):
            return Representation.fitted(seen.prompts, seed=self._seed, embedder=self._embedder)
        if self._embedder is not None:
            raise ConfigurationError(
                f"{textless:,} of {len(seen.prompts):,} prompts have no text for the embedder: leave these examples out, "
                'or use no embedder; Thrift(capture="text") stores texts'
            )
        logger.log(
            logging.INFO if textless == len(seen.prompts) else logging.WARNING,  # texts that are there are not learned from
            "a router learns from counts and call sites alone, since %d of %d prompts have no text; to learn from words, leave out the "
            'examples without text; Thrift(capture="text") stores texts',
            textless,
            len(seen.prompts),
        )
        counts = [stored_counts(prompt) if counts is None else counts for prompt, counts in zip(seen.prompts, seen.counts, strict=True)]
        return CountedRepresentation.fitted(counts, seed=self._seed)

    def _usd(self, chars: int, answer_tokens: Floats) -> Floats:
        sent = tokens_of(chars)
        return np.array([self._prices.usd(name, sent, made) for name, made in zip(self.models, answer_tokens, strict=True)])

    def _abstained(self, chars: int, names: tuple[str, ...], why: str, quality: Floats | None = None) -> RouteDecision:
        model = self._default if self._default in names else next(name for name in reversed(self._by_price) if name in names)
        place = self.models.index(model)
        learned = self._learned
        tokens = learned.answer_tokens if learned is not None else np.full(len(self.models), ANSWER_TOKENS)
        return RouteDecision(
            model,
            f"{model}: {why}",
            rejected=tuple((name, "abstained" if name in names else "not allowed") for name in self.models if name != model),
            model=model,
            expected_quality=_quality(quality[place]) if quality is not None else None,
            expected_cost_usd=float(self._usd(chars, tokens)[place]),
            qualities={} if quality is None else self._qualities(quality),
        )

    def _decision(
        self, place: int, quality: Floats, usd: Floats, weight: float, learned: _Learned, names: tuple[str, ...]
    ) -> RouteDecision:
        def why_not(other: int) -> str:
            if self.models[other] not in names:
                return "not allowed"
            if not np.isfinite(quality[other]):
                return "too few examples"
            better = quality[other] - quality[place]
            if better <= 0:
                return f"expected {-better:.2f} worse"
            return f"{better:.2f} better is not worth {usd[other] - usd[place]:.2g} USD more"

        model = self.models[place]
        return RouteDecision(
            model,
            f"{model}: expected quality {_quality(quality[place]):.2f} at {usd[place]:.2g} USD, learned from {learned.prompts} prompts",
            score=float(quality[place] - weight * usd[place] / learned.spread_usd),
            rejected=tuple((name, why_not(other)) for other, name in enumerate(self.models) if other != place),
            model=model,
            expected_quality=_quality(quality[place]),
            expected_cost_usd=float(usd[place]),
            qualities=self._qualities(quality),
        )

    def _qualities(self, quality: Floats) -> dict[str, float]:
        found = ((name, _quality(each)) for name, each in zip(self.models, quality, strict=True))
        return {name: each for name, each in found if each is not None}


def _quality(estimate: float) -> float | None:
    return float(min(max(estimate, 0.0), 1.0)) if np.isfinite(estimate) else None


class LearnedPolicy(RoutingPolicy):
    """Decides by what a `LearnedRouter` learned. The names of its models are the names of the tiers.

    The router sees the question of the last user message, which is what its examples must hold, and the call site of the attribution,
    which stands for the system prompt. Where the router knows none of the allowed tiers, the strongest of them is used, which is logged
    once.

    A router can be fitted again while it is in use; `version` then changes, and with it the cache key of the calls that begin.

    >>> from llmthrift_core.routing import LearnedPolicy, LearnedRouter, RouteRequest, Tiers
    >>> policy = LearnedPolicy(LearnedRouter(models={"weak": 0.6, "strong": 12.0}))
    >>> policy.decide(RouteRequest("What is 2 + 2?"), Tiers(("weak", "strong"))).tier
    'strong'
    """

    def __init__(self, router: LearnedRouter) -> None:
        self.router = router
        self._warned = False

    @property
    def version(self) -> str:
        """The router's: a hash of its models, options and of what it learned."""
        return self.router.version

    def decide(self, request: RouteRequest, tiers: Tiers) -> RouteDecision:
        """The router's choice among the allowed tiers."""
        if not set(tiers.names).intersection(self.router.models):
            if not self._warned:
                self._warned = True
                logger.warning(
                    "the learned router knows the models %s, none of the tiers %s; the strongest allowed tier is used",
                    ", ".join(self.router.models),
                    ", ".join(tiers.names),
                )
            return RouteDecision(tiers.names[-1], "the learned router knows none of the allowed tiers; the strongest")
        site, required = request.attribution.call_site, request.required_quality
        return self.router.decide(request.question, site, allowed=tiers.names, required_quality=required)
