"""The origin of an event. LlamaIndex's events name a span; only the calling frames name the model, and the call around the call."""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from llama_index.core.base.embeddings import base as embeddings
from llama_index.core.base.llms.types import CompletionResponse
from llama_index.core.llms import LLM, callbacks
from pydantic import BaseModel

from llmthrift_core.budgets.unanswered import may_be_billed
from llmthrift_core.calls.request import Response
from llmthrift_core.errors import BudgetError
from llmthrift_core.settings import is_disabled
from llmthrift_core.usage import Usage
from llmthrift_llamaindex.identity import model_of
from llmthrift_llamaindex.messages import Asked
from llmthrift_llamaindex.response import estimate_usage

if TYPE_CHECKING:
    from llmthrift_core.calls.call import Call

_LLM: Final = callbacks.__file__
_EMBEDDING: Final = embeddings.__file__
_METHODS: Final = frozenset({"structured_predict", "astructured_predict"})
Begin = Callable[[Any, Asked, str], "Call"]


def embedding_of_event() -> tuple[Any, list[str]]:
    """The embedding model whose event is being handled, and the texts of the event; None, and no texts, if they cannot be told."""
    frame = sys._getframe(1)
    while (frame := frame.f_back) is not None:  # type: ignore[assignment]
        if frame.f_code.co_filename == _EMBEDDING:
            known = frame.f_locals
            asked = known.get("cur_batch", known.get("query", known.get("text")))
            return known.get("self"), [asked] if isinstance(asked, str) else list(asked or ())
    return None, []


def llm_of_event(open_spans: Collection[str]) -> tuple[Any, list[str]]:
    """The LLM whose event is being handled, and which of the open spans it is called inside of.

    An integration's `complete` may call its own `chat`, and a stream may begin another stream when it is first read: both show in the
    frames, whereas the active span is that of the stream's reader by then.
    """
    frame = sys._getframe(1)
    model: Any = None
    around: list[str] = []
    is_first = True
    while (frame := frame.f_back) is not None:  # type: ignore[assignment]
        if frame.f_code.co_filename != _LLM:
            continue
        if is_first:
            model, is_first = frame.f_locals.get("_self"), False
        elif isinstance(span := frame.f_locals.get("span_id"), str) and span in open_spans:
            around.append(span)
    return model, around


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
