"""The steps of `Shorten`: lossless ones first, then those that lose something."""

from __future__ import annotations

from llmthrift_core.prompts.result_store import ResultStore
from llmthrift_core.prompts.step import Step
from llmthrift_core.prompts.steps.compact import Compact
from llmthrift_core.prompts.steps.concise import Concise
from llmthrift_core.prompts.steps.documents import Documents
from llmthrift_core.prompts.steps.duplicates import Duplicates
from llmthrift_core.prompts.steps.examples import Examples
from llmthrift_core.prompts.steps.history import History
from llmthrift_core.prompts.steps.llmlingua import LLMLingua
from llmthrift_core.prompts.steps.phrases import Phrases
from llmthrift_core.prompts.steps.sentences import Sentences
from llmthrift_core.prompts.steps.stop_words import StopWords
from llmthrift_core.prompts.steps.summarize import Summarize
from llmthrift_core.prompts.steps.truncate import Truncate
from llmthrift_core.prompts.steps.whitespace import Whitespace

__all__ = [
    "Compact",
    "Concise",
    "Documents",
    "Duplicates",
    "Examples",
    "History",
    "LLMLingua",
    "Phrases",
    "ResultStore",
    "Sentences",
    "Step",
    "StopWords",
    "Summarize",
    "Truncate",
    "Whitespace",
]
