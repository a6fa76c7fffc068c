"""What the semantic cache needs of a `Thrift`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from llmthrift_core.usage import Usage

if TYPE_CHECKING:
    from llmthrift_core.storage.database import Database
    from llmthrift_core.storage.valkey import ValkeyServer


class Priced(Protocol):
    """What a price says of a call."""

    @property
    def nano_usd(self) -> int: ...


class Prices(Protocol):
    """What the cache needs of a price catalog."""

    def price(self, usage: Usage, model: str, provider: str | None, at_us: int) -> Priced | None: ...


class Home(Protocol):
    """What the cache needs of a `Thrift`."""

    @property
    def database(self) -> Database: ...

    @property
    def valkey(self) -> ValkeyServer | None: ...

    @property
    def prices(self) -> Prices: ...

    def now_us(self) -> int: ...

    def attach(self, part: Any) -> None: ...
