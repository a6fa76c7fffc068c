"""LangChain's configs of runs: their metadata (attribution, and how the cache is used), and their handlers.

Metadata belongs to the application: a value that means nothing here is passed over, never an error.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any, cast

from langchain_core.callbacks import BaseCallbackManager
from langchain_core.runnables.config import ensure_config

from llmthrift_core.attribution import EMPTY, FIELDS, Attribution, attribution_of
from llmthrift_core.cache.rules import NO_RULES, CacheRules, rules_of
from llmthrift_core.errors import ConfigurationError

if TYPE_CHECKING:
    from uuid import UUID

    from langchain_core.callbacks import BaseCallbackHandler, Callbacks
    from langchain_core.runnables import RunnableConfig

logger = logging.getLogger("llmthrift")

_THREAD, _NODE = "thread_id", "langgraph_node"


def attribution_of_metadata(metadata: Mapping[str, Any] | None) -> Attribution:
    """The attribution that run metadata gives: `user`, `feature`, `session` and the rest by name, `tags` as a mapping or a list.

    LangGraph's `thread_id` stands in for a missing session, its node name for a missing call site.
    """
    if not metadata:
        return EMPTY
    get = metadata.get
    values = tuple(map(get, FIELDS))
    tags, thread, node = get("tags"), get(_THREAD), get(_NODE)
    if tags is None:
        try:
            return _attribution(values, thread, node)
        except TypeError:  # a value that cannot be hashed
            pass
    elif not isinstance(tags, Mapping):
        names = tags if isinstance(tags, Iterable) and not isinstance(tags, str | bytes) else (tags,)
        tags = dict.fromkeys(map(str, names), "true")
    return attribution_of(tags, **_named(values, thread, node))


def cache_rules_of_metadata(metadata: Mapping[str, Any] | None) -> CacheRules:
    """The metadata's `cache`: "on", "off", "refresh", True, False, or a mapping of `CacheRules`. None where it says nothing of the kind."""
    given = metadata.get("cache") if metadata else None
    if given is None:
        return NO_RULES
    try:
        return rules_of(given)
    except ConfigurationError as error:
        _say_once(f"metadata cache={type(given).__name__} was ignored: {error}")
        return NO_RULES


@lru_cache(maxsize=16)
def _say_once(message: str) -> None:
    logger.warning(message)


@lru_cache(maxsize=4096)
def _attribution(values: tuple[Any, ...], thread: Any, node: Any) -> Attribution:
    return attribution_of(None, **_named(values, thread, node))


def _named(values: tuple[Any, ...], thread: Any, node: Any) -> dict[str, Any]:
    named = dict(zip(FIELDS, values, strict=True))
    if named["session"] is None:
        named["session"] = thread
    if named["call_site"] is None:
        named["call_site"] = node
    return named


def config_of(
    callbacks: Callbacks, tags: list[str] | None, metadata: dict[str, Any] | None, run_name: str | None, run_id: UUID | None
) -> RunnableConfig:
    """The arguments of `generate` as a config; what is None is left out."""
    given = {"callbacks": callbacks, "tags": tags, "metadata": metadata, "run_name": run_name, "run_id": run_id}
    return cast("RunnableConfig", {key: value for key, value in given.items() if value is not None})


def with_handler(config: RunnableConfig, handler: BaseCallbackHandler) -> RunnableConfig:
    """The config, which is a whole one, with one more callback handler."""
    callbacks = config.get("callbacks")
    if isinstance(callbacks, BaseCallbackManager):
        callbacks = callbacks.copy()
        callbacks.add_handler(handler, inherit=True)
    else:
        callbacks = [*(callbacks or ()), handler]
    return {**config, "callbacks": callbacks}


def for_generate(config: RunnableConfig) -> dict[str, Any]:
    """What of a config `generate` takes, as `invoke` gives it."""
    given = ensure_config(config)
    return {name: given.get(name) for name in ("callbacks", "tags", "metadata", "run_name", "run_id")}
