"""Batch jobs in the database. Every change is one short transaction, and says what it expects to find."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import and_, bindparam, delete, func, insert, or_, select, update

from llmthrift_core.attribution import FIELDS, Attribution
from llmthrift_core.batching.job import Job, JobStatus, State
from llmthrift_core.moments import from_us
from llmthrift_core.money import to_usd
from llmthrift_core.storage.batch_tables import batch_jobs, batch_parts, batch_requests

if TYPE_CHECKING:
    from llmthrift_core.batching.requests import BatchRequest
    from llmthrift_core.storage.database import Database


FINAL: Final = ("answered", "failed", "expired", "cancelled")
_AT_ONCE: Final = 500
_OF = batch_requests.c
Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class NewJob:
    """A job as it is kept first. Attributes as the columns of its table."""

    id: str
    name: str | None
    digest: bytes
    provider: str
    model: str
    endpoint: str
    policy: str | None
    max_attempts: int
    requests: int
    created_us: int


class BatchStore:
    """The tables of batch jobs. Every method raises StorageError where the database cannot be used."""

    def __init__(self, database: Database) -> None:
        self._database = database

    # --- jobs ---

    def add(self, job: NewJob, requests: Sequence[BatchRequest]) -> None:
        """Keep a job with its requests, in one transaction."""
        bodies = [json.dumps(dict(request.body), ensure_ascii=False, separators=(",", ":")) for request in requests]
        rows = [
            {
                "job_id": job.id,
                "number": number,
                "custom_id": request.custom_id,
                "state": "waiting",
                "attempts": 0,
                "body": bodies[number],
                "size_bytes": len(bodies[number].encode()),
                "user": request.attribution.user,
                "attribution": attribution_json(request.attribution),
                "cache_key": request.cache_key,
                "codec": request.codec,
                "cached": 0,
            }
            for number, request in enumerate(requests)
        ]
        with self._database.write() as connection:
            connection.execute(insert(batch_jobs), asdict(job))
            for start in range(0, len(rows), _AT_ONCE):
                connection.execute(insert(batch_requests), rows[start : start + _AT_ONCE])

    def job(self, job_id: str) -> Row | None:
        """One job."""
        with self._database.read() as connection:
            return connection.execute(select(batch_jobs).where(batch_jobs.c.id == job_id)).mappings().first()  # type: ignore[return-value]

    def same(self, name: str | None, digest: bytes) -> Row | None:
        """The job of a name; without a name the newest one of the same requests that was not wholly sent yet."""
        wanted = batch_jobs.c.name == name
        if name is None:
            unsent = batch_jobs.c.sent_us.is_(None) & batch_jobs.c.ended_us.is_(None) & batch_jobs.c.cancelled_us.is_(None)
            wanted = and_(batch_jobs.c.name.is_(None), batch_jobs.c.digest == digest, unsent)
        with self._database.read() as connection:
            found = connection.execute(select(batch_jobs).where(wanted).order_by(batch_jobs.c.created_us.desc()).limit(1))
            return found.mappings().first()  # type: ignore[return-value]

    def jobs(self, *, is_open: bool) -> list[Row]:
        """All jobs, newest first, or those that have not ended."""
        query = select(batch_jobs).order_by(batch_jobs.c.created_us.desc(), batch_jobs.c.id)
        with self._database.read() as connection:
            return list(connection.execute(query.where(batch_jobs.c.ended_us.is_(None)) if is_open else query).mappings())  # type: ignore[arg-type]

    def note_job(self, job_id: str, **changes: Any) -> None:
        """Set columns of a job that are still NULL."""
        with self._database.write() as connection:
            for name, value in changes.items():
                connection.execute(update(batch_jobs).where(batch_jobs.c.id == job_id, batch_jobs.c[name].is_(None)).values({name: value}))

    def remove(self, job_id: str) -> None:
        """Drop a job with all that belongs to it."""
        with self._database.write() as connection:
            for table, column in ((batch_requests, "job_id"), (batch_parts, "job_id"), (batch_jobs, "id")):
                connection.execute(delete(table).where(table.c[column] == job_id))

    def counts(self, job_id: str) -> list[Row]:
        """By state and whether the cache answered: how many requests, their cost, and how many have none."""
        priced = func.coalesce(func.sum(_OF.cost_nano_usd), 0).label("cost")
        query = select(_OF.state, _OF.cached, func.count().label("count"), priced, func.count(_OF.cost_nano_usd).label("priced"))
        with self._database.read() as connection:
            return list(connection.execute(query.where(_OF.job_id == job_id).group_by(_OF.state, _OF.cached)).mappings())  # type: ignore[arg-type]

    # --- parts ---

    def parts(self, job_id: str) -> list[Row]:
        """The batches of a job, in order."""
        query = select(batch_parts).where(batch_parts.c.job_id == job_id).order_by(batch_parts.c.part)
        with self._database.read() as connection:
            return list(connection.execute(query).mappings())  # type: ignore[arg-type]

    def known_remotes(self) -> set[str]:
        """The ids of every batch that is some job's."""
        with self._database.read() as connection:
            return set(connection.execute(select(batch_parts.c.remote_id).where(batch_parts.c.remote_id.is_not(None))).scalars())

    def divide(self, job_id: str, most_requests: int, most_bytes: int) -> int:
        """Put the requests that wait into new parts of at most so many. Returns how many parts were made."""
        waits = and_(_OF.job_id == job_id, _OF.state == "waiting", _OF.part.is_(None))
        with self._database.write() as connection:
            if connection.dialect.name == "postgresql":  # two processes would make the same part
                connection.execute(select(batch_jobs.c.id).where(batch_jobs.c.id == job_id).with_for_update())
            waiting = connection.execute(select(_OF.number, _OF.size_bytes).where(waits).order_by(_OF.number)).all()
            groups = list(_groups(waiting, most_requests, most_bytes))
            last = connection.execute(select(func.max(batch_parts.c.part)).where(batch_parts.c.job_id == job_id)).scalar()
            for part, (first, final, count) in enumerate(groups, start=0 if last is None else last + 1):
                made = {"job_id": job_id, "part": part, "state": "new", "requests": count, "adopted": 0, "done": 0}
                connection.execute(insert(batch_parts), made)
                connection.execute(update(batch_requests).where(waits, _OF.number.between(first, final)).values(part=part))
            return len(groups)

    def claim(self, job_id: str, part: int, claimant: str, *, now_us: int, stale_us: int, dead: Sequence[str]) -> bool:
        """Take a part that nobody else submits now. False if somebody does."""
        of = batch_parts.c
        free = or_(of.state == "new", and_(of.state == "claimed", or_(of.claimed_us < stale_us, of.claimant.in_([claimant, *dead]))))
        first = func.coalesce(of.first_claimed_us, now_us)
        values = {"state": "claimed", "claimant": claimant, "claimed_us": now_us, "first_claimed_us": first}
        with self._database.write() as connection:
            changed = connection.execute(update(batch_parts).where(of.job_id == job_id, of.part == part, free).values(values))
            return bool(changed.rowcount)

    def note_part(self, job_id: str, part: int, *, claimant: str | None = None, **changes: Any) -> bool:
        """Change a part. False where a claimant is given and somebody else has taken it over."""
        where = [batch_parts.c.job_id == job_id, batch_parts.c.part == part]
        if claimant is not None:
            where.append(batch_parts.c.claimant == claimant)
        with self._database.write() as connection:
            return bool(connection.execute(update(batch_parts).where(*where).values(changes)).rowcount)

    def note_sent(
        self, job_id: str, part: int, claimant: str, *, remote_id: str, adopted: bool, now_us: int, expires_us: int | None
    ) -> bool:
        """The provider has taken a part. False where somebody else has taken it over meanwhile."""
        of = batch_parts.c
        ours = update(batch_parts).where(of.job_id == job_id, of.part == part, of.claimant == claimant, of.state == "claimed")
        values = {"state": "sent", "remote_id": remote_id, "adopted": int(adopted), "sent_us": now_us, "expires_us": expires_us}
        requests = update(batch_requests).where(_OF.job_id == job_id, _OF.part == part, _OF.state == "waiting")
        with self._database.write() as connection:
            if not connection.execute(ours.values(values)).rowcount:
                return False
            connection.execute(requests.values(state="sent", attempts=_OF.attempts + 1))
            return True

    # --- requests ---

    def requests(
        self, job_id: str, *, states: Sequence[str], part: int | None = None, columns: Sequence[str] = (), first: int = 0
    ) -> Iterator[Row]:
        """The requests of a job in some states, by number from a first one on: read in pages."""
        chosen = [_OF[name] for name in columns] if columns else list(batch_requests.c)
        if columns and "number" not in columns:
            chosen.append(_OF.number)
        query = select(*chosen).where(_OF.job_id == job_id, _OF.state.in_(states))
        if part is not None:
            query = query.where(_OF.part == part)
        while True:
            with self._database.read() as connection:
                page = connection.execute(query.where(_OF.number >= first).order_by(_OF.number).limit(_AT_ONCE)).mappings().all()
            yield from page  # type: ignore[misc]
            if len(page) < _AT_ONCE:
                return
            first = page[-1]["number"] + 1

    def some(self, job_id: str, numbers: Sequence[int]) -> list[Row]:
        """The requests with these numbers, at most a few hundred."""
        with self._database.read() as connection:
            found = connection.execute(select(batch_requests).where(_OF.job_id == job_id, _OF.number.in_(numbers)).order_by(_OF.number))
            return list(found.mappings())  # type: ignore[arg-type]

    def change(self, job_id: str, changes: Iterable[Mapping[str, Any]], *, states: Sequence[str]) -> int:
        """Change requests that are in one of some states. Returns how many were.

        Args:
            changes: the same columns for each, and its "number".
        """
        rows = list(changes)
        if not rows:
            return 0
        names = [name for name in rows[0] if name != "number"]
        where = and_(_OF.job_id == job_id, _OF.number == bindparam("of_number"), or_(*(_OF.state == state for state in states)))
        statement = update(batch_requests).where(where).values({name: bindparam(f"new_{name}") for name in names})
        values = [{"of_number": row["number"], **{f"new_{name}": row[name] for name in names}} for row in rows]
        changed = 0
        with self._database.write() as connection:
            for start in range(0, len(values), _AT_ONCE):
                changed += max(connection.execute(statement, values[start : start + _AT_ONCE]).rowcount, 0)
        return changed

    def forget(self, job_id: str) -> None:
        """Clear the texts of a job: its figures stay."""
        with self._database.write() as connection:
            connection.execute(update(batch_requests).where(_OF.job_id == job_id).values(body=None, answer=None))

    def erase(self, user: str) -> int:
        """Clear what tells of a user. Returns how many requests did."""
        values = {"user": None, "attribution": "{}", "body": None, "answer": None, "cache_key": None, "error": None}
        unsent = update(batch_requests).where(_OF.user == user, _OF.state == "waiting")
        with self._database.write() as connection:
            connection.execute(unsent.values(state="cancelled", cost_nano_usd=0))  # there is nothing left to send
            return int(connection.execute(update(batch_requests).where(_OF.user == user).values(values)).rowcount)

    def prune(self, before_us: int) -> int:
        """Drop jobs that ended before a time. Returns how many."""
        old = select(batch_jobs.c.id).where(batch_jobs.c.ended_us < before_us)
        with self._database.read() as connection:
            ids = list(connection.execute(old).scalars())
        for job_id in ids:
            self.remove(job_id)
        return len(ids)


def job_of(row: Row) -> Job:
    """The job that a row tells of."""
    return Job(row["id"], row["name"], row["provider"], row["model"], row["requests"], from_us(row["created_us"]))


def attribution_json(who: Attribution) -> str:
    """An attribution as it is kept."""
    given: dict[str, Any] = {name: value for name in FIELDS if (value := getattr(who, name)) is not None}
    if who.tags:
        given["tags"] = dict(who.tags)
    return json.dumps(given, ensure_ascii=False)


def attribution_in(text: str) -> Attribution:
    """The attribution that `attribution_json` wrote."""
    given = json.loads(text)
    tags = tuple(sorted(given.pop("tags", {}).items()))
    return Attribution(**given, tags=tags)


def _groups(waiting: Sequence[Any], most_requests: int, most_bytes: int) -> Iterator[tuple[int, int, int]]:
    """First number, last number and count of each part."""
    first: int | None = None
    last, count, size = 0, 0, 0
    for number, body_bytes in waiting:
        weight = body_bytes + 200  # what frames a line
        if first is not None and (count == most_requests or size + weight > most_bytes):
            yield first, last, count
            first, count, size = None, 0, 0
        first = number if first is None else first
        last, count, size = number, count + 1, size + weight
    if first is not None:
        yield first, last, count


# How long after its last moment a batch may still be on its way to its end.
_GRACE_SECONDS: Final = 3_600.0


def status_of(row: Mapping[str, Any], parts: Sequence[Mapping[str, Any]], counts: Sequence[Mapping[str, Any]], *, now: float) -> JobStatus:
    """The status of a job.

    Args:
        row: of the job. parts: its batches. counts: of its requests, by state and whether the cache answered.
        now: seconds since the epoch.
    """
    by_state: dict[str, int] = {}
    cached = unpriced = cost = 0
    for each in counts:
        by_state[each["state"]] = by_state.get(each["state"], 0) + each["count"]
        cost += int(each["cost"])
        if each["state"] == "answered":
            cached += each["count"] if each["cached"] else 0
            unpriced += each["count"] - each["priced"]
    running = [part for part in parts if part["state"] == "sent"]
    expires = [part["expires_us"] for part in running if part["expires_us"] is not None]
    return JobStatus(
        job=job_of(row),
        state=_state(row, parts),
        answered=by_state.get("answered", 0),
        failed=by_state.get("failed", 0),
        expired=by_state.get("expired", 0),
        cancelled=by_state.get("cancelled", 0),
        cached=cached,
        done_at_provider=sum(part["done"] for part in running),
        batches=sum(part["remote_id"] is not None for part in parts),
        cost_usd=to_usd(cost),
        unpriced=unpriced,
        expires_at=from_us(min(expires)) if expires else None,
        is_overdue=bool(expires) and now > min(expires) / 1e6 + _GRACE_SECONDS,
    )


def _state(row: Mapping[str, Any], parts: Sequence[Mapping[str, Any]]) -> State:
    if row["ended_us"] is not None:
        return "ended"
    if row["cancelled_us"] is not None:
        return "cancelling"
    is_sent = bool(parts) and all(part["state"] in ("sent", "collected") for part in parts)
    return "running" if is_sent else "preparing"
