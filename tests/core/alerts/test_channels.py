"""Webhooks against a real server, apprise's own sender, pauses, dead channels, and addresses that nobody sees."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from llmthrift_core import Alert, Budget, Thrift
from llmthrift_core.alerts import is_signed_webhook
from llmthrift_core.alerts.alerts import Alerts
from llmthrift_core.cli.app import app
from llmthrift_core.errors import ConfigurationError
from tests.core.alerts.receiver import Receiver, receiver
from tests.core.alerts.test_alerts import settle

pytestmark = pytest.mark.loopback
KEY = "T0KEN-B0X-zzz"


@pytest.fixture
def here() -> Iterator[Receiver]:
    with receiver() as found:
        yield found


@pytest.fixture
def thrift() -> Iterator[Thrift]:
    with Thrift(":memory:") as opened:
        opened.__dict__["alerts"] = Alerts(opened, opened._parts, pauses=(0.02, 0.02, 0.02))
        opened.budgets.add(Budget(limit_usd=10, window="total", name="all"))
        opened.budgets.add(Budget(limit_usd=100, window="total", per="user", name="each"))
        yield opened


def tell(thrift: Thrift, url: str, **options: str) -> None:
    thrift.alerts.add(Alert(on="budget", to=[url], **options), watch=False)
    settle(thrift, 9, user="ada 🚀")
    assert len(thrift.alerts.check()) == 1


def test_a_webhook_is_signed(thrift: Thrift, here: Receiver) -> None:
    tell(thrift, f"{here.url}/hook/{KEY}", secret="s3cret")
    assert here.wait(1)  # what a channel does not take at once is tried again
    ((path, headers, body),) = here.requests
    assert path == f"/hook/{KEY}"
    told = json.loads(body)
    assert told["source"] == "llmthrift"
    assert [alert["on"] for alert in told["alerts"]] == ["budget"]
    assert datetime.fromisoformat(told["alerts"][0]["at"]).tzinfo is not None
    assert told["alerts"][0]["at"][10] == "T"
    assert "90%" not in told["alerts"][0]["text"]
    assert "80% of its limit" in told["alerts"][0]["text"]
    assert is_signed_webhook(body, headers, secret="s3cret")
    assert not is_signed_webhook(body, headers, secret="other")
    assert not is_signed_webhook(body + b" ", headers, secret="s3cret")
    assert not is_signed_webhook(body, headers, secret="s3cret", now=time.time() + 301)
    assert not is_signed_webhook(body, {**headers, "x-llmthrift-timestamp": str(int(time.time()) + 1)}, secret="s3cret")
    assert not is_signed_webhook(body, {}, secret="s3cret")


def test_the_secret_may_come_from_the_environment_or_not_at_all(thrift: Thrift, here: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMTHRIFT_WEBHOOK_SECRET", "of the environment")
    tell(thrift, here.url)
    assert here.wait(1)
    _, headers, body = here.requests[0]
    assert is_signed_webhook(body, headers, secret="of the environment")
    monkeypatch.delenv("LLMTHRIFT_WEBHOOK_SECRET")
    with Thrift(":memory:") as other:
        other.budgets.add(Budget(limit_usd=10, name="all"))
        tell(other, here.url)
        assert here.wait(2)
    assert "x-llmthrift-signature" not in here.requests[1][1]


def test_several_at_once_are_one_message(thrift: Thrift, here: Receiver) -> None:
    for on in ("budget", "unpriced"):
        thrift.alerts.add(Alert(on=on, to=[here.url]), watch=False)
    thrift.ledger.record("nobody-knows-1", usage(), user="ada")
    settle(thrift, 9, user="ada")
    settle(thrift, 1, user="ben")
    thrift.alerts.check()
    ((_, _, body),) = here.requests
    told = json.loads(body)
    assert [alert["on"] for alert in told["alerts"]] == ["budget", "unpriced"]
    assert told["title"] == "llmthrift: 2 alerts"


def usage():
    from llmthrift_core import Usage

    return Usage(input_tokens=10)


def test_a_channel_that_comes_back_gets_the_message_once(thrift: Thrift, here: Receiver) -> None:
    here.statuses += [503, 429]
    tell(thrift, here.url)
    assert here.wait(3)
    deadline = time.monotonic() + 5
    while not thrift.alerts.health()["channels"][0]["sent"] and time.monotonic() < deadline:
        time.sleep(0.01)
    (health,) = thrift.health()["alerting"]["channels"]
    assert (health["sent"], health["attempts_failed"], health["lost"], health["dead"], health["waiting"]) == (1, 2, 0, False, 0)
    assert len({headers["x-llmthrift-delivery"] for _, headers, _ in here.requests}) == 1
    assert len(here.requests) == 3


@pytest.mark.parametrize(("status", "attempts"), [(500, 4), (404, 1), (302, 1)])
def test_a_dead_channel_is_given_up_and_counted(thrift: Thrift, here: Receiver, status: int, attempts: int) -> None:
    here.statuses += [status] * 10
    tell(thrift, here.url)
    deadline = time.monotonic() + 5
    while not thrift.alerts.health()["channels"][0]["lost"] and time.monotonic() < deadline:
        time.sleep(0.01)
    (health,) = thrift.health()["alerting"]["channels"]
    assert (health["lost"], health["dead"], health["attempts_failed"], health["last_error"]) == (1, True, attempts, f"status {status}")
    assert len(here.requests) == attempts
    assert {path for path, _, _ in here.requests} == {"/"}  # no redirect was followed


def test_a_channel_is_dead_from_the_second_attempt_in_vain_until_it_takes_something(here: Receiver) -> None:
    with Thrift(":memory:") as thrift:
        thrift.__dict__["alerts"] = Alerts(thrift, thrift._parts, pauses=(0.02, 0.3))
        thrift.budgets.add(Budget(limit_usd=10, window="total", name="all"))
        here.statuses += [500, 502]
        tell(thrift, f"{here.url}/{KEY}")
        assert here.wait(2)
        deadline = time.monotonic() + 5
        while not thrift.health()["alerts"] and time.monotonic() < deadline:
            time.sleep(0.01)
        found = thrift.health()
        assert found["alerts"] == [f"alerts do not reach {here.url} (status 502): 1 message waits for it, 0 were given up"]
        assert (found["alerting"]["dead"], found["alerting"]["channels"][0]["lost"]) == (1, 0)
        assert here.wait(3)
        while thrift.alerts.health()["dead"] and time.monotonic() < deadline:
            time.sleep(0.01)
        assert thrift.health()["alerts"] == []


@pytest.fixture
def stored_url(any_url: str, tmp_path: Path) -> str:
    return str(tmp_path / "ledger.db") if any_url == ":memory:" else any_url


def test_what_reached_nobody_is_told_by_whoever_looks_next(stored_url: str, here: Receiver) -> None:
    def of_cron(to: list[Any]) -> int:
        with Thrift(stored_url) as thrift:
            thrift.alerts.add(Alert(on="budget", to=to), watch=False)
            return len(thrift.alerts.check())

    with Thrift(stored_url) as thrift:
        thrift.budgets.add(Budget(limit_usd=10, name="all"))
        settle(thrift, 9)
    here.statuses += [503]
    assert of_cron([here.url]) == 1
    told: list[object] = []
    here.statuses += [503]
    assert of_cron([here.url, told.append]) == 1  # a function took it
    assert len(told) == 1
    assert of_cron([here.url]) == 0
    assert len(here.requests) == 2


def test_a_refusal_is_not_told_again(stored_url: str, here: Receiver) -> None:
    with Thrift(stored_url) as thrift:
        thrift.budgets.add(Budget(limit_usd=10, name="all"))
        here.statuses += [404]
        tell(thrift, here.url)
        assert thrift.alerts.check() == []


def test_nobody_listens_at_the_address(thrift: Thrift, caplog: pytest.LogCaptureFixture) -> None:
    with receiver() as gone:
        url = gone.url
    tell(thrift, f"{url}/{KEY}?token={KEY}")
    deadline = time.monotonic() + 5
    while not thrift.alerts.health()["channels"][0]["lost"] and time.monotonic() < deadline:
        time.sleep(0.01)
    assert thrift.alerts.health()["dead"] == 1
    assert thrift.alerts.health()["channels"][0]["last_error"] == "ConnectionRefusedError"
    assert "could not be sent to http://127.0.0.1" in caplog.text
    assert KEY not in caplog.text
    assert KEY not in repr(thrift.health())


def test_apprise_sends_what_it_knows(thrift: Thrift, here: Receiver, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    tell(thrift, here.url.replace("http://", "json://") + f"/{KEY}")
    ((path, _, body),) = here.requests
    assert path == f"/{KEY}"
    told = json.loads(body)
    assert told["title"] == "llmthrift: budget"
    assert "80% of its limit" in told["message"]
    assert KEY not in caplog.text
    assert KEY not in repr(thrift.alerts.list()) + repr(thrift.health())


def test_what_apprise_does_not_know_is_refused_without_showing_it(thrift: Thrift) -> None:
    with pytest.raises(ConfigurationError) as raised:
        thrift.alerts.add(Alert(on="budget", to=[f"nonsense://{KEY}"]))
    assert KEY not in str(raised.value)
    assert "nonsense://..." in str(raised.value)


def test_no_address_is_in_the_database(tmp_path, here: Receiver) -> None:
    path = tmp_path / "ledger.db"
    with Thrift(path) as thrift:
        thrift.budgets.add(Budget(limit_usd=10, per="user", name="all"))
        tell(thrift, f"{here.url}/{KEY}", secret="s3cret")
    stored = b"".join(file.read_bytes() for file in tmp_path.iterdir())
    assert KEY.encode() not in stored
    assert b"s3cret" not in stored


def test_the_log_is_a_channel(thrift: Thrift, caplog: pytest.LogCaptureFixture) -> None:
    thrift.alerts.add(Alert(on="budget", to="log"), watch=False)
    settle(thrift, 9)
    thrift.alerts.check()
    assert "budget: The budget 'all' has reached 80% of its limit" in caplog.text


def test_the_commands(tmp_path, here: Receiver) -> None:
    path, runner = str(tmp_path / "ledger.db"), CliRunner()
    with Thrift(path) as thrift:
        thrift.budgets.add(Budget(limit_usd=10, name="all"))
    assert runner.invoke(app, ["alerts", "list", "--url", path]).output == "Nothing to tell.\n"
    with Thrift(path) as thrift:
        settle(thrift, 9)
    listed = runner.invoke(app, ["alerts", "list", "--url", path, "--on", "budget"])
    assert "budget: The budget 'all' has reached 80%" in listed.output
    sent = runner.invoke(app, ["alerts", "check", "--url", path, "--to", here.url, "--secret", "s"])
    assert sent.exit_code == 0, sent.output
    assert "has reached 80%" in sent.output
    assert len(here.requests) == 1
    assert runner.invoke(app, ["alerts", "check", "--url", path, "--to", here.url]).output == "Nothing to tell.\n"
    tested = runner.invoke(app, ["alerts", "test", "--url", path, "--to", here.url, "--to", "log"])
    assert f"{here.url}: sent" in tested.output
    assert "log: sent" in tested.output
    assert json.loads(here.requests[1][2])["alerts"][0]["text"].startswith("This is a test")
    here.statuses += [404]
    failed = runner.invoke(app, ["alerts", "test", "--url", path, "--to", here.url])
    assert (failed.exit_code, "not reached" in failed.output) == (1, True)
    assert runner.invoke(app, ["alerts", "test", "--url", path]).exit_code == 2
