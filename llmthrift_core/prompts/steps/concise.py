"""An instruction to answer briefly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final

from llmthrift_core.prompts.messages import SYSTEM, Messages, role_of, texts_of
from llmthrift_core.prompts.step import Run, Step

_CONCISE: Final = "Be concise: think only as far as the answer needs, and answer without preamble or repetition."


@dataclass(frozen=True, slots=True)
class Concise(Step):
    """Asks for concise reasoning and a short answer, at the end of the first system message. It adds tokens, to save dearer ones.

    Args:
        instruction: the words.
    """

    lengthens: ClassVar[bool] = True  # type: ignore[misc]
    instruction: str = _CONCISE

    def apply(self, messages: Messages, run: Run) -> Messages:
        """The messages with the instruction, once."""
        if not messages or any(self.instruction in text for message in messages for text in texts_of(message)):
            return messages
        if run.alone:
            text = messages[0]["content"]
            return [{**messages[0], "content": f"{self.instruction}\n\n{text.lstrip()}".rstrip()}]
        for place, message in enumerate(messages):
            if role_of(message) in SYSTEM and isinstance(content := message.get("content"), str | list):
                part = {"type": "text", "text": self.instruction}
                longer = f"{content.rstrip()}\n\n{self.instruction}" if isinstance(content, str) else [*content, part]
                return [*messages[:place], {**message, "content": longer}, *messages[place + 1 :]]
        return [{"role": "system", "content": self.instruction}, *messages]
