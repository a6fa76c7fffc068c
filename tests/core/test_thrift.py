"""The whole, as an application opens, asks and closes it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from decimal import Decimal
from pathlib import Path

import pytest

import llmthrift_core
from llmthrift_core import Budget, BudgetExceededError, PriceCatalog, Thrift, Usage, attribute
from llmthrift_core.cache import CachePolicy
from llmthrift_core.calls.request import Request
from llmthrift_core.errors import ConfigurationError, LLMThriftError, StorageError

DAY = 86_400


def test_everything_exported_is_there_and_nothing_else_is_documented():
    for name in llmthrift_core.__all__:
        assert getattr(llmthrift_core, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'Nonsense'"):
        llmthrift_core.Nonsense  # noqa: B018


def test_importing_loads_no_database_no_price_list_and_starts_no_thread():
    program = (
        "import sys, threading\n"
        "import llmthrift_core\n"
        "heavy = {'sqlalchemy', 'alembic', 'genai_prices', 'tiktoken', 'pydantic', 'sqlite3', 'psycopg'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "assert threading.active_count() == 1\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.parametrize(
    "options",
    [{"durability": "never"}, {"capture": "all"}, {"synchronous": "OFF"}, {"busy_timeout_seconds": -1}, {"retention_days": 0}],
    ids=lambda options: next(iter(options)),
)
def test_options_that_cannot_be_used_are_refused(options):
    with pytest.raises(ConfigurationError, match=next(iter(options))):
        Thrift(":memory:", **options)


@pytest.mark.parametrize("url", ["mysql://localhost/db", "sqlit:///x.db", "postgresql://:secret@", "sqlite://server/x.db"])
def test_urls_that_cannot_be_used_are_refused_without_their_password(url):
    with pytest.raises(LLMThriftError) as refused:
        Thrift(url)
    assert "secret" not in str(refused.value)


def test_a_corrupt_file_is_refused_and_left_alone(tmp_path: Path):
    path = tmp_path / "notes.db"
    path.write_bytes(b"my precious notes\n" * 1000)
    before = path.read_bytes()
    with pytest.raises(StorageError):
        Thrift(path)
    assert path.read_bytes() == before


def test_the_url_comes_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("LLMTHRIFT_URL", str(tmp_path / "from_env.db"))
    with Thrift() as thrift:
        assert thrift.database.path == tmp_path / "from_env.db"


def test_disabled_opens_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("LLMTHRIFT_DISABLED", "1")
    with Thrift(tmp_path / "never.db") as thrift:
        assert thrift.health() == {"status": "disabled"}
    assert list(tmp_path.iterdir()) == []


def test_prices_may_be_a_catalog_a_mapping_or_a_file(tmp_path: Path):
    file = tmp_path / "prices.toml"
    file.write_text("[house]\ninput_usd_per_million = 1\noutput_usd_per_million = 2\n")
    mapping = {"house": {"input_usd_per_million": 1, "output_usd_per_million": 2}}
    for prices in (PriceCatalog(overrides=file), mapping, file, str(file)):
        with Thrift(":memory:", prices=prices) as thrift:
            assert thrift.prices.cost(Usage(input_tokens=1_000_000), "house").usd == Decimal(1)
    file.write_text("[house")
    with pytest.raises(ConfigurationError, match=r"prices\.toml"):
        Thrift(":memory:", prices=file).prices.cost(Usage(), "house")


def test_other_costs_and_feedback_are_kept(thrift: Thrift):
    with attribute(user="ada", feature="search"):
        thrift.record_cost("tool", "0.25", tags={"tool": "maps"})
        request_id = thrift.ledger.record("gpt-4o-mini", Usage(input_tokens=10))
    thrift.feedback(request_id, quality=0.8, source="user")
    with pytest.raises(LLMThriftError):
        thrift.feedback(request_id, quality=7)
    assert "0.25" in str(thrift.report(by="feature"))


def test_a_user_is_forgotten_and_the_sums_stay(thrift: Thrift):
    for user in ("ada", "ben"):
        thrift.ledger.record("gpt-4o-mini", Usage(input_tokens=1_000_000), user=user, tags={"mail": f"{user}@example.org"})
    before = thrift.report(by="model").total["cost_usd"]
    assert thrift.erase(user="ada")["calls"] == 1
    assert thrift.report(by="model").total["cost_usd"] == before == Decimal("0.30")
    assert "ada" not in {row["user"] for row in thrift.report(by="user").to_dicts()}
    assert all("ada" not in str(dict(row)) for row in thrift.ledger.calls())


def _found_in_files(path: Path, *texts: str) -> set[str]:
    files = b"".join(file.read_bytes() for file in path.parent.glob(path.name + "*"))
    return {text for text in texts if text.encode() in files}


def test_no_file_tells_of_a_user_who_was_erased(tmp_path: Path):
    path = tmp_path / "l.db"
    marks = ("ada-NAME", "ada-SESSION", "ada-TAG", "ada-RUN", "ada-ASKED", "ada-TOLD", "ada-THINKS", "ada-STORED")
    name, session, tag, run, asked, told, thinks, stored = marks
    with Thrift(path, capture="text") as thrift:
        thrift.budgets.add(Budget(limit_usd=1, window="total", per=("user", "session", "team", "feature"), name="b"))
        for per in ("session", "run", "team"):
            thrift.budgets.add(Budget(limit_usd=1, window="total", per=per, name=f"by {per}"))
        scope = {"user": name, "session": session, "run": run, "team": tag, "feature": "chat"}
        settled, held = (thrift.budgets.reserve(estimate_usd="0.5", scope=scope) for _ in range(2))
        settled.settle(cost_usd="0.25")
        policy = CachePolicy()
        thrift.cache.store(policy.key(b"q"), policy, stored.encode(), model="m", usage=Usage(input_tokens=1), user=name)
        for number in range(200):  # many pages, so that some are split
            thrift.ledger.record(
                "m", Usage(input_tokens=1), user=name, session=session, run=run, tags={"team": tag}, request_id=f"r{number}"
            )
            thrift.ledger.capture(f"r{number}", 0, name, asked * 20, told)
            thrift.ledger.record("m", Usage(input_tokens=1), user=f"u{number}")
        thrift.feedback("r1", quality=1, source=name, comment=thinks)
        assert thrift.flush()
        assert _found_in_files(path, *marks) == set(marks)
        erased = thrift.erase(user=name)
        assert {kind: erased[kind] for kind in ("calls", "captures", "budget_windows", "cache_entries")} == {
            "calls": 200,
            "captures": 200,
            "budget_windows": 4,
            "cache_entries": 1,
        }
        assert _found_in_files(path, *marks) == set()
        assert thrift.cache.lookup(policy.key(b"q"), policy) is None
        # The amounts stay, and a hold that was open finds its window.
        status = thrift.budgets.status()
        assert [(row["spent"], row["reserved"]) for row in status] == [(Decimal("0.25"), Decimal("0.5"))] * 4
        assert [row["scope"]["feature"] for row in status if row["name"] == "b"] == ["chat"]
        held.settle(cost_usd="0.5")
        assert [(row["spent"], row["reserved"], row["overrun"]) for row in thrift.budgets.status()] == [(Decimal("0.75"), 0, 0)] * 4
        assert thrift.report().total["attempts"] == 400
    assert _found_in_files(path, *marks) == set()


def test_a_database_file_that_is_deleted_is_noticed_and_what_comes_after_is_kept(tmp_path: Path, caplog):
    path = tmp_path / "l.db"
    usage = Usage(input_tokens=1)
    with Thrift(path) as thrift:
        thrift.ledger.record("m", usage, request_id="before")
        assert thrift.flush()
        assert thrift.health()["database_trouble"] is None
        path.unlink()
        health = thrift.health()
        assert (health["status"], str(path) in health["database_trouble"]) == ("degraded", True)
        thrift.ledger.record("m", usage, request_id="after")
        thrift.budgets.add(Budget(limit_usd=1, name="new"))
        assert thrift.flush()
        assert [call.request_id for call in thrift.ledger.calls()] == ["after"]
        health = thrift.health()
        assert (health["ledger"]["lost"], health["status"], "is gone" in health["database_trouble"]) == (0, "degraded", True)
        other = tmp_path / "other.db"
        with Thrift(other) as another:
            another.ledger.record("m", usage, request_id="other")
        os.replace(other, path)
        thrift.ledger.record("m", usage, request_id="last")
        assert thrift.flush()
        assert {call.request_id for call in thrift.ledger.calls()} == {"other", "last"}
    assert [record.levelname for record in caplog.records if "deleted or replaced" in record.getMessage()] == ["ERROR"] * 2


def test_what_is_open_on_one_database_shares_its_calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link.db").symlink_to(tmp_path / "l.db")
    thrifts = [Thrift(url) for url in ("l.db", tmp_path / "l.db", f"sqlite:///{tmp_path}/l.db", "link.db")]
    others = [Thrift(url) for url in ("other.db", ":memory:", ":memory:")]
    assert len({id(thrift.shared) for thrift in thrifts}) == 1
    assert len({id(thrift.shared) for thrift in (thrifts[0], *others)}) == 4
    call = thrifts[0].begin(Request(model="m"))
    thrifts[0].own(call)
    assert thrifts[3].open_call(call.call_id) is call
    assert others[0].open_call(call.call_id) is None
    thrifts[1].disown(call)
    assert thrifts[0].open_call(call.call_id) is None
    call.abandon()
    for thrift in (*thrifts, *others):
        thrift.close()


def test_old_calls_go_by_themselves_and_the_sums_stay(tmp_path: Path):
    now = [1_750_000_000.0]
    with Thrift(tmp_path / "t.db", retention_days=30, clock=lambda: now[0]) as thrift:
        thrift.ledger.record("gpt-4o-mini", Usage(input_tokens=1_000_000))
        thrift.flush()
        now[0] += 29 * DAY
        thrift.ledger.record("gpt-4o-mini", Usage(input_tokens=1_000_000))
        thrift.flush()
        assert len(thrift.ledger.calls()) == 2
        now[0] += 2 * DAY
        thrift.ledger.record("gpt-4o-mini", Usage(input_tokens=1_000_000))
        thrift.flush()
        assert len(thrift.ledger.calls()) == 2
        assert thrift.report().total["requests"] == 3


def test_closing_twice_does_nothing_and_later_records_are_counted_as_lost(tmp_path: Path):
    thrift = Thrift(tmp_path / "t.db")
    thrift.close()
    thrift.close()
    thrift.ledger.record("gpt-4o-mini", Usage())
    assert thrift.health()["ledger"]["lost"] == 1


def test_a_program_that_forgets_to_close_loses_nothing(tmp_path: Path):
    program = (
        "from llmthrift_core import Thrift, Usage\n"
        "thrift = Thrift('t.db')\n"
        "for _ in range(500): thrift.ledger.record('gpt-4o', Usage(input_tokens=1))\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, cwd=tmp_path, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)})
    with Thrift(tmp_path / "t.db") as thrift:
        assert thrift.report().total["requests"] == 500


def test_batched_rows_become_durable_by_themselves(thrift: Thrift):
    thrift.ledger.record("gpt-4o-mini", Usage())  # the thread runs
    thrift.flush()
    thrift.ledger.record("gpt-4o-mini", Usage(), request_id="soon")
    deadline = time.monotonic() + 120
    with Thrift(thrift.database.path) as other:
        while not any(row.request_id == "soon" for row in other.ledger.calls()):
            assert time.monotonic() < deadline
            time.sleep(0.01)


def test_a_trouble_is_logged_once_a_minute_without_its_text(thrift: Thrift, caplog: pytest.LogCaptureFixture):
    for _ in range(5):
        try:
            raise RuntimeError("sk-secret")
        except RuntimeError as error:
            thrift.note_failure("handler", error)
    assert thrift.health()["failures"] == {"handler": 5}
    assert len(caplog.records) == 1
    assert "sk-secret" not in caplog.text
    assert "RuntimeError at" in caplog.text


def test_budgets_and_answers_on_a_server_and_the_ledger_in_the_database(valkey_url, tmp_path, monkeypatch):
    place = {"url": tmp_path / "l.db", "valkey_url": valkey_url}
    policy, usage = CachePolicy(), Usage(input_tokens=1)
    with Thrift(**place) as one, Thrift(tmp_path / "other.db", valkey_url=valkey_url) as two:
        one.budgets.add(Budget(limit_usd=1, name="shared"))
        one.budgets.reserve(estimate_usd=1, scope={}).settle(cost_usd=1)
        with pytest.raises(BudgetExceededError):
            two.budgets.reserve(estimate_usd=1, scope={})
        assert one.cache.store(policy.key(b"q"), policy, b"answer", model="m", usage=usage, user="ada")
        assert two.cache.lookup(policy.key(b"q"), policy).payload == b"answer"
        assert one.erase(user="ada")["cache_entries"] == 1
        assert one.health()["valkey"] == valkey_url
        one.ledger.record("gpt-4o-mini", usage)
        assert one.report().total["requests"] == 1
        assert two.report().total["requests"] == 0
    monkeypatch.setenv("LLMTHRIFT_VALKEY_URL", valkey_url)
    with Thrift(":memory:") as third:
        assert third.budgets.status()[0]["spent"] == 1
    with pytest.raises(StorageError):
        Thrift(":memory:", valkey_url="unix:///nowhere")


def test_copies_of_a_thrift_are_the_thrift_and_a_pickle_opens_it_once_in_another_place(tmp_path, monkeypatch):
    import copy
    import pickle

    monkeypatch.chdir(tmp_path)
    with Thrift("ledger.db", capture="off") as thrift:
        assert copy.copy(thrift) is copy.deepcopy(thrift) is thrift
        thrift.ledger.record("gpt-4o", Usage(input_tokens=1))
        thrift.flush()
        (tmp_path / "elsewhere").mkdir()
        monkeypatch.chdir(tmp_path / "elsewhere")
        first, second = (pickle.loads(pickle.dumps(thrift)) for _ in range(2))
        assert first is second
        with first:
            assert first.capture == "off"
            assert len(first.ledger.calls()) == 1
        with pickle.loads(pickle.dumps(thrift)) as third:
            assert third is not first  # which is closed


def test_a_thrift_in_memory_cannot_be_pickled():
    import pickle

    with Thrift(":memory:") as thrift, pytest.raises(ConfigurationError, match="in memory"):
        pickle.dumps(thrift)
