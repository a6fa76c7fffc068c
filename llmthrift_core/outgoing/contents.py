"""The parts of a message, in all the shapes that providers and frameworks have: texts to count, and media.

Shapes: OpenAI's chat (`image_url`, `input_audio`, `file`) and Responses (`input_image`, `input_file`), Anthropic (`image`, `document` with
a `source`), Gemini (`inline_data`, `file_data`, `media`), Bedrock (`image`, `document`, `video` around bytes), and LangChain's standard
blocks in both generations (`base64` / `url` / `file_id`, and `source_type`).
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, cast

from llmthrift_core.outgoing.media import Kind, Media

_KINDS: Final[Mapping[str, Kind]] = {
    "image": "image",
    "image_url": "image",
    "input_image": "image",
    "computer_screenshot": "image",
    "audio": "audio",
    "audio_url": "audio",
    "input_audio": "audio",
    "video": "video",
    "video_url": "video",
    "input_video": "video",
    "file": "document",
    "input_file": "document",
    "document": "document",
    "media": "document",
    "text-plain": "document",
}
_WRAPPERS: Final = ("inline_data", "inlineData", "file_data", "fileData", "image", "audio", "video", "document")
_NESTED: Final = (*_KINDS, "source", "inline_data", "inlineData", "file_data", "fileData")
_DATA: Final = ("base64", "data", "file_data", "fileData", "bytes")
_PLACES: Final = ("url", "file_url", "file_uri", "fileUri", "uri", "image_url", "audio_url", "video_url", "file_id", "fileId", "s3Location")
_MIMES: Final = ("mime_type", "media_type", "mimeType", "format")
_MARKS: Final = frozenset({"source", *_DATA, *_PLACES, *_MIMES})
_TEXTUAL: Final = ("text/", "json", "xml", "csv", "yaml", "markdown", "html", "javascript", "txt")
_ARGUMENTS: Final = frozenset({"input", "args", "arguments", "kwargs"})  # of a tool: plain data, whatever its keys are called
_CALLS: Final = frozenset({"tool_use", "tool_call", "tool_call_chunk", "function_call", "input_json_delta"})
# Bookkeeping of frameworks and providers, which no model reads.
_UNREAD: Final = frozenset({"signature", "thought_signature", "cache_control", "index", "extras", "annotations"})
# What only the provider can read, such as kept reasoning and search results: base64, so that four characters are at most a token.
_SEALED: Final = frozenset({"encrypted_content", "encrypted_index"})


@dataclass(slots=True)
class Contents:
    """What was found.

    Attributes:
        texts: what is counted as text.
        media: everything else.
        sealed_chars: characters of what only the provider can read.
    """

    texts: list[str] = field(default_factory=list)
    media: list[Media] = field(default_factory=list)
    sealed_chars: int = 0

    def read(self, content: Any, *, told_calls: bool = False) -> None:
        """Take a message's content.

        Args:
            told_calls: the message says its tool calls apart; blocks that repeat them are passed over.
        """
        if isinstance(content, str):
            if content:
                self.texts.append(content)
        elif isinstance(content, Mapping):
            self._read_block(content, told_calls)
        elif isinstance(content, list | tuple):
            for block in content:
                self.read(block, told_calls=told_calls)

    def add_json(self, value: Any) -> None:
        """Take plain data that is sent as JSON, with the media in it."""
        self.texts.append(json.dumps(self._plain(value), default=str, ensure_ascii=False))

    def _read_block(self, block: Mapping[str, Any], told_calls: bool) -> None:
        kind = block.get("type")
        if told_calls and kind in _CALLS:
            return
        if self._take_media(block):
            return
        text = block.get("text")
        if isinstance(text, str) and kind in (None, "text", "input_text", "output_text", "text_delta"):
            self.texts.append(text)
            return
        if isinstance(nested := block.get("content"), list | str):  # a tool's result
            self.read(nested)
            block = {key: value for key, value in block.items() if key != "content"}
        self.add_json(block)

    def _plain(self, value: Any) -> Any:
        if isinstance(value, Mapping):
            if self._take_media(value):
                return None
            kept = {}
            for key, inner in value.items():
                if key in _SEALED and isinstance(inner, str):
                    self.sealed_chars += len(inner)
                elif key not in _UNREAD and inner is not None:
                    kept[str(key)] = inner if key in _ARGUMENTS else self._plain(inner)
            return kept
        if isinstance(value, list | tuple):
            return [self._plain(inner) for inner in value]
        if isinstance(value, str) and value.startswith("data:") and ";base64," in value[:200]:
            self._keep(_media(None, {"url": value}))
            return None
        return value

    def _take_media(self, block: Mapping[str, Any]) -> bool:
        """Whether the block was something other than text, which then is taken."""
        kind = _kind_of(block)
        if kind is None:
            return False
        holders = list(_holders(block))
        for holder in holders:
            if holder.get("type") == "content" or (kind == "document" and isinstance(holder.get("content"), list | str)):
                self.read(holder.get("content"))  # Anthropic's document of blocks
                return True
        for key in ("filename", "title", "context"):
            if isinstance(text := block.get(key), str):
                self.texts.append(text)
        for holder in holders:
            if holder.get("type") in ("text", "text-plain") or holder.get("source_type") == "text":
                text = holder.get("text") or holder.get("data")
                if isinstance(text, str):
                    self.texts.append(text)
                    return True
        together: dict[str, Any] = {}
        for holder in reversed(holders):
            together.update(holder)
        self._keep(_media(kind, together))
        return True

    def _keep(self, media: Media) -> None:
        if media.kind == "document" and media.data is not None and any(word in media.mime for word in _TEXTUAL) and not _is_packed(media):
            self.texts.append(media.data.decode("utf-8", "replace"))
        else:
            self.media.append(media)


def decoded(value: str | bytes) -> bytes:
    """The bytes of base64, of a data URI, or of bytes that may be either themselves or base64 of them. What is neither is b""."""
    if isinstance(value, str):
        value = value.partition(";base64,")[2] if value.startswith("data:") else value
        try:
            return base64.b64decode(value.replace("-", "+").replace("_", "/") + "==")
        except (binascii.Error, ValueError):
            return b""
    try:
        return base64.b64decode(value, validate=True) or value
    except (binascii.Error, ValueError):
        return value


def _is_packed(media: Media) -> bool:
    return media.data is not None and media.data[:2] == b"PK"  # office files have "xml" in their names and are zipped


def _kind_of(block: Mapping[str, Any]) -> Kind | None:
    kind = block.get("type")
    if isinstance(kind, str):
        return _KINDS.get(kind)
    for wrapper in _WRAPPERS:
        if isinstance(inner := block.get(wrapper), Mapping) and not _MARKS.isdisjoint(inner):
            return _KINDS.get(wrapper, "document")
    return "image" if "image_url" in block else None


def _holders(block: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The block and what it wraps: the places in which its data may be said."""
    yield block
    for key in _NESTED:
        if isinstance(inner := block.get(key), Mapping):
            yield from _holders(inner)


def _media(kind: Kind | None, values: Mapping[str, Any]) -> Media:
    mime = next((value.lower() for key in _MIMES if isinstance(value := values.get(key), str)), "")
    data: bytes | None = None
    place = ""
    for key in (*_DATA, *_PLACES):
        value = values.get(key)
        if isinstance(value, bytes | bytearray) and data is None:
            data = decoded(bytes(value))
        elif isinstance(value, str) and value:
            if value.startswith("data:"):
                mime = value[5:].partition(";")[0].partition(",")[0].lower() or mime
                data = decoded(value)
            elif key in _DATA and data is None:
                data = decoded(value)
            else:
                place = place or value
    if not place and isinstance(identity := values.get("id"), str):
        place = identity
    major = mime.partition("/")[0]
    if major in ("image", "audio", "video"):
        kind = cast("Kind", major)
    elif mime == "application/pdf" or major in ("text", "application"):
        kind = "document"
    detail = next((value for key in ("detail", "media_resolution", "resolution") if isinstance(value := values.get(key), str)), None)
    rate = next((value for key in ("fps", "frames_per_second") if isinstance(value := values.get(key), int | float)), 1.0)
    kind = kind or "document"
    return Media(kind, data, mime, detail, float(rate), f"{kind} {place[:80]!r}" if place else kind)
