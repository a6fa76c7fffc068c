"""The marks of a prompt cache in LangChain messages, tools and arguments, in the form that each client takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import takewhile
from typing import TYPE_CHECKING, Any, Final

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage, ToolMessage

from llmthrift_core.cache.keys import canonical_json
from llmthrift_core.calls.explicit_caches import GeminiKeeper
from llmthrift_core.calls.prefixing import block_of
from llmthrift_core.prompt_caching.advice import CACHE_CONTROL, Advice, Form, asks_for
from llmthrift_core.prompt_caching.misses import SentPrompt
from llmthrift_langchain.messages import canonical_messages, fields_of

if TYPE_CHECKING:
    from langchain_core.language_models.chat_models import BaseChatModel

    from llmthrift_core.prompt_caching.plan import Plan

_GEMINI: Final = "chat-google-generative-ai"
# What Gemini wants in a cache, and not beside it.
_TOOLS: Final = ("tools", "functions", "tool_choice", "tool_config")
_MARKS: Final = frozenset({"cache_control", "cachePoint", "prompt_cache_breakpoint"})
_SAID: Final = ("cache_control", "prompt_cache_options", "cached_content")
_ANTHROPIC: Final = "//api.anthropic.com"
# What cannot be marked: thinking anywhere, and with OpenAI what is not its own text, image or file.
_UNMARKABLE: Final = frozenset({"thinking", "redacted_thinking", "reasoning", "reasoning_content", "tool_use", "function_call"})


class ClientOf:
    """What the client of a model can do for its provider's cache.

    Args:
        parameters: of the call, by precedence.
    """

    __slots__ = ("_model", "_parameters")

    def __init__(self, model: BaseChatModel, parameters: Sequence[Mapping[str, Any]]) -> None:
        self._model, self._parameters = model, parameters

    def form(self, usual: Form) -> Form | None:
        """The form in which it takes marks."""
        kind = self._model._llm_type
        if usual.name == "cache_point":
            # Bedrock's Converse API has cache points; what it invokes directly, Anthropic's own marks.
            return usual if "converse" in kind else CACHE_CONTROL
        return None if usual.name == "cached_content" and kind != _GEMINI else usual

    def compares(self, *, asked: bool | None) -> bool:
        """Whether Anthropic is to be asked why its cache was missed."""
        if self._model._llm_type != "anthropic-chat":
            return False
        return asked if asked is not None else _ANTHROPIC in str(getattr(self._model, "anthropic_api_url", None))

    def keeper(self, rules: str) -> GeminiKeeper | None:
        """What makes caches of a system prompt and the tools of the call."""
        model: Any = self._model
        if model._llm_type != _GEMINI:
            return None
        said = {name: value for name in _TOOLS if (value := next((each[name] for each in self._parameters if each.get(name)), None))}
        held = model._prepare_request([HumanMessage("-")], **said)["config"] if said else None
        tools, tool_config = (held.tools, held.tool_config) if held is not None else (None, None)
        return GeminiKeeper(model.client, model.model, rules, tools=tools, tool_config=tool_config)


def sent_prompt(messages: Sequence[BaseMessage], parameters: Sequence[Mapping[str, Any]], model: str) -> SentPrompt:
    """The parts of a prompt in the order in which the provider reads them: the tools, then each message. Marks are no part of them.

    Args:
        parameters: of the call, by precedence.
    """
    tools = next((tools for each in parameters if (tools := each.get("tools"))), None)
    is_marked = (
        any(asks_for(parameters, name) for name in _SAID) or _is_marked(tools) or any(_is_marked(message.content) for message in messages)
    )
    blocks = [block_of(_text(canonical_messages([fields_of(_unmarked(message))])), model) for message in messages]
    rules = sum(1 for _ in takewhile(lambda message: isinstance(message, SystemMessage), messages))
    first = [block_of(_text(_without_marks(tools)), model)] if tools else []
    system = messages[0].content if rules == 1 else None
    return SentPrompt(first, blocks[:rules], blocks[rules:], is_marked=is_marked, rules=system if isinstance(system, str) else None)


def advised(
    messages: Sequence[BaseMessage], arguments: Mapping[str, Any], advice: Advice, parameters: Sequence[Mapping[str, Any]]
) -> tuple[list[BaseMessage], dict[str, Any]]:
    """The messages and arguments with what is asked of the provider's cache.

    Args:
        parameters: of the call, by precedence: what the application says itself stands.
    """
    changed, given = list(messages), dict(arguments)
    plan, form = advice.plan, advice.form
    if advice.rules is not None:
        changed[:1] = [changed[0].model_copy(update={"content": text}) for text in advice.rules]
    if advice.cached_content is not None:
        given = {name: value for name, value in given.items() if name not in _TOOLS}
        return changed[1 if advice.rules is None else 2 :], {**given, "cached_content": advice.cached_content}
    if plan is not None and form is not None and plan.marks:
        changed, given = _marked(changed, given, plan, form)
    if body := advice.anthropic_body():
        given["extra_body"] = {**body, **(given.get("extra_body") or {})}
    if form is None or form.name in ("breakpoint", "switch"):
        given |= advice.openai_arguments(parameters)
    return changed, given


def _marked(messages: list[BaseMessage], given: dict[str, Any], plan: Plan, form: Form) -> tuple[list[BaseMessage], dict[str, Any]]:
    """Each mark on the last block of a message that can carry one, or on the last tool."""
    control = _control(plan)
    tools = list(given.get("tools") or ())
    before = 1 if tools else 0
    for mark in plan.marks:
        place = mark - 1 - before
        message = None
        while place >= 0 and (message := _with_mark(messages[place], control, form)) is None:
            place -= 1  # an answer that only calls tools has nothing to mark
        if message is not None:
            messages[place] = message
        elif tools and isinstance(tools[-1], Mapping) and not _is_marked(given["tools"]):
            if form.name == "cache_point":
                given["tools"] = [*tools, _point(control)]
            elif form.name == "cache_control":
                given["tools"] = [*tools[:-1], {**tools[-1], **_mark(control, form)}]
    if form.name == "cache_control":
        messages = [_in_blocks(message) for message in messages]
    return messages, given


def _in_blocks(message: BaseMessage) -> BaseMessage:
    """A tool's result in the form that a marked one has: when the mark moves on, what was cached must not be sent in another form."""
    content = message.content
    if not isinstance(message, ToolMessage) or not isinstance(content, str) or not content:
        return message
    return message.model_copy(update={"content": [{"type": "text", "text": content}]})


def _control(plan: Plan) -> dict[str, Any]:
    return {"ttl": "1h"} if plan.terms is not None and plan.terms.lifetime == "1h" else {}


def _point(control: Mapping[str, Any]) -> dict[str, Any]:
    return {"cachePoint": {"type": "default", **control}}


def _mark(control: Mapping[str, Any], form: Form) -> dict[str, Any]:
    if form.name == "breakpoint":
        return {"prompt_cache_breakpoint": {"mode": "explicit"}}
    return {"cache_control": {"type": "ephemeral", **control}}


def _with_mark(message: BaseMessage, control: Mapping[str, Any], form: Form) -> BaseMessage | None:
    content = message.content
    if isinstance(message, AIMessage) and message.tool_calls and (isinstance(content, str) or form.name == "breakpoint"):
        return None
    blocks: list[Any] = [{"type": "text", "text": content}] if isinstance(content, str) else list(content)
    last = blocks[-1] if blocks else None
    if isinstance(last, str) and last:
        last = {"type": "text", "text": last}
    if not isinstance(last, Mapping) or not last.get("text", True) or _MARKS & last.keys():
        return None
    if form.name == "cache_point":
        if last.get("type") in _UNMARKABLE - {"tool_use"}:
            return None
        blocks = [*blocks, _point(control)]
    else:
        if last.get("type") in _UNMARKABLE - ({"tool_use"} if form.name == "cache_control" else set()):
            return None
        blocks = [*blocks[:-1], {**last, **_mark(control, form)}]
    return message.model_copy(update={"content": blocks})


def _is_marked(parts: Any) -> bool:
    return isinstance(parts, list | tuple) and any(isinstance(part, Mapping) and _MARKS & part.keys() for part in parts)


def _unmarked(message: BaseMessage) -> BaseMessage:
    """The message without marks of the application, which move on with the conversation."""
    if not _is_marked(message.content):
        return message
    return message.model_copy(update={"content": _without_marks(message.content)})


def _without_marks(parts: Any) -> Any:
    if not _is_marked(parts):
        return parts
    kept = [{name: each for name, each in part.items() if name not in _MARKS} if isinstance(part, Mapping) else part for part in parts]
    return [part for part in kept if part]


def _text(value: Any) -> str:
    return canonical_json(value).decode()
