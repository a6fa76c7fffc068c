"""The provider's prompt cache, planned as money: its terms by model, and which prefix of a request to write."""

from llmthrift_core.prompt_caching.terms import CacheTerms, choices_of, known_terms, terms_of

__all__ = ["CacheTerms", "choices_of", "known_terms", "terms_of"]
