from __future__ import annotations

from pathlib import Path

import pytest

from llmthrift_core.errors import ConfigurationError
from llmthrift_core.service.config import load_configuration

GOOD = """
database = "calls.db"
tuning = "support"

[tiers.economy]
model = "openai:gpt-4o-mini"
temperature = 0

[tiers.premium]
model = "openai:gpt-4o"

[service]
port = 9000
on_budget = "answer"

[cache]
semantic = 0.9

[[budgets]]
limit_usd = 10
window = "day"
"""


def _file(folder: Path, text: str) -> Path:
    path = folder / "llmthrift.toml"
    path.write_text(text)
    return path


def test_one_file_says_all(tmp_path: Path) -> None:
    loaded = load_configuration(_file(tmp_path, GOOD))
    assert list(loaded.tiers) == ["economy", "premium"]
    assert (loaded.service.port, loaded.service.on_budget, loaded.service.host) == (9000, "answer", "127.0.0.1")
    assert loaded.options()["cache"] == {"ttl_seconds": 3600, "semantic": 0.9}
    assert loaded.options()["tuning"] == "support"
    (budget,) = loaded.made_budgets()
    assert (budget.limit_usd, budget.window) == (10, "day")


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("port = 9000", 'port = "often"', r"line 13: service.port: .*, not 'often'"),
        ("semantic = 0.9", "semantics = 0.9", r"line 17: cache.semantics: Extra inputs are not permitted"),
        ("temperature = 0", 'api_key = "sk-1"', r"line 7: keys of providers belong in the environment"),
        ('model = "openai:gpt-4o"', "", r"tiers.premium.model: Field required"),
        ("limit_usd = 10", "limit_eur = 10", r"budgets, number 1: .*limit_eur"),
        ("[cache]", "[cache", r"is no TOML"),
    ],
)
def test_an_error_names_line_and_value(old: str, new: str, told: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=told) as caught:
        load_configuration(_file(tmp_path, GOOD.replace(old, new, 1))).made_budgets()
    assert "sk-1" not in str(caught.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot read"):
        load_configuration(tmp_path / "none.toml")
