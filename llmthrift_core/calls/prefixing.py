"""The step between shortening and reserving: which prefix of the prompt the provider is to keep."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from hashlib import blake2b
from typing import TYPE_CHECKING, Final

from llmthrift_core.background.forks import ForkedLock
from llmthrift_core.errors import ConfigurationError
from llmthrift_core.prompt_caching.terms import choices_of
from llmthrift_core.settings import is_observing
from llmthrift_core.usage.tokens import count_tokens

if TYPE_CHECKING:
    from llmthrift_core.ledger.record import CallRecord
    from llmthrift_core.pricing import PriceCatalog
    from llmthrift_core.prompt_caching.plan import Plan
    from llmthrift_core.prompt_caching.planner import PrefixPlanner
    from llmthrift_core.usage import Usage

Blocks = Sequence[tuple[Hashable, int]]
_MOST_MODELS: Final = 64
_MOST_COUNTED: Final = 50_000
_counted: dict[tuple[bytes, str | None], int] = {}  # a conversation is sent again with each turn
_MARKED: Final = frozenset({"anthropic"})  # whose clients take marks in messages and tools


class PrefixPlanners:
    """A planner for each model whose provider keeps what is marked. Shared by the calls of one door.

    What they learned is lost when the door goes. Models without known terms, and those whose provider keeps prefixes by itself, have none.
    """

    def __init__(self) -> None:
        self._planners: dict[tuple[str, str | None], PrefixPlanner | None] = {}
        self._lock = ForkedLock()

    def of(self, model: str, provider: str | None, prices: PriceCatalog) -> PrefixPlanner | None:
        """The planner of a model."""
        key = model, provider
        if key in self._planners:
            return self._planners[key]
        with self._lock:
            if key not in self._planners and len(self._planners) < _MOST_MODELS:
                self._planners[key] = _planner_of(model, provider, prices)
        return self._planners.get(key)


def planners_of(given: bool | PrefixPlanners | None) -> PrefixPlanners | None:
    """The planners of a door's option `prompt_caching`.

    Raises:
        ConfigurationError: neither True, False nor planners.
    """
    if given is None or isinstance(given, bool):
        return PrefixPlanners() if given else None
    if not isinstance(given, PrefixPlanners):
        raise ConfigurationError(f"prompt_caching must be True, False or a PrefixPlanners, not {type(given).__name__}")
    return given


class Prefixing:
    """How the prefix of one request is planned.

    Args:
        planners: of the door.
        prices: for plans in dollars.
        blocks: of the prompt that is sent to a tier's model, in the order in which its provider reads them.
        model_of: the name and the provider of a tier's model.
        call_site: where the request comes from, for what is learned.
        now: seconds since the epoch.
        note: takes failures. The prompt is then sent without marks.
    """

    __slots__ = ("_blocks", "_call_site", "_model_of", "_note", "_now", "_planners", "_plans", "_prices")

    def __init__(
        self,
        planners: PrefixPlanners,
        prices: PriceCatalog,
        *,
        blocks: Callable[[str | None], Blocks],
        model_of: Callable[[str | None], tuple[str, str | None]],
        call_site: str | None,
        now: Callable[[], float],
        note: Callable[[str, BaseException], None],
    ) -> None:
        self._planners, self._prices, self._blocks, self._model_of = planners, prices, blocks, model_of
        self._call_site, self._now, self._note = call_site, now, note
        self._plans: dict[str | None, Plan | None] = {}

    def prepare(self, tier: str | None) -> None:
        """Plan for a tier's model."""
        if tier not in self._plans:
            self._plans[tier] = None
            try:
                planner = self._planners.of(*self._model_of(tier), self._prices)
                if planner is not None and (blocks := self._blocks(tier)):
                    self._plans[tier] = planner.plan(blocks, at=self._now(), call_site=self._call_site)
            except Exception as error:  # a prompt without marks is no reason to break a call
                self._note("prompt_caching", error)

    def plan(self, tier: str | None) -> Plan | None:
        """What to mark for a tier's model; None: nothing."""
        self.prepare(tier)
        plan = self._plans[tier]
        return None if plan is None or is_observing() or not plan.marks else plan

    def describe(self, record: CallRecord, tier: str | None, usage: Usage) -> None:
        """Note in a row what was planned, and let the planner hear what came of it."""
        plan = self._plans.get(tier)
        if plan is None:
            return
        if is_observing():
            saving = plan.expected_saving_usd
            record.observed_prefix_nano_usd = None if saving is None else round(saving * 1_000_000_000)
            return
        record.prefix_plan = plan.reason
        planner = self._planners.of(*self._model_of(tier), self._prices)
        if planner is not None and not usage.estimated:
            planner.observe(plan, usage)


def block_of(text: str, model: str | None = None) -> tuple[Hashable, int]:
    """A piece of a prompt as a planner knows it: a hash of its text, and its tokens."""
    digest = blake2b(text.encode("utf-8", "surrogatepass"), digest_size=12).digest()
    tokens = _counted.get((digest, model))
    if tokens is None:
        if len(_counted) >= _MOST_COUNTED:
            _counted.clear()
        tokens = _counted[digest, model] = count_tokens(text, model).tokens
    return digest, tokens


def _planner_of(model: str, provider: str | None, prices: PriceCatalog) -> PrefixPlanner | None:
    terms = [each for each in choices_of(model, provider) if each.max_marks and each.provider in _MARKED]
    if not terms:
        return None
    from llmthrift_core.errors import UnknownModelError
    from llmthrift_core.prompt_caching.planner import PrefixPlanner

    try:
        rate = prices.find(model, provider=provider).input_usd_per_million
    except UnknownModelError:
        rate = None
    return PrefixPlanner(terms, input_usd_per_million=rate)
