"""LangChain messages as a shortening policy reads them, and back; `PromptShortener` does both as a step of a chain."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage, convert_to_messages
from langchain_core.prompt_values import PromptValue
from langchain_core.runnables import Runnable

from llmthrift_core.errors import ConfigurationError

if TYPE_CHECKING:
    from langchain_core.runnables import RunnableConfig

    from llmthrift_core.calls.shortening import ShorteningPolicy

_PLACE: Final = "llmthrift_place"  # of a message among those that the application gave
_ROLES: Final = {
    "human": "user", "HumanMessageChunk": "user", "ai": "assistant", "AIMessageChunk": "assistant", "system": "system", "tool": "tool",
    "function": "function", "developer": "developer",
}  # fmt: skip
_NEW: Final = {"system": SystemMessage, "developer": SystemMessage, "assistant": AIMessage}


class PromptShortener(Runnable[Any, Any]):
    """Makes what runs through a chain shorter: a text stays one, a prompt and messages become messages.

    The doors take `shorten=` themselves, and then know what was saved; this is for models that have no door, and for looking at the
    result.

    Args:
        shorten: such as `Shorten.lossless()`.
        model: whose tokens count.

    Raises:
        ConfigurationError: shorten cannot be called.
        PromptTooLongError: when it is run: what must not be cut is longer than max_input_tokens.

    >>> from llmthrift_core.prompts import Shorten
    >>> from llmthrift_langchain import PromptShortener
    >>> PromptShortener(Shorten.lossless()).invoke([("human", "Two   spaces,   please.")])[0].content
    'Two spaces, please.'
    """

    def __init__(self, shorten: ShorteningPolicy, *, model: str | None = None) -> None:
        if not callable(shorten):
            raise ConfigurationError(f"shorten must be a Shorten, such as Shorten.lossless(), not {type(shorten).__name__}")
        self.shorten, self.model = shorten, model

    def invoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        """The input, shorter."""
        return self._call_with_config(self._shortened, input, config, **kwargs)

    def _shortened(self, given: Any) -> Any:
        if isinstance(given, str):
            return self.shorten(given, self.model).messages
        messages = given.to_messages() if isinstance(given, PromptValue) else convert_to_messages(given)
        return restore(self.shorten(prompt_of(messages), self.model).messages, messages)


def prompt_of(messages: Sequence[BaseMessage]) -> list[dict[str, Any]]:
    """The messages in OpenAI's shape; their content stays as LangChain has it."""
    return [_dict_of(place, message) for place, message in enumerate(messages)]


def restore(prompt: Iterable[Any], messages: Sequence[BaseMessage]) -> list[BaseMessage]:
    """The messages that a shortened prompt stands for: the application's own, with the contents that were changed."""
    restored: list[BaseMessage] = []
    for each in prompt:
        content = each["content"] if each.get("content") is not None else ""
        place = each.get(_PLACE)
        if place is None:
            restored.append(_NEW.get(str(each.get("role")), HumanMessage)(content))
            continue
        message = messages[place]
        same = content is message.content or content == message.content
        restored.append(message if same else message.model_copy(update={"content": content}))
    return restored


def _dict_of(place: int, message: BaseMessage) -> dict[str, Any]:
    role = getattr(message, "role", None) if message.type == "chat" else _ROLES.get(message.type, message.type)
    found: dict[str, Any] = {"role": role or "user", "content": message.content, _PLACE: place}
    if message.name:
        found["name"] = message.name
    if calls := getattr(message, "tool_calls", None):
        found["tool_calls"] = [_call(call) for call in calls]
    if (answers := getattr(message, "tool_call_id", None)) is not None:
        found["tool_call_id"] = answers
    return found


def _call(call: Mapping[str, Any]) -> dict[str, Any]:
    return {"id": call.get("id"), "type": "function", "function": {"name": call.get("name"), "arguments": call.get("args")}}
