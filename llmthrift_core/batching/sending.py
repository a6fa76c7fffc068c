"""Submitting the parts of a job, so that a process may die at any moment and nothing is submitted twice.

1. The part is claimed in the database: from now on it may have been submitted.
2. The provider takes it, with a mark that tells whose it is.
3. The provider's id is written down.

Whoever finds a claim whose holder is gone looks for the mark at the provider first.
"""

from __future__ import annotations

import json
import logging
import os
import re
import socket
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

from llmthrift_core.batching.remote import Remote, RemoteBatch, is_refusal, refused, wire_id
from llmthrift_core.errors import BatchError, ConfigurationError

if TYPE_CHECKING:
    from llmthrift_core.attachments import AccountHost
    from llmthrift_core.batching.store import BatchStore

logger = logging.getLogger("llmthrift")

# A claim of a process that cannot be asked whether it lives, on another machine: longer than a submission may take.
_STALE_SECONDS: Final = 1_800.0
_AGAIN_AFTER_SECONDS: Final = (0.2, 1.0)
_DAY_SECONDS: Final = 86_400.0
_CLAIMANT: Final = re.compile(r"(?P<host>.+):(?P<pid>\d+):[0-9a-f]+")


class Sender:
    """Submits parts. One for each `Batches`; safe to share between threads."""

    def __init__(self, thrift: AccountHost, store: BatchStore) -> None:
        self._thrift = thrift
        self._store = store
        self._secret = uuid4().hex[:8]

    @property
    def claimant(self) -> str:
        """This process, as others can find out whether it lives."""
        return f"{socket.gethostname()}:{os.getpid()}:{self._secret}"

    def send(self, job: Mapping[str, Any], remote: Remote, client: Any) -> None:
        """Submit what was not submitted yet, as far as nobody else does so now.

        Raises:
            BatchError: the provider refuses a part, or does not say whether it took it.
        """
        for part in self._store.parts(job["id"]):
            if part["state"] in ("new", "claimed"):
                self._send_part(job, dict(part), remote, client)

    def _send_part(self, job: Mapping[str, Any], part: dict[str, Any], remote: Remote, client: Any) -> None:
        now, holder = self._thrift.now(), self.claimant
        dead = [part["claimant"]] if part["claimant"] is not None and _is_dead(part["claimant"]) else []
        stale_us = int((now - _STALE_SECONDS) * 1e6)
        if not self._store.claim(job["id"], part["part"], holder, now_us=int(now * 1e6), stale_us=stale_us, dead=dead):
            return
        part["file_id"] = None  # what was uploaded earlier may hold what was erased since
        was_claimed = part["first_claimed_us"] is not None
        since = part["first_claimed_us"] / 1e6 if was_claimed else now
        error: Exception | None = None
        for pause in (0.0, *_AGAIN_AFTER_SECONDS):
            if pause:
                time.sleep(pause)
            try:
                found = self._find(job, part, remote, client, since) if was_claimed else None
                adopted = found is not None and not remote.finds_by_mark
                taken = found or self._submit(job, part, remote, client)
            except Exception as failure:
                if is_refusal(failure) or isinstance(failure, ConfigurationError):
                    self._store.note_part(job["id"], part["part"], claimant=holder, state="new")
                    raise refused(failure, job["id"]) from failure
                error, was_claimed = failure, True  # it may have been taken: look for it before anything else
                continue
            self._note(job, part, taken, remote, client, adopted=adopted)
            return
        raise BatchError(
            f"{job['provider']} does not say whether it took part {part['part']} of job {job['id']} ({type(error).__name__}: {error}); "
            f"thrift.batches.resume({job['id']!r}) looks for it there, and submits it only if it is not",
            job_id=job["id"],
        ) from error

    def _submit(self, job: Mapping[str, Any], part: dict[str, Any], remote: Remote, client: Any) -> RemoteBatch:
        mark = wire_id(job["id"], part["part"])
        rows = self._store.requests(job["id"], states=("waiting",), part=part["part"], columns=("number", "body"))
        lines = [(wire_id(job["id"], row["number"]), row["body"]) for row in rows if row["body"] is not None]
        if not lines:
            raise ConfigurationError(f"the requests of part {part['part']} were erased before they were sent")
        file_id = part["file_id"] or remote.upload(client, mark, lines, job["endpoint"])
        if file_id is not None and part["file_id"] is None:
            self._store.note_part(job["id"], part["part"], claimant=self.claimant, file_id=file_id)
            part["file_id"] = file_id
        return remote.submit(client, mark, lines, job["endpoint"], job["model"], file_id)

    def _find(self, job: Mapping[str, Any], part: Mapping[str, Any], remote: Remote, client: Any, since: float) -> RemoteBatch | None:
        """The batch of a part that may have been submitted. None: it was not."""
        known = self._store.known_remotes() | set(json.loads(part["not_ours"] or "[]"))
        for candidate in remote.candidates(client, wire_id(job["id"], part["part"]), since):
            if candidate.id in known:
                continue
            if remote.finds_by_mark or candidate.size == part["requests"]:
                return candidate
        return None

    def _note(
        self, job: Mapping[str, Any], part: Mapping[str, Any], taken: RemoteBatch, remote: Remote, client: Any, *, adopted: bool
    ) -> None:
        now = self._thrift.now()
        expires_at = taken.expires_at if taken.expires_at is not None else now + _DAY_SECONDS
        is_noted = self._store.note_sent(
            job["id"],
            part["part"],
            self.claimant,
            remote_id=taken.id,
            adopted=adopted,
            now_us=int(now * 1e6),
            expires_us=int(expires_at * 1e6),
        )
        if is_noted or adopted:
            return
        kept = next((each for each in self._store.parts(job["id"]) if each["part"] == part["part"]), None)
        if kept is not None and kept["remote_id"] == taken.id:  # found by its mark by the other one
            return
        logger.error("part %s of batch job %s was taken over meanwhile: batch %s is cancelled", part["part"], job["id"], taken.id)
        with suppress(Exception):
            remote.cancel(client, taken.id)


def _is_dead(claimant: str) -> bool:
    """Whether a claimant is a process of this machine that has ended."""
    found = _CLAIMANT.fullmatch(claimant)
    if found is None or found["host"] != socket.gethostname() or os.name == "nt":
        return False
    try:
        os.kill(int(found["pid"]), 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False
