"""The batch APIs of the loopback provider: OpenAI's files and batches, Anthropic's message batches."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, Literal

from llmthrift_core.texts import json_line

DAY_SECONDS: Final = 86_400
Fault = Literal["error", "refused", "expired", "missing", "corrupt", "twice"]
Ask = Callable[[str, Mapping[str, Any]], tuple[int, Mapping[str, Any]]]


@dataclass(slots=True)
class Batch:
    """One batch that was submitted.

    Attributes:
        kind: whose API: "openai" or "anthropic".
        requests: custom id, path and body of each request, in order.
        metadata: as it was submitted; Anthropic's has none.
        cancelled_at, ended_at: seconds since the epoch; None: it was not, or is under way.
        lines: what each request came to, by the names of its API.
        counts: how many requests ended how: "succeeded", "errored", "expired", "canceled".
    """

    id: str
    kind: Literal["openai", "anthropic"]
    requests: Sequence[tuple[str, str, Mapping[str, Any]]]
    created_at: float
    endpoint: str = ""
    file_id: str = ""
    metadata: Mapping[str, str] | None = None
    invalid: str | None = None
    cancelled_at: float | None = None
    ended_at: float | None = None
    lines: list[str] = field(default_factory=list)
    error_lines: list[str] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)


class BatchDesk:
    """Takes batches and works them off. What is asked of it is answered as single calls are, and billed when the batch ends.

    Attributes:
        delay_seconds: from submission to the end of a batch; infinite: it never ends.
        fault: from a custom id and a body to what becomes of that request: "error" (a server's error), "refused" (an invalid request),
            "expired", "missing" (no result), "corrupt" (a line that is no JSON), "twice" (two results), or None for an answer.
        lose_answers: so many submissions are taken, and the connection is closed before the client hears of it.
        most_requests: in one batch; more are refused, as the providers do.
        batches: what was submitted, by id.
    """

    def __init__(self, ask: Ask, clock: Callable[[], float] = time.time) -> None:
        self._ask = ask
        self._clock = clock
        self._lock = threading.RLock()
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        with self._lock:
            self.delay_seconds = 0.0
            self.fault: Callable[[str, Mapping[str, Any]], Fault | None] = lambda custom_id, body: None
            self.lose_answers = 0
            self.most_requests = 50_000
            self.batches: dict[str, Batch] = {}
            self.files: dict[str, bytes] = {}

    # --- what clients do ---

    def keep_file(self, content: bytes) -> str:
        """Keep an uploaded file; its id."""
        with self._lock:
            name = f"file-{len(self.files) + 1:06d}"
            self.files[name] = content
            return name

    def submit_openai(self, body: Mapping[str, Any]) -> Batch:
        """Take OpenAI's `POST /batches`. Raises KeyError: there is no such file."""
        content = self.files[str(body["input_file_id"])]
        invalid, requests = None, []
        try:
            for line in content.split(b"\n"):
                if line.strip():
                    asked = json.loads(line)
                    requests.append((str(asked["custom_id"]), str(asked["url"]), asked["body"]))
        except (ValueError, KeyError, TypeError):
            invalid = "invalid_json_line"
        invalid = invalid or self._objection(requests)
        if invalid is None and any(path != body["endpoint"] for _, path, _ in requests):
            invalid = "mismatched_endpoint"
        return self._keep(
            "openai", [] if invalid else requests, body["endpoint"], str(body["input_file_id"]), body.get("metadata"), invalid
        )

    def submit_anthropic(self, body: Mapping[str, Any]) -> Batch:
        """Take Anthropic's `POST /messages/batches`. Raises ValueError: it would be refused."""
        requests = [(str(asked["custom_id"]), "/v1/messages", asked["params"]) for asked in body["requests"]]
        if (objection := self._objection(requests)) is not None:
            raise ValueError(objection)
        return self._keep("anthropic", requests, "/v1/messages", "", None, None)

    def find(self, batch_id: str) -> Batch:
        """A batch as it is now. Raises KeyError."""
        with self._lock:
            batch = self.batches[batch_id]
            self._advance(batch)
            return batch

    def cancel(self, batch_id: str) -> Batch:
        """Cancel a batch: nothing of it that was not done is done."""
        with self._lock:
            batch = self.find(batch_id)
            if batch.ended_at is None:
                batch.cancelled_at = self._clock()
                self._advance(batch)
            return batch

    def listed(self, kind: str, after: str | None, limit: int) -> tuple[list[Batch], bool]:
        """A page of batches, newest first, and whether there are more."""
        with self._lock:
            of_kind = [batch for batch in reversed(self.batches.values()) if batch.kind == kind]
            ids = [batch.id for batch in of_kind]
            rest = of_kind[ids.index(after) + 1 :] if after in ids else of_kind
            for batch in rest[:limit]:
                self._advance(batch)
            return rest[:limit], len(rest) > limit

    def file_of(self, file_id: str) -> bytes:
        """The content of an uploaded file, or of a batch's results. Raises KeyError."""
        with self._lock:
            for batch in self.batches.values():
                if file_id == f"file-out-{batch.id}":
                    return "".join(batch.lines).encode()
                if file_id == f"file-err-{batch.id}":
                    return "".join(batch.error_lines).encode()
            return self.files[file_id]

    def loses_this(self) -> bool:
        """Whether the answer to a submission gets lost on its way."""
        with self._lock:
            if self.lose_answers > 0:
                self.lose_answers -= 1
                return True
            return False

    # --- working them off ---

    def _objection(self, requests: Sequence[tuple[str, str, Any]]) -> str | None:
        if not requests:
            return "empty_batch"
        if len(requests) > self.most_requests:
            return "too_many_requests_in_batch"
        return "duplicate_custom_id" if len({custom_id for custom_id, _, _ in requests}) < len(requests) else None

    def _keep(self, kind: Any, requests: Any, endpoint: str, file_id: str, metadata: Any, invalid: str | None) -> Batch:
        with self._lock:
            prefix = "batch_" if kind == "openai" else "msgbatch_"
            batch = Batch(f"{prefix}{len(self.batches) + 1:06d}", kind, requests, self._clock(), endpoint, file_id, metadata, invalid)
            if invalid is not None:
                batch.ended_at = batch.created_at
            self.batches[batch.id] = batch
            return batch

    def _advance(self, batch: Batch) -> None:
        if batch.ended_at is not None:
            return
        now = self._clock()
        if batch.cancelled_at is None and now < batch.created_at + self.delay_seconds:
            return
        batch.ended_at = now
        for custom_id, path, body in batch.requests:
            self._work(batch, custom_id, path, body)

    def _work(self, batch: Batch, custom_id: str, path: str, body: Mapping[str, Any]) -> None:
        fault = "canceled" if batch.cancelled_at is not None else self.fault(custom_id, body)
        outcome, status = "succeeded", 200
        answer: Mapping[str, Any] = {}
        if fault == "refused":
            outcome, status, answer = "errored", 400, {"type": "invalid_request_error", "message": "the request is invalid, as asked for"}
        elif fault == "error":
            outcome, status, answer = "errored", 500, {"type": "api_error", "message": "the server failed, as asked for"}
        elif fault in ("expired", "canceled"):
            outcome = fault
        else:
            status, answer = self._ask(path, body)
            if status != 200:
                outcome = "errored"
                answer = answer.get("error") or answer
        batch.counts[outcome] = batch.counts.get(outcome, 0) + 1
        write = _openai_line if batch.kind == "openai" else _anthropic_line
        line = json_line(write(custom_id, outcome, status, answer)) + "\n"
        lines = batch.lines if outcome == "succeeded" or batch.kind == "anthropic" else batch.error_lines
        if batch.kind == "openai" and outcome == "canceled":
            return  # OpenAI's files have nothing of what was not done
        if fault != "missing":
            lines += [line[: len(line) // 2] + "\n"] if fault == "corrupt" else [line, line] if fault == "twice" else [line]


def _openai_line(custom_id: str, outcome: str, status: int, answer: Mapping[str, Any]) -> dict[str, Any]:
    line: dict[str, Any] = {"id": f"batch_req_{custom_id}", "custom_id": custom_id, "response": None, "error": None}
    if outcome == "expired":
        line["error"] = {"code": "batch_expired", "message": "This request could not be executed before the completion window expired."}
    else:
        line["response"] = {
            "status_code": status,
            "request_id": f"req_{custom_id}",
            "body": answer if outcome == "succeeded" else {"error": answer},
        }
    return line


def _anthropic_line(custom_id: str, outcome: str, status: int, answer: Mapping[str, Any]) -> dict[str, Any]:
    result: dict[str, Any] = {"type": outcome}
    if outcome == "succeeded":
        message = dict(answer)
        message["usage"] = {**message["usage"], "service_tier": "batch"}
        result["message"] = message
    elif outcome == "errored":
        result["error"] = {"type": "error", "error": dict(answer), "request_id": None}
    return {"custom_id": custom_id, "result": result}


def shown(batch: Batch, base_url: str) -> dict[str, Any]:
    """A batch as its API describes it."""
    return _as_openai(batch) if batch.kind == "openai" else _as_anthropic(batch, base_url)


def _as_openai(batch: Batch) -> dict[str, Any]:
    total, done = len(batch.requests), batch.counts.get("succeeded", 0)
    failed = total - done if batch.ended_at is not None else 0
    status = "in_progress" if batch.ended_at is None else "cancelled" if batch.cancelled_at is not None else "completed"
    if batch.invalid is not None:
        status = "failed"
    elif batch.counts.get("expired"):
        status = "expired"
    errors = None
    if batch.invalid is not None:
        errors = {"object": "list", "data": [{"code": batch.invalid, "message": f"the input is refused: {batch.invalid}", "line": None}]}
    return {
        "id": batch.id,
        "object": "batch",
        "endpoint": batch.endpoint,
        "errors": errors,
        "input_file_id": batch.file_id,
        "completion_window": "24h",
        "status": status,
        "output_file_id": f"file-out-{batch.id}" if batch.lines else None,
        "error_file_id": f"file-err-{batch.id}" if batch.error_lines else None,
        "created_at": int(batch.created_at),
        "expires_at": int(batch.created_at) + DAY_SECONDS,
        "completed_at": None if batch.ended_at is None else int(batch.ended_at),
        "request_counts": {"total": total, "completed": done, "failed": failed},
        "metadata": batch.metadata,
    }


def _as_anthropic(batch: Batch, base_url: str) -> dict[str, Any]:
    counts = {name: batch.counts.get(name, 0) for name in ("succeeded", "errored", "canceled", "expired")}
    is_over = batch.ended_at is not None
    return {
        "id": batch.id,
        "type": "message_batch",
        "processing_status": "ended" if is_over else "in_progress",
        "request_counts": {"processing": 0 if is_over else len(batch.requests), **counts},
        "created_at": _iso(batch.created_at),
        "expires_at": _iso(batch.created_at + DAY_SECONDS),
        "ended_at": _iso(batch.ended_at),
        "cancel_initiated_at": _iso(batch.cancelled_at),
        "archived_at": None,
        "results_url": f"{base_url}/v1/messages/batches/{batch.id}/results" if is_over else None,
    }


def _iso(moment: float | None) -> str | None:
    return None if moment is None else datetime.fromtimestamp(moment, UTC).isoformat().replace("+00:00", "Z")


def parts_of_form(content_type: str, raw: bytes) -> Iterator[tuple[str, bytes]]:
    """Names and contents of a multipart form."""
    boundary = content_type.partition("boundary=")[2].strip('"').encode()
    for part in raw.split(b"--" + boundary)[1:-1]:
        head, _, content = part.partition(b"\r\n\r\n")
        name = head.partition(b'name="')[2].partition(b'"')[0].decode()
        yield name, content.removesuffix(b"\r\n")
