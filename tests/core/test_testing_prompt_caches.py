"""What the loopback provider reads from its prompt caches and writes to them, counted by hand."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from llmthrift_core.testing import LoopbackProvider
from llmthrift_core.testing.openai_wire import read_chat
from llmthrift_core.testing.prompt_caches import Cached, PromptCaches
from tests.core.clock import Clock

SONNET, OPUS, GPT = "claude-sonnet-4-5", "claude-opus-4-5", "gpt-4o-mini"  # minimums 1,024, 4,096 and 1,024
MARK = {"type": "ephemeral"}
HOUR = {"type": "ephemeral", "ttl": "1h"}


def _text(words: int, word: str = "word", mark: Mapping[str, str] | None = None) -> dict[str, Any]:
    return {"type": "text", "text": " ".join([word] * words), **({} if mark is None else {"cache_control": mark})}


def _user(*blocks: dict[str, Any]) -> dict[str, Any]:
    return {"role": "user", "content": list(blocks)}


def _ask(system: list[dict[str, Any]] | str, *messages: dict[str, Any], model: str = SONNET, **more: Any) -> dict[str, Any]:
    return {"model": model, "max_tokens": 9, "system": system, "messages": list(messages), **more}


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def caches(clock: Clock) -> PromptCaches:
    return PromptCaches(clock)


def test_a_marked_prefix_is_written_once_and_read_while_it_lives(caches: PromptCaches, clock: Clock) -> None:
    def ask(word: str) -> Cached:
        return caches.take_anthropic(_ask([_text(2_000, mark=MARK)], _user(_text(50, word))))

    assert ask("one") == Cached(0, 2_003)  # three tokens for the message
    clock.now += 299
    assert ask("two") == Cached(2_003, 0)
    clock.now += 299  # since it was last read
    assert ask("three") == Cached(2_003, 0)
    clock.now += 301
    assert ask("four") == Cached(0, 2_003)


def test_a_conversation_reads_what_it_wrote_and_writes_what_is_new(caches: PromptCaches) -> None:
    first, second = _user(_text(1_500, "ask", MARK)), _user(_text(100, "more", MARK))
    said = {"role": "assistant", "content": "fine"}
    assert caches.take_anthropic(_ask("be kind", first)) == Cached(0, 5 + 1_503)
    unmarked = _user(_text(1_500, "ask"))  # the mark has moved on; the text is what counts
    assert caches.take_anthropic(_ask("be kind", unmarked, said, second)) == Cached(1_508, 4 + 103)


def test_a_text_and_its_only_block_are_the_same(caches: PromptCaches) -> None:
    caches.take_anthropic(_ask([_text(1_200, mark=MARK)], _user(_text(1))))
    assert caches.take_anthropic(_ask(" ".join(["word"] * 1_200), _user(_text(2, mark=MARK)))) == Cached(1_203, 5)


@pytest.mark.parametrize(
    ("model", "words", "written"), [(SONNET, 1_020, 0), (SONNET, 1_021, 1_024), (OPUS, 4_092, 0), (OPUS, 4_093, 4_096)]
)
def test_prefixes_below_the_minimum_are_skipped(caches: PromptCaches, model: str, words: int, written: int) -> None:
    asked = _ask([_text(words, mark=MARK)], _user(_text(1)), model=model)
    assert caches.take_anthropic(asked) == Cached(0, written)
    assert caches.take_anthropic(asked) == Cached(written, 0)


def test_what_comes_first_decides(caches: PromptCaches) -> None:
    tool = {"name": "look", "input_schema": {}, "cache_control": MARK}
    rules, asked = _text(2_000, mark=MARK), _user(_text(500, "ask", MARK))
    assert caches.take_anthropic(_ask([rules], asked, tools=[tool])) == Cached(0, 3 + 2_003 + 503)
    assert caches.take_anthropic(_ask([rules], asked, tools=[{**tool, "name": "find"}])) == Cached(0, 2_509)
    assert caches.take_anthropic(_ask([rules], asked, tools=[tool], tool_choice={"type": "any"})) == Cached(2_006, 503)
    assert caches.take_anthropic(_ask([_text(2_000, "rule", MARK)], asked, tools=[tool])) == Cached(0, 2_509)
    assert caches.take_anthropic(_ask([rules], asked, model=OPUS)) == Cached(0, 0)  # a cache of its own, and its own minimum


def test_an_hour_is_counted_apart_and_lives_longer(caches: PromptCaches, clock: Clock) -> None:
    asked = _ask([_text(2_000, mark=HOUR)], _user(_text(97, "ask", MARK)))
    assert caches.take_anthropic(asked) == Cached(0, 2_103, 2_003)
    clock.now += 3_000
    assert caches.take_anthropic(asked) == Cached(2_003, 100)  # what was kept for five minutes is gone
    clock.now += 3_599  # the read gave another hour
    assert caches.take_anthropic(asked).read == 2_003


def test_the_cache_is_looked_for_twenty_blocks_before_a_mark() -> None:
    for between, read in ((19, 2_003), (20, 0)):
        caches_of_one = PromptCaches(lambda: 0.0)
        caches_of_one.take_anthropic(_ask("", _user(_text(2_000, mark=MARK))))
        blocks = [_text(1, f"w{number}") for number in range(between)]
        asked = _ask("", _user(_text(2_000), *blocks, _text(1, "end", MARK)))
        assert caches_of_one.take_anthropic(asked) == Cached(read, 2_003 + between + 1 - read)


def test_a_mark_on_the_request_is_one_on_its_last_block(caches: PromptCaches) -> None:
    assert caches.take_anthropic(_ask("", _user(_text(1_500)), cache_control=MARK)) == Cached(0, 1_503)


@pytest.mark.loopback
@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (_ask("", _user(*[_text(5, f"w{number}", MARK) for number in range(5)])), "A maximum of 4 blocks"),
        (_ask("", _user(_text(5, mark=MARK), _text(5, mark=HOUR))), "must not come after"),
        (_ask("", _user(_text(0, mark=MARK))), "empty text"),
        (_ask("", _user(_text(5, mark={"type": "ephemeral", "ttl": "2h"}))), "'5m' or '1h'"),
    ],
)
def test_wrong_marks_are_refused(asked: dict[str, Any], said: str) -> None:
    with LoopbackProvider(prompt_caches=True) as provider, pytest.raises(HTTPError) as refused:
        urlopen(Request(provider.anthropic_url + "/v1/messages", json.dumps(asked).encode()))
    with refused.value as answer:
        assert answer.status == 400
        assert said in json.loads(answer.read())["error"]["message"]


def _chat(words: int, *, model: str = GPT, last: str = "end", **more: Any) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": " ".join(["word"] * words) + f" {last}"}], **more}


def test_openai_keeps_prefixes_in_steps_without_being_asked(caches: PromptCaches, clock: Clock) -> None:
    def ask(*given: Any, **more: Any) -> Cached:
        body = _chat(*given, **more)
        return caches.take_openai(body, read_chat(body))

    assert ask(1_300) == Cached(0, 0)  # 1,304 tokens: 1,024 and 2 x 128 are kept; writing is free
    assert ask(1_300) == Cached(1_280, 0)
    assert ask(1_200, last="other") == Cached(1_152, 0)
    assert ask(1_300, prompt_cache_key="ours") == Cached(0, 0)
    clock.now += 301
    assert ask(1_300, prompt_cache_retention="24h") == Cached(0, 0)
    clock.now += 86_000
    assert ask(1_300) == Cached(1_280, 0)
    assert ask(1_019) == Cached(0, 0)  # 1,023 tokens
    assert ask(1_300, model="gpt-5.6-sol") == Cached(0, 1_280)  # there, writes cost more and are counted
    assert ask(1_500, model="gpt-5.6-sol") == Cached(1_280, 128)
    assert ask(1_300, model="a-model-of-ours") == ask(1_300, model="a-model-of-ours") == Cached(0, 0)


@pytest.mark.loopback
@pytest.mark.parametrize("path", ["/chat/completions", "/responses"])
@pytest.mark.parametrize("stream", [False, True])
def test_openai_says_so_in_every_format(path: str, stream: bool) -> None:
    with LoopbackProvider(lambda question: "Yes.", prompt_caches=True) as provider:
        for _ in range(2):
            body = _chat(1_300, stream=stream, stream_options={"include_usage": True})
            if path == "/responses":
                body["input"] = body.pop("messages")
            with urlopen(Request(provider.openai_url + path, json.dumps(body).encode())) as answer:
                text = answer.read().decode()
        assert '"cached_tokens": 1280' in text
        provider.reset()
        with urlopen(Request(provider.openai_url + path, json.dumps(body).encode())) as answer:
            assert '"cached_tokens": 0' in answer.read().decode()


@pytest.mark.loopback
def test_nothing_is_kept_unless_that_is_asked_for(provider: LoopbackProvider) -> None:
    for _ in range(2):
        body = _ask([_text(2_000, mark=MARK)], _user(_text(1)))
        with urlopen(Request(provider.anthropic_url + "/v1/messages", json.dumps(body).encode())) as answer:
            used = json.loads(answer.read())["usage"]
    assert (used["input_tokens"], used["cache_read_input_tokens"], used["cache_creation_input_tokens"]) == (2_007, 0, 0)
