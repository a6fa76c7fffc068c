"""The body that a LlamaIndex client sends beside the messages, as the client itself makes it of its fields and of the arguments of a call.

The same may be said by a field, by `additional_kwargs` and by an argument of the call. What counts is what is sent. The integrations that
say it are asked. Where a release of theirs says it otherwise, their fields and the call's arguments tell.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

# Fields and private attributes that go into the request and decide nothing beside it. A client that drops one does not send it.
SHOWN: Final = frozenset({
    "model", "temperature", "max_tokens", "max_output_tokens", "top_p", "logprobs", "top_logprobs", "additional_kwargs", "reasoning_effort",
    "reasoning_options", "modalities", "audio_config", "include", "instructions", "call_metadata", "previous_response_id",
    "_previous_response_id", "store", "truncation", "user", "built_in_tools", "thinking_dict", "tools", "mcp_servers", "random_seed",
})  # fmt: skip
_PACKAGES: Final = (
    "llama_index.llms.openai.", "llama_index.llms.anthropic.", "llama_index.llms.mistralai.", "llama_index.llms.bedrock_converse.",
    "llama_index.llms.litellm.",
)  # fmt: skip
_ASKED: Final = ("_get_model_kwargs", "_get_all_kwargs")


def body_of(model: Any, kind: type[Any], arguments: Mapping[str, Any]) -> dict[str, Any] | None:
    """What a client would send with these arguments of a call; None where it does not say.

    Args:
        kind: the model's own class.
    """
    # A class of the application's that asks its model in a way of its own says nothing by what it inherits.
    if not all(_is_known(getattr(kind, name, None)) for name in ("chat", "achat", "stream_chat", "astream_chat")):
        return None
    name = next((name for name in _ASKED if _is_known(getattr(kind, name, None))), None)
    if name is None:
        return None
    try:
        return dict(getattr(kind, name)(model, **arguments))
    except Exception:  # the call itself will say what is wrong with its arguments
        return None


def _is_known(function: Any) -> bool:
    return str(getattr(function, "__module__", "")).startswith(_PACKAGES)
