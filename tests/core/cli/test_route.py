"""`llmthrift route`, as a user types it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from llmthrift_core import Thrift, Usage
from llmthrift_core.cli.app import app
from llmthrift_core.errors import ConfigurationError
from llmthrift_core.ledger import CallRecord
from llmthrift_core.routing import Cascade, LearnedRouter
from tests.core.cli.test_cli import run
from tests.core.routing.workload import labelled
from tests.core.versions.judged import textless

MODELS = ("--models", "weak=0.6, strong=12")


def refused(*arguments: str) -> None:
    CliRunner().invoke(app, list(arguments), catch_exceptions=False)


@pytest.fixture
def data(tmp_path: Path) -> str:
    """A file of judged answers; the weak model refuses what it cannot do."""
    with (tmp_path / "judged.jsonl").open("w", encoding="utf-8") as file:
        for each in labelled(120, sites=True):
            answer = "The result is 7." if each.quality else "I'm sorry, but I cannot help with that."
            row = {"prompt": each.prompt, "call_site": each.call_site, "model": each.model, "quality": each.quality, "answer": answer}
            file.write(json.dumps(row) + "\n")
        file.write('{"prompt": "not judged", "model": "weak", "quality": null}\n')
    return str(tmp_path / "judged.jsonl")


def test_a_learned_router_beside_its_controls(data, tmp_path):
    page = tmp_path / "curve.html"
    text = run("route", "simulate", "--data", data, *MODELS, "--seeds", "2", "--min-quality", "0.95", "--plot", str(page))
    for name in ("learned", "random", "length", "shortest to strong", "call-site table", "oracle", "always weak", "always strong"):
        assert re.search(rf"^{name}.* ± .*\$", text, re.MULTILINE), name
    assert "learned: 2 splits, 60 judged calls in each" in text
    assert "0.95 of strong's quality was promised" in text
    assert "Left out: no quality (1)." in text
    assert "P learned; " in text
    shown = page.read_text()
    assert '"usd_per_thousand"' in shown
    assert not re.search(r'(src|href)="https?:', shown)  # it opens without a network


def test_a_cascade_a_heuristic_and_a_file(data, tmp_path):
    shown = run("route", "simulate", "--policy", "cascade", "--data", data, *MODELS, "--seeds", "2", "--json")
    cascade = json.loads(shown)[0]
    assert cascade["escalated"] == cascade["shares"]["strong"] > 0.2
    assert json.loads(run("route", "simulate", "--policy", "complexity", "--data", data, *MODELS, "--json"))[0]["escalated"] == 0
    (tmp_path / "mine.py").write_text(
        "from llmthrift_core.routing import LearnedRouter\n"
        "def route(request):\n    return 'strong' if request.attribution.call_site == 'research' else 'weak'\n"
        "router = LearnedRouter({'weak': 0.6, 'strong': 12.0}, min_quality=0.9)\n"
        "policy = router.to_policy()\n"
        "number = 3\n"
    )
    mine = json.loads(run("route", "simulate", "--policy", f"{tmp_path}/mine.py:route", "--data", data, *MODELS, "--json"))
    table = next(row for row in mine if row["name"] == "call-site table")
    assert mine[0]["quality"] == pytest.approx(table["quality"], abs=0.05)
    for name in ("router", "policy"):
        text = run("route", "simulate", "--policy", f"{tmp_path}/mine.py:{name}", "--data", data, *MODELS, "--seeds", "1")
        assert "0.9 of strong's quality was promised" in text
    for given, problem in (
        ("mine.py:other", "has no 'other'"),
        ("none.py:x", "there is no file"),
    ):
        text = run("route", "simulate", "--policy", f"{tmp_path}/{given}", "--data", data, *MODELS, code=2)
        assert problem in re.sub(r"[\s│]+", " ", text)
    assert "not 'clever'" in re.sub(r"[\s│]+", " ", run("route", "simulate", "--policy", "clever", "--data", data, *MODELS, code=2))
    with pytest.raises(ConfigurationError, match="policy must be"):
        refused("route", "simulate", "--policy", f"{tmp_path}/mine.py:number", "--data", data, *MODELS)


def test_the_ledger_is_replayed_and_learned_from(tmp_path):
    url = str(tmp_path / "books.db")
    with Thrift(url, capture="text") as thrift:
        for each in labelled(60, weak="gpt-4o-mini-2024-07-18", strong="gpt-4o"):
            request_id = thrift.ledger.record(each.model, Usage(input_tokens=10, output_tokens=5))
            thrift.ledger.capture(request_id, thrift.now_us(), None, f"human: {each.prompt}", "done")
            thrift.feedback(request_id, quality=each.quality)
    tiers = ("--models", "simple=gpt-4o-mini,complex=gpt-4o")
    text = run("route", "simulate", "--data", "ledger", *tiers, "--url", url, "--seeds", "2")
    assert "always simple" in text
    assert "30 judged calls in each" in text
    assert "always gpt-4o-mini-2024-07-18" in run("route", "simulate", "--data", "ledger", "--url", url, "--policy", "complexity")
    assert "fitted on 120 examples" in run("route", "fit", "--data", "ledger", "--name", "support", *tiers, "--url", url)
    with Thrift(url) as thrift:
        assert thrift.routers.load("support").models == ("simple", "complex")
    with pytest.raises(ConfigurationError, match=r"there are no examples.*thrift.feedback"):
        refused("route", "simulate", "--data", "ledger", "--since", "2100-01-01", "--url", url)


def test_tiers_of_the_ledger_need_no_models_and_a_cascades_opinion_is_asked_for(tmp_path, data):
    url = str(tmp_path / "books.db")
    names = {"weak": "gpt-4o-mini-2024-07-18", "strong": "gpt-4o"}
    with Thrift(url, capture="text") as thrift:
        for number, each in enumerate(labelled(60)):
            record = CallRecord(request_id=f"r{number}", call_id=f"r{number}", at_us=thrift.now_us(), model=names[each.model])
            record.tier, record.confidence = each.model, each.quality
            thrift.ledger.append(record)
            thrift.ledger.capture(record.request_id, record.at_us, None, f"human: {each.prompt}", "done")
            if number < 100:
                thrift.feedback(record.request_id, quality=each.quality)
    place = ("--data", "ledger", "--url", url)
    assert "always strong" in run("route", "simulate", *place, "--policy", "complexity", "--seeds", "2")
    assert "fitted on 100 examples" in run("route", "fit", *place, "--name", "a")
    assert "fitted on 120 examples" in run("route", "fit", *place, "--name", "a", "--escalations")
    assert "30 judged calls in each" in run("route", "simulate", *place, "--policy", "complexity", "--seeds", "2", "--escalations")
    shown = run("route", "fit", "--data", data, *MODELS, "--name", "a", "--escalations", "--url", url, code=2)
    assert "is for --data ledger" in re.sub(r"[\s│]+", " ", shown)


def test_a_ledger_without_texts_is_learned_from_and_not_replayed(tmp_path):
    url = str(tmp_path / "books.db")
    with Thrift(url) as thrift:
        textless(thrift, labelled(60, sites=True))
    place = ("--data", "ledger", "--models", "weak=gpt-4o-mini,strong=gpt-4o", "--url", url)
    shown = run("route", "fit", *place, "--min-quality", "0.9", "--name", "a")
    assert "fitted on 120 examples. No text is stored of 120, so it was learned from counts and call sites alone." in shown
    with Thrift(url) as thrift:
        assert thrift.routers.load("a").decide("Please greet the customer of case 1", "support").model == "weak"
    with pytest.raises(ConfigurationError, match=r"none of the 120 examples' prompts is stored.*capture=.text"):
        refused("route", "simulate", *place)
    with pytest.raises(ConfigurationError, match=r"a cascade learns from answers.*capture=.text"):
        refused("route", "fit", *place, "--kind", "cascade", "--name", "b")
    with Thrift(url, capture="text") as thrift:
        for each in labelled(60, seed=5, sites=True):
            request_id = thrift.ledger.record({"weak": "gpt-4o-mini", "strong": "gpt-4o"}[each.model], Usage(input_tokens=10))
            thrift.ledger.capture(request_id, thrift.now_us(), None, f"human: {each.prompt}", "done")
            thrift.feedback(request_id, quality=each.quality)
    text = run("route", "simulate", *place, "--policy", "complexity", "--seeds", "1")
    assert "30 judged calls in each" in text
    assert "Left out: no text stored (120)." in text


def test_fit_versions_and_roll_back(data, tmp_path):
    url = str(tmp_path / "books.db")
    place = ("--name", "support", "--url", url)
    text = run("route", "fit", "--data", data, *MODELS, "--min-quality", "0.9", "--note", "first [draft]", *place)
    assert "saved version 1 of 'support'" in text
    assert "Left out: no quality (1)." in text
    run("route", "fit", "--kind", "cascade", "--data", data, *MODELS, *place)
    assert re.search(r"2 +yes .*\n1 .*first \[draft\]", run("route", "versions", "support", "--url", url))
    with Thrift(url) as thrift:
        assert isinstance(thrift.routers.load("support"), Cascade)
    assert "version 1 of 'support' is active" in run("route", "roll-back", "support", "--url", url)
    with Thrift(url) as thrift:
        loaded = thrift.routers.load("support")
        assert isinstance(loaded, LearnedRouter)
        assert (loaded.fitted, loaded.min_quality) == (True, 0.9)
    assert "version 2 of 'support' is active" in run("route", "roll-back", "support", "--to", "2", "--url", url)
    assert "there are: 'support'" in re.sub(r"[\s│]+", " ", run("route", "versions", "other", "--url", url, code=2))


def test_what_cannot_be_fitted_is_not_saved(data, tmp_path):
    url = str(tmp_path / "books.db")
    few = tmp_path / "few.csv"
    few.write_text("prompt,model,quality\nWhy?,weak,1\nHow?,strong,1\n")
    with pytest.raises(ConfigurationError, match="nothing was learned, so nothing is saved"):
        refused("route", "fit", "--data", str(few), *MODELS, "--name", "a", "--url", url)
    with pytest.raises(ConfigurationError, match="'strong' has no price"):
        refused("route", "fit", "--data", data, "--name", "a", "--url", url)
    assert "a cascade ends with" in run(
        "route", "fit", "--data", data, *MODELS, "--kind", "cascade", "--default", "weak", "--name", "a", "--url", url, code=2
    )
    assert "NAME=VALUE" in run("route", "fit", "--data", data, "--models", "weak", "--name", "a", "--url", url, code=2)
    with Thrift(url) as thrift:
        assert thrift.routers.names() == []
