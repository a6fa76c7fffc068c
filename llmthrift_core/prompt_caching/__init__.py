"""The provider's prompt cache, planned as money: its terms by model, which prefix of a request to write, and why one was missed."""

from llmthrift_core.prompt_caching.misses import Miss, SentPrompt, explain_miss
from llmthrift_core.prompt_caching.plan import Plan
from llmthrift_core.prompt_caching.planner import PrefixPlanner
from llmthrift_core.prompt_caching.terms import CacheTerms, choices_of, known_terms, terms_of

__all__ = ["CacheTerms", "Miss", "Plan", "PrefixPlanner", "SentPrompt", "choices_of", "explain_miss", "known_terms", "terms_of"]
