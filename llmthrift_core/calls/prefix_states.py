"""`PrefixStates`: what planners of prompt caches learned, in the database: shared between processes, and there after a restart."""

from __future__ import annotations

import os
from hashlib import blake2b
from typing import TYPE_CHECKING, Final
from uuid import uuid4

from sqlalchemy import bindparam, delete, func, select, update

from llmthrift_core.storage.side_tables import prefix_states
from llmthrift_core.storage.statements import Statement

if TYPE_CHECKING:
    from llmthrift_core.host import Host
    from llmthrift_core.prompt_caching.planner import PrefixPlanner

_PROCESS: Final = "process/"
_COLUMNS: Final = ("name", "version", "state", "saved_us")
ADD_STATE: Final = Statement(
    lambda insert: (
        insert(prefix_states).values({name: bindparam(name) for name in _COLUMNS}).on_conflict_do_nothing(index_elements=["name"])
    )
)
CHANGE_STATE: Final = Statement(
    update(prefix_states)
    .values(version=bindparam("version"), state=bindparam("state"), saved_us=bindparam("saved_us"))
    .where(prefix_states.c.name == bindparam("of_name"), prefix_states.c.version == bindparam("of_version"))
)
GET_STATE: Final = Statement(
    select(prefix_states.c.version, prefix_states.c.state).where(
        prefix_states.c.name == bindparam("of_name"), prefix_states.c.version > bindparam("than_version")
    )
)
# Who sends with the same keys: a row of each process, renewed with each saving.
BE_PRESENT: Final = Statement(
    lambda insert: (
        insert(prefix_states)
        .values({name: bindparam(name) for name in _COLUMNS})
        .on_conflict_do_update(index_elements=["name"], set_={"saved_us": insert(prefix_states).excluded.saved_us})
    )
)
END_PRESENCE: Final = Statement(
    delete(prefix_states).where(prefix_states.c.name.like(f"{_PROCESS}%"), prefix_states.c.saved_us < bindparam("before_us"))
)
COUNT_PRESENT: Final = Statement(select(func.count()).select_from(prefix_states).where(prefix_states.c.name.like(f"{_PROCESS}%")))
_PRESENT_SECONDS: Final = 120
# What is kept of the newest prefixes: enough for what is sent between two savings, and small beside the ledger.
_MOST_BLOCKS: Final = 50_000
_TRIES: Final = 3


class PrefixStates:
    """The states of the planners of one door or `Thrift`.

    Args:
        host: whose database keeps them.
    """

    def __init__(self, host: Host) -> None:
        self._host = host
        self._versions: dict[str, int] = {}
        self._sent: dict[str, float] = {}
        self._identity = uuid4().hex

    def read(self, name: str, planner: PrefixPlanner) -> None:
        """Let a new planner go on from what was saved.

        Raises:
            StorageError: the database cannot be read.
            ConfigurationError: what is there cannot be read.
        """
        if (found := self._newer(name)) is not None:
            planner.load(found)
            self._sent[name] = planner.sent_tokens

    def save(self, name: str, planner: PrefixPlanner) -> None:
        """Take in what others saved since, and save what is known now.

        Raises:
            StorageError: the database cannot be written.
            ConfigurationError: what is there cannot be read.
        """
        if self._sent.get(name, 0.0) == planner.sent_tokens:
            return  # nothing was planned
        for _ in range(_TRIES):
            if (found := self._newer(name)) is not None:
                planner.merge(found)
            sent, state, now_us = planner.sent_tokens, planner.dump(most_blocks=_MOST_BLOCKS), self._host.now_us()
            version = self._versions.get(name, 0)
            with self._host.database.transaction() as transaction:
                if version:
                    given = CHANGE_STATE.in_order(version=version + 1, state=state, saved_us=now_us, of_name=name, of_version=version)
                    is_saved = transaction.execute(CHANGE_STATE, given)
                else:
                    is_saved = transaction.execute(ADD_STATE, ADD_STATE.in_order(name=name, version=1, state=state, saved_us=now_us))
            if is_saved:
                self._versions[name], self._sent[name] = version + 1, sent
                return

    def processes(self) -> int:
        """How many processes, this one among them, have told within two minutes that they send with OpenAI's keys.

        Raises:
            StorageError: the database cannot be written.
        """
        now_us, name = self._host.now_us(), f"{_PROCESS}{os.getpid()}-{self._identity}"  # a forked child has the parent's identity
        with self._host.database.transaction() as transaction:
            transaction.execute(BE_PRESENT, BE_PRESENT.in_order(name=name, version=0, state=b"", saved_us=now_us))
            transaction.execute(END_PRESENCE, (now_us - _PRESENT_SECONDS * 1_000_000,))
            row = transaction.fetch_one(COUNT_PRESENT)
        return 1 if row is None else max(1, int(row[0]))

    def _newer(self, name: str) -> bytes | None:
        """What another process has saved since this one last read or wrote."""
        row = self._host.database.fetch_one(GET_STATE, (name, self._versions.get(name, 0)))
        if row is None:
            return None
        self._versions[name] = row[0]
        return bytes(row[1])


def state_name(model: str, provider: str | None, form: str, planner: PrefixPlanner) -> str:
    """Under which name a planner's state is kept; other terms are another state."""
    terms = [(one.write, one.read, one.ttl_seconds, one.min_tokens, one.storage_per_hour) for one in planner.terms]
    return f"{provider or ''}/{model}/{form}/{blake2b(repr(terms).encode(), digest_size=6).hexdigest()}"
