"""The marks of a prompt cache in LlamaIndex messages and arguments: cache points, as Anthropic's and Bedrock's integrations take them, and
what OpenAI's pass on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import takewhile
from typing import TYPE_CHECKING, Any, Final

from llama_index.core.base.llms.types import CacheControl, CachePoint, ChatMessage, TextBlock, ToolCallBlock

from llmthrift_core.cache.keys import canonical_json
from llmthrift_core.calls.explicit_caches import GeminiKeeper
from llmthrift_core.calls.prefixing import block_of
from llmthrift_core.prompt_caching.advice import SWITCH, Advice, Form, asks_for
from llmthrift_core.prompt_caching.misses import SentPrompt
from llmthrift_llamaindex.messages import Asked, canonical_messages
from llmthrift_llamaindex.tools import TOOLS, ToolUse

if TYPE_CHECKING:
    from llama_index.core.llms import LLM

    from llmthrift_core.prompt_caching.plan import Plan

_GEMINI: Final = "GenAI"
_CLAUDE: Final = "Anthropic_LLM"
_ANTHROPIC: Final = "//api.anthropic.com"
_SAID: Final = ("cache_control", "prompt_cache_options", "cached_content", "cache_idx")
_SWITCHES: Final = ("system_prompt_caching", "tool_caching")
# Its integration asks for no life.
_SHORT_CACHE_POINT: Final = Form("cache_point", longest_seconds=300.0)
_ROLES: Final[Mapping[str, tuple[str, ...]]] = {
    # The integration sends the text of system messages alone, without what marks it, and keeps no mark in a tool's result.
    "cache_control": ("user", "assistant"),
    "cache_point": ("system", "user", "assistant"),
}


class Integration:
    """What the integration of a model can do for its provider's cache.

    Args:
        arguments: of the call.
    """

    __slots__ = ("_arguments", "_llm")

    def __init__(self, llm: LLM, arguments: Mapping[str, Any]) -> None:
        self._llm, self._arguments = llm, arguments

    def form(self, usual: Form) -> Form | None:
        """The form in which it takes marks; None where it takes none."""
        if usual.name == "cached_content":
            return usual if self._llm.class_name() == _GEMINI else None
        return {"cache_control": usual, "cache_point": _SHORT_CACHE_POINT, "breakpoint": SWITCH}.get(usual.name)

    def compares(self, *, asked: bool | None) -> bool:
        """Whether Anthropic is to be asked why its cache was missed."""
        if self._llm.class_name() != _CLAUDE:
            return False
        llm: Any = self._llm
        return asked if asked is not None else _ANTHROPIC in str(getattr(llm._client, "base_url", None))

    def keeper(self, rules: str) -> GeminiKeeper | None:
        """What makes caches of a system prompt and the tools of the call."""
        llm: Any = self._llm
        if llm.class_name() != _GEMINI:
            return None
        use: ToolUse | None = self._arguments.get(TOOLS)
        held = self._arguments if use is None else use.prepared(llm, ())[1]
        return GeminiKeeper(llm._client, llm.model, rules, tools=held.get("tools"), tool_config=held.get("tool_config"))


def sent_prompt(asked: Asked, said: Mapping[str, Any], parameters: Sequence[Mapping[str, Any]], model: str) -> SentPrompt:
    """The parts of a prompt in the order in which the provider reads them: the tools, then each message. Empty where the application gives
    a text instead of messages.

    Args:
        said: the arguments of the call.
        parameters: of the call, by precedence.
    """
    if isinstance(asked, str):
        return SentPrompt()
    tools = said.get("tools")
    is_marked = (
        any(asks_for(parameters, name) for name in _SAID)
        or any(each.get(name) for each in parameters for name in _SWITCHES)
        or any(_is_marked(message) for message in asked)
    )
    blocks = [block_of(canonical_json(canonical_messages([_unmarked(message)])).decode(), model) for message in asked]
    rules = sum(1 for _ in takewhile(lambda message: message.role.value in ("system", "developer"), asked))
    first = [block_of(canonical_json(tools).decode(), model)] if tools else []
    system = asked[0].blocks if rules == 1 else []
    text = system[0].text if len(system) == 1 and isinstance(system[0], TextBlock) else None
    return SentPrompt(first, blocks[:rules], blocks[rules:], is_marked=is_marked, rules=text)


def advised(asked: Asked, said: Mapping[str, Any], advice: Advice, parameters: Sequence[Mapping[str, Any]]) -> tuple[Asked, dict[str, Any]]:
    """The messages with what is asked of the provider's cache, each mark at the end of a message that can carry one; and arguments for it.

    Args:
        parameters: of the call, by precedence: what the application says itself stands.
    """
    plan, form = advice.plan, advice.form
    if isinstance(asked, str):
        return asked, {}
    if advice.rules is not None:
        asked = [*(asked[0].model_copy(update={"blocks": [TextBlock(text=text)]}) for text in advice.rules), *asked[1:]]
    if advice.cached_content is not None:
        settings = {**(said.get("generation_config") or {}), "cached_content": advice.cached_content}
        without = dict.fromkeys(("tools", "tool_config")) if said.get("tools") else {}  # they are in the cache
        return list(asked[1 if advice.rules is None else 2 :]), {"generation_config": settings, **without}
    if form is None or form.name == "switch":
        return asked, advice.openai_arguments(parameters)
    body = advice.anthropic_body()
    more = {"extra_body": {**body, **(said.get("extra_body") or {})}} if body else {}
    if plan is None:
        return asked, more
    changed, before = list(asked), 1 if said.get("tools") else 0
    for mark in plan.marks:
        place = mark - 1 - before
        while place >= 0 and not _takes_mark(changed[place], form):
            place -= 1
        if place >= 0:
            changed[place] = _with_mark(changed[place], plan, form)
    return changed, more


def _with_mark(message: ChatMessage, plan: Plan, form: Form) -> ChatMessage:
    lifetime = "5m" if plan.terms is None else plan.terms.lifetime
    kind = "default" if form.name == "cache_point" else "ephemeral"
    point = CachePoint(cache_control=CacheControl(type=kind, ttl=lifetime))
    return message.model_copy(update={"blocks": [*message.blocks, point]})


def _takes_mark(message: ChatMessage, form: Form) -> bool:
    last = message.blocks[-1] if message.blocks else None
    # A tool's result takes none, so that in a loop of tools the call before it does.
    takes = (isinstance(last, TextBlock) and bool(last.text)) or (isinstance(last, ToolCallBlock) and form.name == "cache_control")
    return takes and message.role.value in _ROLES[form.name]


def _is_marked(message: ChatMessage) -> bool:
    return "cache_control" in message.additional_kwargs or any(isinstance(block, CachePoint) for block in message.blocks)


def _unmarked(message: ChatMessage) -> ChatMessage:
    """The message without marks of the application, which move on with the conversation."""
    if not _is_marked(message):
        return message
    blocks = [block for block in message.blocks if not isinstance(block, CachePoint)]
    more = {name: value for name, value in message.additional_kwargs.items() if name != "cache_control"}
    return message.model_copy(update={"blocks": blocks, "additional_kwargs": more})
