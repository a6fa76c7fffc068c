"""What is sent to a model: what it consists of, how to make it shorter, and how long the answer may be.

Names are loaded on first use: patterns and word lists take some milliseconds that a program without them never spends.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmthrift_core.exports import lazy_exports

if TYPE_CHECKING:
    from llmthrift_core.prompts.anatomy import Anatomy as Anatomy
    from llmthrift_core.prompts.anatomy import analyze as analyze
    from llmthrift_core.prompts.suggestions import Suggestion as Suggestion

__all__ = ["Anatomy", "Suggestion", "analyze"]

__getattr__ = lazy_exports(
    __name__,
    {
        "llmthrift_core.prompts.anatomy": ("Anatomy", "analyze"),
        "llmthrift_core.prompts.suggestions": ("Suggestion",),
    },
)
