"""An answer that is stored in the caches of its call: the exact one and, where it is asked, the one by meaning."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from llmthrift_core.attribution import Attribution
    from llmthrift_core.cache.exact import ExactCache
    from llmthrift_core.request import CacheUse, Response
    from llmthrift_core.usage import Usage


def store_answer(
    cache: ExactCache, use: CacheUse, response: Response, usage: Usage, model: str, provider: str | None, attribution: Attribution
) -> None:
    """Store an answer. An answer that cannot be encoded is counted and not stored.

    Args:
        response: with a payload.
        model, provider: who answered.
    """
    assert response.payload is not None  # noqa: S101 - callers check it
    try:
        payload = response.payload()
    except ValueError as error:
        cache.note_uncacheable(str(error))
        return
    user, feature = attribution.user, attribution.feature
    cache.store(use.key, use.policy, payload, model=model, provider=provider, usage=usage, user=user, feature=feature)
    semantic = use.semantic
    if semantic is not None and response.text is not None and (text := response.text()):
        semantic.cache.store(
            semantic.question,
            text,
            semantic.scope,
            history=semantic.history,
            payload=payload,
            model=model,
            provider=provider,
            usage=usage,
            attribution=attribution,
        )
