"""What a callback handler adds to a call: llmthrift's beside langchain-core's UsageMetadataCallbackHandler and langfuse's.

python -m benchmarks.handler
"""

from __future__ import annotations

import logging
import os
import tempfile
import warnings
from collections.abc import Callable
from typing import Any

from langchain_core.callbacks import BaseCallbackHandler, CallbackManagerForLLMRun, UsageMetadataCallbackHandler
from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage
from langchain_core.outputs import ChatGeneration, ChatResult

from benchmarks.measure import compare, table
from llmthrift_core import Thrift
from llmthrift_langchain import ThriftCallbackHandler


class InstantModel(BaseChatModel):
    """Answers at once, with the metadata of a real model."""

    model_name: str = "gpt-4o-mini"

    @property
    def _llm_type(self) -> str:
        return "instant"

    def _generate(
        self, messages: list[BaseMessage], stop: list[str] | None = None, run_manager: CallbackManagerForLLMRun | None = None, **_: Any
    ) -> ChatResult:
        message = AIMessage(
            "Your order has shipped.",
            response_metadata={"model_name": "gpt-4o-mini-2024-07-18", "model_provider": "openai", "finish_reason": "stop"},
            usage_metadata={"input_tokens": 300, "output_tokens": 90, "total_tokens": 390},
        )
        return ChatResult(generations=[ChatGeneration(message=message)])


class Empty(BaseCallbackHandler):
    """Does nothing: what LangChain itself spends on a handler."""

    run_inline = True


def main() -> None:
    """Measure and print."""
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)  # langfuse finds nobody at the address that it is given
    model = InstantModel()
    prompt = [SystemMessage("You are a support assistant."), HumanMessage("Where is my order? " * 20)]
    metadata = {"user": "ada", "feature": "support"}

    def calling(handlers: list[BaseCallbackHandler]) -> Callable[[int], object]:
        return lambda _: model.invoke(prompt, {"callbacks": handlers, "metadata": metadata})

    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder, Thrift(f"{folder}/ledger.db") as thrift:
        subjects = {
            "no handler": calling([]),
            "an empty handler": calling([Empty()]),
            "UsageMetadataCallbackHandler": calling([UsageMetadataCallbackHandler()]),
            "ThriftCallbackHandler": calling([ThriftCallbackHandler(thrift)]),
        }
        langfuse = langfuse_handler()
        if langfuse is not None:
            subjects["langfuse CallbackHandler"] = calling([langfuse])
        timings = compare(subjects, calls=400, rounds=7)
    base = timings["no handler"].p50
    rows = [(name, f"{t.p50:,.1f} us", f"{t.p50 - base:+,.1f} us", f"{t.p99:,.1f} us") for name, t in timings.items()]
    print(table("A model call that answers at once, with a handler", ("", "p50", "added", "p99"), rows))


def langfuse_handler() -> BaseCallbackHandler | None:
    """langfuse's handler, sending nothing anywhere; None where it is not installed."""
    os.environ.update(LANGFUSE_PUBLIC_KEY="pk", LANGFUSE_SECRET_KEY="sk", LANGFUSE_HOST="http://127.0.0.1:9", LANGFUSE_SAMPLE_RATE="1")
    try:
        from langfuse import Langfuse
        from langfuse.langchain import CallbackHandler

        Langfuse(public_key="pk", secret_key="sk", host="http://127.0.0.1:9")
        handler: BaseCallbackHandler = CallbackHandler()
        return handler
    except Exception as error:
        print(f"langfuse is not measured: {type(error).__name__}: {error}")
        return None


if __name__ == "__main__":
    main()
