"""`Host`: the whole, as far as its parts need it. `Thrift` is one; nothing below it knows more of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    from llmthrift_core.pricing import PriceCatalog
    from llmthrift_core.storage.database import Database
    from llmthrift_core.storage.valkey import ValkeyServer


class Host(Protocol):
    """The database, the prices and the clock that a part works with, and the place for its failures.

    Attributes:
        capture: what of a prompt is stored; as for `Thrift`.
    """

    capture: Literal["off", "features", "text"]

    @property
    def database(self) -> Database: ...

    @property
    def valkey(self) -> ValkeyServer | None: ...

    @property
    def prices(self) -> PriceCatalog: ...

    def now(self) -> float:
        """Now, in seconds since the epoch."""

    def now_us(self) -> int:
        """Now, in microseconds since the epoch."""

    def note_failure(self, where: str, error: BaseException, private: Sequence[str] | None = None) -> None:
        """Count and log a failure that must not reach the application. `private` is told to nobody: what was asked."""

    def flush(self) -> bool:
        """Commit everything recorded so far. False if that was not possible."""

    def attach(self, part: Any) -> None:
        """Look after a part: its health is reported with the whole's, and it is closed with it."""
