"""Gemini's Batch API, with the requests inline: of the Gemini Developer API, by google-genai's own client."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from llmthrift_core.batching.remote import Limits, Outcome, RemoteBatch
from llmthrift_core.errors import ConfigurationError, MissingExtraError

# https://ai.google.dev/gemini-api/docs/batch-api: inline requests are for batches below 20 MB.
_LIMITS: Final = Limits(50_000, 18_000_000)
_SKEW_SECONDS: Final = 300.0
_DAY_SECONDS: Final = 86_400.0
_OVER: Final = frozenset({"SUCCEEDED", "FAILED", "CANCELLED", "EXPIRED", "PARTIALLY_SUCCEEDED"})
# google.rpc.Code of what may pass: deadline exceeded, resource exhausted, aborted, internal, unavailable.
_PASSING: Final = frozenset({4, 8, 10, 13, 14})
_ID: Final = "llmthrift_id"


class GoogleBatches:
    """As `Remote`. The mark is the batch's display name."""

    provider = "google"
    limits = _LIMITS
    finds_by_mark = True

    def client(self) -> Any:
        """As `Remote.client`: by $GEMINI_API_KEY or $GOOGLE_API_KEY."""
        try:
            from google import genai
        except ModuleNotFoundError:
            raise MissingExtraError("batches", "google-genai") from None
        try:
            return genai.Client()
        except ValueError as error:
            raise ConfigurationError(f"no client for Gemini's batches: {error}; set $GEMINI_API_KEY, or give client=") from None

    def upload(self, client: Any, mark: str, lines: Sequence[tuple[str, str]], endpoint: str) -> str | None:
        """As `Remote.upload`: the requests go with the submission."""
        return None

    def submit(
        self, client: Any, mark: str, lines: Sequence[tuple[str, str]], endpoint: str, model: str, file_id: str | None
    ) -> RemoteBatch:
        """As `Remote.submit`."""
        requests = [_inlined(identity, json.loads(body)) for identity, body in lines]
        return _batch(client.batches.create(model=model, src=requests, config={"display_name": mark}))

    def candidates(self, client: Any, mark: str, since: float) -> Iterator[RemoteBatch]:
        """As `Remote.candidates`."""
        for each in client.batches.list(config={"page_size": 100}):
            if isinstance(each.create_time, datetime) and each.create_time.timestamp() < since - _SKEW_SECONDS:
                return
            if each.display_name == mark:
                yield _batch(each)

    def poll(self, client: Any, remote_id: str) -> RemoteBatch:
        """As `Remote.poll`."""
        return _batch(client.batches.get(name=remote_id))

    def outcomes(self, client: Any, batch: RemoteBatch) -> Iterator[Outcome]:
        """As `Remote.outcomes`."""
        answers = batch.raw.dest.inlined_responses if batch.raw.dest is not None else None
        for each in answers or ():
            identity = (each.metadata or {}).get(_ID)
            if each.response is not None:
                yield Outcome(identity, "answered", each.response.model_dump(mode="json", by_alias=True, exclude_none=True))
            else:
                code, message = getattr(each.error, "code", None), getattr(each.error, "message", None)
                yield Outcome(identity, "failed", error=f"code {code}: {message}", may_succeed=code in _PASSING)

    def missing(self, batch: RemoteBatch) -> Outcome:
        """As `Remote.missing`."""
        if batch.status == "CANCELLED":
            return Outcome(None, "cancelled", error="the batch was cancelled")
        if batch.status == "EXPIRED":
            return Outcome(None, "expired", error="the batch expired", may_succeed=True)
        return Outcome(None, "unreadable", error="the results have nothing for this request")

    def cancel(self, client: Any, remote_id: str) -> None:
        """As `Remote.cancel`."""
        client.batches.cancel(name=remote_id)


def _inlined(identity: str, body: Mapping[str, Any]) -> dict[str, Any]:
    config = {**(body.get("generation_config") or body.get("generationConfig") or {})}
    named = {"system_instruction", "systemInstruction", "tools", "tool_config", "toolConfig", "safety_settings", "safetySettings"}
    config |= {name: value for name, value in body.items() if name in named}
    return {"contents": body["contents"], "config": config or None, "metadata": {_ID: identity}}


def _batch(made: Any) -> RemoteBatch:
    state = str(getattr(made.state, "name", made.state) or "").removeprefix("JOB_STATE_").removeprefix("BATCH_STATE_")
    stats = getattr(made, "completion_stats", None)
    done = 0 if stats is None else (stats.successful_count or 0) + (stats.failed_count or 0)
    expires_at = made.create_time.timestamp() + 2 * _DAY_SECONDS if isinstance(made.create_time, datetime) else None
    refusal = None
    if state == "FAILED":
        refusal = str(getattr(made.error, "message", None) or "the provider failed the batch")
    return RemoteBatch(made.name, state, state in _OVER, done, None, expires_at, refusal, made)
