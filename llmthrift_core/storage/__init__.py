"""One SQL database for the ledger, the cache and everything else that must survive the process.

`Database` and `Statement` load SQLAlchemy (100-150 ms), so they are imported on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from llmthrift_core.storage.backend import Transaction as Transaction
    from llmthrift_core.storage.database import Database as Database
    from llmthrift_core.storage.database import DatabaseCheck as DatabaseCheck
    from llmthrift_core.storage.statements import Statement as Statement

__all__ = ["Database", "DatabaseCheck", "Statement", "Transaction"]


def __getattr__(name: str) -> Any:
    if name in ("Database", "DatabaseCheck"):
        from llmthrift_core.storage import database

        return getattr(database, name)
    if name == "Statement":
        from llmthrift_core.storage.statements import Statement

        return Statement
    if name == "Transaction":
        from llmthrift_core.storage.backend import Transaction

        return Transaction
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
