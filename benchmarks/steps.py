"""The way of one call through the code: the files that it enters, and its moves from one file to another.

python -m benchmarks.steps [--list]

Counted in the caller's thread, after a warm-up, for product files alone. A move is a call from one file into another; returns are not
counted.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from langchain_core.messages import HumanMessage, SystemMessage
from llama_index.core.llms import MockLLM

from benchmarks.handler import InstantModel
from benchmarks.measure import table
from llmthrift_core import Thrift
from llmthrift_langchain import ChatRouter, ThriftCache, ThriftCallbackHandler, thrifty
from llmthrift_llamaindex import RouterLLM
from llmthrift_llamaindex import thrifty as thrifty_llm

_ROOT = Path(__file__).parents[1]
_PACKAGES = tuple(f"{_ROOT / name}{os.sep}" for name in ("llmthrift_core", "llmthrift_langchain", "llmthrift_llamaindex"))


@dataclass
class Walk:
    """What one call went through. `entered`: file -> how often it was entered from another one."""

    entered: dict[str, int] = field(default_factory=dict)

    @property
    def files(self) -> int:
        return len(self.entered)

    @property
    def moves(self) -> int:
        return sum(self.entered.values())


def walk(call: Callable[[], object]) -> Walk:
    """Follow one call."""
    found = Walk()
    places: list[str | None] = [None]

    def see(frame: FrameType, event: str, _: object) -> None:
        if event == "call":
            name = frame.f_code.co_filename
            last = next((each for each in reversed(places) if each is not None), None)
            place = name if name.startswith(_PACKAGES) else None
            places.append(place)
            if place is not None and place != last:
                found.entered[place] = found.entered.get(place, 0) + 1
        elif event == "return" and len(places) > 1:
            places.pop()

    sys.setprofile(see)
    try:
        call()
    finally:
        sys.setprofile(None)
    return found


def main() -> None:
    """Count and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--list", action="store_true", help="name the files of the router's miss, most entered first")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder, Thrift(f"{folder}/ledger.db") as thrift:
        cache = ThriftCache(thrift)
        router = ChatRouter(thrift, models={"simple": InstantModel(), "complex": InstantModel(model_name="gpt-4o")}, cache=cache)
        chat, llm = thrifty(InstantModel(), thrift), thrifty_llm(MockLLM(), thrift)
        router_llm = RouterLLM(thrift, models={"simple": MockLLM(), "complex": MockLLM(max_tokens=500)})
        handler = ThriftCallbackHandler(thrift)
        numbers = iter(range(10**9))

        def messages(number: int) -> list[SystemMessage | HumanMessage]:
            return [SystemMessage("You answer about orders."), HumanMessage(f"What does the invoice {number} say?")]

        def text(number: int) -> str:
            return f"What does the invoice {number} say?"

        calls: dict[str, Callable[[int], object]] = {
            "ChatRouter.invoke": lambda number: router.invoke(messages(number)),
            "thrifty, LangChain": lambda number: chat.invoke(messages(number)),
            "RouterLLM.complete": lambda number: router_llm.complete(text(number)),
            "thrifty, LlamaIndex": lambda number: llm.complete(text(number)),
        }
        rows = []
        for name, call in calls.items():
            for number in range(-20, 0):
                call(number)
                call(number)
            number = next(numbers)
            miss, hit = walk(lambda: call(number)), walk(lambda: call(number))  # noqa: B023
            rows.append((name, str(hit.files), str(hit.moves), str(miss.files), str(miss.moves)))
            if arguments.list and name == "ChatRouter.invoke":
                for title, found in (("hit", hit), ("miss", miss)):
                    print(f"{name}, {title}")
                    for place, count in sorted(found.entered.items(), key=lambda item: -item[1]):
                        print(f"{count:5} {Path(place).relative_to(_ROOT)}")
        bare = InstantModel()
        bare.invoke(messages(-1), {"callbacks": [handler]})
        metered = walk(lambda: bare.invoke(messages(0), {"callbacks": [handler]}))
        rows.append(("ThriftCallbackHandler", "-", "-", str(metered.files), str(metered.moves)))
        print(table("Files entered by a warm call, and moves between them", ("", "hit: files", "moves", "miss: files", "moves"), rows))


if __name__ == "__main__":
    main()
