"""Structured predictions that emit no LLM event: OpenAIResponses and Anthropic ask their client for a parsed object.

Only the span of `structured_predict` shows them. Their usage is not passed on, so it is counted offline and marked as estimated.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from llama_index.core.base.llms.types import CompletionResponse
from llama_index.core.llms import LLM
from pydantic import BaseModel

from llmthrift_core.budgets.unanswered import may_be_billed
from llmthrift_core.calls.request import Response
from llmthrift_core.errors import BudgetError
from llmthrift_core.settings import is_disabled
from llmthrift_core.usage import Usage
from llmthrift_llamaindex.identity import model_of
from llmthrift_llamaindex.response import Asked, estimate_usage

if TYPE_CHECKING:
    from llmthrift_core.calls.call import Call

_METHODS: Final = frozenset({"structured_predict", "astructured_predict"})
Begin = Callable[[Any, Asked, str], "Call"]


@dataclass(slots=True)
class _Prediction:
    call: Call
    asked: Asked
    schema: str
    model: str


class DirectPredictions:
    """The structured predictions under way whose model has emitted no event.

    Args:
        begin: opens a call for an LLM, its messages and a span.
    """

    def __init__(self, begin: Begin) -> None:
        self._begin = begin
        self._open: dict[str, _Prediction] = {}

    def entered(self, span: str, instance: Any, bound: inspect.BoundArguments) -> None:
        """A span opens."""
        if is_disabled() or not isinstance(instance, LLM) or span.partition(".")[2].partition("-")[0] not in _METHODS:
            return
        given = bound.arguments
        messages = list(given["prompt"].format_messages(**given.get("prompt_args", {})))
        schema = json.dumps(given["output_cls"].model_json_schema())
        self._open[span] = _Prediction(self._begin(instance, messages, span), messages, schema, model_of(instance))

    def called(self, around: list[str]) -> None:
        """An LLM inside of these spans has emitted an event: it counts, and they do not."""
        for span in around if self._open else ():
            if (prediction := self._open.pop(span, None)) is not None:
                prediction.call.abandon()

    def left(self, span: str, result: Any) -> None:
        """A span closes."""
        prediction = self._open.pop(span, None)
        if prediction is None:
            return
        if isinstance(result, BaseModel):
            prediction.call.finish(Response(usage=_usage(prediction, result.model_dump_json())))
        else:
            prediction.call.abandon()

    def dropped(self, span: str, error: BaseException | None) -> None:
        """A span failed. What a provider refused, or did not answer, is a row; what failed before it was asked is none."""
        prediction = self._open.pop(span, None)
        if prediction is None:
            return
        if error is None or isinstance(error, BudgetError) or not (hasattr(error, "status_code") or may_be_billed(error)):
            prediction.call.abandon()
        else:
            prediction.call.fail(error)


def _usage(prediction: _Prediction, answer: str) -> Usage:
    from llmthrift_core.usage.tokens import count_tokens

    counted = estimate_usage(prediction.asked, CompletionResponse(text=answer), prediction.model)
    schema = count_tokens(prediction.schema, prediction.model).tokens
    return Usage(input_tokens=counted.input_tokens + schema, output_tokens=counted.output_tokens, estimated=True)
