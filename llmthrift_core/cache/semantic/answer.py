"""An answer that a model gave, as it is stored."""

from __future__ import annotations

from typing import NamedTuple

from llmthrift_core.attribution import Attribution
from llmthrift_core.cache.entry import metadata_to_json, usage_to_json
from llmthrift_core.cache.policy import CachePolicy
from llmthrift_core.cache.semantic.search import Asked
from llmthrift_core.cache.semantic.store import NewAnswer
from llmthrift_core.usage import Usage


class Made(NamedTuple):
    """How an answer came about. `payload`: what a door serves instead of its text, or None."""

    payload: bytes | None
    model: str
    provider: str | None
    usage: Usage


def new_answer(
    asked: Asked,
    answer: str,
    answer_class: int,
    right: bool | None,
    who: Attribution,
    made: Made,
    limits: CachePolicy,
    space: str,
    now_us: int,
) -> NewAnswer:
    """The row of an answer that is stored now.

    Args:
        answer_class: the same number for answers that say the same.
        right: whether the answer that the cache would have given was right; None if that is not known.
        space: the embedder's name.
    """
    usage = usage_to_json(made.usage)
    vector = b"" if asked.vector is None else asked.vector.astype("<f4").tobytes()
    return NewAnswer(
        key=asked.key,
        namespace=limits.namespace,
        space=space,
        scope=asked.place,
        question=asked.question,
        answer=answer,
        answer_class=answer_class,
        vector=vector,
        was_right=None if right is None else int(right),
        payload=made.payload,
        model=made.model,
        provider=made.provider,
        user=who.user,
        feature=who.feature,
        prompt_version=limits.prompt_version,
        metadata=metadata_to_json(limits.metadata),
        usage=usage,
        size_bytes=len(asked.question) + len(answer) + len(vector) + len(made.payload or b"") + len(usage),
        created_us=now_us,
        expires_us=None if limits.ttl_seconds is None else now_us + int(limits.ttl_seconds * 1e6),
        used_us=now_us,
    )
