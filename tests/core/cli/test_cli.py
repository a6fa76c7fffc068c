"""The commands, as a user types them."""

from __future__ import annotations

import csv
import json
import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from typer.testing import CliRunner

from llmthrift_core import Thrift, Usage
from llmthrift_core.cache import CachePolicy, digest
from llmthrift_core.cli import main
from llmthrift_core.cli.app import app
from llmthrift_core.errors import ConfigurationError
from llmthrift_core.ledger import CallRecord
from llmthrift_core.quality import Experiment

MILLION = Usage(input_tokens=1_000_000)


@pytest.fixture
def url(tmp_path: Path) -> str:
    path = tmp_path / "books.db"
    with Thrift(path) as thrift:
        thrift.ledger.record("gpt-4o-mini", MILLION, user="ada", feature="chat", tags={"team": "web"})
        thrift.ledger.record("gpt-4o", MILLION, user="ben", feature="search")
        thrift.ledger.record("gpt-4o-mini", MILLION, user="ada", feature="chat", cache="exact")
        thrift.ledger.record("house-model", MILLION, user="ada", feature="chat")
        policy = CachePolicy(tags=("faq",))
        for number in range(3):
            key = digest("default", str(number).encode())
            assert thrift.cache.store(key, policy, b"answer", model="gpt-4o", usage=MILLION, user="ada" if number else "ben")
    return str(path)


def run(*arguments: str, code: int = 0, **options: object) -> str:
    result = CliRunner().invoke(app, list(arguments), env={"COLUMNS": "160"}, **options)  # type: ignore[arg-type]
    assert result.exit_code == code, result.output
    return result.output


def test_report(url):
    text = run("report", "--by", "user", "--url", url)
    assert re.search(r"ada +3 ", text)
    rows = json.loads(run("report", "--by", "team", "--json", "--url", url))
    assert {row["team"]: row["cost_usd"] for row in rows}["web"] == "0.150000000"


def test_escalations_are_shown_where_there_are_any(url):
    assert "escalat" not in run("report", "--url", url) + run("savings", "--url", url)
    with Thrift(url) as thrift:
        for number in range(100):
            record = CallRecord(request_id=f"e{number}", call_id=f"e{number}", at_us=thrift.now_us(), model="gpt-4o-mini")
            record.tier, record.escalated, record.cost_nano_usd = "weak", int(number < 40), 10_000_000
            thrift.ledger.append(record)
    text = run("report", "--url", url)
    assert re.search(r"gpt-4o-mini .* 40 +40\.0%", text)
    assert "gpt-4o-mini: 40% of 100 first answers were escalated, more than 30%" in text
    rows = json.loads(run("report", "--json", "--url", url))
    assert {row["model"]: row["escalation_rate"] for row in rows} == {"gpt-4o-mini": 0.4, "gpt-4o": None, "house-model": None}
    assert re.search(r"spent on 40 answers that cascades rejected +\$0\.4000", run("savings", "--url", url))
    assert json.loads(run("savings", "--json", "--url", url))["escalated"] == 40


def test_version():
    assert re.fullmatch(r"llmthrift \d+\.\d+\.\d+\n", run("--version"))


def test_a_limit_leaves_the_total(url):
    text = run("report", "--limit", "1", "--url", url)
    assert "2 more rows are in the total" in text
    assert len(json.loads(run("report", "--limit", "1", "--json", "--url", url))) == 1


def test_rows_for_programs(url):
    rows = list(csv.DictReader(run("report", "--by", "user", "--csv", "--url", url).splitlines()))
    assert {row["user"]: row["requests"] for row in rows} == {"ada": "3", "ben": "1"}
    assert "exclude each other" in run("report", "--csv", "--json", "--url", url, code=2)


def test_calls(url):
    text = run("calls", "--url", url)
    assert "unpriced" in text
    assert "exact" in text
    assert [row["model"] for row in json.loads(run("calls", "--order", "cost", "--limit", "1", "--json", "--url", url))] == ["gpt-4o"]
    assert {row["user"] for row in csv.DictReader(run("calls", "--user", "ben", "--csv", "--url", url).splitlines())} == {"ben"}
    assert "No calls" in run("calls", "--user", "nobody", "--url", url, code=1)
    assert "newest, oldest or cost" in run("calls", "--order", "dearest", "--url", url, code=2)


def test_savings(url):
    text = run("savings", "--baseline", "gpt-4o", "--url", url)
    assert "saved by the cache" in text
    assert "all on gpt-4o" in text
    found = json.loads(run("savings", "--json", "--url", url))
    assert (found["spent_usd"], found["cache_saved_usd"], found["unpriced"]) == ("2.650000000", "0.150000000", 1)


def test_a_ledger_that_does_not_exist_is_not_created(tmp_path):
    text = run("report", "--url", str(tmp_path / "none.db"), code=2)
    assert "there is no ledger at" in text
    assert list(tmp_path.iterdir()) == []


def test_unpriced_calls_are_priced_later(url, tmp_path):
    prices = tmp_path / "prices.toml"
    prices.write_text("[house-model]\ninput_usd_per_million = 3\noutput_usd_per_million = 9\n")
    assert "priced 1 call" in run("prices", "backfill", "--prices", str(prices), "--url", url)
    assert "priced 0 calls" in run("prices", "backfill", "--prices", str(prices), "--url", url)
    assert json.loads(run("savings", "--json", "--url", url))["spent_usd"] == "5.650000000"


def test_prices_of_a_model():
    text = run("prices", "show", "openai/gpt-4o-mini-2024-07-18")
    assert "0.15" in text
    assert "0.6" in text


def test_disagreements_of_the_price_lists():
    if find_spec("litellm") is None:
        pytest.skip("litellm brings the second price list")
    assert "disagreements" in run("prices", "diff", "--limit", "3")


def test_an_estimate(tmp_path):
    # gpt-4o: 2,000 at $2.50 and 500 at $10 a million are $0.01 a request
    text = run("estimate", "gpt-4o", "--input", "2000", "--output", "500", "--requests", "100000")
    assert re.search(r"total\W+\$0\.0100+\W+\$1,000\.00", text)
    file = tmp_path / "prompt.txt"
    file.write_text("Hello, world! " * 100)
    assert "prompt.txt:" in run("estimate", "gpt-4o", "--file", str(file))


def test_an_unknown_model_names_the_closest(url):
    result = CliRunner().invoke(app, ["prices", "show", "gpt-4o-minj"])
    assert "gpt-4o-mini" in str(result.exception)


def test_the_cache(url):
    text = run("cache", "stats", "--entries", "5", "--url", url)
    assert re.search(r"entries\W+3\b", text)
    assert "gpt-4o" in text
    assert "removed 1 entry" in run("cache", "invalidate", "--scope", "user=ben", "--url", url)
    assert "removed 0 entries" in run("cache", "invalidate", "--tag", "none", "--url", url)
    assert "removed 2 entries" in run("cache", "clear", "--url", url, input="y\n")
    assert "NAME=VALUE" in run("cache", "invalidate", "--scope", "ben", "--url", url, code=2)


def test_clearing_asks_first(url):
    run("cache", "clear", "--url", url, input="n\n", code=1)
    assert re.search(r"entries\W+3\b", run("cache", "stats", "--url", url))


def test_the_doctor(url, tmp_path):
    text = run("doctor", "--url", url)
    assert "genai-prices" in text
    assert "o200k_base" in text
    assert "none yet" in run("doctor", "--url", str(tmp_path / "new.db"))
    broken = tmp_path / "broken.db"
    broken.write_bytes(b"no database" * 1000)
    found = run("doctor", "--url", str(broken), code=1)
    assert found.startswith("1 thing needs attention:\n- database: failed; ")
    assert found.count("database:") == 1


def test_the_doctor_is_short_and_names_what_is_missing(url, monkeypatch):
    monkeypatch.setattr("llmthrift_core.cli.doctor.is_installed", lambda module: module not in ("fastapi", "polars", "pyarrow"))
    monkeypatch.setenv("LLMTHRIFT_DISABLED", "1")
    lines = run("doctor", "--url", url).splitlines()
    assert lines[:2] == ["1 thing needs attention:", "- LLMTHRIFT_DISABLED: on; llmthrift does nothing"]
    assert len(lines) < 24
    text = " ".join(lines)
    assert "service (without fastapi)" in text
    assert "extras: absent, pip install 'llmthrift[NAME]' brings one; export, polars" in text


def test_errors_are_one_line_without_a_traceback(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", "from llmthrift_core.cli import main; main()", "prices", "show", "gpt-4o-minj"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.returncode == 1
    assert done.stderr.startswith("llmthrift: no price is known for model 'gpt-4o-minj'")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        ("budgets set", "a budget needs --usd, --tokens, --requests, --tool-calls or --seconds"),
        ("budgets set --usd ten", "not an amount in US dollars: 'ten'; give a finite number, such as 0.25"),
        ("budgets set --usd -1", "--usd must be from 0 to"),
        ("budgets set --usd 1 --window fortnight", "--window must be one of"),
        ("budgets set --usd 1 --on-exceed explode", "--on-exceed must be one of"),
        ("budgets design --usd 5 --price 0", "--price must be more than 0"),
        ("cache invalidate", "name at least one of --tag"),
        ("batch status none", "`llmthrift batch list` lists them"),
        ("savings --baseline none", "Set one in a TOML file of prices, and name it with --prices"),
        ("what-if", "change one thing: --output, --model, --other-prices, --cache-ttl; none is given"),
        ("what-if --output 1.1 --cache-ttl 5", "; --output and --cache-ttl is given"),
        ("what-if --cache-ttl -5", "--cache-ttl must be at least 0, not -5"),
        ("breakeven --model none --gpu-hour 3 --requests-per-hour 9", "give --input-price, --output-price"),
        ("breakeven --model gpt-4o --gpu-hour -3 --requests-per-hour 9", "--gpu-hour must be at least 0, not -3"),
        ("context --tokens 5 --requests 5", "give either --price or --model: the price of"),
        ("context --tokens 5 --requests 5 --price 1 --turns 3 --turn-tokens x", "--turn-tokens must be a finite number"),
        ("tier-mix --spent 5 --price -1 --tier a=1@1", "--price must be at least 0, not -1"),
        ("roi --value a=1 --cost b=1 --setup x", "--setup must be a finite number, not 'x'"),
        ("advise --latency 5 --requests 5", "--input-tokens, --output-tokens"),
    ],
)
def test_errors_speak_of_options_and_not_of_python(typed, told, url, monkeypatch, capsys):
    place = [] if typed.split()[0] in ("context", "tier-mix", "roi") or "design" in typed else ["--url", url]
    monkeypatch.setattr("sys.argv", ["llmthrift", *typed.split(), *place])
    monkeypatch.setenv("COLUMNS", "400")
    with pytest.raises(SystemExit) as ended:
        main()
    said = capsys.readouterr().err
    assert told in said
    assert ended.value.code == (1 if "baseline" in typed else 2)
    assert not re.search(r"thrift\.|Decimal\(|\w=(?=[,;. ]|$)|\b[a-z]+_(usd|seconds|million|tokens|day|month)\b", said), said


def test_without_its_extra_the_command_says_which():
    program = "import sys; sys.modules['typer'] = None\nfrom llmthrift_core.cli import main\nmain()"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert "pip install 'llmthrift[cli]'" in done.stderr


def test_budgets_are_kept_shown_and_removed(tmp_path):
    url = str(tmp_path / "b.db")
    assert "kept budget 'usd per user a day': $10.00" in run(
        "budgets", "set", "--usd", "10", "--window", "day", "--per", "user", "--url", url
    )
    run("budgets", "set", "--tokens", "500", "--match", "feature=chat", "--on-exceed", "warn", "--name", "it's [odd]", "--url", url)
    kept = json.loads(run("budgets", "list", "--json", "--url", url))
    assert [(budget["name"], budget["on_exceed"]) for budget in kept] == [("it's [odd]", "warn"), ("usd per user a day", "block")]
    with Thrift(url) as thrift:
        thrift.budgets.reserve(estimate_usd=4, scope={"user": "ada"}).settle(cost_usd=3)
        hold = thrift.budgets.reserve(estimate_usd=5, scope={"user": "ada"})
    assert re.search(r"user=ada\W+\$10.00\W+\$3.00\W+\$5.00\W+\$2.00", run("budgets", "status", "--url", url))
    rows = json.loads(run("budgets", "status", "--scope", "user=ben", "--json", "--url", url))
    assert [row["name"] for row in rows] == ["it's [odd]"]
    assert str(hold.id) in run("budgets", "holds", "--url", url)
    assert "released 1 hold" in run("budgets", "release", str(hold.id), "--url", url)
    assert "released 0 holds" in run("budgets", "release", "--url", url)
    assert "[odd]" in run("budgets", "list", "--url", url)
    assert "removed budget" in run("budgets", "remove", "it's [odd]", "--url", url)
    assert "there are: 'usd per user a day'" in run("budgets", "remove", "nope", "--url", url, code=2).replace("\n", " ").replace("│", "")


def test_budgets_on_a_server(tmp_path, valkey_url):
    place = ("--url", str(tmp_path / "b.db"), "--valkey-url", valkey_url)
    run("budgets", "set", "--usd", "10", "--name", "b", *place)
    with Thrift(tmp_path / "b.db", valkey_url=valkey_url) as thrift:
        hold = thrift.budgets.reserve(estimate_usd=4, scope={})
    assert str(hold.id) in run("budgets", "holds", *place)
    run("budgets", "release", str(hold.id), *place)
    assert re.search(r"\$10.00\W+\$0.00\W+\$0.00\W+\$10.00", run("budgets", "status", *place))
    assert "valkey" in run("doctor", *place)
    assert "failed" in run("doctor", "--url", str(tmp_path / "b.db"), "--valkey-url", "unix:///nowhere", code=1)
    run("budgets", "remove", "b", *place)
    assert json.loads(run("budgets", "list", "--json", *place, code=1)) == []


def test_a_budget_design_points_out_what_does_not_add_up(tmp_path):
    url = str(tmp_path / "b.db")
    groups = ("--group", "free=400x2000000", "--group", "pro=80x10000000", "--group", "team=20x20000000")
    features = ("--feature", "chat=50", "--feature", "search=30", "--feature", "other=20")
    text = run("budgets", "design", "--usd", "30000", "--price", "0.01", *features, *groups, "--apply", "--url", url)
    assert "3,000,000,000" in text
    assert "$15,000" in text
    assert "20 times" in text
    with Thrift(url) as thrift:
        assert {budget.name: budget.limit_usd for budget in thrift.budgets.all()}["chat a month"] == 15_000
    assert "not to 100%" in run("budgets", "design", "--usd", "1", "--price", "1", "--feature", "a=50")
    assert "not a number" in run("budgets", "design", "--usd", "1", "--price", "1", "--feature", "a=half", code=2)


def test_quality(url):
    with Thrift(url) as thrift:
        for number, call in enumerate(thrift.ledger.calls()):
            thrift.feedback(call.request_id, quality=number % 2, source="judge:j" if number else "user")
    text = run("quality", "report", "--by", "feature", "--url", url)
    assert re.search(r"chat +3 +0\.667 +0\.0\d+ to 1\.000", text)
    rows = json.loads(run("quality", "report", "--source", "judge:", "--json", "--url", url))
    assert sum(row["judged"] for row in rows) == 3
    assert "No answer was judged" in run("quality", "report", "--until", "2020-01-01", "--url", url, code=1)
    with pytest.raises(ConfigurationError, match="cannot report quality by 'colour'"):
        CliRunner().invoke(app, ["quality", "report", "--by", "colour", "--url", url], catch_exceptions=False)


def test_experiments(url):
    with Thrift(url) as thrift:
        experiment = Experiment(thrift, "short answers", arms={"control": 1, "candidate": 1})
        for number in range(40):
            with experiment.assigned(f"user-{number}"):
                thrift.ledger.record("gpt-4o-mini", MILLION)
    assert run("experiments", "list", "--url", url).splitlines() == ["short answers"]
    text = run("experiments", "results", "short answers", "--url", url)
    assert "candidate: undecided. Too few users" in text
    rows = json.loads(run("experiments", "results", "short answers", "--json", "--min-saving", "0.2", "--url", url))
    assert [row["arm"] for row in rows] == ["control", "candidate"]
    assert sum(row["requests"] for row in rows) == 40
    with pytest.raises(ConfigurationError, match="there is no experiment 'none'; there are: 'short answers'"):
        CliRunner().invoke(app, ["experiments", "results", "none", "--url", url], catch_exceptions=False)


def test_top_optimize_and_observed(url):
    assert re.search(r"ben +1 +\$2\.50", run("top", "--url", url))
    assert "last 7 days" in run("top", "1", "--by", "model", "--url", url)
    rows = json.loads(run("top", "1", "--by", "call", "--json", "--url", url))
    assert (rows[0]["model"], rows[0]["cost_usd"]) == ("gpt-4o", "2.500000000")
    assert "Nothing stands out" in run("optimize", "--url", url, code=1)
    assert "No calls are recorded" in run("optimize", "--until", "2020-01-01", "--url", url, code=1)
    with Thrift(url) as thrift:
        for _ in range(20):
            thrift.ledger.record("gpt-4o", MILLION)
    kinds = {row["kind"] for row in json.loads(run("optimize", "--json", "--url", url))}
    assert "low_hit_rate" in kinds
    assert "costliest call sites" in run("observed", "--url", url)
    assert json.loads(run("observed", "--json", "--url", url))[0]["name"] == "exact caching"


def test_one_run(url):
    with Thrift(url) as thrift:
        thrift.ledger.record("gpt-4o", MILLION, run="visit 7")
        thrift.record_cost("search", "0.25", run="visit 7")
    text = run("run", "visit 7", "--url", url)
    assert "$2.50, 100.0% of the model calls" in text
    assert [row["name"] for row in json.loads(run("run", "visit 7", "--json", "--url", url))] == ["visit 7", "gpt-4o", "search"]
    assert "No calls are recorded of the run none." in run("run", "none", "--url", url, code=1)


def test_a_report_as_a_page(url, tmp_path):
    page, markdown = tmp_path / "out.html", tmp_path / "out.md"
    text = run("report", "--html", str(page), "--markdown", str(markdown), "--url", url)
    assert text.splitlines() == [f"wrote {page}", f"wrote {markdown}"]
    assert page.read_text(encoding="utf-8").startswith("<!doctype html>")
    assert markdown.read_text(encoding="utf-8").startswith("# What LLM calls cost")
    assert "cannot write" in run("report", "--html", str(tmp_path / "nowhere" / "out.html"), "--url", url, code=2)
    assert "per answer" in run("report", "--details", "--url", url)
