"""The anatomy of recorded prompts: by call site, with dollars a month, and of one call."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

import pytest

from llmthrift_core import Thrift, Usage
from llmthrift_core.attribution import Attribution
from llmthrift_core.decisions import simulate_shortening
from llmthrift_core.decisions.shortening import prompts_of_ledger
from llmthrift_core.errors import ConfigurationError
from llmthrift_core.ledger.record import CallRecord
from llmthrift_core.ledger.sent import read_sent
from llmthrift_core.prompts import Shorten, analyze
from llmthrift_core.prompts.parts import PARTS

MODEL = "gpt-4o"
RULES = "Be polite, and name the order.   \n\n\n" * 40
DAY_US = 86_400_000_000


@pytest.fixture
def thrift() -> Iterator[Thrift]:
    with Thrift(":memory:", capture="text") as made:
        yield made


def record(thrift: Thrift, number: int, site: str, *, text: bool, tokens: int = 1_000, days_ago: float = 0.0, read: int = 0) -> None:
    at_us = thrift.now_us() - round(days_ago * DAY_US) - 1_000
    row = CallRecord(request_id=f"{site}-{number}", call_id=f"{site}-{number}", at_us=at_us, model=MODEL)
    usage = Usage(input_tokens=tokens, output_tokens=10, cache_read_tokens=read)
    row.set_usage(usage)
    priced = thrift.prices.price(usage, MODEL, "openai", at_us)
    assert priced is not None
    row.cost_nano_usd, row.input_cost_nano_usd = priced.nano_usd, priced.input_nano_usd
    row.attribution, row.prompt_chars, row.system_chars = Attribution(call_site=site), 1_000, 750
    thrift.ledger.append(row)
    if text:
        thrift.ledger.capture(row.request_id, at_us, None, f"system: {RULES}\nhuman: Where is order {number}?", f"In hall {number}.")


def test_parts_add_up_to_what_was_billed_and_the_rest_of_it_is_tools(thrift: Thrift) -> None:
    for number in range(10):
        record(thrift, number, "desk", text=True, days_ago=number / 2)
    (row,) = thrift.anatomy().to_dicts()
    counted = analyze([{"role": "system", "content": RULES}, {"role": "user", "content": "Where is order 9?"}], MODEL)
    assert (row["call_site"], row["calls"], row["tokens"], row["texts"]) == ("desk", 10, 1_000, 10)
    assert sum(row[part] for part in (*PARTS, "other")) == 1_000
    assert row["system"] == counted.parts["system"]
    assert row["tools"] == 1_000 - counted.total_tokens
    assert row["calls_a_month"] == pytest.approx(10 / 4.5 * 30, abs=1)
    assert row["usd_a_month"] == Decimal("0.0025") * row["calls_a_month"]


def test_suggestions_are_dollars_a_month_at_what_input_costs_there(thrift: Thrift) -> None:
    for number in range(4):
        record(thrift, number, "desk", text=True, read=800)
        record(thrift, number, "shop", text=False)
    found = thrift.anatomy()
    assert [row["call_site"] for row in found.rows] == ["shop", "desk"]  # the cache makes the other one cheaper
    assert found.rows[1]["cached"] == 0.8
    system = {each.call_site: each for each in found.suggestions if each.kind == "system_prompt"}
    assert set(system) == {"desk", "shop"}
    shop = system["shop"]  # from characters: 750 of 1,000; without 583 of them it is 40% of the rest
    assert shop.saved_tokens == 583
    assert shop.saved_usd_a_month == Decimal("0.0000025") * 583 * found.rows[0]["calls_a_month"]
    desk = system["desk"]
    assert desk.saved_usd_a_month == Decimal("0.0000015") * desk.saved_tokens * found.rows[1]["calls_a_month"]  # (200 + 800 / 2) of 1,000
    assert "Where no text is stored" in str(found)
    (one,) = thrift.anatomy(call_site="shop").rows
    assert (one["system"], one["other"]) == (750, 250)


def test_nothing_recorded_is_said(thrift: Thrift) -> None:
    assert not thrift.anatomy().rows
    assert "No calls" in str(thrift.anatomy())
    with pytest.raises(ConfigurationError, match='capture="text"'):
        thrift.call_anatomy()


def test_calls_of_long_ago_count_where_there_are_no_others(thrift: Thrift) -> None:
    for number in range(6):
        record(thrift, number, "desk", text=False, days_ago=100 + number)
    found = thrift.anatomy()
    assert (found.rows[0]["calls_a_month"], round(found.days, 3)) == (36, 5.0)


def test_the_last_call_is_read(thrift: Thrift) -> None:
    for number in range(3):
        record(thrift, number, "desk", text=True)
    assert thrift.call_anatomy().parts["system"] == thrift.call_anatomy("desk-0").parts["system"] > 100
    with pytest.raises(ConfigurationError, match="'nobody'"):
        thrift.call_anatomy("nobody")


def test_recorded_prompts_are_replayed(thrift: Thrift) -> None:
    for number in range(3):
        record(thrift, number, "desk", text=True)
    record(thrift, 0, "shop", text=False)
    thrift.flush()
    with thrift.database.read() as connection:
        sent = prompts_of_ledger(read_sent(connection, limit=100))
    assert [(each.call_site, each.answer) for each in sent] == [("desk", f"In hall {number}.") for number in range(3)]
    found = simulate_shortening(sent, Shorten.lossless(), thrift.prices)
    assert 0 < found.total["tokens_shorter"] < found.total["tokens"]
    assert found.saved_usd > 0
