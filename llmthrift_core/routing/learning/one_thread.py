"""Linear algebra on one thread."""

from __future__ import annotations

from contextlib import AbstractContextManager

from llmthrift_core.errors import MissingExtraError


def one_thread() -> AbstractContextManager[object]:
    """Within this, the linear algebra libraries use one thread: a refit in the background leaves the other cores to the application, and
    matrices of this size gain little from a second one and lose much where it is busy.

    Raises:
        MissingExtraError: threadpoolctl, which scikit-learn brings, is not installed.
    """
    try:
        from threadpoolctl import threadpool_limits
    except ImportError:
        raise MissingExtraError("routing", "scikit-learn") from None
    limits: AbstractContextManager[object] = threadpool_limits(1)
    return limits
