"""Judged calls in a ledger, as an application leaves them."""

from __future__ import annotations

from collections.abc import Iterable

from llmthrift_core import Thrift, Usage, attribute
from llmthrift_core.attribution import current_attribution
from llmthrift_core.calls.request import PromptFeatures, Request, Response
from llmthrift_core.routing import Example

WEAK, STRONG = "gpt-4o-mini", "gpt-4o"
MODELS = {"weak": WEAK, "strong": STRONG}


def answer(thrift: Thrift, quality: float, *, model: str = STRONG, **attribution: str) -> str:
    """One answer with what was said about it."""
    request_id = thrift.ledger.record(model, Usage(input_tokens=10, output_tokens=5), **attribution)
    thrift.ledger.feedback(request_id, quality=quality)  # its id is known: to look for the call of an answer would flush each
    return request_id


def textless(thrift: Thrift, examples: Iterable[Example]) -> None:
    """Answers of which the counts of the question are stored, as with capture="features"."""
    for each in examples:
        with attribute(call_site=each.call_site):
            prompt = PromptFeatures.of([("human", each.prompt)], "features")
            call = thrift.begin(Request(MODELS[each.model], attribution=current_attribution(), prompt=prompt))
            call.finish(Response(usage=Usage(input_tokens=10, output_tokens=5)))
        thrift.feedback(call.call_id, quality=each.quality)
    assert thrift.flush()


def learnable(thrift: Thrift, examples: Iterable[Example]) -> int:
    """Answers whose text is stored. Returns how many."""
    count = 0
    for count, each in enumerate(examples, start=1):  # noqa: B007
        request_id = answer(thrift, each.quality, model=MODELS[each.model], **({"call_site": each.call_site} if each.call_site else {}))
        thrift.ledger.capture(request_id, thrift.now_us(), None, f"human: {each.prompt}", "It is done.")
    assert thrift.flush()
    return count
