from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

import pytest

from llmthrift_core import Budget, Thrift, Usage, attribute
from llmthrift_core.attribution import Attribution
from llmthrift_core.errors import ConfigurationError
from llmthrift_core.ledger import CallRecord, paths
from llmthrift_core.ledger.paths import Step, Surroundings
from llmthrift_core.reports.run_costs import RunCosts

CLERK, RESEARCH, INNER = Step("000000000001", "clerk", "agent"), Step("000000000002", "research", "tool"), Step("000000000003", "inner")


@pytest.fixture
def thrift(any_url: str) -> Iterator[Thrift]:
    prices = {
        "m": {"input_usd_per_million": 1, "output_usd_per_million": 2},
        "big": {"input_usd_per_million": 20, "output_usd_per_million": 60},
    }
    with Thrift(any_url, prices=prices) as thrift:
        yield thrift


def _call(
    thrift: Thrift, number: int, *steps: Step, model: str = "m", sent: int = 1_000, made: int = 100, run: str | None = None, **more: object
) -> None:
    record = CallRecord(request_id=f"r{number}", call_id=f"r{number}", at_us=number * 1_000_000, model=model)
    record.run_id, record.trace_id, record.path = f"r{number}", "trace-000000000001", paths.to_text(steps)
    record.attribution = Attribution(run=run)
    usage = Usage(input_tokens=sent, output_tokens=made)
    record.set_usage(usage)
    if (priced := thrift.prices.price(usage, model, None, record.at_us)) is not None:
        record.cost_nano_usd, record.input_cost_nano_usd, record.output_cost_nano_usd = priced[:3]
    for name, value in more.items():
        setattr(record, name, value)
    thrift.ledger.append(record)


def _shape(found: RunCosts) -> list[str]:
    return ["." * row["depth"] + row["name"] for row in found.to_dicts()]


def test_agents_tools_and_nested_agents_are_a_tree_that_adds_up(thrift: Thrift) -> None:
    _call(thrift, 1, CLERK, Step("a", "model"))
    _call(thrift, 2, CLERK, Step("b", "tools"), RESEARCH, INNER, Step("c", "model"))
    _call(thrift, 3, CLERK, Step("b", "tools"), RESEARCH, INNER, Step("d", "model"), sent=3_000)
    _call(thrift, 4, CLERK, Step("e", "model"))
    found = thrift.run_costs("trace-000000000001")
    assert _shape(found) == ["clerk", ".m", ".research", "..inner", "...m", "...m", ".m"]
    # 1,000 tokens in at $1 and 100 out at $2 a million are $0.0012; 3,000 in are $0.0032.
    assert [row["cost_usd"] for row in found.to_dicts()] == [
        Decimal(amount) for amount in ("0.0068", "0.0012", "0.0044", "0.0044", "0.0012", "0.0032", "0.0012")
    ]
    assert [row["calls"] for row in found.to_dicts()] == [4, 1, 2, 2, 1, 1, 1]
    assert found.costliest[0].request_id == "r3"
    assert found.costliest[0].share == pytest.approx(32 / 68)
    assert found.costliest[0].why[0] == "long input: 3,000 tokens, 3.0 times the median of this run"


def test_a_named_run_holds_its_traces_and_what_is_no_call(thrift: Thrift) -> None:
    _call(thrift, 1, CLERK, run="visit")
    _call(thrift, 2, Step("000000000009", "other"), run="visit", trace_id="trace-000000000009")
    _call(thrift, 3, CLERK)
    thrift.record_cost("gpu", "0.5", run="visit", at="1970-01-02")
    found = thrift.run_costs("visit")
    assert _shape(found) == ["visit", ".clerk", "..m", ".m", ".gpu"]
    assert (found.cost_usd, found.other_cost_usd, found.total_usd) == (Decimal("0.0024"), Decimal("0.5"), Decimal("0.5024"))
    assert thrift.run_costs("trace-000000000001").tree.calls == 1


def test_calls_that_name_each_other_as_parents_are_nested_and_never_a_circle(thrift: Thrift) -> None:
    for number, parent in ((1, "r3"), (2, "r1"), (3, "r2"), (4, "r4")):
        _call(thrift, number, parent_id=parent)
    found = thrift.run_costs("trace-000000000001")
    assert _shape(found) == ["trace-000000000001", ".m", "..m", "...m", ".m"]
    assert [row["calls"] for row in found.to_dicts()] == [4, 3, 2, 1, 1]


def test_a_long_chain_of_parents_is_a_deep_tree(thrift: Thrift) -> None:
    for number in range(3_000):
        _call(thrift, number, parent_id=f"r{number - 1}")
    assert thrift.run_costs("trace-000000000001").to_dicts()[-1]["depth"] == 3_000


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"attempt_reason": "retry"}, "retry: an attempt before it had failed"),
        ({"attempt_reason": "fallback"}, "fallback: another model had failed"),
        ({"attempt_reason": "escalation"}, "escalation: a cheaper answer was rejected"),
        ({"escalated": 1}, "rejected: its answer was paid for and not kept"),
        ({"error": "TimeoutError"}, "failed: TimeoutError, and billed all the same"),
        ({"model": "big", "cost_nano_usd": 10**9}, "premium model: big; the run also uses cheaper ones"),
        ({"reasoning_tokens": 80}, "reasoning: 80 of 100 output tokens"),
        (
            {"cache_write_tokens": 900},
            "cache write: 900 of 1,000 input tokens, at more than the price of input",
        ),
        ({"web_searches": 3}, "searches: 3 by the provider"),
        ({"made": 5_000}, "long output: 5,000 tokens, 50.0 times the median of this run"),
    ],
)
def test_an_expensive_call_says_why(thrift: Thrift, more: dict[str, object], reason: str) -> None:
    for number in range(5):
        _call(thrift, number)
    _call(thrift, 9, **{"cost_nano_usd": 10**9, "made": 100, **more})  # type: ignore[arg-type]
    (call, *_) = thrift.run_costs("trace-000000000001").costliest
    assert (call.request_id, call.why[0]) == ("r9", reason)
    assert len(call.why) == 2  # and which part of it costs more


def test_what_is_unknown_is_said(thrift: Thrift) -> None:
    assert str(thrift.run_costs("nothing")).strip() == "No calls are recorded of the run nothing."
    _call(thrift, 1, model="unheard-of")
    found = thrift.run_costs("trace-000000000001")
    assert found.costliest == ()
    assert "unpriced" in str(found)
    assert "1 call has no price" in found.notes[0]
    _call(thrift, 2)
    (line,) = (line for line in str(thrift.run_costs("trace-000000000001")).splitlines() if "unheard-of" in line)
    assert line.rstrip().endswith("unpriced")  # a share of what is not known is not 0%
    for wrong in ("", None, 7):
        with pytest.raises(ConfigurationError, match="report\\(by='run'\\) lists them"):
            thrift.run_costs(wrong)  # type: ignore[arg-type]


def test_names_are_shown_on_one_line_and_escaped(thrift: Thrift) -> None:
    _call(thrift, 1, Step("x", "<script>\nalert(1)</script> \N{PARTY POPPER}"), model="a\n<b>")
    _call(thrift, 2, Step("x", "<script>\nalert(1)</script> \N{PARTY POPPER}"))
    found = thrift.run_costs("trace-000000000001")
    assert "<script> alert(1)</script> \N{PARTY POPPER}" in found.to_text()
    assert "<script>" not in found._repr_html_()
    assert "<b>" not in found._repr_html_()


def test_a_cost_belongs_to_the_run_around_it_and_counts_in_its_budget(thrift: Thrift, monkeypatch: pytest.MonkeyPatch) -> None:
    thrift.budgets.add(Budget(limit_usd=1, per="run"))
    around = Surroundings("trace-000000000001", paths.to_text([CLERK, RESEARCH]))
    monkeypatch.setattr(paths, "_lookups", [lambda: around])
    thrift.record_cost("search", "0.25", user="ada")
    with attribute(run="named"):
        thrift.record_cost("search", "0.125")
    assert _shape(thrift.run_costs("trace-000000000001")) == ["clerk", ".research", "..search"]
    assert _shape(thrift.run_costs("named")) == ["named", ".clerk", "..research", "...search"]
    assert sorted(row["spent"] for row in thrift.budgets.status()) == [Decimal("0.125"), Decimal("0.25")]
    assert {row["run"] for row in thrift.report(by="run")} == {"trace-000000000001", "named"}
    thrift.erase(user="ada")
    assert _shape(thrift.run_costs("trace-000000000001")) == ["trace-000000000001"]


def test_a_path_that_cannot_be_read_leaves_the_call_at_the_root(thrift: Thrift) -> None:
    for number, path in enumerate(("[", "7", '["x"]', "[[1]]", '[["1","2","3","4"]]', "null")):
        _call(thrift, number, path=path)
    assert thrift.run_costs("trace-000000000001").tree.calls == 6


def test_steps_are_bounded_and_come_back() -> None:
    steps = [Step(str(number), "n" * 500) for number in range(100)]
    kept = paths.from_text(paths.to_text(steps))
    assert [step.id for step in kept] == ["0", *map(str, range(77, 100))]
    assert paths.to_text([]) is None
    assert paths.step("0123456789abcdef", None, "tool") == Step("456789abcdef", "tool", "tool")
    assert len(paths.step("x", "n" * 500).name) == 80
