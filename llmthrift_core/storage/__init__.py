"""One SQL database for the ledger, the cache and everything else that must survive the process.

`Database` and `Statement` load SQLAlchemy (100-150 ms), so they are imported on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmthrift_core.exports import lazy_exports

if TYPE_CHECKING:
    from llmthrift_core.storage.backend import Transaction as Transaction
    from llmthrift_core.storage.database import Database as Database
    from llmthrift_core.storage.database import DatabaseCheck as DatabaseCheck
    from llmthrift_core.storage.statements import Statement as Statement

__all__ = ["Database", "DatabaseCheck", "Statement", "Transaction"]

__getattr__ = lazy_exports(
    __name__,
    {
        "llmthrift_core.storage.backend": ("Transaction",),
        "llmthrift_core.storage.database": ("Database", "DatabaseCheck"),
        "llmthrift_core.storage.statements": ("Statement",),
    },
)
