"""Usage of a model call, and how an answer tells it."""

from llmthrift_core.usage.usage import UNIT_OF_FIELD, Usage, counts_of, uncached_counts_of

__all__ = ["UNIT_OF_FIELD", "Usage", "counts_of", "uncached_counts_of"]
