"""`ExplicitCaches`: caches that are created by name (Gemini's), renewed while used, deleted at the end; their storage is a cost."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, Protocol

from llmthrift_core.background.forks import ForkedLock

if TYPE_CHECKING:
    from llmthrift_core.prompt_caching.terms import CacheTerms

STORAGE: Final = "prompt cache storage"
"""The kind of cost under which the ledger has it."""
CREATION: Final = "prompt cache creation"
_MOST: Final = 256
# One that is used is renewed when a third of its life is left.
_RENEW_AT: Final = 1 / 3
_REFUSED_SECONDS: Final = 600.0
_LEAST_SECONDS: Final = 5.0


class Keeper(Protocol):
    """What creates, renews and deletes caches for one prefix, through the framework's own client. Each may raise anything."""

    @property
    def owner(self) -> Hashable:
        """Whose caches they are: what else than the prefix tells two apart."""
        ...

    def create(self, ttl_seconds: float) -> tuple[str, int]:
        """Make one. Returns its name and its tokens."""
        ...

    def renew(self, name: str, ttl_seconds: float) -> None:
        """Let it live so long from now."""
        ...

    def delete(self, name: str) -> None:
        """End it."""
        ...


class GeminiKeeper:
    """Gemini's caches of a system prompt, with the tools that stand before it: a request that names a cache may bring none of its own.

    Args:
        client: the `google.genai.Client` of the framework's model.
        model: its name.
        rules: the system prompt.
        tools: `google.genai` tools.
        tool_config: how they are to be used.
    """

    def __init__(self, client: Any, model: str, rules: str, *, tools: Sequence[Any] | None = None, tool_config: Any = None) -> None:
        self._client, self._model = client, model
        self._held: dict[str, Any] = {"system_instruction": rules}
        if tools:
            self._held |= {"tools": list(tools)} | ({} if tool_config is None else {"tool_config": tool_config})

    @property
    def owner(self) -> Hashable:
        """Whose caches they are, and how tools are to be used in them: another client may have another key."""
        return id(self._client), repr(self._held.get("tool_config"))

    def create(self, ttl_seconds: float) -> tuple[str, int]:
        """Make one. Returns its name and its tokens."""
        made = self._client.caches.create(model=self._model, config={**self._held, "ttl": f"{ttl_seconds:g}s"})
        found = self._client.caches.get(name=made.name).usage_metadata
        return made.name, int(found.total_token_count or 0) if found is not None else 0

    def renew(self, name: str, ttl_seconds: float) -> None:
        """Let it live so long from now."""
        self._client.caches.update(name=name, config={"ttl": f"{ttl_seconds:g}s"})

    def delete(self, name: str) -> None:
        """End it."""
        self._client.caches.delete(name=name)


@dataclass(slots=True)
class _Kept:
    name: str
    tokens: int
    until: float
    keeper: Keeper


class ExplicitCaches:
    """The caches that this process made, by prefix. Bounded: the one that was not used for longest is left to expire.

    Args:
        record: takes the kind and the US dollars of a cost.
        note: takes failures; the prompt is then sent whole.
    """

    def __init__(self, record: Callable[[str, Decimal], object], note: Callable[[BaseException], None]) -> None:
        self._record, self._note = record, note
        self._kept: OrderedDict[Hashable, _Kept] = OrderedDict()
        self._refused: OrderedDict[Hashable, float] = OrderedDict()
        self._lock = ForkedLock()

    def __len__(self) -> int:
        return len(self._kept)

    def is_kept(self, prefix: Hashable, now: float) -> bool:
        """Whether there is one for a prefix."""
        kept = self._kept.get(prefix)
        return kept is not None and kept.until > now + _LEAST_SECONDS

    def name(self, prefix: Hashable, terms: CacheTerms, keeper: Keeper, *, now: float, usd_per_million: Decimal | None) -> str | None:
        """The cache of a prefix, created or renewed where that is due; None where it cannot be.

        Args:
            prefix: identifies what is kept, and whose.
            usd_per_million: the price of input, of which storage is a multiple.
        """
        with self._lock:
            kept = self._kept.get(prefix)
            if kept is None and self._refused.get(prefix, now - _REFUSED_SECONDS) > now - _REFUSED_SECONDS:
                return None
            try:
                if kept is None or kept.until <= now + _LEAST_SECONDS:
                    name, tokens = keeper.create(terms.ttl_seconds)
                    kept = self._kept[prefix] = _Kept(name, tokens, now + terms.ttl_seconds, keeper)
                    self._bill(CREATION, terms.write * tokens, usd_per_million)
                    self._bill(STORAGE, terms.storage_per_hour * tokens * terms.ttl_seconds / 3600, usd_per_million)
                elif kept.until - now < terms.ttl_seconds * _RENEW_AT:
                    keeper.renew(kept.name, terms.ttl_seconds)
                    longer = now + terms.ttl_seconds - kept.until
                    kept.until = now + terms.ttl_seconds
                    self._bill(STORAGE, terms.storage_per_hour * kept.tokens * longer / 3600, usd_per_million)
            except Exception as error:
                self._note(error)
                self._refuse(prefix, now)
                return None
            self._kept.move_to_end(prefix)
            while len(self._kept) > _MOST:
                self._kept.popitem(last=False)
            return kept.name

    def forget(self, name: str, now: float) -> None:
        """The provider does not have a cache any more. Its prefix is sent whole for a while."""
        with self._lock:
            for prefix, kept in list(self._kept.items()):
                if kept.name == name:
                    self._refuse(prefix, now)

    def _refuse(self, prefix: Hashable, now: float) -> None:
        self._kept.pop(prefix, None)
        self._refused[prefix] = now
        while len(self._refused) > _MOST:
            self._refused.popitem(last=False)

    def delete_all(self, now: float) -> None:
        """End those that live: nobody pays for their storage any longer. What was billed ahead stays billed."""
        with self._lock:
            kept, self._kept = list(self._kept.values()), OrderedDict()
        for each in kept:
            if each.until > now:
                try:
                    each.keeper.delete(each.name)
                except Exception as error:
                    self._note(error)

    def _bill(self, kind: str, tokens: float, usd_per_million: Decimal | None) -> None:
        if usd_per_million is not None and tokens:
            self._record(kind, (Decimal(str(round(tokens, 6))) * usd_per_million / 1_000_000).quantize(Decimal("1e-9")))
