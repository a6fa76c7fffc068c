"""Ids of requests, which sort by age (a random one would touch another page of the unique index with every row), and of messages: those
that LangChain makes of its runs, and those of cached messages."""

from __future__ import annotations

import itertools
import os
import re
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Final

new_request_id: Callable[[], str]
"""A new id, 32 hexadecimal digits: when the process began in milliseconds (12), random (10), a count (10).

Unique among threads, processes and machines. Takes 0.2 us.
"""


def _numbered(prefix: str, numbers: itertools.count[int]) -> str:
    return f"{prefix}{next(numbers):010x}"


def _begin() -> None:
    global new_request_id  # a forked child must not repeat its parent's ids
    prefix = f"{time.time_ns() // 1_000_000:012x}{os.urandom(5).hex()}"
    new_request_id = partial(_numbered, prefix, itertools.count())


_begin()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin)


_OF_MESSAGE: Final = "llmthrift-"  # ids of cached messages
_UUID: Final = "[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
# What LangChain names a message by that its client left without an id; "run-" until langchain-core 0.3.
_OF_RUN: Final = re.compile(rf"(?:lc_)?run-{{1,2}}({_UUID})(?:-\d+)?", re.IGNORECASE)
_WITH_PART: Final = re.compile(rf"{_OF_MESSAGE}(.+?)(?:-\d+)?", re.DOTALL)


def message_id_of_hit(request_id: str, place: int) -> str:
    """The id of a cached message: each hit is an answer of its own.

    Args:
        place: of the message among the answers to one prompt.
    """
    return f"{_OF_MESSAGE}{request_id}" if not place else f"{_OF_MESSAGE}{request_id}-{place}"


def run_of_message(message_id: object) -> str | None:
    """The run that a message's id names; None for an id of the provider's or of the application's own."""
    found = _OF_RUN.fullmatch(message_id) if isinstance(message_id, str) else None
    return None if found is None else found[1].lower()


def ids_in(text: str) -> Iterator[tuple[str, bool]]:
    """The ids that a text may stand for, the surest first, each with whether it can be nothing but a request id."""
    if (run := run_of_message(text)) is not None:
        yield run, False
    elif (found := _WITH_PART.fullmatch(text)) is not None:
        yield text.removeprefix(_OF_MESSAGE), True
        yield found[1], True
    yield text, False
