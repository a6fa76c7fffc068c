"""Identification of the model that asks a cache, and of its parameters.

LangChain passes a cache the model's constructor JSON followed by the call's keyword arguments as Python text. Both carry things that do
not change the answer (timeouts, retries, request ids in headers) and secrets (headers). Only a hash of the rest is kept; and where the
model itself is at hand, of what it sends now instead.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import orjson

from llmthrift_core.cache.keys import UncacheableError, canonical_json, digest, relevant
from llmthrift_langchain.identity import identity_of, name_of
from llmthrift_langchain.sending import Sending

_OPAQUE = re.compile(r"<(?:class|function|bound method|built-in|coroutine|lambda|module)\b|\bat 0x[0-9a-fA-F]+")


@dataclass(frozen=True, slots=True)
class Identity:
    """What a model and its parameters are known by.

    Attributes:
        digest: hash of everything that may change the answer; None if it cannot be told apart from another.
        model: the model's name, where the string shows one.
        problem: why there is no digest.
        temperature: as the model or the call sets it.
    """

    digest: bytes | None
    model: str | None = None
    problem: str | None = None
    temperature: Any = None


@lru_cache(maxsize=512)
def identify(llm_string: str) -> Identity:
    """The identity behind an `llm_string`. Results are remembered, since an application uses few of them."""
    if opaque := _OPAQUE.search(llm_string):
        return Identity(None, problem=f"a parameter shows only as {opaque.group()[:40]!r}, which another object could share")
    constructor, separator, call = llm_string.partition("---") if llm_string.startswith("{") else ("", "", llm_string)
    model: str | None = None
    temperature: Any = None
    parts: list[Any] = []
    if separator:
        try:
            serialized = orjson.loads(constructor)
            fields = serialized.get("kwargs") or {}
            model = fields.get("model_name") or fields.get("model") or fields.get("model_id") or fields.get("deployment_name")
            temperature = fields.get("temperature")
            parts.append([serialized.get("id"), relevant(fields)])
        except (ValueError, AttributeError, TypeError):
            parts.append(constructor)
    try:
        parameters = dict(ast.literal_eval(call))
        model = parameters.get("model") or model or parameters.get("model_name")  # a call may override the model's name
        temperature = parameters.get("temperature", temperature)
        parts.append(relevant(parameters))
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
        parts.append(call)
    try:
        return Identity(digest("llm-string", canonical_json(parts)), str(model) if model else None, temperature=temperature)
    except UncacheableError as error:
        return Identity(None, problem=str(error))


def identity_behind(sending: Sending | None, llm_string: str) -> Identity:
    """The identity of the model that asks; of what the text says where nobody's frame tells which model asks."""
    if sending is None:
        return identify(llm_string)
    model, options = sending.model, sending.options
    temperature = options.get("temperature", getattr(model, "temperature", None))
    try:
        return Identity(identity_of(model, options), name_of(model, options), temperature=temperature)
    except UncacheableError as error:
        return Identity(None, problem=str(error))
