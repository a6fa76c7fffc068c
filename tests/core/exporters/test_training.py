from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from langchain_openai import ChatOpenAI

from llmthrift_core import Thrift, Usage
from llmthrift_core.errors import ConfigurationError
from llmthrift_core.exporters import export_training
from llmthrift_core.testing import LoopbackProvider
from llmthrift_langchain import thrifty


@pytest.fixture
def full(tmp_path: Path) -> Iterator[Thrift]:
    with Thrift(tmp_path / "a.db", capture="text") as thrift:
        yield thrift


def _judge(thrift: Thrift, prompt: str, answer: str | None, quality: float, *, at: str = "2026-01-01", **given: Any) -> str:
    request_id: str = thrift.ledger.record(given.pop("model", "gpt-4o"), Usage(input_tokens=9), at=at, **given)
    if answer is not None:
        thrift.ledger.capture(request_id, 0, given.get("user"), prompt, answer)
    thrift.flush()
    thrift.feedback(request_id, quality=quality)
    return request_id


def _examples(path: Path) -> list[list[dict[str, str]]]:
    return [json.loads(line)["messages"] for line in path.read_text(encoding="utf-8").splitlines()]


def test_messages_in_the_form_of_chat(full: Thrift, tmp_path: Path) -> None:
    _judge(full, "system: Be brief.\nhuman: Où est\nmon colis ?\nai: Lequel ?\nhuman: Le bleu.", "À Lyon.", 1)
    found = full.export_training(tmp_path / "new" / "train.jsonl", validation=0)
    assert (found.training, found.validation, found.files) == (1, 0, (tmp_path / "new" / "train.jsonl",))
    assert _examples(found.files[0]) == [
        [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Où est\nmon colis ?"},
            {"role": "assistant", "content": "Lequel ?"},
            {"role": "user", "content": "Le bleu."},
            {"role": "assistant", "content": "À Lyon."},
        ]
    ]
    assert found.notes == (
        "No consent was asked for: consent= takes a predicate or a tag.",
        "OpenAI takes no fewer than 10 examples to train with.",
    )


def test_each_reason_to_leave_out_is_counted(full: Thrift, tmp_path: Path) -> None:
    _judge(full, "human: kept", "yes", 0.8)
    _judge(full, "human: bad", "no", 0.79)
    _judge(full, "human: other model", "x", 1, model="gpt-4o-mini")
    _judge(full, "human: by meaning", "x", 1, cache="semantic")
    _judge(full, "human: not stored", None, 1)
    _judge(full, "human: blank", " \n", 1)
    _judge(full, "human: 2+2?\nai: \ntool: 4", "4", 1)
    _judge(full, "human: late", "x", 1, at="2026-02-01")
    found = export_training(full, tmp_path / "t.jsonl", models="gpt-4o", until="2026-02-01", validation=0)
    assert [each[0]["content"] for each in _examples(found.files[0])] == ["kept"]
    assert found.skipped == {
        "not good enough": 1,
        "another model": 1,
        "answer to another question, found by meaning": 1,
        "no text of the question or the answer is stored": 2,
        "a tool's message, which chat examples without its call cannot have": 1,
    }
    assert "left out: 2 (no text" in str(found)


@pytest.mark.loopback
def test_an_answer_that_calls_a_tool_is_no_text_to_learn(provider: LoopbackProvider, full: Thrift, tmp_path: Path) -> None:
    chat = ChatOpenAI(model="gpt-4o", base_url=provider.openai_url, api_key="k")
    tool = {
        "type": "function",
        "function": {"name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}},
    }
    for model in (thrifty(chat, full), thrifty(chat, full).bind_tools([tool])):
        answer = model.invoke("What is the weather in Oslo?")
        full.feedback(answer.response_metadata["llmthrift"]["request_id"], quality=1)
    found = export_training(full, tmp_path / "t.jsonl", validation=0)
    assert (found.training, found.skipped) == (1, {"the answer calls a tool, which is stored as text": 1})


def test_one_conversation_is_written_once_with_its_best_answer(full: Thrift, tmp_path: Path) -> None:
    _judge(full, "human: Where is my parcel?", "old", 0.9, at="2026-01-01")
    _judge(full, "human: where is  my PARCEL?", "best and newest", 0.95, at="2026-01-03")
    _judge(full, "human: Where is my parcel?", "best", 0.95, at="2026-01-02")
    _judge(full, "system: Be kind.\nhuman: Where is my parcel?", "another conversation", 0.9)
    found = export_training(full, tmp_path / "t.jsonl", validation=0)
    assert {each[-1]["content"] for each in _examples(found.files[0])} == {"best and newest", "another conversation"}
    assert found.skipped == {"the same conversation has an answer as good or better": 2}


def test_only_with_consent(full: Thrift, tmp_path: Path) -> None:
    for number, tags in enumerate(({"training": "yes"}, {"training": "No"}, {"training": "v2"}, {"other": "yes"}, None)):
        _judge(full, f"human: {number}", "x", 1, tags=tags, user=f"u{number}")

    def kept(consent: Any) -> set[str]:
        found = export_training(full, tmp_path / "t.jsonl", consent=consent, validation=0)
        assert not any("consent" in note for note in found.notes)
        return {each[0]["content"] for each in _examples(found.files[0])}

    assert kept("training") == {"0"}
    assert kept("training=v2") == {"2"}
    assert kept(lambda call: call["user"] in ("u3", "u4") and "other" in call["tags"]) == {"3"}
    assert kept("absent") == set()
    for wrong in (7, "=yes", ""):
        with pytest.raises(ConfigurationError, match="consent must"):
            export_training(full, tmp_path / "t.jsonl", consent=wrong)  # type: ignore[arg-type]


def test_redaction_comes_before_equal_conversations_are_found(full: Thrift, tmp_path: Path) -> None:
    _judge(full, "human: I am Ada.", "Hello Ada", 0.9)
    _judge(full, "human: I am Bob.", "Hello Bob", 1)
    found = export_training(full, tmp_path / "t.jsonl", redact=lambda text: text.replace("Ada", "X").replace("Bob", "X"), validation=0)
    assert _examples(found.files[0]) == [[{"role": "user", "content": "I am X."}, {"role": "assistant", "content": "Hello X"}]]
    before = found.files[0].read_bytes()
    with pytest.raises(ConfigurationError, match="redact must return text, not NoneType; nothing was written"):
        export_training(full, tmp_path / "t.jsonl", redact=lambda text: None)  # type: ignore[arg-type,return-value]
    assert found.files[0].read_bytes() == before
    assert [file.name for file in tmp_path.glob("*.part")] == []


def test_the_split_is_the_same_every_time_and_keeps_conversations_together(full: Thrift, tmp_path: Path) -> None:
    for number in range(200):
        _judge(full, f"human: question {number}", "x", 1)
        _judge(full, f"human: question {number}\nai: x\nhuman: and then?", "y", 1)
    found = export_training(full, tmp_path / "t.jsonl", validation=0.25)
    sides = [{each[0]["content"] for each in _examples(file)} for file in found.files]
    assert found.files[1].name == "t.validation.jsonl"
    assert found.training + found.validation == 400
    assert not sides[0] & sides[1]
    # 100 of 400 are expected; whole conversations of two are drawn, so that the spread is 2 * sqrt(200 * 0.25 * 0.75) = 12.2.
    assert 100 - 49 < found.validation < 100 + 49
    texts = [file.read_bytes() for file in found.files]
    _judge(full, "human: one more", "x", 1)
    again = export_training(full, tmp_path / "u.jsonl", validation=0.25)
    for old, new in zip(texts, again.files, strict=True):
        assert set(old.splitlines()) <= set(new.read_bytes().splitlines())


def test_what_cannot_be_exported(full: Thrift, thrift: Thrift, tmp_path: Path) -> None:
    assert export_training(thrift, tmp_path / "t.jsonl").training == 0
    _judge(thrift, "", None, 1)
    with pytest.raises(ConfigurationError, match=r'1 answer was judged, but no text.*Thrift\(capture="text"\)'):
        export_training(thrift, tmp_path / "t.jsonl")
    for arguments, sentence in (
        ({"min_quality": 80}, "min_quality must lie within"),
        ({"validation": 1}, "validation must be a share"),
        ({"path": tmp_path / "t.csv"}, "ends in .jsonl"),
        ({"since": "2026-02-01", "until": "2026-01-01"}, "ends before it begins"),
    ):
        with pytest.raises(ConfigurationError, match=sentence):
            export_training(full, **{"path": tmp_path / "t.jsonl", **arguments})  # type: ignore[arg-type]
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match="cannot write"):
        export_training(full, tmp_path / "file" / "t.jsonl")
