"""`Batches`: jobs for providers' batch APIs, at half the price of single calls. Everything about a job is in the database."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

from llmthrift_core.batching.answers import replace_tier
from llmthrift_core.batching.collecting import Collector, policy_in
from llmthrift_core.batching.holds import BatchHolds
from llmthrift_core.batching.job import BatchResult, Job, JobStatus, result_of
from llmthrift_core.batching.remote import Remote, wire_id
from llmthrift_core.batching.requests import BatchRequest, digest_of, read_requests, texts_of_user
from llmthrift_core.batching.sellers import remote_of
from llmthrift_core.batching.sending import Sender
from llmthrift_core.batching.store import FINAL, BatchStore, NewJob, attribution_in, job_of, status_of
from llmthrift_core.cache.entry import usage_from_json, usage_to_json
from llmthrift_core.cache.keys import UncacheableError, canonical_json, digest, relevant
from llmthrift_core.cache.policy import CachePolicy
from llmthrift_core.display import counted
from llmthrift_core.errors import BatchError, BudgetExceededError, ConfigurationError
from llmthrift_core.ledger.record import CallRecord
from llmthrift_core.settings import is_disabled, is_observing
from llmthrift_core.texts import require_thrift
from llmthrift_core.usage.payloads import provider_id

if TYPE_CHECKING:
    from llmthrift_core.attachments import AccountHost
    from llmthrift_core.cache.entry import Entry
    from llmthrift_core.usage import Usage

_POLL_SECONDS: Final = 15.0
_RENEW_SECONDS: Final = 600.0
_AT_ONCE: Final = 200


class Batches:
    """What `thrift.batches` is: submit, look, read, cancel; go on with jobs that other processes began. Safe to share between threads.

    A client is a provider's own, synchronous one: `openai.OpenAI`, `anthropic.Anthropic` or `google.genai.Client`. Where none is given,
    one is made of the environment, as those libraries do it.
    """

    def __init__(self, thrift: AccountHost) -> None:
        require_thrift(thrift, type(self).__name__)
        self._thrift = thrift
        self._store = BatchStore(thrift.database)
        self._holds = BatchHolds(thrift, self._store)
        self._sender = Sender(thrift, self._store)
        self._collector = Collector(thrift, self._store, self._holds)
        self._clients: dict[str, Any] = {}
        self._renewed: dict[str, float] = {}  # when this process last renewed a job's holds
        self._turn = threading.RLock()  # one step of this process at a time

    # --- submitting ---

    def submit(
        self,
        requests: Iterable[Any],
        *,
        model: str,
        provider: str | None = None,
        name: str | None = None,
        client: Any = None,
        cache: bool | CachePolicy = True,
        max_attempts: int = 3,
    ) -> Job:
        """Send requests to the provider's batch API. Returns when the provider has taken them; the answers take up to 24 hours.

        The exact cache is asked first, and keeps the answers. Budgets hold what the rest may cost at batch prices. More requests than a
        batch may have are sent as several. Nothing is sent twice: a process that dies in here, and submits the same again, goes on with the
        same job.

        Args:
            requests: each a text, a list of messages, a body with "messages", a line of a provider's batch file, or a `BatchRequest`.
            model: its name, or "provider:name".
            provider: "openai", "anthropic" or "google"; None is that of the model. Servers that speak like OpenAI's are "openai".
            name: of the job, for ever: to submit again under it gives the same job. Without one, the same requests go on with a job that
                was not wholly sent yet.
            client: the provider's own, synchronous client.
            cache: False neither looks up nor keeps answers; a CachePolicy says how they are kept.
            max_attempts: how often a request is sent that expired, or met an error that may pass. Neither is billed.

        Raises:
            ConfigurationError: requests that cannot be used, no client, or a name that belongs to other requests.
            BudgetExceededError: a budget has no room for all of it; nothing was sent.
            BatchError: the provider refused it, or does not say whether it took it; the job can be gone on with.
        """
        if max_attempts < 1:
            raise ConfigurationError(f"max_attempts must be at least 1, not {max_attempts!r}")
        provider, model = self._seller(model, provider)
        remote = remote_of(provider)
        read, endpoint = read_requests(requests, provider=provider, model=model)
        _check_sizes(read, remote)
        policy = cache if isinstance(cache, CachePolicy) else CachePolicy() if cache else None
        keyed = [self._keyed(request, policy, provider, endpoint) for request in read]
        digested = digest_of(read, provider, model)
        with self._turn:
            found = self._store.same(name, digested)
            if found is not None and found["digest"] != digested:
                raise ConfigurationError(f"the name {name!r} belongs to job {found['id']}, whose requests are others; take another name")
            is_new = found is None
            if found is None:
                job_id = uuid4().hex[:24]
                kept = None if policy is None else json.dumps(asdict(policy), ensure_ascii=False)
                new = NewJob(
                    job_id, name, digested, provider, model, endpoint, kept, max_attempts, len(keyed), self._thrift.now_us()
                )  # fmt: skip
                self._store.add(new, keyed)
                found = self._row(job_id)
            job = job_of(found)
            if client is not None:
                self._clients[job.id] = client
            try:
                self._prepare(found, remote)
                self._sender.send(found, remote, self._client(job.id, remote))
            except (BudgetExceededError, ConfigurationError):
                if is_new and not any(part["first_claimed_us"] for part in self._store.parts(job.id)):
                    self._drop(job.id)
                raise
            self._close_books(job.id)
        return job

    def resume(self, job: Job | str | None = None, *, client: Any = None) -> list[JobStatus]:
        """Go on with a job, or with all that have not ended: send what was not sent, take what has come.

        Args:
            job: the job or its id or name; None: all.
            client: the provider's own client.

        Raises:
            ConfigurationError: there is no such job, or no client. BatchError: as `submit`.
        """
        rows = self._store.jobs(is_open=True) if job is None else [self._row(self._id(job))]
        return [self.status(row["id"], client=client) for row in rows]

    # --- looking ---

    def status(self, job: Job | str, *, client: Any = None) -> JobStatus:
        """How a job stands. It also goes on with it: sends what was not sent, takes what has come, sends again what may be answered then.

        Args:
            job: the job, its id or its name.
            client: the provider's own client; None is that of the submission, or one made of the environment.

        Raises:
            ConfigurationError: there is no such job, or no client. BatchError: as `submit`. StorageError: the database cannot be used.
        """
        job_id = self._id(job)
        if client is not None:
            self._clients[job_id] = client
        with self._turn:
            self._advance(job_id)
            return self._status(job_id)

    def jobs(self, *, only_open: bool = False) -> list[JobStatus]:
        """Every job, newest first, as the database knows it: no provider is asked."""
        return [self._status(row["id"]) for row in self._store.jobs(is_open=only_open)]

    def results(
        self,
        job: Job | str,
        *,
        wait: bool = True,
        timeout_seconds: float | None = None,
        poll_seconds: float = _POLL_SECONDS,
        client: Any = None,
        on_progress: Callable[[JobStatus], object] | None = None,
    ) -> Iterator[BatchResult]:
        """The results as they come, each once, of a job that runs or has ended.

        Args:
            wait: until the last one has come. False gives what is there.
            timeout_seconds: how long; None: until the job ends, or is overdue by an hour.
            poll_seconds: how often the provider is asked.
            on_progress: called with each status.

        Raises:
            BatchError: it does not end in time. Nothing is lost: ask again.
        """
        job_id, given, started = self._id(job), set[int](), time.monotonic()
        while True:
            status = self.status(job_id, client=client)
            if on_progress is not None:
                on_progress(status)
            yield from self._new_results(job_id, given)
            if status.is_over or not wait:
                return
            waited = time.monotonic() - started
            if status.is_overdue or (timeout_seconds is not None and waited + poll_seconds > timeout_seconds):
                why = (
                    f"is overdue: {status.job.provider} was to end it long ago"
                    if status.is_overdue
                    else f"has not ended after {waited:,.0f} s"
                )
                raise BatchError(
                    f"job {job_id} {why}, and {status.open:,} of its {counted(status.job.requests, 'request is', 'requests are')} "
                    "open. Nothing is lost: ask again "
                    f"with thrift.batches.results({job_id!r}), or give up what is open with thrift.batches.cancel({job_id!r})",
                    job_id=job_id,
                )
            time.sleep(poll_seconds)

    def cancel(self, job: Job | str, *, client: Any = None) -> JobStatus:
        """Give up what is open. What the provider has done by then is billed, and its results are kept.

        Raises:
            ConfigurationError: there is no such job, or no client. BatchError: whether it was sent is not known yet.
        """
        job_id = self._id(job)
        if client is not None:
            self._clients[job_id] = client
        with self._turn:
            row = self._row(job_id)
            self._store.note_job(job_id, cancelled_us=self._thrift.now_us())
            open_parts = [part for part in self._store.parts(job_id) if part["state"] in ("claimed", "sent")]
            if open_parts:
                remote = remote_of(row["provider"])
                using = self._client(job_id, remote)
                for part in open_parts:
                    if part["state"] == "claimed" or part["adopted"]:
                        raise BatchError(
                            f"whether {row['provider']} has part {part['part']} of job {job_id} is not known: ask its status, then cancel"
                            " again; no further part is sent",
                            job_id=job_id,
                        )
                    remote.cancel(using, part["remote_id"])
            self._give_up_unsent(job_id)
            self._close_books(job_id)
            return self._status(job_id)

    def forget(self, job: Job | str) -> None:
        """Clear the texts of a job that has ended: requests and answers. Its figures stay, and so do the ledger's rows.

        Raises:
            ConfigurationError: there is no such job, or it has not ended.
        """
        job_id = self._id(job)
        if self._row(job_id)["ended_us"] is None:
            raise ConfigurationError(f"job {job_id} has not ended: its requests are needed to go on with it; cancel it first")
        self._store.forget(job_id)

    def erase(self, *, user: str) -> int:
        """Clear what tells of a user, as `Thrift.erase` does. Returns how many requests did."""
        return self._store.erase(user)

    def prune(self, before_us: int) -> int:
        """Drop jobs that ended before a time, as `Thrift.prune` does. Returns how many."""
        return self._store.prune(before_us)

    # --- for event loops ---

    async def asubmit(self, requests: Iterable[Any], **options: Any) -> Job:
        """As `submit`, off the event loop."""
        return await asyncio.to_thread(self.submit, requests, **options)

    async def astatus(self, job: Job | str, **options: Any) -> JobStatus:
        """As `status`, off the event loop."""
        return await asyncio.to_thread(self.status, job, **options)

    async def acancel(self, job: Job | str, **options: Any) -> JobStatus:
        """As `cancel`, off the event loop."""
        return await asyncio.to_thread(self.cancel, job, **options)

    async def aresults(self, job: Job | str, **options: Any) -> AsyncIterator[BatchResult]:
        """As `results`, off the event loop."""
        results = self.results(job, **options)
        while (found := await asyncio.to_thread(next, results, None)) is not None:
            yield found

    # --- steps ---

    def _advance(self, job_id: str) -> None:
        row = self._row(job_id)
        if row["ended_us"] is not None:
            return
        remote = remote_of(row["provider"])
        client = self._client(job_id, remote)
        if row["cancelled_us"] is None:
            self._prepare(row, remote)
            self._sender.send(row, remote, client)
        for part in self._store.parts(job_id):
            if part["state"] == "sent":
                self._look(row, part, remote, client)
        if row["cancelled_us"] is not None:
            self._give_up_unsent(job_id)
        elif any(True for _ in self._store.requests(job_id, states=("waiting",), columns=("number",))):
            self._prepare(row, remote)  # what is worth another try
            self._sender.send(row, remote, client)
        self._renew(job_id)
        self._close_books(job_id)

    def _look(self, row: Mapping[str, Any], part: Mapping[str, Any], remote: Remote, client: Any) -> None:
        batch = remote.poll(client, part["remote_id"])
        if not batch.is_over:
            self._store.note_part(row["id"], part["part"], done=batch.done, remote_status=batch.status)
        elif self._collector.collect(row, part, batch, remote, client):
            self._store.note_part(row["id"], part["part"], state="collected", done=part["requests"], remote_status=batch.status, adopted=0)
        else:
            strangers = [*json.loads(part["not_ours"] or "[]"), batch.id]
            sent = list(self._store.requests(row["id"], states=("sent",), part=part["part"], columns=("number",)))
            changes = [{"number": each["number"], "state": "waiting"} for each in sent]
            self._store.change(row["id"], changes, states=("sent",))
            changed: dict[str, Any] = {
                "state": "claimed",
                "claimed_us": 0,
                "remote_id": None,
                "adopted": 0,
                "not_ours": json.dumps(strangers),
            }
            self._store.note_part(row["id"], part["part"], **changed)

    def _prepare(self, row: Mapping[str, Any], remote: Remote) -> None:
        self._ask_cache(row)
        self._holds.reserve(row)
        self._store.divide(row["id"], remote.limits.requests, remote.limits.size_bytes)

    def _ask_cache(self, row: Mapping[str, Any]) -> None:
        """Let the exact cache answer what it can, before anything of it is sent."""
        if row["policy"] is None or is_observing() or is_disabled():
            return
        policy, cache, found = policy_in(row["policy"]), self._thrift.cache, []
        for request in self._store.requests(row["id"], states=("waiting",)):
            if request["part"] is not None or request["attempts"] or request["cache_key"] is None:
                continue
            entry = cache.lookup(request["cache_key"], policy)
            if entry is None:
                continue
            usage = replace_tier(entry.usage)  # what it would have cost in this batch
            self._thrift.ledger.append(self._hit(row, request, entry, usage))
            self._holds.release([request["hold_id"]])
            kept = {"answer": entry.payload, "usage": usage_to_json(usage), "cost_nano_usd": 0, "ended_us": self._thrift.now_us()}
            found.append({"number": request["number"], "state": "answered", "cached": 1, **kept})
        if found and self._thrift.ledger.flush():
            self._store.change(row["id"], found, states=("waiting",))

    def _hit(self, row: Mapping[str, Any], request: Mapping[str, Any], entry: Entry, usage: Usage) -> CallRecord:
        identity, now_us = wire_id(row["id"], request["number"]), self._thrift.now_us()
        record = CallRecord(
            request_id=identity,
            call_id=identity,
            at_us=now_us,
            model=entry.model,
            provider=entry.provider,
            attribution=attribution_in(request["attribution"]),
        )
        record.cache, record.saved_input_tokens, record.saved_output_tokens = "exact", usage.input_tokens, usage.output_tokens
        record.cost_nano_usd = record.input_cost_nano_usd = record.output_cost_nano_usd = 0
        if (priced := self._thrift.prices.price(usage, entry.model, entry.provider, now_us)) is not None:
            record.cache_saved_nano_usd, record.price_version = priced.nano_usd, priced.price_version
        return record

    def _give_up_unsent(self, job_id: str) -> None:
        parts = {part["part"] for part in self._store.parts(job_id) if part["state"] == "claimed"}
        waiting = [each for each in self._store.requests(job_id, states=("waiting",)) if each["part"] not in parts]
        self._holds.release([each["hold_id"] for each in waiting])
        ended = {"state": "cancelled", "cost_nano_usd": 0, "error": "cancelled before it was sent", "ended_us": self._thrift.now_us()}
        self._store.change(job_id, [{"number": each["number"], **ended} for each in waiting], states=("waiting",))

    def _renew(self, job_id: str) -> None:
        now = time.monotonic()
        if now - self._renewed.get(job_id, -_RENEW_SECONDS) >= _RENEW_SECONDS and not self._thrift.budgets.are_known_to_be_none:
            self._holds.renew(job_id)
            self._renewed[job_id] = now

    def _close_books(self, job_id: str) -> None:
        parts = self._store.parts(job_id)
        if all(part["state"] in ("sent", "collected") for part in parts):
            self._store.note_job(job_id, sent_us=self._thrift.now_us())
        is_open = any(True for _ in self._store.requests(job_id, states=("waiting", "sent"), columns=("number",)))
        if not is_open:
            self._store.note_job(job_id, ended_us=self._thrift.now_us())

    def _drop(self, job_id: str) -> None:
        self._holds.release([each["hold_id"] for each in self._store.requests(job_id, states=("waiting",), columns=("hold_id",))])
        self._store.remove(job_id)

    def _new_results(self, job_id: str, given: set[int]) -> Iterator[BatchResult]:
        found = self._store.requests(job_id, states=FINAL, columns=("number",))
        new = [row["number"] for row in found if row["number"] not in given]
        for start in range(0, len(new), _AT_ONCE):
            for row in self._store.some(job_id, new[start : start + _AT_ONCE]):
                given.add(row["number"])
                yield result_of(job_id, row, None if row["usage"] is None else usage_from_json(row["usage"]))

    def _status(self, job_id: str) -> JobStatus:
        return status_of(self._row(job_id), self._store.parts(job_id), self._store.counts(job_id), now=self._thrift.now())

    # --- who and with what ---

    def _seller(self, model: str, provider: str | None) -> tuple[str, str]:
        head, separator, rest = model.partition(":") if isinstance(model, str) else ("", "", "")
        if separator and provider_id(head) in ("openai", "anthropic", "google"):
            provider, model = provider or head, rest
        if not isinstance(model, str) or not model.strip():
            raise ConfigurationError(f"model must be the name of a model, not {model!r}")
        named = provider or self._thrift.prices.maker(model)
        if named is None:
            raise ConfigurationError(f'who sells {model!r} is not known: give provider="openai", "anthropic" or "google"')
        return provider_id(named), model

    def _keyed(self, request: BatchRequest, policy: CachePolicy | None, provider: str, endpoint: str) -> BatchRequest:
        from dataclasses import replace

        if policy is None or request.cache_key is not None or request.codec != "body":
            return request
        try:
            sent = digest("batch-request", provider.encode(), endpoint.encode(), canonical_json(relevant(request.body)))
            key = policy.key(sent, attribution=request.attribution, asked=lambda: texts_of_user(request.body))
        except UncacheableError as error:
            self._thrift.cache.note_uncacheable(str(error))
            return request
        return replace(request, cache_key=key)

    def _client(self, job_id: str, remote: Remote) -> Any:
        if job_id not in self._clients:
            self._clients[job_id] = remote.client()
        return self._clients[job_id]

    def _id(self, job: Job | str) -> str:
        if isinstance(job, Job):
            return job.id
        found = self._store.job(job)
        if found is None and (found := self._store.same(job, b"")) is None:
            raise ConfigurationError(f"there is no batch job {job!r}; thrift.batches.jobs() lists them")
        return str(found["id"])

    def _row(self, job_id: str) -> Mapping[str, Any]:
        found = self._store.job(job_id)
        if found is None:
            raise ConfigurationError(f"there is no batch job {job_id!r}; thrift.batches.jobs() lists them")
        return found


def _check_sizes(requests: Iterable[BatchRequest], remote: Remote) -> None:
    for request in requests:
        size = len(json.dumps(dict(request.body), ensure_ascii=False).encode())
        if size > remote.limits.size_bytes:
            raise ConfigurationError(
                f"request {request.custom_id!r} has {size:,} bytes, and {remote.provider} takes batches of at most "
                f"{remote.limits.size_bytes:,}"
            )
