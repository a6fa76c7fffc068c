"""`prove`: four ways on recorded answers, with figures that are derived by hand."""

from __future__ import annotations

import pytest

from llmthrift_core import Thrift
from llmthrift_core.cache import FixedThreshold, SemanticCache
from llmthrift_core.decisions import prove
from llmthrift_core.errors import ConfigurationError
from llmthrift_core.routing import Example
from tests.core.routing.workload import labelled

MODELS = {"weak": 0.6, "strong": 12.0}


def test_a_cache_saves_what_comes_again_and_keeps_what_the_first_answer_was_worth() -> None:
    asked = [("Where is it?", 1.0), ("where  is it?", 0.0), ("Who?", 0.5), ("Where is it?", 1.0)]
    found = prove([Example(text, "strong", quality, answer="x" * 40, latency_seconds=2.0) for text, quality in asked], models=MODELS)
    cached = found.way("cache + fallback")
    # Two of four are hits, and the answer of the first was worth 1.0 where the second call's own was worth nothing.
    assert cached.quality == pytest.approx((1 + 1 + 0.5 + 1) / 4)
    assert cached.quality_kept is not None
    assert cached.quality_kept.estimate == pytest.approx(3.5 / 2.5)
    paid = [(len(text) / 4 + 10) * 12 / 1e6 for text, _ in asked]
    assert cached.usd_per_thousand is not None
    assert cached.usd_per_thousand.estimate == pytest.approx(1_000 * (paid[0] + paid[2]) / 4)
    assert cached.saved_share is not None
    assert cached.saved_share.estimate == pytest.approx(1 - (paid[0] + paid[2]) / sum(paid))
    assert (found.way("direct").latency_seconds, cached.latency_seconds) == (2.0, 1.0)
    assert "50.0% answered from the cache" in cached.how


def test_a_hit_by_meaning_counts_as_wrong_where_the_answers_differ() -> None:
    questions = ["How do I reset my password?", "How can I reset my password?"]
    for answers, quality in ((("In the settings.", "In the  settings."), 1.0), (("In the settings.", "By mail."), 0.5)):
        with Thrift(":memory:") as thrift:
            cache = SemanticCache(thrift, lambda texts: [[1.0, 0.0]] * len(texts), FixedThreshold(0.8))
            examples = [Example(each, "strong", 1.0, answer=answer) for each, answer in zip(questions, answers, strict=True)]
            found = prove(examples, models=MODELS, cache=cache).way("cache + fallback")
        assert found.quality == quality
        assert found.saved_share is not None
        assert 0.4 < found.saved_share.estimate < 0.6


def test_routers_decide_prompts_that_they_have_not_seen_and_a_distilled_model_stands_behind_one() -> None:
    examples = labelled(100, sites=True)
    found = prove(examples, models=MODELS, min_quality=0.9)
    routed, distilled = found.way("shorten + route"), found.way("distilled")
    assert routed.requests == 100
    assert routed.saved_share is not None
    assert routed.saved_share.estimate > 0.1
    assert routed.quality_kept is not None
    assert routed.quality_kept.estimate > 0.9
    assert routed.quality_kept.low <= routed.quality_kept.estimate <= routed.quality_kept.high
    assert (distilled.requests, distilled.quality_kept) == (0, None)
    assert "name the fine-tuned model" in distilled.how
    gated = prove(examples, models=MODELS, distilled="weak", min_quality=0.9)
    assert gated.way("distilled").saved_share == routed.saved_share
    assert "one model to choose from" in gated.way("shorten + route").how


def test_the_table_the_chart_and_what_is_not_known() -> None:
    found = prove([Example("Who?", "strong", 1.0), Example("What?", "strong", 0.0)], models=MODELS)
    text = str(found)
    assert text.count("unknown") == 4
    assert "cache + fallback" in text
    assert "let the other models answer a sample" in found.way("shorten + route").how
    assert "<table>" in found._repr_html_()
    assert [row["way"] for row in found.to_dicts()] == ["direct", "cache + fallback", "shorten + route", "distilled"]
    assert {"point", "rule"} == {layer["mark"]["type"] for layer in found.chart().to_dict()["layer"]}


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"default": "other"}, "default='other' is not one of the models weak, strong"),
        ({"distilled": "other"}, "distilled='other' is not one of the models"),
        ({"distilled": "strong"}, "is the default model itself"),
        ({"min_quality": 98}, "above 0 and up to 1, not 98"),
        ({"min_quality": float("nan")}, "above 0 and up to 1, not nan"),
        ({"models": {"strong": 1e300}}, "must be US dollars per million tokens"),
        ({"models": {"another": 1.0}}, "there is no judged answer of 'another'"),
    ],
)
def test_what_cannot_be_proven_is_refused(options: dict[str, object], sentence: str) -> None:
    with pytest.raises(ConfigurationError, match=sentence):
        prove([Example("Who?", "strong", 1.0)], **{"models": MODELS, **options})
