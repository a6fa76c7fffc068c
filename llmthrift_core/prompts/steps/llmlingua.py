"""Documents compressed by LLMLingua, where it is installed."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from llmthrift_core.errors import ConfigurationError, MissingExtraError
from llmthrift_core.prompts.messages import Messages
from llmthrift_core.prompts.protected import change_prose
from llmthrift_core.prompts.step import Document, Remembered, Run, Step, change_documents
from llmthrift_core.prompts.steps.summarize import require_share

COMPRESSED: Final = "[Compressed] "
_MODEL: Final = "microsoft/llmlingua-2-xlm-roberta-large-meetingbank"
_LEAST_CHARS: Final = 80  # between what is protected: less has nothing to spare
_FORCED: Final = ("\n", ".", "!", "?", ",")


@dataclass(frozen=True, slots=True)
class LLMLingua(Step):
    """Drops the tokens that a small model finds dispensable, in documents and results (Pan et al., "LLMLingua-2", 2024). Lossy.

    Code, JSON, quotations, URLs, numbers and identifiers are not given to it.

    Args:
        share: of the tokens to keep; LLMLingua calls it the rate.
        compressor: a `llmlingua.PromptCompressor`, or what has its `compress_prompt`. None: one is made of `model_name` on first use, which
            loads its weights from where Hugging Face's libraries find them.
        model_name: the weights.

    Raises:
        ConfigurationError: a share that is not between 0 and 1, or a compressor without `compress_prompt`.
        MissingExtraError: no compressor is given, and llmlingua is not installed.
    """

    share: float = 0.5
    compressor: Any = None
    model_name: str = _MODEL
    _made: list[Any] = field(default_factory=list, init=False, compare=False, repr=False)
    _results: Remembered = field(default_factory=Remembered, init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        require_share(self.share)
        if self.compressor is not None and not callable(getattr(self.compressor, "compress_prompt", None)):
            raise ConfigurationError(f"compressor must have compress_prompt, as llmlingua.PromptCompressor does, not {self.compressor!r}")
        if self.compressor is None:
            from importlib.util import find_spec

            if find_spec("llmlingua") is None:
                raise MissingExtraError("llmlingua", "llmlingua")

    def apply(self, messages: Messages, run: Run) -> Messages:
        """The messages with compressed documents."""
        return change_documents(messages, run, lambda document: self._compressed(document, run))

    def _compressed(self, document: Document, run: Run) -> str:
        if document.text.startswith(COMPRESSED):
            return document.text

        def compress() -> str | None:
            try:
                return change_prose(document.text, lambda prose: self._of_prose(prose, document.question))
            except Exception:  # a model of the application's: whatever it raises, the call goes on with the whole text
                return None

        found = self._results.get((document.text, document.question), compress)
        if found is None:
            run.failures["llmlingua"] += 1
            return document.text
        marked = COMPRESSED + found.lstrip()
        return marked if run.count(marked) < run.count(document.text) else document.text

    def _of_prose(self, prose: str, question: str) -> str:
        if len(prose) < _LEAST_CHARS:
            return prose
        compress = self._compressor().compress_prompt
        # The arguments of LLMLingua 0.2: what each of its two methods has no use for, it ignores.
        options = {
            "question": question,
            "rate": self.share,
            "force_tokens": list(_FORCED),
            "force_reserve_digit": True,
            "concate_question": False,
        }
        found = compress([prose], **_taken(compress, options))["compressed_prompt"]
        if not isinstance(found, str) or not found.strip():
            return prose
        space = prose[: len(prose) - len(prose.lstrip())], prose[len(prose.rstrip()) :]
        return f"{space[0]}{found.strip()}{space[1]}"

    def _compressor(self) -> Any:
        if self.compressor is not None:
            return self.compressor
        if not self._made:
            from llmlingua import PromptCompressor

            self._made.append(PromptCompressor(model_name=self.model_name, use_llmlingua2="llmlingua-2" in self.model_name))
        return self._made[0]


def _taken(function: Callable[..., Any], options: dict[str, Any]) -> dict[str, Any]:
    """The options that a function takes: LLMLingua's first release has fewer."""
    parameters = inspect.signature(function).parameters
    if any(each.kind is inspect.Parameter.VAR_KEYWORD for each in parameters.values()):
        return options
    return {name: value for name, value in options.items() if name in parameters}
