"""The demonstration of the prompt cache, through both frameworks."""

from __future__ import annotations

import importlib
import io
import re

import pytest
from rich.console import Console

from llmthrift_core.demo import prefixes

pytestmark = pytest.mark.loopback


@pytest.mark.parametrize("framework", ["llmthrift_langchain", "llmthrift_llamaindex"])
def test_the_plan_costs_less_than_the_providers_habit_and_than_no_cache(framework: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prefixes, "_STEPS", 5)
    monkeypatch.setattr(prefixes, "_QUESTIONS", 30)
    console = Console(file=io.StringIO(), width=120)
    prefixes.show_prompt_caching(console, importlib.import_module(f"{framework}.demo").talker)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    (_, talk_alone, talk_planned), (_, single_alone, single_planned) = [
        [0, *map(int, re.findall(r"\((\d+)%\)", line))] for line in text.splitlines() if "%" in line
    ]
    assert talk_planned <= talk_alone < 60
    assert single_alone == 125
    assert single_planned < 120
