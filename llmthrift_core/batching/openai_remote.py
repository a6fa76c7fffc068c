"""OpenAI's Batch API, and that of servers that speak like it: a file of requests, a batch, files of results and of errors."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from llmthrift_core.batching.remote import SUBMIT, Limits, Outcome, RemoteBatch, lines_of
from llmthrift_core.errors import ConfigurationError, MissingExtraError

# https://developers.openai.com/api/docs/guides/batch: up to 50,000 requests and 200 MB; a margin for how megabytes are counted.
_LIMITS: Final = Limits(50_000, 190_000_000)
_OVER: Final = frozenset({"completed", "failed", "expired", "cancelled"})
_MARK_KEY: Final = "llmthrift"
_SKEW_SECONDS: Final = 300.0


class OpenAIBatches:
    """As `Remote`. The mark is in the batch's metadata."""

    provider = "openai"
    limits = _LIMITS
    finds_by_mark = True

    def client(self) -> Any:
        """As `Remote.client`: by $OPENAI_API_KEY and $OPENAI_BASE_URL."""
        try:
            import openai
        except ModuleNotFoundError:
            raise MissingExtraError("batches", "openai") from None
        try:
            return openai.OpenAI()
        except openai.OpenAIError as error:
            raise ConfigurationError(f"no client for OpenAI's batches: {error}; set $OPENAI_API_KEY, or give client=") from None

    def upload(self, client: Any, mark: str, lines: Sequence[tuple[str, str]], endpoint: str) -> str | None:
        """As `Remote.upload`."""
        head = f'"method": "POST", "url": {json.dumps(endpoint)}'
        content = "".join(f'{{"custom_id": {json.dumps(identity)}, {head}, "body": {body}}}\n' for identity, body in lines)
        uploaded = client.with_options(**SUBMIT).files.create(file=(f"{mark}.jsonl", content.encode()), purpose="batch")
        return str(uploaded.id)

    def submit(
        self, client: Any, mark: str, lines: Sequence[tuple[str, str]], endpoint: str, model: str, file_id: str | None
    ) -> RemoteBatch:
        """As `Remote.submit`."""
        made = client.with_options(**SUBMIT).batches.create(
            input_file_id=file_id,
            endpoint=endpoint,
            completion_window="24h",
            metadata={_MARK_KEY: mark},
            extra_headers={"Idempotency-Key": mark},
        )
        return _batch(made)

    def candidates(self, client: Any, mark: str, since: float) -> Iterator[RemoteBatch]:
        """As `Remote.candidates`."""
        for each in client.batches.list(limit=100):
            if each.created_at < since - _SKEW_SECONDS:  # newest first
                return
            if (each.metadata or {}).get(_MARK_KEY) == mark:
                yield _batch(each)

    def poll(self, client: Any, remote_id: str) -> RemoteBatch:
        """As `Remote.poll`."""
        return _batch(client.batches.retrieve(remote_id))

    def outcomes(self, client: Any, batch: RemoteBatch) -> Iterator[Outcome]:
        """As `Remote.outcomes`."""
        for file_id in (batch.raw.output_file_id, batch.raw.error_file_id):
            if file_id:
                with client.files.with_streaming_response.content(file_id) as response:
                    yield from map(_outcome, lines_of(response.iter_bytes()))

    def missing(self, batch: RemoteBatch) -> Outcome:
        """As `Remote.missing`: what was cancelled, or has expired, has no line."""
        if batch.status == "cancelled":
            return Outcome(None, "cancelled", error="the batch was cancelled")
        if batch.status == "expired":
            return Outcome(None, "expired", error="the batch expired", may_succeed=True)
        return Outcome(None, "unreadable", error="the results have no readable line for this request")

    def cancel(self, client: Any, remote_id: str) -> None:
        """As `Remote.cancel`."""
        client.batches.cancel(remote_id)


def _batch(made: Any) -> RemoteBatch:
    counts = made.request_counts
    done = 0 if counts is None else counts.completed + counts.failed
    refusal = None
    if made.status == "failed":
        told = [str(each.message or each.code) for each in (made.errors.data if made.errors is not None else None) or ()]
        refusal = "; ".join(told) or "the provider refused the input"
    return RemoteBatch(made.id, made.status, made.status in _OVER, done, counts and counts.total, made.expires_at, refusal, made)


def _outcome(line: Mapping[str, Any] | None) -> Outcome:
    if line is None or not isinstance(line.get("custom_id"), str):
        return Outcome(None, "unreadable", error="a line of the results is no JSON")
    identity = line["custom_id"]
    response, error = line.get("response"), line.get("error")
    if isinstance(response, Mapping):
        status, body = response.get("status_code"), response.get("body")
        if status == 200 and isinstance(body, Mapping):
            return Outcome(identity, "answered", body)
        told = body.get("error") if isinstance(body, Mapping) else None
        may_succeed = isinstance(status, int) and (status >= 500 or status in (408, 409, 429))
        return Outcome(identity, "failed", error=_told(told, f"status {status}"), may_succeed=may_succeed)
    if isinstance(error, Mapping):
        code = error.get("code")
        if code == "batch_expired":
            return Outcome(identity, "expired", error=_told(error, "expired"), may_succeed=True)
        if code == "batch_cancelled":
            return Outcome(identity, "cancelled", error=_told(error, "cancelled"))
        return Outcome(identity, "failed", error=_told(error, "an error"))
    return Outcome(identity, "unreadable", error="a line of the results has neither an answer nor an error")


def _told(error: Any, otherwise: str) -> str:
    if not isinstance(error, Mapping):
        return str(error or otherwise)
    kind, message = error.get("type") or error.get("code"), error.get("message")
    return ": ".join(str(part) for part in (kind, message) if part) or otherwise
