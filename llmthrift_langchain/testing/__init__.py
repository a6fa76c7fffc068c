"""Test suites to inherit from: what LangChain's own standard tests do not have."""

from __future__ import annotations

from llmthrift_langchain.testing.decision_models import DecisionModelTests

__all__ = ["DecisionModelTests"]
