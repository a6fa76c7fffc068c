"""What is refused before it reaches an endpoint."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from fastapi.testclient import TestClient

from llmthrift_core import Thrift
from llmthrift_core.errors import ConfigurationError
from llmthrift_core.service import ApiKeys
from llmthrift_core.service.guard import Limits
from llmthrift_core.testing import LoopbackProvider
from tests.core.clock import Clock
from tests.core.service.conftest import app_of

pytestmark = pytest.mark.loopback
FRANCE = {"prompt": "What is the capital of France?"}
KEYS: dict[str, dict[str, Any]] = {
    "all": {},
    "caller": {"scopes": ["call"], "user": "ada"},
    "reader": {"scopes": ["read"]},
    "slow": {"scopes": ["call"], "requests_per_minute": 1},
}


@pytest.fixture
def client(thrift: Thrift, provider: LoopbackProvider) -> Iterator[TestClient]:
    limits = Limits(max_body_bytes=2_000)
    with TestClient(app_of(thrift, provider, api_keys=KEYS, limits=limits)) as client:
        yield client


def _with(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def test_a_key_is_needed_and_its_scope(client: TestClient) -> None:
    assert client.post("/v1/chat", json=FRANCE).status_code == 401
    assert client.post("/v1/chat", json=FRANCE, headers=_with("guessed")).status_code == 401
    assert client.post("/v1/chat", json=FRANCE, headers=_with("reader")).status_code == 403
    assert client.post("/v1/chat", json=FRANCE, headers=_with("caller")).status_code == 200
    assert client.get("/v1/costs", headers=_with("caller")).status_code == 403
    assert client.get("/v1/costs", headers=_with("reader")).status_code == 200
    assert client.post("/v1/cache/invalidate", json={"tag": "x"}, headers=_with("reader")).status_code == 403
    assert client.post("/v1/cache/invalidate", json={"tag": "x"}, headers={"x-api-key": "all"}).json() == {"removed": 0}
    assert client.get("/health").status_code == 200


def test_a_key_says_for_whom(client: TestClient, thrift: Thrift) -> None:
    client.post("/v1/chat", json={**FRANCE, "user": "eve"}, headers={**_with("caller"), "X-LLMThrift-User": "mallory"})
    (row,) = thrift.ledger.calls()
    assert row.user == "ada"


def test_a_key_in_a_url_is_refused(client: TestClient) -> None:
    refused = client.get("/v1/costs?api_key=all")
    assert (refused.status_code, "Authorization" in refused.json()["error"]["message"]) == (400, True)
    assert "all" not in refused.json()["error"]["message"].split()


def test_a_key_has_its_rate(client: TestClient) -> None:
    answers = [client.post("/v1/chat", json=FRANCE, headers=_with("slow")) for _ in range(3)]  # one of which may begin a new minute
    assert answers[-1].status_code == 429
    assert int(answers[-1].headers["retry-after"]) <= 60


def test_a_large_body_is_refused(client: TestClient) -> None:
    assert client.post("/v1/chat", json={"prompt": "x" * 3_000}, headers=_with("all")).status_code == 413
    told = client.post("/v1/chat", content=iter([b"x" * 1_500] * 2), headers=_with("all"))  # without a length
    assert told.status_code == 413


def test_too_many_at_once_are_told_to_wait(thrift: Thrift, provider: LoopbackProvider) -> None:
    with TestClient(app_of(thrift, provider, limits=Limits(max_concurrency=0))) as client:
        refused = client.post("/v1/chat", json=FRANCE)
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")


def test_what_is_not_there(client: TestClient) -> None:
    assert client.get("/v1/nothing", headers=_with("all")).json()["error"]["message"] == "there is nothing at /v1/nothing"
    assert client.get("/v1/chat", headers=_with("all")).status_code == 405


def test_keys_are_kept_as_hashes_and_end(thrift: Thrift) -> None:
    clock = Clock(1_800_000_000.0)
    keys = ApiKeys(thrift.database, clock)
    assert not keys.is_configured
    key, known = keys.create(name="batch", scopes=["call", "read"], user="ada", expires_in=timedelta(hours=1))
    assert keys.is_configured
    found = keys.find(key)
    assert found is not None
    assert (found.scopes, found.attribution) == ({"call", "read"}, {"user": "ada"})
    with thrift.database.read() as connection:
        stored = str(connection.exec_driver_sql("SELECT * FROM llmthrift_api_keys").all())
    assert key not in stored
    new, _ = keys.rotate(known.id)
    assert keys.find(key) is None
    assert keys.find(new) is not None
    clock.now += 3_601
    assert keys.find(new) is None
    assert [each.name for each in keys.list()] == ["batch", "batch"]
    with pytest.raises(ConfigurationError, match="unknown scope root"):
        keys.create(scopes=["root"])


def test_a_remembered_key_is_not_looked_up_again(thrift: Thrift) -> None:
    clock = Clock()
    keys = ApiKeys(thrift.database, clock)
    assert not keys.remembers(None)
    key, _ = keys.create(scopes=["call"])
    assert not keys.remembers(key)
    assert keys.is_configured
    assert not keys.remembers(key)
    assert keys.find(key) is not None
    assert keys.remembers(key)
    assert not keys.remembers("guessed")
    clock.now += 6
    assert not keys.remembers(key)
    assert ApiKeys(thrift.database, clock, ["given"]).remembers("given")
