"""Who may store answers that others are served."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from llmthrift_core.attribution import Attribution
from llmthrift_core.errors import ConfigurationError

TrustedWriters = Collection[str] | Callable[[Attribution], bool]


class Writers:
    """Whose answers are shared. Those of everybody else answer their own questions only, and teach the policy nothing.

    Args:
        trusted: names of users, or a function that says of an attribution whether it is trusted; None trusts everybody.

    Raises:
        ConfigurationError: neither.
    """

    def __init__(self, trusted: Any) -> None:
        if trusted is None or callable(trusted):
            self._names, self._says = None, trusted
            return
        if isinstance(trusted, str) or not isinstance(trusted, Collection) or not all(isinstance(name, str) for name in trusted):
            raise ConfigurationError(
                f"trusted_writers must be names of users, such as ['curator'], or a function of an attribution, not {trusted!r}"
            )
        self._names, self._says = frozenset(trusted), None

    def trusts(self, who: Attribution) -> bool:
        """Whether others may be served what this one stores. Raises whatever the given function raises."""
        if self._says is not None:
            return bool(self._says(who))
        return self._names is None or who.user in self._names
