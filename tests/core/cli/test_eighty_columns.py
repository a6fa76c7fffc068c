"""Every command of the app at 80 columns: nothing is cut, no colour in a pipe, and the exit codes agree."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator
from decimal import Decimal
from io import StringIO
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from llmthrift_core import Budget, Thrift, Usage
from llmthrift_core.cache import CachePolicy, digest
from llmthrift_core.cli.app import app
from llmthrift_core.ledger.record import CallRecord
from llmthrift_core.quality import Experiment
from llmthrift_core.service.keys import ApiKeys

MODEL = "bedrock/eu.anthropic.claude-3-5-sonnet-20241022-v2:0"  # 52 characters
USER = "maximiliane.von-und-zu-hohenlohe@accounting.example.org"
FEATURE = "quarterly-report-summaries-for-the-board"
LIMIT = "12,345,678,901"
NAME = "tokens-of-the-quarterly-reports-a-month-and-user"
WIDTH = 80
USAGE = Usage(input_tokens=1_234_567, output_tokens=98_765)


@pytest.fixture(scope="module")
def books(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("books")
    (folder / "prompt.json").write_text(json.dumps([{"role": "user", "content": "Why is the sky blue? " * 20}]))
    found = {"url": str(folder / "books.db"), "prompt": str(folder / "prompt.json")}
    with Thrift(found["url"]) as thrift:
        for number in range(12):
            who = {"user": USER if number % 3 else "ada", "feature": FEATURE, "session": f"session-{number}", "run": "visit 7"}
            thrift.ledger.record(MODEL if number % 2 else "gpt-4o-mini", USAGE, request_id=f"r{number}", tags={"team": "board"}, **who)
            thrift.ledger.record("a house model of no known price", USAGE, **who)
            thrift.feedback(f"r{number}", quality=number % 2, source="judge:j")
        thrift.record_cost("search", "0.000123", run="visit 7")
        missed = CallRecord(request_id="missed", call_id="missed", at_us=thrift.now_us(), model=MODEL)
        missed.prefix_miss, missed.prefix_lost_nano_usd = "system changed", 12_345_678
        thrift.ledger.append(missed)
        experiment = Experiment(thrift, "short answers", arms={"control": 1, "candidate": 1})
        for number in range(40):
            with experiment.assigned(f"user-{number}"):
                thrift.ledger.record("gpt-4o-mini", USAGE)
        thrift.budgets.add(Budget(limit_tokens=12_345_678_901, window="month", per="user", name=NAME))
        thrift.budgets.add(Budget(limit_usd="98765.4321", window="day", name="usd of everybody a day, with a long name"))
        thrift.budgets.reserve(estimate_usd="0.000321", estimate_tokens=5, scope={"user": USER}).settle(cost_usd="0.000123", tokens=5)
        found["hold"] = str(thrift.budgets.reserve(estimate_usd=4, estimate_tokens=1_000, scope={"user": USER}, ttl_seconds=86_400).id)
        for number in range(3):
            policy = CachePolicy(tags=("faq",))
            assert thrift.cache.store(digest("default", bytes([number])), policy, b"answer", model=MODEL, usage=USAGE, user=USER)
        thrift.configurations.save("prompt", {"template": "Be brief."}, note="a note that is longer than a line of a terminal " * 3)
        thrift.configurations.save(
            "support", {"cache_ttl_seconds": 3_600}, note="as we began, with a note that is longer than a line of a terminal"
        )
        _, key = ApiKeys(thrift.database, thrift.now).create(name="the key of the board's reports", scopes=["call", "read"], user=USER)
        found["key"] = key.id
    return found


# Of each command that prints what it finds: its arguments, and what must be there whole.
COMMANDS: dict[str, tuple[str, list[str]]] = {
    "report": ("", [MODEL]),
    "report --by": ("user", [USER]),
    "report --details": ("", [MODEL]),
    "calls": ("--limit 80", [MODEL, USER]),
    "savings": (f"--baseline {MODEL}", ["without llmthrift"]),
    "top": ("", [USER]),
    "top --by": ("call", [MODEL]),
    "optimize": ("", []),
    "prefix-misses": ("", ["system changed"]),
    "run": ("visit_7", [MODEL]),
    "observed": ("", ["semantic caching"]),
    "forecast": ("--by feature", [FEATURE]),
    "anomalies": ("", []),
    "alerts list": ("", []),
    "alerts check": ("", []),
    "prices show": ("gpt-4o", ["2.5"]),
    "prices diff": ("--limit 5", []),
    "estimate": ("gpt-4o --input 2000 --requests 100000", ["$500.00"]),
    "analyze": ("{prompt} --model gpt-4o", ["total"]),
    "analyze --call-site": ("all", ["input a month"]),
    "shorten simulate": ("", []),
    "cache stats": ("--entries 3", [MODEL, USER, "by meaning"]),
    "budgets list": ("", [NAME, LIMIT, "$98,765.43"]),
    "budgets status": ("", [NAME, LIMIT, USER]),
    "budgets holds": ("", ["{hold}", NAME]),
    "budgets design": ("--usd 30000 --price 0.01 --feature chat=50 --group free=400x2000000", ["3,000,000,000"]),
    "quality report": ("", [MODEL]),
    "experiments list": ("", ["short answers"]),
    "experiments results": ("short_answers", ["candidate"]),
    "config versions": ("prompt", ["Versions of prompt"]),
    "config show": ("prompt", ["Be brief."]),
    "keys list": ("", ["{key}"]),
    "what-if": (f"--model gpt-4o-mini={MODEL}", []),
    "breakeven": ("--model gpt-4o-mini --gpu-hour 3.50 --requests-per-hour 800 --at 2000000", []),
    "context": ("--tokens 50000 --requests 10000 --model gpt-4o", ["500,000,000"]),
    "roi": ("--value tickets=108000 --cost api=8500", []),
    "batch list": ("", []),
    "autopilot status": ("", ["support"]),
    "autopilot history": ("", ["support"]),
    "doctor": ("", ["Nothing is wrong.", "extras: installed", "langchain", "genai-prices"]),
    "prices backfill": ("", []),
}
# What changes something, sends, writes files or serves: their own tests drive them.
OTHERS = {
    *(
        "demo",
        "serve",
        "dashboard",
        "audit",
        "reconcile",
        "cache clear",
        "cache invalidate",
        "alerts test",
        "keys create",
        "keys rotate",
        "keys revoke",
        "quality shadow",
    ),
    *("budgets set", "budgets remove", "budgets release", "batch submit", "batch status", "batch results", "batch cancel"),
    *("autopilot run", "autopilot approve", "autopilot stop", "autopilot start"),
    *("config save", "config roll-back", "config check", "export calls", "export focus", "export training", "advise", "tier-mix", "prove"),
    *("route simulate", "route fit", "route refit", "route versions", "route roll-back", "route check"),
}
# What prints no table.
TABLELESS = {"config show", "prices backfill"}
TABLES_OF_OTHERS = {"reconcile", "quality shadow", "advise", "tier-mix", "prove", "route simulate", "route versions"}
URL_LESS = {"prices show", "prices diff", "estimate", "analyze", "budgets design", "context", "roi"}
EMPTY = (
    *("report", "calls", "savings", "top", "optimize", "observed", "forecast", "budgets list", "budgets status", "budgets holds"),
    *("quality report", "experiments list", "batch list", "keys list", "alerts list", "autopilot history", "prefix-misses", "anomalies"),
    "what-if --cache-ttl 60",
)


def invoke(command: str, arguments: str, books: dict[str, str], **env: str) -> Any:
    words = [word.replace("_", " ") for word in arguments.split()] if "{" not in arguments else arguments.format(**books).split()
    place = [] if command in URL_LESS else ["--url", books["url"]]
    return CliRunner().invoke(app, [*command.split(), *words, *place], env={"COLUMNS": str(WIDTH), **env})


def commands_of(group: Any, path: str = "") -> Iterator[str]:
    for name, command in group.commands.items():
        yield from commands_of(command, f"{path}{name} ") if hasattr(command, "commands") else [f"{path}{name}"]


def test_every_command_is_driven_here_or_named():
    driven = {re.sub(r" --.*", "", command) for command in COMMANDS}
    assert driven | OTHERS == set(commands_of(typer.main.get_command(app)))
    assert not driven & OTHERS


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_fits_and_cuts_nothing(command, books):
    arguments, whole = COMMANDS[command]
    result = invoke(command, arguments, books)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    assert result.exit_code in (0, 1), result.output
    assert result.output.strip()  # also where nothing is found
    assert max(map(len, result.output.splitlines())) <= WIDTH, result.output
    assert "…" not in result.output
    assert "\x1b" not in result.output
    for text in whole:
        assert result.exit_code == 0
        assert text.format(**books) in re.sub(r"\s+", " ", result.output), result.output


def test_a_table_comes_as_json_and_as_csv_too():
    commands = {re.sub(r" --.*", "", command) for command in COMMANDS} - TABLELESS | TABLES_OF_OTHERS
    for command in commands:
        found = typer.main.get_command(app)
        for word in command.split():
            found = found.commands[word]  # type: ignore[attr-defined]
        assert {"--json", "--csv"} <= {name for option in found.params for name in option.opts}, command


@pytest.mark.parametrize("command", sorted(set(COMMANDS) - TABLELESS))
def test_rows_for_programs_can_be_read(command, books):
    arguments = COMMANDS[command][0]
    as_json, as_csv = (invoke(command, f"{arguments} {form}".strip(), books) for form in ("--json", "--csv"))
    assert (as_json.exit_code, as_csv.exit_code) in ((0, 0), (1, 1))
    told = json.loads(as_json.stdout)
    header, *rows = list(csv.reader(StringIO(as_csv.stdout))) or [[]]
    assert {len(row) for row in rows} <= {len(header)}
    if as_csv.exit_code == 0 and command != "alerts check":  # which tells everything once
        assert rows
        assert told
    numbers = r"\d(\.\d+)?E[-+]?\d"  # 0E-9, as Python shows a zero
    assert not re.search(rf'"{numbers}"', as_json.stdout)
    assert not any(re.fullmatch(numbers, cell) for row in rows for cell in row)
    assert not any(cell.startswith(("{'", "['", "('")) for row in rows for cell in row), "Python's own notation"


def test_a_budget_of_each_user_is_shown_before_anybody_has_spent(tmp_path):
    place = {"url": str(tmp_path / "new.db")}
    with Thrift(place["url"]) as thrift:
        thrift.budgets.add(Budget(limit_usd="0.25", window="day", per="user", name="each"))
        row = thrift.budgets.status()[0]
        assert (row["scope"], row["spent"], row["remaining"]) == ({}, 0, Decimal("0.25"))
        assert thrift.budgets.status({"user": "ada"}) == []  # whoever is named has no row before the first call
    assert re.search(r"each +nobody yet +\$0\.2500 +\$0\.00 ", invoke("budgets status", "", place, COLUMNS="120").output)


@pytest.mark.parametrize("command", EMPTY)
def test_an_empty_result_says_so_and_ends_with_1(command, tmp_path):
    place = {"url": str(tmp_path / "empty.db")}
    Thrift(place["url"]).close()
    result = invoke(command, "", place)
    assert result.exit_code == 1, result.output
    assert re.search(r"\b(No|no|Nothing)\b", result.output)
    assert "Traceback" not in result.output


@pytest.mark.parametrize("command", ["report", "calls", "budgets status", "top"])
def test_an_unknown_option_is_usage(command, books):
    assert invoke(command, "--colour red", books).exit_code == 2


@pytest.mark.parametrize("command", ["budgets status", "calls", "top", "report"])
def test_amounts_of_a_column_have_equal_decimals(command, books):
    lines = invoke(command, "", books, COLUMNS="250").output.splitlines()
    rules = [index for index, line in enumerate(lines) if line.startswith("---")]
    assert rules
    columns = [match.span() for match in re.finditer(r"-+", lines[rules[0]])]
    rows = [line for line in lines[rules[0] + 1 :] if line and not line.startswith("---")]
    for begin, end in columns:
        cells = [cell for row in rows if re.fullmatch(r"-?\$[\d,.]+", cell := row[begin:end].strip())]
        assert len({len(cell.partition(".")[2]) for cell in cells}) <= 1, cells
