"""Gemini's batch API, with google-genai's own client against a server on loopback."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
from google import genai
from google.genai import types

from llmthrift_core import Budget, Thrift

pytestmark = pytest.mark.loopback


class Gemini(HTTPServer):
    """Takes batches with inline requests, and ends them at once in `state`. A request that ends in "fail" has an error once."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.batches: list[dict[str, Any]] = []
        self.failed = 0
        self.loses = 0
        self.state = "BATCH_STATE_SUCCEEDED"

    def submit(self, body: dict[str, Any]) -> dict[str, Any]:
        batch = body["batch"]
        responses = [self._answer(each) for each in batch["inputConfig"]["requests"]["requests"]]
        name = f"batches/{len(self.batches)}"
        output = {"inlinedResponses": {"inlinedResponses": responses}}
        now = datetime.now(UTC).isoformat().replace("+00:00", "Z")
        metadata = {
            "displayName": batch["displayName"],
            "createTime": now,
            "state": self.state,
            "name": name,
        }
        made = {"name": name, "metadata": metadata, "done": self.state != "BATCH_STATE_RUNNING"}
        if self.state == "BATCH_STATE_SUCCEEDED":
            metadata["output"] = made["response"] = output
        self.batches.append(made)
        return made

    def _answer(self, asked: dict[str, Any]) -> dict[str, Any]:
        text = asked["request"]["contents"][-1]["parts"][0]["text"]
        if text.endswith("fail") and not self.failed:
            self.failed += 1
            return {"metadata": asked["metadata"], "error": {"code": 14, "message": "unavailable"}}
        content = {"role": "model", "parts": [{"text": f"said {text}"}]}
        used = {"promptTokenCount": 100, "cachedContentTokenCount": 40, "candidatesTokenCount": 10, "totalTokenCount": 110}
        answer = {"candidates": [{"content": content, "finishReason": "STOP"}], "usageMetadata": used, "modelVersion": "gemini-2.5-flash"}
        return {"metadata": asked["metadata"], "response": answer}


class _Handler(BaseHTTPRequestHandler):
    server: Gemini

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing on standard error."""

    def do_POST(self) -> None:
        if self.path.endswith(":cancel"):
            name = self.path.rpartition("/")[2].removesuffix(":cancel")
            self.server.batches[int(name)]["metadata"]["state"] = "BATCH_STATE_CANCELLED"
            self._reply(200, {})
            return
        made = self.server.submit(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        if self.server.loses:
            self.server.loses -= 1
            self._reply(503, {"error": {"code": 503, "message": "lost", "status": "UNAVAILABLE"}})
        else:
            self._reply(200, made)

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path.endswith("/batches"):
            self._reply(200, {"operations": self.server.batches[::-1]})
        else:
            self._reply(200, self.server.batches[int(path.rpartition("/")[2])])

    def _reply(self, status: int, body: Any) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


@pytest.fixture
def gemini() -> Iterator[Gemini]:
    server = Gemini()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def client(gemini: Gemini) -> genai.Client:
    return genai.Client(api_key="k", http_options=types.HttpOptions(base_url=f"http://127.0.0.1:{gemini.server_port}"))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_job_at_batch_prices_that_do_not_stack(thrift: Thrift, gemini: Gemini, client: genai.Client) -> None:
    asked = [[{"role": "system", "content": "Be brief."}, {"role": "user", "content": text}] for text in ("one", "to fail")]
    job = thrift.batches.submit(asked, model="gemini-2.5-flash", client=client)
    assert job.provider == "google"
    results = {result.custom_id: result for result in thrift.batches.results(job, poll_seconds=0)}
    assert {name: (result.text, result.attempts) for name, result in results.items()} == {"0": ("said one", 1), "1": ("said to fail", 2)}
    # Gemini 2.5 Flash: $0.30 and $2.50 per million, half of it in a batch; cached input $0.03 in both.
    assert results["0"].cost_usd == Decimal(60 * 150 + 40 * 30 + 10 * 1_250) / 10**9
    assert {row["service_tier"] for row in thrift.ledger.calls()} == {"batch"}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_lost_reply_is_no_second_batch(thrift: Thrift, gemini: Gemini, client: genai.Client) -> None:
    gemini.loses = 1
    job = thrift.batches.submit(["one"], model="gemini-2.5-flash", client=client)
    assert [result.text for result in thrift.batches.results(job, poll_seconds=0)] == ["said one"]
    assert len(gemini.batches) == 1


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_job_under_way_is_cancelled_and_its_hold_let_go(thrift: Thrift, gemini: Gemini, client: genai.Client) -> None:
    gemini.state = "BATCH_STATE_RUNNING"
    thrift.budgets.add(Budget(limit_usd=1, window="total"))
    job = thrift.batches.submit(["one", "two"], model="gemini-2.5-flash", client=client)
    status = thrift.batches.status(job, client=client)
    assert (status.state, status.open) == ("running", 2)
    assert thrift.budgets.status()[0]["reserved"] > 0
    thrift.batches.cancel(job, client=client)
    assert gemini.batches[0]["metadata"]["state"] == "BATCH_STATE_CANCELLED"
    results = list(thrift.batches.results(job, poll_seconds=0, client=client))
    assert [(result.text, result.ending) for result in results] == [("", "cancelled")] * 2
    assert [(row["spent"], row["reserved"]) for row in thrift.budgets.status()] == [(0, 0)]
    assert thrift.batches.status(job, client=client).state == "ended"


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(("state", "ending"), [("BATCH_STATE_EXPIRED", "expired"), ("BATCH_STATE_FAILED", "failed")])
def test_a_job_that_its_provider_gives_up_bills_nothing(
    thrift: Thrift, gemini: Gemini, client: genai.Client, state: str, ending: str
) -> None:
    gemini.state = state
    job = thrift.batches.submit(["one"], model="gemini-2.5-flash", client=client, max_attempts=1)
    (result,) = thrift.batches.results(job, poll_seconds=0, client=client)
    assert (result.text, result.ending) == ("", ending)
    assert result.error
    assert thrift.report().total["cost_usd"] == 0
