"""The attribution of a call: `attribute(...)` and the merged `Attribution` that a ledger row carries."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, fields
from functools import lru_cache
from hashlib import blake2b
from typing import Any

from llmthrift_core.texts import as_pairs


@dataclass(frozen=True, slots=True)
class Attribution:
    """The attributes that a ledger row is grouped by. None means not given.

    Attributes:
        user: who caused the call.
        feature: the product feature that made it.
        session: the conversation or visit.
        run: one execution of an agent or chain.
        request_type: the kind of request, such as "classification".
        prompt_version: the version of the prompt template.
        config_version: the version of the model and routing configuration.
        call_site: the place in the program that called.
        tags: anything else, as (name, value) pairs sorted by name.
    """

    user: str | None = None
    feature: str | None = None
    session: str | None = None
    run: str | None = None
    request_type: str | None = None
    prompt_version: str | None = None
    config_version: str | None = None
    call_site: str | None = None
    tags: tuple[tuple[str, str], ...] = ()

    def over(self, other: Attribution) -> Attribution:
        """This attribution on top of `other`: what is given here wins, tags are merged."""
        if other is EMPTY:
            return self
        if self is EMPTY:
            return other
        tags = self.tags
        if other.tags:
            tags = tuple(sorted({**dict(other.tags), **dict(tags)}.items())) if tags else other.tags
        return Attribution(
            self.user if self.user is not None else other.user,
            self.feature if self.feature is not None else other.feature,
            self.session if self.session is not None else other.session,
            self.run if self.run is not None else other.run,
            self.request_type if self.request_type is not None else other.request_type,
            self.prompt_version if self.prompt_version is not None else other.prompt_version,
            self.config_version if self.config_version is not None else other.config_version,
            self.call_site if self.call_site is not None else other.call_site,
            tags,
        )

    def values(self) -> tuple[str, ...]:
        """The attributes in the order of FIELDS, without the tags; what is not given is ''."""
        return (
            self.user or "",
            self.feature or "",
            self.session or "",
            self.run or "",
            self.request_type or "",
            self.prompt_version or "",
            self.config_version or "",
            self.call_site or "",
        )


EMPTY = Attribution()
EXPLORED = Attribution(tags=(("llmthrift.routing", "explored"),))
"""The mark of a call whose model was chosen to learn about it: `thrift.report(by="llmthrift.routing")` shows what such calls cost."""
FIELDS: tuple[str, ...] = tuple(field.name for field in fields(Attribution) if field.name != "tags")

_current: ContextVar[Attribution] = ContextVar("llmthrift_attribution", default=EMPTY)


def attribution_of(tags: Mapping[str, Any] | None = None, **attributes: Any) -> Attribution:
    """Build an Attribution from loose values: None is dropped, everything else becomes text.

    Raises:
        TypeError: an attribute that does not exist.
        ConfigurationError: tags that are no mapping.
    """
    given = {name: _text(value) for name, value in attributes.items() if value is not None}
    labels = as_pairs("tags", tags) if tags else {}
    pairs = tuple(sorted((_text(name), _text(value)) for name, value in labels.items() if value is not None))
    if not given and not pairs:
        return EMPTY
    return Attribution(**given, tags=pairs)


def current_attribution() -> Attribution:
    """The attribution of the surrounding `attribute(...)` blocks."""
    return _current.get()


@contextmanager
def attribute(
    *,
    user: str | None = None,
    feature: str | None = None,
    session: str | None = None,
    run: str | None = None,
    request_type: str | None = None,
    prompt_version: str | None = None,
    config_version: str | None = None,
    call_site: str | None = None,
    tags: Mapping[str, str] | None = None,
) -> Iterator[Attribution]:
    """Attribute every call made inside the block. Nested blocks merge; the innermost value wins.

    The block is a context variable: it reaches coroutines, tasks and LangChain's own threads, but not a bare
    `ThreadPoolExecutor`, whose threads start with an empty context.

    >>> from llmthrift_core import attribute
    >>> with attribute(user="ada", feature="chat"):
    ...     with attribute(feature="search", tags={"team": "web"}) as inner:
    ...         inner.user, inner.feature, inner.tags
    ('ada', 'search', (('team', 'web'),))
    """
    own = attribution_of(
        tags,
        user=user,
        feature=feature,
        session=session,
        run=run,
        request_type=request_type,
        prompt_version=prompt_version,
        config_version=config_version,
        call_site=call_site,
    )
    merged = own.over(_current.get())
    token = _current.set(merged)
    try:
        yield merged
    finally:
        _current.reset(token)


@lru_cache(maxsize=4096)
def with_call_site(attribution: Attribution, call_site: str) -> Attribution:
    """The attribution, with a call site that it lacked."""
    return Attribution(call_site=call_site).over(attribution)


@lru_cache(maxsize=1024)
def call_site_of_prompt(system: str) -> str:
    """A stable name for a call site that nobody named: a hash of its system prompt."""
    return "system:" + blake2b(system.encode("utf-8", "replace"), digest_size=4).hexdigest()


def _text(value: Any) -> str:
    # A lone surrogate cannot be stored as UTF-8: replace it rather than lose the row.
    text = value if isinstance(value, str) else str(value)
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")
