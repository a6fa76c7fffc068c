"""A typed LlamaIndex application: every door, its options and what it gives back."""

from __future__ import annotations

from llama_index.core.llms import LLM, MockLLM

from llmthrift_core import Budget, Thrift, attribute
from llmthrift_llamaindex import RouterLLM, ThriftEventHandler, TokenBudgetPostprocessor, thrifty


def main(url: str = ":memory:") -> int:
    """Ask through each door, and return how many calls were recorded."""
    with Thrift(url) as thrift:
        thrift.budgets.add(Budget(limit_tokens=100_000, window="day", per="feature", on_exceed="block"))
        llm: LLM = thrifty(MockLLM(max_tokens=3), thrift)
        router = RouterLLM(thrift, models={"simple": MockLLM(max_tokens=3), "complex": MockLLM(max_tokens=9)})
        with attribute(feature="search"), ThriftEventHandler(thrift):
            said: str = llm.complete("When do you open?").text
            routed: str = router.complete("What is the capital of France?").text
        assert said
        assert routed
        TokenBudgetPostprocessor(max_tokens=2_000)
        return len(list(thrift.ledger.calls()))


if __name__ == "__main__":
    print(main())
