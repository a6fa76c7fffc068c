"""A typed LangChain application: every door, its options and what it gives back."""

from __future__ import annotations

from decimal import Decimal

from langchain_core.language_models.fake_chat_models import FakeListChatModel
from langchain_core.messages import AIMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import Runnable

from llmthrift_core import Budget, BudgetExceededError, Thrift, Usage, attribute
from llmthrift_core.cache import ErrorBound, SemanticCache
from llmthrift_core.prompts import OutputLimits, Shorten
from llmthrift_langchain import ChatRouter, ThriftCache, ThriftCallbackHandler, thrifty


def main(url: str = ":memory:") -> Decimal:
    """Ask through each door, and return what was spent."""
    with Thrift(url) as thrift:
        thrift.budgets.add(Budget(limit_usd=1, window="day", per="user", on_exceed="block", unpriced="allow"))
        small, large = FakeListChatModel(responses=["Nine."]), FakeListChatModel(responses=["At nine o'clock."])
        router = ChatRouter(thrift, models={"simple": small, "complex": large}, cache=ThriftCache(thrift), on_budget="answer")
        chain: Runnable[dict[str, str], str] = ChatPromptTemplate.from_template("{question}") | router | StrOutputParser()
        model = thrifty(small, thrift, shorten=Shorten.lossless(), output=OutputLimits())
        with attribute(user="ada", feature="chat", tags={"team": "shop"}):
            try:
                said: str = chain.invoke({"question": "When do you open?"}, config={"callbacks": [ThriftCallbackHandler(thrift)]})
                answer = model.invoke("When do you close?")
            except BudgetExceededError as refused:
                print(refused.limit_usd, refused.resets_at)
                raise
        assert isinstance(answer, AIMessage)
        assert said
        cache = SemanticCache(thrift, embedder=lambda texts: [[1.0, 0.0] for _ in texts], policy=ErrorBound(0.01))
        cache.store("When do you open?", said)
        hit = cache.lookup("When do you open?")
        assert hit is not None
        request_id: str = thrift.ledger.record("gpt-4o-mini", Usage(input_tokens=1_000, output_tokens=10), user="ada")
        thrift.feedback(request_id, quality=1.0)
        spent: Decimal = thrift.report(by="user").total["cost_usd"]
        return spent


if __name__ == "__main__":
    print(main())
