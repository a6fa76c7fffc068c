"""A ledger in which each kind of waste is found, and the lines of code that take it, run as they are printed, in both frameworks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from langchain_openai import ChatOpenAI
from llama_index.llms.openai import OpenAI
from sqlalchemy import insert

from llmthrift_core import Thrift, Usage
from llmthrift_core.attribution import Attribution
from llmthrift_core.ledger import CallRecord
from llmthrift_core.moments import to_us
from llmthrift_core.reports.optimizations.report import KINDS
from llmthrift_core.storage.tables import cache_entries
from llmthrift_core.testing import LoopbackProvider

pytestmark = pytest.mark.loopback
NOW = "2026-03-11T12:00"
DAY_US = 86_400_000_000
NAME = 'gpt-4o "mini"\n\\ 🎄'  # a name that code has to quote


@pytest.fixture
def thrift(any_url: str) -> Iterator[Thrift]:
    with Thrift(any_url, clock=lambda: to_us(NOW) / 1e6) as opened:
        _fill(opened)
        yield opened


def _fill(thrift: Thrift) -> None:
    for number in range(100):
        day = number % 10
        _call(thrift, f"a{number}", "claude-opus-4-1", site="chat", sent=60_000, made=20_000 if number > 90 else 100, days=day)
        _call(thrift, f"b{number}", "gpt-4o-mini", site="cascade", tier="small", escalated=int(number < 50), days=day)
        _call(thrift, f"c{number}", "claude-sonnet-4-5", site="writes", sent=5_000, cache_write_tokens=4_000, days=day)
        missed: dict[str, Any] = {"prefix_miss": "system changed", "prefix_lost_nano_usd": 1_000_000}
        _call(thrift, f"d{number}", "gpt-4o", site="long", sent=4_000, prompt_chars=16_000, system_chars=12_000, days=day, **missed)
        _call(thrift, f"e{number}", "gpt-4o", site="brief", sent=120, prompt_chars=480, system_chars=400, days=day)
        chars = 400 + 40 * (number % 25)
        _call(thrift, f"f{number}", "gpt-4o", site="tools", sent=1_500 + chars // 4, prompt_chars=chars, days=day)
        _call(thrift, f"g{number}", "o3", site="thinks", made=500, reasoning_tokens=500, days=day)
        shortened: dict[str, Any] = {
            "shortened_tokens": 10,
            "shortening_saved_nano_usd": -9_000_000,
            "shorten_version": "v",
            "shorten_steps": '[["History", 10]]',
        }
        _call(thrift, f"h{number}", "gpt-4o", site="shorter", days=day, **shortened)
        _call(thrift, f"i{number}", "gpt-oss-120b", site="sold", provider="cerebras", sent=250_000, days=day)
        _call(
            thrift,
            f"j{number}",
            NAME,
            site="gone",
            cost_nano_usd=8 * 10**7,
            input_cost_nano_usd=8 * 10**7,
            output_cost_nano_usd=0,
            days=day,
        )
    for number, reason in enumerate(["retry", "fallback"] * 60):
        again: dict[str, Any] = {"attempt": 2, "attempt_reason": reason}
        _call(thrift, f"r{number}", "gpt-4o-mini", site="again", days=3 if reason == "retry" else 5, **again)
    with thrift.database.write() as connection:
        connection.execute(
            insert(cache_entries),
            [
                {
                    "key": f"k{number}".encode(),
                    "namespace": NAME,
                    "model": "m",
                    "payload": b"",
                    "usage": "{}",
                    "size_bytes": 1,
                    "created_us": to_us("2026-03-01"),
                    "used_us": 0,
                    "hits": 0,
                }
                for number in range(60)
            ],
        )


def _call(thrift: Thrift, name: str, model: str, *, site: str, days: int, sent: int = 1_000, made: int = 100, **more: Any) -> None:
    parts = {name: more.pop(name, 0) for name in ("cache_write_tokens", "reasoning_tokens")}
    record = CallRecord(request_id=name, call_id=name, at_us=to_us("2026-03-11") - days * DAY_US, model=model)
    record.provider = more.pop("provider", None)
    record.attribution = Attribution(call_site=site)
    usage = Usage(input_tokens=sent, output_tokens=made, **parts)
    record.set_usage(usage)
    priced = thrift.prices.price(usage, model, record.provider, record.at_us)
    if priced is not None:
        record.cost_nano_usd, record.input_cost_nano_usd, record.output_cost_nano_usd = priced[:3]
    for column, value in more.items():
        setattr(record, column, value)
    thrift.ledger.append(record)


def test_each_kind_is_found_and_the_lines_that_take_it_run(
    thrift: Thrift, provider: LoopbackProvider, capsys: pytest.CaptureFixture[str]
) -> None:
    found = list(thrift.optimizations())
    assert {each.kind for each in found} == set(KINDS)
    for each in found:
        assert 0 <= each.low_usd <= each.potential_savings_usd <= each.high_usd
        assert each.evidence or each.kind == "unused_cache_entries"
        first, _, of_llamaindex = each.how.partition("# LlamaIndex\n")
        url = provider.openai_url
        names: dict[str, Any] = {"thrift": thrift, "model": _chat("gpt-4o", url), "cheaper": _chat("gpt-4o-mini", url)}
        exec(compile(first, each.kind, "exec"), names)  # our own lines
        if each.kind != "cheaper_seller":  # the address of the other seller is the user's to fill in
            assert names["model"].invoke(f"Hello {each.kind}").content
        names |= {"llm": _llm("gpt-4o", url), "cheaper": _llm("gpt-4o-mini", url)}
        exec(compile(of_llamaindex, each.kind, "exec"), names)
        assert names["llm"].complete(f"Hello {each.kind} again").text
    capsys.readouterr()


def _chat(name: str, url: str) -> ChatOpenAI:
    return ChatOpenAI(model=name, base_url=url, api_key="k", max_retries=0)


def _llm(name: str, url: str) -> OpenAI:
    return OpenAI(model=name, api_base=url, api_key="k", max_retries=0)
