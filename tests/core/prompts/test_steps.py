"""What each step does, by examples."""

from __future__ import annotations

import inspect
import json
from typing import Any

import pytest

from llmthrift_core.errors import ConfigurationError, MissingExtraError
from llmthrift_core.prompts import ResultStore, Shorten, steps
from llmthrift_core.prompts.counting import tokens_of_messages
from llmthrift_core.prompts.protected import protected_blocks
from tests.core.prompts.test_anatomy import PARAGRAPH

MODEL = "gpt-4o"


def shorten(step: steps.Step, given: Any) -> Any:
    return Shorten([step])(given, MODEL).messages


def called(name: str = "find", identity: str = "1") -> dict[str, Any]:
    return {"role": "assistant", "content": None, "tool_calls": [{"id": identity, "function": {"name": name, "arguments": "{}"}}]}


def result(content: str, identity: str = "1") -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": identity, "content": content}


class TestWhitespace:
    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("one   two \t three  \nfour", "one two three\nfour"),
            ("one\n\n \n\n\ntwo", "one\n\ntwo"),
            ("- a\n  - b   c", "- a\n  - b c"),
            ("see:\n```\nx  =  1\n\n\n\ny\n```\nend   here", "see:\n```\nx  =  1\n\n\n\ny\n```\nend here"),
            ('he said "two  spaces"   and left', 'he said "two  spaces" and left'),
            ("a: 1\nb:   2\nc: 3", "a: 1\nb:   2\nc: 3"),
            ("for x in y:\n    print(x)   \ndone", "for x in y:\n    print(x)   \ndone"),
        ],
    )
    def test_outside_of_code(self, text: str, expected: str) -> None:
        assert shorten(steps.Whitespace(), text) == expected


class TestPhrases:
    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("We met in order to talk.", "We met to talk."),
            ("Due to the fact that it rained, we left.", "Because it rained, we left."),
            ("In the event that it rains, stay; at this point in time it is dry.", "If it rains, stay; now it is dry."),
            ("Write with respect to cats as well as dogs in addition to birds.", "Write regarding cats and dogs plus birds."),
            ("Could you please explain the plan?", "Explain the plan?"),
            ("I would like you to list the reasons.", "List the reasons."),
            ("I need you to translate this.", "Translate this."),
            ("Would you mind explaining it?", "Explain it?"),
            ("Can you summarize this for me?", "Summarize this for me?"),
            ("Can you get a refund after a month?", "Can you get a refund after a month?"),
            ("He wants to please her.", "He wants to please her."),
            ('She wrote "in order to win" in order to win.', 'She wrote "in order to win" to win.'),
            ("Run `in order to` in order to see the file.", "Run `in order to` to see the file."),
            (
                "Bitte erkläre den Plan, weil die Zeit im Hinblick auf das Fest knapp ist.",
                "Erkläre den Plan, weil die Zeit zu das Fest knapp ist.",
            ),
            ("Por favor, explica el plan con el fin de ahorrar tiempo.", "Explica el plan para ahorrar tiempo."),
        ],
    )
    def test_fewer_words(self, text: str, expected: str) -> None:
        assert shorten(steps.Phrases(), text) == expected

    def test_a_constraint_of_the_system_prompt_stays_to_the_letter(self) -> None:
        system = {"role": "system", "content": "Speak in order to help. You must stay silent in the event that you do not know."}
        expected = "Speak to help. You must stay silent in the event that you do not know."
        assert shorten(steps.Phrases(), [system])[0]["content"] == expected


class TestStopWords:
    def test_documents_alone(self) -> None:
        text = "The mayor did not open the bridge in the spring of 1911, and the town had no other. " * 3
        found = shorten(steps.StopWords(), f"{text}\n\nWhy is the bridge of the town not open?")
        assert found.startswith("mayor not open bridge spring 1911, town no")
        assert found.endswith("\n\nWhy is the bridge of the town not open?")

    def test_code_and_quotations_stay(self) -> None:
        text = f'{PARAGRAPH}He said "the end of the day". Call `the_name(of)` in the file.\n\nWhy?'
        found = shorten(steps.StopWords(), text)
        assert '"the end of the day"' in found
        assert "`the_name(of)`" in found

    def test_other_languages_stay(self) -> None:
        text = "港口建于1874年，由北方的工程师建造。它可以停泊四十艘船。" * 9 + "\n\n问题：什么时候建的？"
        assert shorten(steps.StopWords(), text) == text


class TestTruncate:
    numbered = " ".join(f"Sentence number {each} is about something else." for each in range(40))

    @pytest.mark.parametrize(("keep", "first", "last"), [("start", True, False), ("end", False, True), ("ends", True, True)])
    def test_which_end_is_kept(self, keep: Any, first: bool, last: bool) -> None:
        found = shorten(steps.Truncate(100, keep=keep), f"{self.numbered}\n\nWhy?")
        assert ("number 0 " in found, "number 39 " in found) == (first, last)
        assert "..." in found
        assert found.endswith("Why?")

    def test_the_limit_holds_with_the_frame(self) -> None:
        for most in (30, 60, 120, 240):
            found = Shorten([steps.Truncate(most)])([{"role": "user", "content": f"{self.numbered}\n\nWhy?"}], MODEL)
            assert most // 2 < found.tokens_after <= most

    def test_code_is_never_cut(self) -> None:
        code = "```\n" + "x = 1\n" * 100 + "```"
        found = shorten(steps.Truncate(80), f"{self.numbered}\n{code}\n{self.numbered}\n\nWhy?")
        assert code in found
        assert len(found) < 1_000

    def test_one_long_sentence_is_cut_within(self) -> None:
        found = shorten(steps.Truncate(50), "word " * 500 + "\n\nWhy?")
        assert 100 < len(found) < 300

    @pytest.mark.parametrize(("most", "keep"), [(0, "ends"), (-1, "ends"), (10, "middle"), (1.5, "ends")])
    def test_what_cannot_be_is_refused(self, most: Any, keep: Any) -> None:
        with pytest.raises(ConfigurationError):
            steps.Truncate(most, keep=keep)


class TestCompact:
    rows = [{"id": each, "city": "Rome", "price": 1.50} for each in range(60)]

    def test_json_has_the_same_values(self) -> None:
        pretty = json.dumps({"rows": self.rows[:1], "big": 12345678901234567890, "text": 'a  b\\n"'}, indent=4)
        found = shorten(steps.Compact(), [result(pretty)])[0]["content"]
        assert len(found) < len(pretty)
        assert json.loads(found) == json.loads(pretty)
        assert "1.5" in found

    def test_like_objects_become_columns(self) -> None:
        found = json.loads(shorten(steps.Compact(), [result(json.dumps({"rows": self.rows}))])[0]["content"])
        table = found["rows"]
        assert (table["all"], table["columns"]) == ({"city": "Rome", "price": 1.5}, ["id"])
        assert [{**dict(zip(table["columns"], row, strict=True)), **table["all"]} for row in table["rows"]] == self.rows

    def test_objects_within_are_columns_too_and_groups_stay(self) -> None:
        def flight(number: int) -> dict[str, object]:
            return {"number": f"HAT{number}", "seats": {"economy": number, "business": 2}, "stops": []}

        text = json.dumps([[flight(1), flight(2)], [flight(3)], [flight(4), flight(1)]])
        found = json.loads(shorten(steps.Compact(), [result(text)])[0]["content"])
        assert found == {
            "all": {"seats.business": 2, "stops": []},
            "columns": ["number", "seats.economy"],
            "groups": [[["HAT1", 1], ["HAT2", 2]], [["HAT3", 3]], [["HAT4", 4], ["HAT1", 1]]],
        }

    def test_true_is_not_one(self) -> None:
        text = json.dumps([{"a": each, "b": "the same in each row"} for each in (1, True, 1.0)])
        found = json.loads(shorten(steps.Compact(), [result(text)])[0]["content"])
        assert [type(row[0]) for row in found["rows"]] == [int, bool, float]

    def test_a_number_that_would_change_is_left(self) -> None:
        text = '[{"a": 1.0000}, {"a": 2e400}, {"a": 3}]'
        assert shorten(steps.Compact(), [result(text + " " * 40)])[0]["content"].strip() == text.replace(" ", "")

    def test_the_system_prompt_keeps_its_schema(self) -> None:
        system = {"role": "system", "content": 'Answer as {"year":   "integer",\n  "town":   "string"}. ' * 3}
        assert shorten(steps.Compact(), [system]) == [system]

    def test_tables_and_logs(self) -> None:
        table = "| name   | size |\n|--------|------|\n| harbour| 40   |"
        assert shorten(steps.Compact(), [result(table)])[0]["content"] == "|name|size|\n|-|-|\n|harbour|40|"
        log = "\n".join(f"2026-01-05 10:00:0{each % 3} INFO request done" for each in (0, 1, 1, 1, 2, 2))
        found = shorten(steps.Compact(), [result(log)])[0]["content"]
        assert found.startswith("[each line begins: 2026-01-05 10:00:")
        assert "(3 times)" in found

    def test_a_long_result_is_fetched_by_its_handle(self) -> None:
        store = ResultStore()
        text = json.dumps({"found": len(self.rows) * 9, "rows": self.rows * 9, "note": "see below"})
        found = shorten(steps.Compact(max_tokens=200, store=store), [called(), result(text)])[1]["content"]
        assert all(key in found for key in ('"found"', '"rows"', '"note"', '"price"'))
        handle = found.rpartition('handle "')[2].partition('"')[0]
        assert store.fetch(handle, length=len(text)) == text
        assert store.definition["function"]["name"] in found

    def test_long_prose_keeps_both_ends(self) -> None:
        text = "FIRST line.\n" + PARAGRAPH * 60 + "\nLAST line."
        found = Shorten([steps.Compact(max_tokens=120)])([called(), result(text)], MODEL)
        content = found.messages[1]["content"]
        assert content.startswith("FIRST line.")
        assert content.endswith("LAST line.")
        assert found.tokens_after < 160

    def test_a_store_forgets_the_oldest(self) -> None:
        store = ResultStore(most_chars=30)
        first, second = store.put("a" * 20), store.put("b" * 20)
        assert "call the tool" in store.fetch(first)
        assert store.fetch(second, start=15) == "b" * 5
        assert len(store) == 1

    def test_what_a_model_gives_for_numbers_is_read_or_answered(self) -> None:
        store = ResultStore()
        handle = store.put("abcdef")
        given: list[tuple[Any, Any]] = [("1", "2"), (1.0, 2), (None, None), ("x", 2), (0, float("inf")), (-3, -1)]
        told = [store.fetch(handle, start=start, length=length) for start, length in given]
        assert told[:3] == ["bc", "bc", "abcdef"]
        assert all("whole numbers" in each for each in told[3:5])
        assert told[5] == ""
        for wrong in (None, 5, ["r-1"]):
            assert "No result is kept" in store.fetch(wrong)  # type: ignore[arg-type]


class TestDuplicates:
    def test_a_paragraph_comes_once(self) -> None:
        other = PARAGRAPH.replace("harbour", "station")
        found = shorten(steps.Duplicates(), f"[1] {PARAGRAPH}\n\n[2] {other}\n\n[3] {PARAGRAPH}\n\nWhy?")
        assert found == f"[1] {PARAGRAPH}\n\n[2] {other}\n\n[3] [as above]\n\nWhy?"

    def test_results_come_once(self) -> None:
        found = shorten(steps.Duplicates(), [called(), result(PARAGRAPH), called(identity="2"), result(PARAGRAPH, "2")])
        assert [found[1]["content"], found[3]["content"]] == [PARAGRAPH, "[as above]"]

    def test_what_changed_of_a_result_is_said_and_the_rest_is_as_above(self) -> None:
        def booking(identity: str, **changed: object) -> str:
            said = {"booking": identity, "from": "Rome", "to": "Oslo", "passengers": [{"name": "Ada"}, {"name": "Bob"}], "status": "paid"}
            return json.dumps({**said, "notes": "window seats, no bags, a meal for each", **changed})

        texts = [
            booking("A1"),
            booking("B2"),
            booking("A1", status="cancelled", refund=70),
            booking("A1", refund=70),
            booking("A1", extra=None),
        ]
        found = shorten(steps.Duplicates(), [message for text in texts for message in (called(), result(text))])
        said = [message["content"] for message in found if message["role"] == "tool"]
        assert said[:2] == texts[:2]
        assert json.loads(said[2]) == {"booking": "A1", "status": "cancelled", "refund": 70, "[rest]": "as above"}
        assert json.loads(said[3]) == {"booking": "A1", "status": "paid", "[rest]": "as above"}
        assert said[4] == texts[4]  # it lacks the refund, which "as above" would say

    def test_nothing_refers_to_a_turn_that_was_cut(self) -> None:
        turns = [
            message
            for each in range(4)
            for message in (
                {"role": "user", "content": f"Ask {each}"},
                called(),
                result(PARAGRAPH),
                {"role": "assistant", "content": "Yes."},
            )
        ]
        for policy in (
            Shorten([steps.Duplicates(), steps.History(max_turns=2)]),
            Shorten(
                [steps.Duplicates()], max_input_tokens=tokens_of_messages([*turns[-4:], {"role": "user", "content": "So?"}], "gpt-4o") + 20
            ),
        ):
            found = policy([*turns, {"role": "user", "content": "So?"}], "gpt-4o").messages
            assert len(found) < len(turns)
            assert next(each["content"] for each in found if each["role"] == "tool") == PARAGRAPH


class TestExamples:
    shown = "\n\n".join(f"Input: a {animal} in the garden\nOutput: {animal}" for animal in ("cat", "dog", "horse", "bird"))

    def test_the_nearest_of_a_text(self) -> None:
        found = shorten(steps.Examples(k=1, embedder=False), f"Name the animal.\n\n{self.shown}\n\nInput: the horse is ill\nOutput:")
        assert "Output: horse" in found
        assert "Output: cat" not in found
        assert found.startswith("Name the animal.")
        assert found.endswith("Input: the horse is ill\nOutput:")

    def test_the_nearest_messages(self) -> None:
        pairs = [
            message
            for animal in ("cat", "dog", "horse")
            for message in ({"role": "user", "content": f"Text: my {animal}"}, {"role": "assistant", "content": animal})
        ]
        last = {"role": "user", "content": "Text: a dog barks"}
        assert shorten(steps.Examples(k=1, embedder=False), [*pairs, last]) == [pairs[2], pairs[3], last]

    def test_an_embedder_that_fails_is_counted(self) -> None:
        def broken(texts: Any) -> Any:
            raise OSError("no network")

        found = Shorten([steps.Examples(k=1, embedder=broken)])(f"{self.shown}\n\nInput: the horse is ill\nOutput:", MODEL)
        assert "Output: horse" in found.messages
        assert found.failures == {"embedder": 1}


class TestConcise:
    def test_it_is_said_once(self) -> None:
        found = shorten(steps.Concise(), [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Why?"}])
        assert found[0]["content"].startswith("Be kind.\n\nBe concise")
        assert shorten(steps.Concise(), found) == found

    def test_without_a_system_prompt_it_comes_first(self) -> None:
        assert [message["role"] for message in shorten(steps.Concise(), [{"role": "user", "content": "Why?"}])] == ["system", "user"]


class TestSummarize:
    def test_a_document_is_asked_for_once(self) -> None:
        asked: list[str] = []

        def model(given: str) -> str:
            asked.append(given)
            return "A harbour of 1874."

        shorten_ = Shorten([steps.Summarize(model, share=0.2)])
        text = f"{PARAGRAPH * 6}\n\nQuestion: When?"
        found = shorten_(text, MODEL)
        assert found.messages == "[Summary] A harbour of 1874.\n\nQuestion: When?"
        assert shorten_(text, MODEL).messages == found.messages
        assert len(asked) == 1

    @pytest.mark.parametrize("reply", ["", "long " * 900])
    def test_what_is_no_summary_changes_nothing(self, reply: str) -> None:
        text = f"{PARAGRAPH * 6}\n\nQuestion: When?"
        found = Shorten([steps.Summarize(lambda given: reply)])(text, MODEL)
        assert found.messages == text
        assert found.failures["summary"] == 1

    @pytest.mark.parametrize("share", [0, -1, 1.5, True, "half"])
    def test_a_share_is_between_0_and_1(self, share: Any) -> None:
        with pytest.raises(ConfigurationError, match="share"):
            steps.Summarize(str, share=share)


class StandIn:
    """Has the signature of LLMLingua 0.2's `PromptCompressor.compress_prompt`, and drops every second word."""

    def __init__(self) -> None:
        self.given: list[dict[str, Any]] = []

    def compress_prompt(
        self,
        context: list[str],
        instruction: str = "",
        question: str = "",
        rate: float = 0.5,
        target_token: float = -1,
        iterative_size: int = 200,
        concate_question: bool = True,
        force_tokens: list[str] | None = None,
        force_reserve_digit: bool = False,
        drop_consecutive: bool = False,
        chunk_end_tokens: list[str] | None = None,
    ) -> dict[str, Any]:
        self.given.append(
            {"context": context, "question": question, "rate": rate, "digits": force_reserve_digit, "concate": concate_question}
        )
        words = " ".join(context).split()
        return {
            "compressed_prompt": " ".join(words[::2]),
            "origin_tokens": len(words),
            "compressed_tokens": len(words) // 2,
            "ratio": "2.0x",
        }


class TestLLMLingua:
    def test_prose_is_given_to_it_and_nothing_else(self) -> None:
        compressor = StandIn()
        url = "https://example.com/the/way/to/the/harbour"
        text = f"{PARAGRAPH.replace('1874', 'spring') * 3}See {url} there. {PARAGRAPH.replace('1874', 'autumn') * 3}\n\nQuestion: When?"
        found = shorten(steps.LLMLingua(share=0.4, compressor=compressor), text)
        assert found.startswith("[Compressed] The")
        assert url in found
        assert found.endswith("Question: When?")
        assert compressor.given[0]["rate"] == 0.4
        assert "When?" in compressor.given[0]["question"]
        assert not compressor.given[0]["concate"]
        assert all(url not in given["context"][0] for given in compressor.given)

    def test_a_compressor_with_fewer_options(self) -> None:
        class First:
            def compress_prompt(self, context: list[str], question: str = "", ratio: float = 0.0) -> dict[str, str]:
                return {"compressed_prompt": "short"}

        assert "force_tokens" not in inspect.signature(First().compress_prompt).parameters
        assert "short" in shorten(steps.LLMLingua(compressor=First()), f"{PARAGRAPH * 3}\n\nQuestion: When?")

    def test_a_compressor_that_fails_is_counted(self) -> None:
        class Broken:
            def compress_prompt(self, context: list[str]) -> dict[str, str]:
                raise RuntimeError("no memory")

        text = f"{PARAGRAPH * 3}\n\nQuestion: When?"
        found = Shorten([steps.LLMLingua(compressor=Broken())])(text)
        assert found.messages == text
        assert found.failures == {"llmlingua": 1}

    def test_without_the_package_the_extra_is_named(self) -> None:
        with pytest.raises(MissingExtraError, match="llmthrift\\[llmlingua\\]"):
            steps.LLMLingua()
        with pytest.raises(ConfigurationError, match="compress_prompt"):
            steps.LLMLingua(compressor=str)


def test_a_long_text_in_a_script_without_spaces_is_prose_and_a_long_word_in_it_is_not() -> None:
    sentences = [
        "占旭刚1987年进入浙江省举重队，1994年入选中国国家举重队。",
        "四年以后，由于70公斤级被取消，占旭刚改报参加77公斤级比赛。",
        "在抓举比赛结束后，占旭刚一度落后第一名7.5公斤。",
        "当放下杠铃的一刻，占旭刚振臂高呼的庆祝动作，成为该届奥运会的经典一幕。",
        "悉尼奥运会后，占旭刚状态开始下滑。",
        "不久，占旭刚复出参加2003年举重世锦赛，但仍然输给李宏利。",
        "赛后，占旭刚正式结束运动生涯，着手行政工作。",
    ] * 4
    text, question = "".join(sentences), "\n\n问题：占旭刚什么时候入选中国国家举重队？"
    shortened = str(Shorten([steps.Sentences(share=0.3, embedder=False)])(text + question, MODEL).messages)
    assert shortened.endswith(question)
    assert "1994年入选" in shortened
    assert len(shortened) < 0.4 * len(text)
    word = "QUJD" * 150
    kept = str(Shorten([steps.Sentences(share=0.3, embedder=False)])(f"{sentences[2]}{word}{text}{question}", MODEL).messages)
    assert word in kept
    assert len(kept) < 0.6 * len(text) + len(word)


@pytest.mark.parametrize(
    "text", ["東京は日本の首都です。" * 60, "กรุงเทพมหานครเป็นเมืองหลวงของประเทศไทย" * 20, "서울은 한국의 수도이다. " * 60]
)
def test_long_texts_of_other_scripts_are_not_protected(text: str) -> None:
    assert protected_blocks(text) == []
