"""Request ids that sort by age: a random one would touch another page of the unique index with every row."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable
from functools import partial

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
