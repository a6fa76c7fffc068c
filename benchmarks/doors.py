"""What each door adds to a call that answers at once, as a ratio to what langfuse's LangChain handler adds in the same run.

python -m benchmarks.doors [name ...]

Processor time of the caller's thread: what the ledger's writer does meanwhile is not in it, nor what other programs take. Names choose
among the doors. Without langfuse the ratios are left out.
"""

from __future__ import annotations

import argparse
import logging
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any

from langchain_core.messages import HumanMessage, SystemMessage
from llama_index.core.base.llms.types import ChatMessage

from benchmarks.handler import InstantModel, langfuse_handler
from benchmarks.llamaindex import InstantLLM
from benchmarks.measure import compare, table
from llmthrift_core import Budget, Thrift
from llmthrift_langchain import ChatRouter, ThriftCache, ThriftCallbackHandler
from llmthrift_langchain import thrifty as thrifty_chat
from llmthrift_llamaindex import RouterLLM, ThriftEventHandler, thrifty

_TEXT = "Where is my order? " * 20
_RULES = "You are a support assistant."
_METADATA = {"user": "ada", "feature": "support"}
_LANGFUSE = "langfuse CallbackHandler"
_BASES = ("LangChain: no handler", "LlamaIndex: no handler")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="parts of the names of the doors to measure; all by default")
    parser.add_argument("--rounds", type=int, default=60)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)  # langfuse finds nobody at the address that it is given
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder, ExitStack() as stack:

        def opened(name: str, *, with_budget: bool = False) -> Thrift:
            thrift = stack.enter_context(Thrift(f"{folder}/{name}.db"))
            if with_budget:
                thrift.budgets.add(Budget(limit_usd=1_000_000, window="day"))
            return thrift

        subjects = doors(opened)
        chosen = {
            name: subject
            for name, subject in subjects.items()
            if name in (*_BASES, _LANGFUSE) or not arguments.names or any(part in name for part in arguments.names)
        }
        timings = compare(chosen, calls=20, rounds=arguments.rounds, clock=time.thread_time_ns)
    bases = {name.partition(":")[0]: timings[name].p50 for name in _BASES}
    peer = timings[_LANGFUSE].p50 - bases["LangChain"] if _LANGFUSE in timings else None
    rows = []
    for name, timing in timings.items():
        added = timing.p50 - bases["LlamaIndex" if name.startswith("LlamaIndex") else "LangChain"]
        rows.append((name, f"{timing.p50:,.1f} us", f"{added:+,.1f} us", "" if peer is None else f"{added / peer:.2f}"))
    print(table("A call that answers at once, processor time", ("door", "p50", "added", "of langfuse's"), rows))


def doors(opened: Callable[..., Thrift]) -> Mapping[str, Callable[[int], object]]:
    """The doors of both frameworks by name.

    Args:
        opened: opens a ledger of its own for a name.
    """
    model, llm = InstantModel(), InstantLLM()
    subjects = {
        _BASES[0]: _invoke(model),
        "LangChain: ThriftCallbackHandler": _invoke(model, ThriftCallbackHandler(opened("handler"))),
    }
    langfuse = langfuse_handler()
    if langfuse is not None:
        subjects[_LANGFUSE] = _invoke(model, langfuse)
    models = {"simple": model, "complex": InstantModel(model_name="gpt-4o")}
    subjects |= {
        "LangChain: thrifty, metered": _invoke(thrifty_chat(model, opened("chat"), cache=False)),
        "LangChain: thrifty, with a budget": _invoke(thrifty_chat(model, opened("chat_budget", with_budget=True), cache=False)),
        "LangChain: ChatRouter, metered": _invoke(ChatRouter(opened("router"), models=models, cache=False)),
        "LangChain: ChatRouter, a hit": _invoke(_cached_router(opened("router_hit"), models), repeats=True),
        _BASES[1]: _chat(llm),
        "LlamaIndex: ThriftEventHandler": _installed(opened("events"), _chat(llm)),
        "LlamaIndex: thrifty, metered": _chat(thrifty(llm, opened("llm"), cache=False)),
        "LlamaIndex: thrifty, with a budget": _chat(thrifty(llm, opened("llm_budget", with_budget=True), cache=False)),
        "LlamaIndex: thrifty, a hit": _chat(thrifty(llm, opened("llm_hit")), repeats=True),
        "LlamaIndex: RouterLLM, metered": _chat(RouterLLM(opened("router_llm"), models={"a": llm, "b": llm}, cache=False)),
    }
    return subjects


def _cached_router(thrift: Thrift, models: Mapping[str, InstantModel]) -> ChatRouter:
    return ChatRouter(thrift, models=models, cache=ThriftCache(thrift))


def _invoke(model: Any, *handlers: object, repeats: bool = False) -> Callable[[int], object]:
    def call(number: int) -> object:
        messages = [SystemMessage(_RULES), HumanMessage(_TEXT if repeats else f"{_TEXT}{number}")]
        return model.invoke(messages, {"callbacks": list(handlers), "metadata": _METADATA})

    return call


def _chat(llm: Any, *, repeats: bool = False) -> Callable[[int], object]:
    def call(number: int) -> object:
        return llm.chat([ChatMessage(_RULES, role="system"), ChatMessage(_TEXT if repeats else f"{_TEXT}{number}")])

    return call


def _installed(thrift: Thrift, call: Callable[[int], object]) -> Callable[[int], object]:
    """A call while a handler is installed, which costs what installing costs besides: some 2 us."""
    handler = ThriftEventHandler(thrift)

    def metered(number: int) -> object:
        with handler:
            return call(number)

    return metered


if __name__ == "__main__":
    main()
