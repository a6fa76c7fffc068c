"""What a review of an answer costs a call: a router without one, the facts that checks may read, and a cascade's verdict.

python -m benchmarks.checks
"""

from __future__ import annotations

import logging
from typing import Any

from langchain_core.language_models.fake_chat_models import FakeListChatModel
from langchain_core.messages import AIMessage, HumanMessage

from benchmarks.measure import compare, table
from llmthrift_core import Thrift
from llmthrift_core.calls.adapter_call import begin
from llmthrift_core.routing import Cascade, Complexity, RouteRequest
from llmthrift_langchain import ChatRouter
from llmthrift_langchain.call import RoutedCall

_ASKED = "What is the capital of Norway, and how many people live there?"
_ANSWER = (
    "Oslo is the capital of Norway. It lies at the head of a long fjord in the south east, between forests and hills. "
    "Several hundred thousand people live in the city, and twice as many in the area around it, which makes it the largest of the country. "
    "Before it took its present name it was called Christiania, after a king who had it rebuilt when a fire had destroyed most houses."
)
_LOGPROBS = {"logprobs": {"content": [{"token": "word", "logprob": -0.125} for _ in range(90)]}}
_SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}, "people": {"type": "integer"}}, "required": ["city"]}
_TOOL = {"type": "function", "function": {"name": "city", "parameters": _SCHEMA}}
_CALL = {"name": "city", "args": {"city": "Oslo", "people": 717_000}, "id": "1", "type": "tool_call"}


def _router(thrift: Thrift, policy: Any) -> ChatRouter:
    models = {name: FakeListChatModel(responses=[_ANSWER]) for name in ("weak", "strong")}
    return ChatRouter(thrift, models=models, policy=policy, cache=False)


def _begun(router: ChatRouter, **arguments: Any) -> RoutedCall:
    routed = RoutedCall(router, [HumanMessage(_ASKED)], {}, stop=None, arguments=arguments, stream=False)
    begin(routed)
    return routed


def main() -> None:
    """Print the tables."""
    logging.disable(logging.WARNING)
    thrift = Thrift(":memory:")
    plain, cascade = _router(thrift, Complexity(thresholds=(1.0,))), _router(thrift, Cascade(["weak", "strong"]))
    steps, reviewed = _begun(plain), _begun(cascade)
    with_tools = _begun(cascade, tools=[_TOOL])
    answer, told = AIMessage(_ANSWER), AIMessage(_ANSWER, response_metadata=_LOGPROBS)
    calling = AIMessage("", tool_calls=[_CALL])
    policy, tiers, request = cascade.routing, cascade.tier_names, RouteRequest(_ASKED)
    assert not any((steps.escalated(answer), reviewed.escalated(told), with_tools.escalated(calling)))
    subjects = {
        "a policy without a review": lambda _: steps.escalated(answer),
        "the facts, none of them read": lambda _: reviewed._context(answer, "weak", is_out=False),
        "a cascade's review, without facts": lambda _: policy.review(request, "weak", _ANSWER, tiers),
        "the same with facts": lambda _: reviewed.escalated(answer),
        "the same, 90 log-probabilities": lambda _: reviewed.escalated(told),
        "a tool call against its JSON schema": lambda _: with_tools.escalated(calling),
    }
    timings = compare(subjects, calls=2_000)
    rows = [[name, f"{each.p50:.1f}", f"{each.p99:.1f}"] for name, each in timings.items()]
    print(table("One answer, microseconds", ["step", "p50", "p99"], rows))
    whole = {"plain router": lambda _: plain.invoke(_ASKED), "router with a cascade, answer kept": lambda _: cascade.invoke(_ASKED)}
    rows = [[name, f"{each.p50:.0f}", f"{each.p99:.0f}"] for name, each in compare(whole, calls=300).items()]
    print(table("One call through a router, microseconds", ["router", "p50", "p99"], rows))
    for routed in (steps, reviewed, with_tools):
        routed.close()
    thrift.close()


if __name__ == "__main__":
    main()
