"""A record of what was told already, in the database: of all processes that see a thing, one tells it, once per window."""

from __future__ import annotations

import hashlib
from typing import Final

from sqlalchemy import bindparam, delete

from llmthrift_core.alerts.alert import Notice
from llmthrift_core.moments import DAY_US
from llmthrift_core.storage.database import Database
from llmthrift_core.storage.statements import Statement
from llmthrift_core.storage.tables import told_alerts

_KEPT_US: Final = 400 * DAY_US
CLAIM: Final = Statement(
    lambda insert: (
        insert(told_alerts)
        .values({name: bindparam(name) for name in ("key", "kind", "at_us")})
        .on_conflict_do_nothing(index_elements=["key"])
    )
)
FORGET: Final = Statement(delete(told_alerts).where(told_alerts.c.at_us < bindparam("before_us")))


def claim(database: Database, notice: Notice, *, now_us: int) -> bool:
    """Whether nobody has told this in its window. From then on somebody has.

    Raises:
        StorageError: the database cannot be written.
    """
    with database.transaction() as transaction:
        is_first = bool(transaction.execute(CLAIM, (key_of(notice), notice.on, now_us)))
        if is_first:
            transaction.execute(FORGET, (now_us - _KEPT_US,))
        return is_first


def key_of(notice: Notice) -> bytes:
    """A hash: names of users and features in the table would have to be erased with them."""
    scope = sorted((name, str(value)) for name, value in notice.scope.items())
    return hashlib.sha256(repr((notice.alert, notice.on, scope, notice.window)).encode()).digest()
