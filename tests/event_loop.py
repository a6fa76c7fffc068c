"""Finding what blocks an event loop: files, databases, sockets and sleep, where the code that is nearest to them is ours."""

from __future__ import annotations

import inspect
import socket
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import blockbuster
import pytest

import llmthrift_core
import llmthrift_langchain
import llmthrift_llamaindex

_PACKAGES = (llmthrift_core, llmthrift_langchain, llmthrift_llamaindex)
_OURS = tuple(str(Path(str(package.__file__)).parent) for package in _PACKAGES)
# What a call of ours may drive on the loop: its own blocking is not ours.
_DRIVEN = ("langchain", "langchain_core", "langgraph", "llama_index", "llama_index_instrumentation", "openai", "anthropic", "httpx")
_TESTS = str(Path(__file__).parent)


@contextmanager
def nothing_blocks(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Fail where code of ours blocks a running event loop, also if the error that stops it there is swallowed.

    A synchronous method that a test calls is the test's own affair.
    """
    found: list[str] = []

    class Noted(blockbuster.BlockingError):
        def __init__(self, function: str) -> None:
            super().__init__(function)
            frames = [each for each in traceback.extract_stack() if each.filename.startswith(_OURS)]
            found.append(f"{function} in " + " < ".join(f"{Path(each.filename).name}:{each.lineno} {each.name}" for each in frames[::-1]))

    monkeypatch.setattr("blockbuster.blockbuster.BlockingError", Noted)
    guard = _guard(socket.socket)
    guard.activate()
    try:
        yield
    finally:
        guard.deactivate()
    assert not found, "\n".join(found)


@lru_cache(maxsize=2)
def _guard(_sockets: type[socket.socket]) -> blockbuster.BlockBuster:
    """What is watched, for the class of sockets that a test has: those that may open none have another."""
    guard = blockbuster.BlockBuster(_PACKAGES, excluded_modules=["llmthrift_core.testing"])
    for function in guard.functions.values():
        function.can_block_predicate = _or_is_driven(function.can_block_predicate)
    return guard


def _or_is_driven(may_block: Callable[..., bool]) -> Callable[..., bool]:
    return lambda *args, **options: may_block(*args, **options) or not _is_ours()


def _is_ours() -> bool:
    """Whether the frames that are nearest, of those whose packages matter here, are ours; not while something is imported."""
    frame: Any = sys._getframe(2)
    outermost: Any = None
    while frame is not None:
        name = frame.f_code.co_filename.replace("\\", "/")
        if name.startswith(_OURS):
            outermost = frame
        elif name.startswith("<frozen importlib") and outermost is None:
            return False
        elif name.startswith(_TESTS):
            return outermost is not None and bool(outermost.f_code.co_flags & (inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR))
        elif name.partition("/site-packages/")[2].partition("/")[0] in _DRIVEN:
            break
        frame = frame.f_back
    return outermost is not None
