"""A heuristic estimate of how hard a question is, from signals that can be read and changed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import pairwise
from typing import Final

from llmthrift_core.display import counted
from llmthrift_core.errors import ConfigurationError
from llmthrift_core.routing.policy import RoutingPolicy, fingerprint
from llmthrift_core.routing.types import RouteDecision, RouteRequest, Tiers
from llmthrift_core.texts import as_texts

# Every signal adds its weight to the base; the sum is kept within 0..1. Heuristics: set your own for your own traffic.
WEIGHTS: Mapping[str, float] = {
    "base": 0.30,
    "simple task": -0.20,
    "complex task": 0.30,
    "calculation": 0.30,
    "code": 0.25,
    "constraints": 0.10,  # each, at most three
    "several questions": 0.15,
    "open question": 0.10,
    "technical terms": 0.05,  # each, at most four
    "over 40 words": 0.10,
    "over 120 words": 0.20,
    "attached text": 0.10,
    "not English": 0.25,
    "structured output": -0.05,
}

SIMPLE = (
    r"classif\w+|categori[sz]e|label|extract|translate|spell\w*|define|definition|synonyms?|antonyms?|sentiment|"
    r"positive or negative|what (?:is|are|does|time|day|year)|who (?:is|was|wrote|invented)|when (?:is|was|did|does|do)|"
    r"where (?:is|are|can|do)|is there|are there|do you|does|can i|can you|may i|yes or no|true or false|capital of|convert|"
    r"format|rephrase|rewrite|summari[sz]e in one|how (?:do|can) i (?:contact|reset|change|find|cancel|log)|opening hours|"
    r"hello|hi|thanks|thank you|list|name (?:a|the|three)"
)
COMPLEX = (
    r"why|compare|contrast|versus|trade-?offs?|pros and cons|analy[sz]e|analysis|evaluate|assess|critique|design|"
    r"architect\w*|prove|proof|derive|justify|reason(?:ing)?|step[- ]by[- ]step|strateg\w+|plan (?:a|an|the|out)|negotiat\w+|"
    r"debug|refactor|optimi[sz]e|implement|root cause|diagnos\w+|what went wrong|recommend\w*|"
    r"which (?:one )?(?:should|would|is better|plan)|explain (?:how|why|the (?:difference|relationship))|what would happen|"
    r"implications?|consequences?|"
    r"write (?:a|an|the) (?:function|program|script|query|sql|essay|story|plan|proposal|report|policy|test)"
)
CALCULATION = (
    r"calculate|compute|how much|how many|total|percent\w*|average|sum of|difference between|per (?:month|year|day|week|unit)|"
    r"refund\w* amount|solve|equation|probabilit\w+|interest|discount\w*|split|cheaper|remaining"
)
CONSTRAINTS = (
    r"must|at least|at most|no more than|without|unless|except|however|but not|only if|provided that|in addition|assuming|"
    r"given that|if .{3,60}? (?:then|and)"
)
CODE = r"```|\bdef |\bclass \w+[:(]|\bselect\b.+\bfrom\b|\btraceback\b|\bsql\b|\bregex\b|[{};]\s*$|=>|\bstack trace\b"
OPEN = (
    r"how (?:does|do|did|would|should|could|might|is|are|can (?:a|an|the|we))(?! (?:i|you)\b)|in what ways?|to what extent|describe|"
    r"explain|"
    r"discuss|elaborate|outline|summari[sz]e the|what (?:are|is) the (?:differences?|impacts?|effects?|causes?|reasons?|risks?|benefits|"
    r"advantages|drawbacks|best practices|main|key)|what factors"
)
TECHNICAL = (
    r"algorithm\w*|api|asynchron\w+|authenticat\w+|backend|bayesian|biochem\w+|byzantine|cache|cach(?:es|ing)|calculus|cluster\w*|"
    r"compil\w+|complexity|concurren\w+|consensus|cryptograph\w*|databases?|deadlock\w*|derivatives?|differential|distributed|dna|"
    r"eigen\w+|embeddings?|encrypt\w*|entropy|enzyme\w*|equilibrium|frontend|gradient\w*|hash\w*|hypothes[ie]s|index(?:es|ing)|"
    r"infrastructure|integral\w*|jurisdiction\w*|kernel\w*|kubernetes|latency|liabilit\w+|linear|logarithm\w*|machine learning|"
    r"matri(?:x|ces)|"
    r"metaboli\w+|microservices?|molecul\w+|mutex\w*|neural|normali[sz]ation|oauth|orthogonal|pathophysiolog\w*|pharmac\w+|polynomial\w*|"
    r"probabilit\w+|protocol\w*|quantum|queries|recurs\w+|regression|replicat\w+|scalab\w+|schema\w*|shard\w*|statistic\w*|stochastic|"
    r"syndromes?|tcp|theorems?|thermodynamic\w*|threads?|throughput|topolog\w+|transactions?|transformers?|vectors?|vulnerabilit\w+"
)
_ENGLISH = frozenset(
    re.findall(
        r"\w+",
        "an and are as at be but by can do does for from give has have how if in is it its me my not of on or our please so "
        "that the their there they this to was we what when where which who why will with would you your",
    )
)
_CODE_SIGNS = ("```", "def ", "class ", "select", "traceback", "sql", "regex", "{", "}", ";", "=>", "stack trace")  # one is in all code
_LIKE_ASCII = "\u0130\u0131\u017f"  # dotted and dotless i and long s: what ignores case takes them for "i" and "s", lower() does not
_WORD = re.compile(r"\w+")
_NUMBER = re.compile(r"\d[\d.,]*")
_BEYOND_LATIN = re.compile("[\u0250-\U0010ffff]+")
_CODE_SIGN = re.compile("|".join(map(re.escape, _CODE_SIGNS)))


_HEAD: Final = 3  # letters of a word
_BEGINNING: Final = re.compile(r"([a-z]*)(.{0,2})", re.DOTALL)
_OPTIONAL: Final = ("?", "*", "{")


def heads_of(pattern: str) -> frozenset[str]:
    """How the first words of a pattern's alternatives begin: each by its first letters, or as a whole where it is shorter.

    Raises:
        ValueError: an alternative that begins with anything else, so that this cannot be told.

    >>> sorted(heads_of(r"api|cach(?:es|ing)|at (?:least|most)|hi"))
    ['api', 'at', 'cac', 'hi']
    """
    depth, start, alternatives = 0, 0, []
    for place, sign in enumerate(pattern):
        depth += (sign == "(") - (sign == ")")
        if sign == "|" and not depth:
            alternatives.append(pattern[start:place])
            start = place + 1
    alternatives.append(pattern[start:])
    found = set()
    for each in alternatives:
        letters, after = _BEGINNING.match(each).groups()  # type: ignore[union-attr]
        if after[:1] in _OPTIONAL:
            letters = letters[:-1]  # the last one may be missing
        is_whole = not after or (after[0] == " " and after[1:] not in _OPTIONAL)
        if not letters or (len(letters) < _HEAD and not is_whole):
            raise ValueError(f"{each!r} begins with fewer than {_HEAD} letters")
        found.add(letters[:_HEAD])
    return frozenset(found)


_HEADS: Final = {
    "simple task": heads_of(SIMPLE),
    "complex task": heads_of(COMPLEX),
    "calculation": heads_of(CALCULATION),
    "open question": heads_of(OPEN),
    "technical terms": heads_of(TECHNICAL),
    "constraints": heads_of(CONSTRAINTS),
}


@dataclass(frozen=True)
class Complexity(RoutingPolicy):
    """Choose a tier by a score between 0 (simple) and 1 (hard).

    With two tiers there is one threshold: a score below it goes to the cheaper one. With n tiers there are n - 1, rising. When
    the caller's maximum tier leaves fewer tiers, the first thresholds apply. `fit` takes them from a sample of your own. Made for English;
    other languages score higher, so that they go to the stronger model when in doubt. The score of a question takes some tens of
    microseconds.

    Attributes:
        thresholds: None spreads them evenly around 0.5.
        weights: changes to `WEIGHTS`, by signal.
        simple, complex: further regular expressions for tasks that are simple or complex in your domain.
        technical: further regular expressions for the terms of your domain.

    >>> from llmthrift_core.routing import Complexity, RouteRequest
    >>> policy = Complexity()
    >>> policy.score(RouteRequest("What is the capital of France?")) < 0.5
    True
    >>> policy.score(RouteRequest("Compare both plans and calculate which is cheaper for 12 users over 3 years.")) > 0.5
    True
    """

    thresholds: Sequence[float] | None = None
    weights: Mapping[str, float] = field(default_factory=dict)
    simple: Sequence[str] = ()
    complex: Sequence[str] = ()
    technical: Sequence[str] = ()

    def __post_init__(self) -> None:
        for name in ("simple", "complex", "technical"):
            object.__setattr__(self, name, as_texts(name, getattr(self, name)))
        unknown = set(self.weights) - set(WEIGHTS)
        if unknown:
            raise ConfigurationError(f"no such signal: {', '.join(sorted(unknown))}; signals are {', '.join(WEIGHTS)}")
        if self.thresholds is not None and (
            list(self.thresholds) != sorted(self.thresholds) or any(not 0 <= limit <= 1 for limit in self.thresholds)
        ):
            raise ConfigurationError(f"thresholds must rise within 0..1: {list(self.thresholds)}")
        try:
            patterns = {
                "simple task": _any(SIMPLE, self.simple),
                "complex task": _any(COMPLEX, self.complex),
                "calculation": _any(CALCULATION, ()),
                "open question": _any(OPEN, ()),
                "technical terms": _any(TECHNICAL, self.technical),
                "constraints": _any(CONSTRAINTS, ()),
                "code": re.compile(CODE, re.IGNORECASE | re.MULTILINE),
            }
            # For text in small letters, where they take a fifth of the time. What users write may tell capitals apart.
            small = {
                name: re.compile(pattern.pattern, pattern.flags & ~re.IGNORECASE)
                for name, pattern in patterns.items()
                if not {"simple task": self.simple, "complex task": self.complex, "technical terms": self.technical}.get(name)
            }
        except re.error as error:
            raise ConfigurationError(f"not a regular expression: {error.pattern!r}: {error}") from None
        object.__setattr__(self, "_patterns", patterns)
        object.__setattr__(self, "_small", small)

    @cached_property
    def version(self) -> str:
        """Hash of thresholds, weights and words."""
        parts = (
            self.thresholds and tuple(self.thresholds),
            sorted({**WEIGHTS, **self.weights}.items()),
            tuple(self.simple),
            tuple(self.complex),
            tuple(self.technical),
        )
        return fingerprint(repr(parts))

    def explain(self, request: RouteRequest) -> dict[str, float]:
        """The signals that were found and what each adds to the score."""
        patterns: Mapping[str, re.Pattern[str]] = self._patterns  # type: ignore[attr-defined]
        text = request.head_and_tail
        lowered = text.lower()
        is_odd = not text.isascii() and any(letter in text for letter in _LIKE_ASCII)
        small: Mapping[str, re.Pattern[str]] = {} if is_odd else self._small  # type: ignore[attr-defined]

        def cannot_have(signal: str) -> bool:
            # Most texts have no word that begins as one of a signal's does. To see that takes a twentieth of a search.
            return signal in small and signal in _HEADS and heads.isdisjoint(_HEADS[signal])

        def has(signal: str) -> bool:
            if cannot_have(signal):
                return False
            pattern = small.get(signal)
            return (patterns[signal].search(text) if pattern is None else pattern.search(lowered)) is not None

        def all_of(signal: str) -> list[str]:
            if cannot_have(signal):
                return []
            pattern = small.get(signal)
            return patterns[signal].findall(text) if pattern is None else pattern.findall(lowered)

        words = _WORD.findall(lowered)
        heads = {word[:_HEAD] for word in words}
        found = {"base": 1.0}
        is_complex = has("complex task")
        if is_complex:
            found["complex task"] = 1.0
        elif has("simple task"):
            found["simple task"] = 1.0
        if len(_NUMBER.findall(text)) >= 2 and has("calculation"):
            found["calculation"] = 1.0
        if constraints := len(all_of("constraints")):
            found["constraints"] = float(min(constraints, 3))
        if (is_odd or _CODE_SIGN.search(lowered)) and has("code"):
            found["code"] = 1.0
        if not is_complex and has("open question"):
            found["open question"] = 1.0
        if terms := len({term.lower() for term in all_of("technical terms")}):
            found["technical terms"] = float(min(terms, 4))
        if text.count("?") > 1:
            found["several questions"] = 1.0
        if len(words) > 120:
            found["over 120 words"] = 1.0
        elif len(words) > 40:
            found["over 40 words"] = 1.0
        if request.input_chars > len(request.question) + len(request.system) + 4_000 or len(request.question) > 4_000:
            found["attached text"] = 1.0
        if (len(words) >= 5 and not _ENGLISH.intersection(words)) or _mostly_other_script(text):
            found["not English"] = 1.0
        if request.structured:
            found["structured output"] = 1.0
        weights = {**WEIGHTS, **self.weights} if self.weights else WEIGHTS
        return {name: weights[name] * times for name, times in found.items()}

    def score(self, request: RouteRequest) -> float:
        """0 for simple, 1 for hard."""
        return min(max(sum(self.explain(request).values()), 0.0), 1.0)

    def limits(self, tiers: int) -> tuple[float, ...]:
        """The thresholds in force for so many tiers."""
        if self.thresholds is not None:
            given = tuple(self.thresholds)
            if len(given) < tiers - 1:
                raise ConfigurationError(
                    f"{counted(tiers, 'tier needs', 'tiers need')} {counted(tiers - 1, 'threshold')}, not {len(given)}"
                )
            return given[: tiers - 1]
        return tuple((index + 1) / tiers for index in range(tiers - 1))

    def fit(self, sample: Iterable[tuple[str, str]], tiers: Sequence[str], *, caution: float = 2.0) -> Complexity:
        """A copy with the thresholds that fit a sample of questions best.

        Args:
            sample: questions, each with the tier that it needs: the cheapest one whose answer is good enough.
            tiers: cheapest first.
            caution: so many questions that go to a stronger tier than they need are as bad as one that goes to a weaker one.

        Raises:
            ConfigurationError: an empty sample, a tier that is none of them, or a caution that is not positive.
        """
        names = as_texts("tiers", tiers)
        if len(names) < 2 or len(set(names)) < len(names):
            raise ConfigurationError(f"tiers must be two or more different names, cheapest first, not {tiers!r}")
        if not 0 < caution < float("inf"):
            raise ConfigurationError(f"caution must be positive, not {caution!r}")
        scored: list[tuple[float, int]] = []
        for question, tier in sample:
            if tier not in names:
                raise ConfigurationError(f"the sample has the tier {tier!r}; there are {', '.join(names)}")
            scored.append((self.score(RouteRequest(question, input_chars=len(question))), names.index(tier)))
        if not scored:
            raise ConfigurationError("the sample is empty: give questions, each with the tier that it needs")
        thresholds: list[float] = []
        for border in range(len(names) - 1):
            best = _border(scored, border, caution)
            thresholds.append(max(best, thresholds[-1]) if thresholds else best)
        return replace(self, thresholds=tuple(thresholds))

    def placed(self, score: float, tiers: Tiers) -> tuple[int, tuple[tuple[str, str], ...]]:
        """The place of the first tier whose threshold is above a score, and the other tiers, each with why not."""
        place = sum(score >= limit for limit in self.limits(len(tiers.names)))
        others = ((index, name) for index, name in enumerate(tiers.names) if index != place)
        return place, tuple((name, "stronger than needed" if index > place else "too weak") for index, name in others)

    def decide(self, request: RouteRequest, tiers: Tiers) -> RouteDecision:
        """The first tier whose threshold is above the score; without one, where there is no choice."""
        if len(tiers.names) == 1:
            return RouteDecision(tiers.names[0], "one tier")
        signals = self.explain(request)
        score = min(max(sum(signals.values()), 0.0), 1.0)
        limits = self.limits(len(tiers.names))
        place, rejected = self.placed(score, tiers)
        why = ", ".join(name for name in signals if name != "base") or "no signal"
        limit = f">= {limits[place - 1]:.2f}" if place else f"< {limits[0]:.2f}"
        return RouteDecision(
            tiers.names[place],
            f"complexity {score:.2f} {limit}: {why}",
            score=score,
            rejected=rejected,
        )


def _border(scored: Sequence[tuple[float, int]], border: int, caution: float) -> float:
    """The threshold between the tiers up to `border` and those above it, in the middle between two scores."""
    scores = sorted({score for score, _ in scored})
    middles = [(low + high) / 2 for low, high in pairwise(scores)]
    candidates = [max(scores[0] - 0.05, 0.0), *middles, min(scores[-1] + 0.05, 1.0)]

    def harm(limit: float) -> float:
        too_weak = sum(place > border for score, place in scored if score < limit)
        too_strong = sum(place <= border for score, place in scored if score >= limit)
        return caution * too_weak + too_strong

    return min(candidates, key=lambda limit: (harm(limit), abs(limit - 0.5)))


def _any(pattern: str, more: Sequence[str]) -> re.Pattern[str]:
    return re.compile(rf"(?<!\w)(?:{'|'.join([pattern, *more])})(?!\w)", re.IGNORECASE | re.DOTALL)


def _mostly_other_script(text: str) -> bool:
    if text.isascii():
        return False
    beginning = text[:2_000]
    others = sum(map(str.isalpha, "".join(_BEYOND_LATIN.findall(beginning))))  # few texts have any
    letters = sum(map(str.isalpha, beginning)) if others else 0
    return letters > 3 and others * 2 > letters
