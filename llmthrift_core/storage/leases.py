"""`Lease`: a piece of work that one process is enough for."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from datetime import datetime
from types import TracebackType
from typing import TYPE_CHECKING, Final
from uuid import uuid4

from sqlalchemy import bindparam, delete, select, update

from llmthrift_core.display import cell
from llmthrift_core.moments import from_us
from llmthrift_core.storage.statements import Statement
from llmthrift_core.storage.tables import leases

if TYPE_CHECKING:
    from llmthrift_core.storage.database import Database

TAKE_LEASE: Final = Statement(
    lambda insert: (
        insert(leases)
        .values({name: bindparam(name) for name in ("name", "holder", "expires_us")})
        .on_conflict_do_update(
            index_elements=["name"],
            set_={name: insert(leases).excluded[name] for name in ("holder", "expires_us")},
            where=leases.c.expires_us <= bindparam("now_us"),
        )
    )
)
END_LEASE: Final = Statement(delete(leases).where(leases.c.name == bindparam("of_name"), leases.c.holder == bindparam("of_holder")))
GET_HOLDER: Final = Statement(select(leases.c.holder, leases.c.expires_us).where(leases.c.name == bindparam("of_name")))
GET_LEASE: Final = Statement(select(leases.c.expires_us).where(leases.c.name == bindparam("of_name")))
RENEW_LEASE: Final = Statement(
    update(leases)
    .values(expires_us=bindparam("expires_us"))
    .where(leases.c.name == bindparam("of_name"), leases.c.holder == bindparam("of_holder"))
)
# The rest of holders that died: where nobody asks for the same again, their rows would stay.
END_OLD_LEASES: Final = Statement(delete(leases).where(leases.c.expires_us <= bindparam("now_us")))


def _who() -> str:
    return f"process {os.getpid()} on {cell(socket.gethostname())}"


class Lease:
    """Keeps other processes from work that is under way: `with Lease(...) as is_ours`. It saves work, and guards nothing.

    A holder that dies, and one whose work raises, keeps others out until the lease expires. A holder that takes longer, or whose clock is
    wrong, may meet another one: what the work writes must be right even then.

    Args:
        name: of the work.
        seconds: until it expires, if it is not ended.

    Raises:
        StorageError: the database cannot be written.
    """

    def __init__(self, database: Database, name: str, *, seconds: float, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._name = name
        self._seconds = seconds
        self._clock = clock
        self._holder = f"{_who()} {uuid4().hex}"

    def __enter__(self) -> bool:
        now = self._clock()
        given = (self._name, self._holder, int((now + self._seconds) * 1e6), int(now * 1e6))
        with self._database.transaction() as transaction:
            return bool(transaction.execute(TAKE_LEASE, given))

    def held_by(self) -> tuple[str, datetime, datetime] | None:
        """Who has it, a process and its machine, since when, and until when it keeps others out at most; None: nobody any more.

        Raises:
            StorageError: the database cannot be read.
        """
        rows = self._database.fetch_all(GET_HOLDER, (self._name,))
        if not rows or rows[0][1] <= self._clock() * 1e6:
            return None
        holder, expires_us = rows[0]
        return holder.rpartition(" ")[0] or "an unknown process", from_us(expires_us - round(self._seconds * 1e6)), from_us(expires_us)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if error is not None:
            return
        with self._database.transaction() as transaction:
            transaction.execute(END_LEASE, (self._name, self._holder))
