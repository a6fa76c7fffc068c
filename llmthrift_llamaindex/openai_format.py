"""OpenAI's messages and tools as LlamaIndex has them, and its tool calls as OpenAI has them."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, cast

from llama_index.core.base.llms.types import (
    AudioBlock,
    ChatMessage,
    ChatResponse,
    ContentBlock,
    ImageBlock,
    MessageRole,
    TextBlock,
    ToolCallBlock,
)
from llama_index.core.tools.types import BaseTool, ToolMetadata, ToolOutput
from pydantic import BaseModel, ConfigDict

from llmthrift_core.errors import ConfigurationError

_ROLES: Final = {
    "system": MessageRole.SYSTEM, "developer": MessageRole.SYSTEM, "user": MessageRole.USER, "assistant": MessageRole.ASSISTANT,
    "tool": MessageRole.TOOL,
}  # fmt: skip
_TEXTS: Final = ("text", "refusal")


def messages_of(told: Sequence[Mapping[str, Any]]) -> list[ChatMessage]:
    """The messages of a conversation.

    Raises:
        ConfigurationError: one of them cannot be read; names its place.
    """
    found = []
    for place, message in enumerate(told):
        try:
            found.append(_message(message))
        except (KeyError, ValueError, TypeError, AttributeError):
            raise ConfigurationError(
                f"messages[{place}] cannot be read: it needs a role ({', '.join(_ROLES)}), and a content of texts, sounds, "
                "or images as data: URLs"
            ) from None
    return found


def _message(told: Mapping[str, Any]) -> ChatMessage:
    content, blocks = told.get("content"), list[ContentBlock]()
    if isinstance(content, str):
        blocks.append(TextBlock(text=content))
    elif content is not None:
        blocks += [_block(part) for part in content]
    for call in told.get("tool_calls") or ():
        function = call["function"]
        blocks.append(ToolCallBlock(tool_call_id=call["id"], tool_name=function["name"], tool_kwargs=function["arguments"]))
    more: dict[str, Any] = {"name": told["name"]} if told.get("name") else {}
    if told["role"] == "tool":
        more["tool_call_id"] = told["tool_call_id"]
    if not blocks:
        raise ValueError("neither a content nor a tool call")
    return ChatMessage(role=_ROLES[told["role"]], blocks=blocks, additional_kwargs=more)


def _block(part: Mapping[str, Any]) -> ContentBlock:
    kind = part["type"]
    if kind in _TEXTS:
        return TextBlock(text=part[kind])
    if kind == "image_url":
        return _image(part["image_url"]["url"], part["image_url"].get("detail"))
    if kind == "input_audio":
        sound = part["input_audio"]
        return AudioBlock(audio=base64.b64decode(sound["data"]), format=sound["format"])
    raise ValueError(kind)


def _image(url: str, detail: str | None) -> ImageBlock:
    head, _, data = url.partition(",")
    if not head.startswith("data:"):  # some integrations fetch an address themselves, from within the server's network
        raise ValueError("an address")
    return ImageBlock(image=base64.b64decode(data), image_mimetype=head.removeprefix("data:").partition(";")[0], detail=detail)


@dataclass
class DeclaredMetadata(ToolMetadata):
    """A tool as its JSON schema declares it.

    Attributes:
        parameters: the schema of its arguments.
    """

    parameters: dict[str, Any] = field(default_factory=dict)

    def get_parameters_dict(self) -> dict[str, Any]:
        """The schema as it was given; integrations write into it."""
        return cast("dict[str, Any]", json.loads(json.dumps(self.parameters)))


class DeclaredTool(BaseTool):
    """A tool that somebody else calls.

    Args:
        told: in OpenAI's format.
    """

    def __init__(self, told: Mapping[str, Any]) -> None:
        function = told["function"]
        parameters = {"type": "object", "properties": {}, **(function.get("parameters") or {})}

        class Arguments(BaseModel):
            """What some integrations read the schema from."""

            model_config = ConfigDict(extra="allow")

            @classmethod
            def model_json_schema(cls, *args: Any, **options: Any) -> dict[str, Any]:
                """The schema as it was given."""
                return dict(parameters)

        self._metadata = DeclaredMetadata(function.get("description") or "", str(function["name"]), Arguments, parameters=parameters)

    @property
    def metadata(self) -> ToolMetadata:
        """Its name, description and schema."""
        return self._metadata

    def __call__(self, input: Any) -> ToolOutput:
        """Refuse: the client calls its tools."""
        raise ConfigurationError(f"{self._metadata.name} is the client's to call")


def tools_of(told: Sequence[Mapping[str, Any]]) -> list[BaseTool]:
    """The tools.

    Raises:
        ConfigurationError: one of them cannot be read; names its place.
    """
    found: list[BaseTool] = []
    for place, tool in enumerate(told):
        try:
            found.append(DeclaredTool(tool))
        except (KeyError, ValueError, TypeError, AttributeError):
            raise ConfigurationError(f"tools[{place}] cannot be read: it needs a function with a name, and parameters") from None
    return found


def calls_of(answer: ChatResponse, selections: Sequence[Any]) -> list[dict[str, Any]]:
    """The tool calls of an answer, in OpenAI's format.

    Args:
        selections: as the model's integration reads them, for those that make no blocks.
    """
    blocks = [block for block in answer.message.blocks if isinstance(block, ToolCallBlock)]
    found = [(block.tool_call_id, block.tool_name, block.tool_kwargs) for block in blocks]
    found = found or [(each.tool_id, each.tool_name, each.tool_kwargs) for each in selections]
    return [
        {
            "id": identity or f"call_{place}",
            "type": "function",
            "function": {"name": name, "arguments": given if isinstance(given, str) else json.dumps(given)},
        }
        for place, (identity, name, given) in enumerate(found)
    ]
