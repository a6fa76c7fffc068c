"""What a forked child must make anew: locks that another thread of the parent may have held, and threads, which do not run in it."""

from __future__ import annotations

import os
import weakref
from typing import Protocol


class Forked(Protocol):
    """Something that lives on in a forked child."""

    def after_fork(self) -> None:
        """Called in the child, before anything else of this process runs."""
        ...


_owners: weakref.WeakSet[Forked] = weakref.WeakSet()


def renew_after_fork(owner: Forked) -> None:
    """Call `owner.after_fork()` in every child that is forked while the owner lives."""
    _owners.add(owner)


def _after_fork_in_child() -> None:
    for owner in list(_owners):
        owner.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
