"""The content of a LangChain call, as far as it can be billed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from llmthrift_core.outgoing import Outgoing, Sent, outgoing_of

_ROLES: Final = {"human": "user", "HumanMessageChunk": "user", "ai": "assistant", "AIMessageChunk": "assistant"}
# Of `additional_kwargs`: what repeats other fields, or was never meant for the model.
_UNSENT: Final = frozenset({"id", "parsed", "refusal", "usage", "stop_reason", "tool_calls", "llmthrift"})


def count_outgoing(prompt: Sequence[Mapping[str, Any]] | str, model: str, *parameters: Mapping[str, Any]) -> Outgoing:
    """Count what a call sends.

    Args:
        prompt: the fields of each message (see `messages.fields_of`), or a completion's prompt.
        model: whom it is sent to.
        parameters: of the call, in the order of precedence.
    """
    return outgoing_of(prompt if isinstance(prompt, str) else map(_sent, prompt), model, *parameters)


def _sent(fields: Mapping[str, Any]) -> Sent:
    calls = [(str(call.get("name") or ""), call.get("args"), call.get("id")) for call in fields.get("tool_calls") or ()]
    calls += [(str(call.get("name") or ""), call.get("args"), call.get("id")) for call in fields.get("invalid_tool_calls") or ()]
    additional = fields.get("additional_kwargs") or {}
    more = {key: value for key, value in additional.items() if value and key not in _UNSENT and not str(key).startswith("__")}
    if not calls and (raw := additional.get("tool_calls")):
        more["tool_calls"] = raw
    role = str(fields.get("role") or fields["type"])
    return Sent(_ROLES.get(role, role), fields["content"], fields.get("name"), calls, fields.get("tool_call_id"), more)
