"""`steps.Documents` keeps the documents that the question is about, and all that is no document."""

from __future__ import annotations

import pytest

from llmthrift_core.errors import ConfigurationError
from llmthrift_core.prompts import Shorten, steps

MODEL = "gpt-4o"
TOPICS = ("bridge", "harbour", "mill", "tower", "school", "market")
TEXTS = [
    f"The old {topic} of the town was built in {1870 + place} and has been repaired three times since."
    for place, topic in enumerate(TOPICS)
]
FORMS = {
    "paragraphs": lambda number, text: text,
    "brackets": lambda number, text: f"[{number}] {text}",
    "headed": lambda number, text: f"Document {number}:\n\n{text}",
    "two paragraphs": lambda number, text: (
        f"Source {number}: {text}\n\nThis is said in the chronicle of the town, which was printed much later."
    ),
}


def kept(content: str, step: steps.Step) -> str:
    found: str = Shorten([step])([{"role": "user", "content": content}], MODEL).messages[0]["content"]
    return found


@pytest.mark.parametrize("form", FORMS)
def test_the_documents_of_the_question_stay_with_all_that_is_no_document(form: str) -> None:
    listed = "\n\n".join(FORMS[form](number, text) for number, text in enumerate(TEXTS, 1))
    prompt = f"Answer in one sentence, from the documents only.\n\n{listed}\n\nQuestion: When was the tower built?"
    step = steps.Documents(k=2, embedder=False)
    found = kept(prompt, step)
    assert TEXTS[3] in found
    assert sum(text in found for text in TEXTS) == 2
    assert found.startswith("Answer in one sentence, from the documents only.")
    assert found.endswith("Question: When was the tower built?")
    assert found.count("chronicle") == (2 if form == "two paragraphs" else 0)
    assert kept(found, step) == found


def test_few_documents_and_texts_without_any_stay_as_they_are() -> None:
    for prompt in ("When was the tower built?", "\n\n".join([*TEXTS[:3], "When was the mill built?"])):
        assert kept(prompt, steps.Documents(k=3, embedder=False)) == prompt


def test_tokens_bound_what_is_kept_and_the_nearest_one_stays() -> None:
    prompt = "\n\n".join([*TEXTS, "Question: When was the market built?"])
    assert [text in kept(prompt, steps.Documents(k=4, max_tokens=1, embedder=False)) for text in TEXTS] == [False] * 5 + [True]


def test_documents_of_the_system_prompt_are_judged_by_the_first_question_in_every_turn() -> None:
    system = {"role": "system", "content": "You are a guide.\n\nContext:\n" + "\n\n".join(TEXTS)}
    turns = [
        {"role": "user", "content": "When was the mill built?"},
        {"role": "assistant", "content": "1872."},
        {"role": "user", "content": "And the market?"},
    ]
    step = steps.Documents(k=1, embedder=False)
    once, later = (Shorten([step])([system, *turns[:count]], MODEL).messages[0]["content"] for count in (1, 3))
    assert once == later
    assert [text in once for text in TEXTS] == [False, False, True, False, False, False]


def test_vectors_of_documents_decide_and_an_embedder_that_fails_leaves_words() -> None:
    def embedder(given: list[str]) -> list[list[float]]:
        return [[1.0, 0.0] if "harbour" in text or "ships" in text else [0.0, 1.0] for text in given]

    def broken(given: list[str]) -> list[list[float]]:
        raise RuntimeError("no")

    prompt = "\n\n".join([*TEXTS, "Question: Where do ships land?"])
    assert TEXTS[1] in kept(prompt, steps.Documents(k=1, embedder=embedder))
    found = Shorten([steps.Documents(k=2, embedder=broken)])([{"role": "user", "content": prompt}], MODEL)
    assert found.failures == {"embedder": 1}
    assert sum(text in found.messages[0]["content"] for text in TEXTS) == 2


def test_limits_that_make_no_sense_are_refused() -> None:
    for options in ({"k": 0}, {"max_tokens": 0}):
        with pytest.raises(ConfigurationError, match="must be positive, not 0"):
            steps.Documents(**options)


INSTRUCTIONS = {
    "Arabic": "أجب باللغة العربية فقط ولا تخترع أي حقائق.",
    "Chinese": "仅用中文回答，不得编造事实。",
    "Dutch": "Antwoord alleen in het Nederlands en verzin niets.",
    "Greek": "Απάντησε μόνο στα ελληνικά. Μην επινοείς γεγονότα.",
    "Hebrew": "ענה בעברית בלבד. אל תמציא עובדות.",
    "Hindi": "केवल हिंदी में उत्तर दें। तथ्य न गढ़ें।",
    "Italian": "Rispondi solo in italiano usando i documenti. Non inventare nulla.",
    "Japanese": "日本語だけで答えてください。事実を作らないでください。",
    "Korean": "한국어로만 대답하세요. 사실을 지어내지 마세요.",
    "Persian": "فقط به فارسی پاسخ بده و چیزی از خودت نساز.",
    "Polish": "Odpowiadaj tylko po polsku i nie wymyślaj faktów.",
    "Russian": "Отвечай только на русском языке. Не выдумывай факты, которых нет в тексте.",
    "Swahili": "Jibu kwa Kiswahili tu, na usibuni chochote.",
    "Thai": "ตอบเป็นภาษาไทยเท่านั้น ห้ามแต่งข้อเท็จจริง",
    "Turkish": "Yalnızca Türkçe cevap ver. Uydurma.",
}
LONG = [f"{text} Its stores keep grain and salt. The masters meet there in spring. A guide shows it to visitors." * 2 for text in TEXTS]
PLACES = {
    "above": lambda rule, texts: f"{rule}\n\n{texts}",
    "on a line above": lambda rule, texts: f"{rule}\n{texts}",
    "below": lambda rule, texts: f"{texts}\n\n{rule}",
}


# A line of Thai has no mark at its end, which tells it from a heading.
@pytest.mark.parametrize(
    ("language", "place"),
    [(language, place) for language in INSTRUCTIONS for place in PLACES if (language, place) != ("Thai", "on a line above")],
)
def test_instructions_stay_whatever_their_language(language: str, place: str) -> None:
    rule = INSTRUCTIONS[language]
    prompt = PLACES[place](rule, "\n\n".join(LONG)) + "\n\nWhen was the tower built?"
    for step in (
        steps.Documents(k=1, embedder=False),
        steps.Sentences(share=0.3, embedder=False),
        steps.Truncate(150),
        steps.StopWords(),
        steps.Summarize(lambda given: "A summary."),
    ):
        found = kept(prompt, step)
        assert rule in found
        assert len(found) < len(prompt)
        assert kept(found, step) == found
