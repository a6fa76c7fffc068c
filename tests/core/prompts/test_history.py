"""`steps.History` cuts whole turns, and parts no tool call from its results."""

from __future__ import annotations

import pytest

from llmthrift_core.errors import ConfigurationError
from llmthrift_core.prompts import Shorten, steps
from tests.core.prompts.test_anatomy import PARAGRAPH
from tests.core.prompts.test_steps import MODEL, called, result, shorten


class TestHistory:
    turns = [
        message
        for each in range(4)
        for message in ({"role": "user", "content": f"Ask {each}"}, {"role": "assistant", "content": f"Say {each}"})
    ]
    system = {"role": "system", "content": "Be kind."}
    last = {"role": "user", "content": "Last?"}

    def test_turns(self) -> None:
        found = shorten(steps.History(max_turns=2), [self.system, *self.turns, self.last])
        assert found == [self.system, *self.turns[-2:], self.last]

    def test_tokens(self) -> None:
        found = Shorten([steps.History(max_tokens=30)])([self.system, *self.turns, self.last], MODEL).messages
        assert found[0] == self.system
        assert found[-1] == self.last
        assert 2 < len(found) < 10

    def test_a_tool_call_stays_with_its_results(self) -> None:
        rounds = [message for each in range(6) for message in (called(identity=str(each)), result(PARAGRAPH, str(each)))]
        found = shorten(steps.History(max_tokens=100), [self.system, self.last, *rounds])
        assert found[:2] == [self.system, self.last]
        calls = {call["id"] for message in found for call in message.get("tool_calls", ())}
        results = {message["tool_call_id"] for message in found if message["role"] == "tool"}
        assert calls == results
        assert "5" in calls
        assert len(calls) < 6

    def test_two_results_of_one_call_are_together(self) -> None:
        both = {
            "role": "assistant",
            "content": "",
            "tool_calls": [{"id": name, "function": {"name": "f", "arguments": "{}"}} for name in "ab"],
        }
        messages = [self.last, both, result(PARAGRAPH * 3, "a"), result(PARAGRAPH * 3, "b"), {"role": "assistant", "content": "Done."}]
        assert shorten(steps.History(max_tokens=40), messages) == [self.last, messages[-1]]

    def test_pinned_messages_stay(self) -> None:
        found = shorten(steps.History(max_turns=1, pinned=lambda message: message["content"] == "Say 0"), [*self.turns, self.last])
        assert found == [self.turns[1], self.last]

    def test_what_was_cut_is_summed_up(self) -> None:
        asked: list[str] = []

        def model(given: str) -> str:
            asked.append(given)
            return "They spoke of 0 to 2."

        step = steps.History(max_turns=1, summarize=model)
        found = shorten(step, [self.system, *self.turns * 4, self.last])
        assert found[1]["content"].endswith("They spoke of 0 to 2.")
        assert [found[0], found[2]] == [self.system, self.last]
        assert shorten(step, [self.system, *self.turns * 4, self.last]) == found
        assert len(asked) == 1
        assert "user: Ask 0" in asked[0]

    def test_a_summary_that_fails_is_counted(self) -> None:
        def broken(given: str) -> str:
            raise TimeoutError

        found = Shorten([steps.History(max_turns=1, summarize=broken)])([*self.turns, self.last])
        assert found.messages == [self.last]
        assert found.failures == {"summary": 1}

    def test_without_a_limit_it_is_refused(self) -> None:
        with pytest.raises(ConfigurationError, match="max_turns or max_tokens"):
            steps.History()

    @pytest.mark.parametrize("pinned", ["result", "call", "one of two results"])
    def test_a_pinned_result_stays_with_its_call(self, pinned: str) -> None:
        both = [call for name in "ab" for call in called(identity=name)["tool_calls"]]
        calls = {"role": "assistant", "content": "", "tool_calls": both}
        tools = [calls, result("of a", "a"), result("of b", "b")]
        stays = {"result": tools[1], "call": calls, "one of two results": tools[2]}[pinned]
        messages = [self.system, self.turns[0], *tools, self.turns[1], self.last]
        found = shorten(steps.History(max_turns=1, pinned=lambda message: message is stays), messages)
        assert found == [self.system, *tools, self.last]

    def test_calls_in_blocks_give_way_with_their_results(self) -> None:
        rounds = [
            message
            for each in range(6)
            for message in (
                {"role": "assistant", "content": [{"type": "tool_use", "id": f"t{each}", "name": "find", "input": {}}]},
                {"role": "user", "content": [{"type": "tool_result", "tool_use_id": f"t{each}", "content": PARAGRAPH}]},
            )
        ]
        found = shorten(steps.History(max_tokens=120), [self.system, self.last, *rounds])
        assert found[:2] == [self.system, self.last]
        assert 2 < len(found) < len(rounds)
        assert found[2:] == rounds[len(rounds) - len(found) + 2 :]
        assert len(found) % 2 == 0
