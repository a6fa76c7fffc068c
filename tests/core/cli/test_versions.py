"""`llmthrift route check`, `route refit` and `llmthrift config`, as a user or cron types them."""

from __future__ import annotations

import json
import re

import pytest

from llmthrift_core import Thrift
from llmthrift_core.routing import LearnedRouter
from tests.core.cli.test_cli import run
from tests.core.routing.workload import labelled
from tests.core.versions.judged import answer, learnable


@pytest.fixture
def url(tmp_path) -> str:
    return str(tmp_path / "books.db")


def test_check_says_by_its_exit_code_that_answers_got_worse(url):
    with Thrift(url) as thrift:
        for min_quality, quality in ((0.9, 1.0), (0.95, 0.0)):
            router = LearnedRouter({"weak": 0.6, "strong": 12.0}, min_quality=min_quality)
            saved = thrift.routers.save(router, name="support")
            for _ in range(50):
                answer(thrift, quality, config_version=f"{saved.label}-{router.version}")
    place = ("support", "--url", url)
    assert "quality is not lower for certain" in run("route", "check", *place, "--margin", "0.99")
    assert "too few answers" in run("route", "check", *place, "--min-judged", "60")
    assert json.loads(run("route", "check", *place, "--json", code=1))["difference"]["estimate"] == -1.0
    assert "Version 1 is active again" in run("route", "check", *place, "--roll-back", code=1)
    assert "nothing to compare" in run("route", "check", *place, "--roll-back")
    shown = re.sub(r"[\s│]+", " ", run("route", "versions", *place))
    assert "rolled back to 1: quality" in shown


def test_refit_from_a_shell(url):
    with Thrift(url, capture="text") as thrift:
        learnable(thrift, labelled(200, sites=True))
    given = ("support", "--models", "weak=gpt-4o-mini,strong=gpt-4o", "--min-quality", "0.9", "--url", url)
    text = run("route", "refit", *given)
    assert "saved version 1 of 'support'; it is the active one" in text
    assert "refit on " in text
    assert "0 answers were judged since the last try; 200 more are needed" in run("route", "refit", *given)
    assert "NAME=VALUE" in run("route", "refit", "support", "--models", "weak", "--url", url, code=2)


def test_configurations(url, tmp_path):
    file = tmp_path / "prompt.json"
    for text in ("Be brief.", "Be rude."):
        file.write_text(json.dumps({"template": text}))
        saved = run("config", "save", "prompt", str(file), "--note", text, "--url", url)
    assert "saved version 2 of 'prompt'" in saved
    assert json.loads(run("config", "show", "prompt", "--url", url)) == {"template": "Be rude."}
    assert re.search(r"2 +yes .*Be rude.*\n1 .*Be brief", run("config", "versions", "prompt", "--url", url))
    assert "version 1 of 'prompt' is active" in run("config", "roll-back", "prompt", "--url", url)
    assert json.loads(run("config", "show", "prompt", "--version", "2", "--url", url)) == {"template": "Be rude."}
    assert "nothing to compare" in run("config", "check", "prompt", "--url", url)
    assert "there is no configuration 'x'" in re.sub(r"[\s│]+", " ", run("config", "versions", "x", "--url", url, code=2))
    file.write_text("{")
    assert "is not JSON" in re.sub(r"[\s│]+", " ", run("config", "save", "prompt", str(file), "--url", url, code=2))
