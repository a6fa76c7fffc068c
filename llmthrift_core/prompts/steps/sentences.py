"""The sentences that the question is about."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from llmthrift_core.prompts.extract import extract
from llmthrift_core.prompts.messages import Messages
from llmthrift_core.prompts.step import Document, Remembered, Run, Step, change_documents, identity_of, was_cut
from llmthrift_core.prompts.steps.summarize import require_share


@dataclass(frozen=True, slots=True)
class Sentences(Step):
    """Keeps the sentences of documents and results that are nearest to the question they came with. Lossy.

    Sentences stay whole, but for a first one that is much too long, and at least one stays. `share` is kept on average: of a document of
    few sentences less where it is clear which of them answers, and up to twice as much where it is not. Code, JSON and tables stay. A
    mark "..." stands where sentences were, and what has one is not shortened again.

    Args:
        share: of the tokens of a message's documents.
        embedder: None is the built-in model where it is installed, False is words alone; otherwise an embeddings object of LangChain or
            LlamaIndex, or a function from texts to vectors. One that fails is counted, and words decide.

    Raises:
        ConfigurationError: a share that is not between 0 and 1.
    """

    share: float = 0.5
    embedder: Any = None
    _results: Remembered = field(default_factory=Remembered, init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        require_share(self.share)

    def apply(self, messages: Messages, run: Run) -> Messages:
        """The messages with those sentences."""
        return change_documents(messages, run, lambda document: self._kept(document, run))

    def _kept(self, document: Document, run: Run) -> str:
        text, question = document.text, document.question
        if was_cut(text):
            return text

        def make() -> str:
            return extract(text, question, self.share * run.count(text), run.count, embedder=self.embedder, failures=run.failures)

        key = (text, question, run.model or "", identity_of(self.embedder))
        return self._results.get(key, make) or text
