"""Anthropic's Message Batches API."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from llmthrift_core.batching.remote import SUBMIT, Limits, Outcome, RemoteBatch, lines_of
from llmthrift_core.errors import ConfigurationError, MissingExtraError

# https://platform.claude.com/docs/en/build-with-claude/batch-processing: 100,000 requests or 256 MB, whichever is reached first.
_LIMITS: Final = Limits(100_000, 240_000_000)
_SKEW_SECONDS: Final = 300.0
# Another try may be answered: https://platform.claude.com/docs/en/api/errors
_PASSING: Final = frozenset({"api_error", "overloaded_error", "rate_limit_error", "timeout_error"})


class AnthropicBatches:
    """As `Remote`. A batch carries no mark but the ids of its requests, which its results tell when it has ended."""

    provider = "anthropic"
    limits = _LIMITS
    finds_by_mark = False

    def client(self) -> Any:
        """As `Remote.client`: by $ANTHROPIC_API_KEY and $ANTHROPIC_BASE_URL."""
        try:
            import anthropic
        except ModuleNotFoundError:
            raise MissingExtraError("batches", "anthropic") from None
        client = anthropic.Anthropic()
        if client.api_key is None and client.auth_token is None:
            raise ConfigurationError("no client for Anthropic's batches: set $ANTHROPIC_API_KEY, or give client=")
        return client

    def upload(self, client: Any, mark: str, lines: Sequence[tuple[str, str]], endpoint: str) -> str | None:
        """As `Remote.upload`: the requests go with the submission."""
        return None

    def submit(
        self, client: Any, mark: str, lines: Sequence[tuple[str, str]], endpoint: str, model: str, file_id: str | None
    ) -> RemoteBatch:
        """As `Remote.submit`."""
        requests = [{"custom_id": identity, "params": json.loads(body)} for identity, body in lines]
        made = client.with_options(**SUBMIT).messages.batches.create(requests=requests, extra_headers={"Idempotency-Key": mark})
        return _batch(made)

    def candidates(self, client: Any, mark: str, since: float) -> Iterator[RemoteBatch]:
        """As `Remote.candidates`: all batches of that time."""
        for each in client.messages.batches.list(limit=100):
            if each.created_at.timestamp() < since - _SKEW_SECONDS:  # newest first
                return
            yield _batch(each)

    def poll(self, client: Any, remote_id: str) -> RemoteBatch:
        """As `Remote.poll`."""
        return _batch(client.messages.batches.retrieve(remote_id))

    def outcomes(self, client: Any, batch: RemoteBatch) -> Iterator[Outcome]:
        """As `Remote.outcomes`."""
        # The decoder stops at a line that is no JSON; the response that it reads goes on behind it.
        response = client.messages.batches.results(batch.id).http_response
        try:
            yield from map(_outcome, lines_of(response.iter_bytes()))
        finally:
            response.close()

    def missing(self, batch: RemoteBatch) -> Outcome:
        """As `Remote.missing`: every request has a line."""
        return Outcome(None, "unreadable", error="the results have no readable line for this request")

    def cancel(self, client: Any, remote_id: str) -> None:
        """As `Remote.cancel`."""
        client.messages.batches.cancel(remote_id)


def _batch(made: Any) -> RemoteBatch:
    counts = made.request_counts
    done = counts.succeeded + counts.errored + counts.canceled + counts.expired
    expires_at = None if made.expires_at is None else made.expires_at.timestamp()
    return RemoteBatch(
        made.id, made.processing_status, made.processing_status == "ended", done, done + counts.processing, expires_at, None, made
    )


def _outcome(line: Mapping[str, Any] | None) -> Outcome:
    result = None if line is None else line.get("result")
    if line is None or not isinstance(line.get("custom_id"), str) or not isinstance(result, Mapping):
        return Outcome(None, "unreadable", error="a line of the results is no JSON")
    identity, kind = line["custom_id"], result.get("type")
    if kind == "succeeded" and isinstance(message := result.get("message"), Mapping):
        return Outcome(identity, "answered", message)
    if kind == "expired":
        return Outcome(identity, "expired", error="the request expired before it was sent to the model", may_succeed=True)
    if kind == "canceled":
        return Outcome(identity, "cancelled", error="the request was cancelled before it was sent to the model")
    if kind == "errored":
        error = result.get("error")
        inner = error.get("error", error) if isinstance(error, Mapping) else {}
        told = f"{inner.get('type')}: {inner.get('message')}" if isinstance(inner, Mapping) else str(error)
        return Outcome(identity, "failed", error=told, may_succeed=isinstance(inner, Mapping) and inner.get("type") in _PASSING)
    return Outcome(identity, "unreadable", error=f"a line of the results has an unknown type {kind!r}")
