"""What is sent to a model: what it consists of, how to make it shorter, and how long the answer may be.

Names are loaded on first use: patterns and word lists take some milliseconds that a program without them never spends.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmthrift_core.exports import lazy_exports

if TYPE_CHECKING:
    from llmthrift_core.prompts import steps as steps
    from llmthrift_core.prompts.anatomy import Anatomy as Anatomy
    from llmthrift_core.prompts.anatomy import analyze as analyze
    from llmthrift_core.prompts.context import Selection as Selection
    from llmthrift_core.prompts.context import select_context as select_context
    from llmthrift_core.prompts.early_stop import EarlyStop as EarlyStop
    from llmthrift_core.prompts.modular import FittedPrompt as FittedPrompt
    from llmthrift_core.prompts.modular import ModularPrompt as ModularPrompt
    from llmthrift_core.prompts.modular import Part as Part
    from llmthrift_core.prompts.output_limits import Answered as Answered
    from llmthrift_core.prompts.output_limits import OutputLimits as OutputLimits
    from llmthrift_core.prompts.output_limits import OutputPlan as OutputPlan
    from llmthrift_core.prompts.output_limits import Retry as Retry
    from llmthrift_core.prompts.result_store import ResultStore as ResultStore
    from llmthrift_core.prompts.shorten import Shorten as Shorten
    from llmthrift_core.prompts.shorten import Shortened as Shortened
    from llmthrift_core.prompts.shorten import StepReport as StepReport
    from llmthrift_core.prompts.suggestions import Suggestion as Suggestion

__all__ = [
    "Anatomy",
    "Answered",
    "EarlyStop",
    "FittedPrompt",
    "ModularPrompt",
    "OutputLimits",
    "OutputPlan",
    "Part",
    "ResultStore",
    "Retry",
    "Selection",
    "Shorten",
    "Shortened",
    "StepReport",
    "Suggestion",
    "analyze",
    "select_context",
    "steps",
]

_load = lazy_exports(
    __name__,
    {
        "llmthrift_core.prompts.anatomy": ("Anatomy", "analyze"),
        "llmthrift_core.prompts.context": ("Selection", "select_context"),
        "llmthrift_core.prompts.early_stop": ("EarlyStop",),
        "llmthrift_core.prompts.modular": ("FittedPrompt", "ModularPrompt", "Part"),
        "llmthrift_core.prompts.output_limits": ("Answered", "OutputLimits", "OutputPlan", "Retry"),
        "llmthrift_core.prompts.result_store": ("ResultStore",),
        "llmthrift_core.prompts.shorten": ("Shorten", "Shortened", "StepReport"),
        "llmthrift_core.prompts.suggestions": ("Suggestion",),
    },
)


def __getattr__(name: str) -> object:
    if name == "steps":  # a module: `from llmthrift_core.prompts import steps` imports it, `prompts.steps` asks here
        from importlib import import_module

        return import_module("llmthrift_core.prompts.steps")
    return _load(name)
