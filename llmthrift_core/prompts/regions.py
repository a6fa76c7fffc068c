"""Where the documents of a text are, and where its question and its instructions, which are never cut."""

from __future__ import annotations

import re
from bisect import bisect_left
from functools import lru_cache
from typing import Final, NamedTuple

from llmthrift_core.prompts.protected import Span, gaps, protected_blocks
from llmthrift_core.prompts.sentences import sentence_spans

# "Question:" at the beginning of a line, in the languages that retrieval prompts are written in.
_QUESTION: Final = re.compile(
    r"^[ \t>#*_]*(?:(?:user|final|my|the)[ \t]+)?(?:question|query|q|frage|pregunta|domanda|pergunta|vraag|pytanie|вопрос|soru|سؤال|السؤال|"
    r"प्रश्न|问题|問題|质问|質問|질문)[ \t*_]*\d{0,2}[ \t]*[:：]",
    re.IGNORECASE | re.MULTILINE,
)
_CONTEXT: Final = re.compile(
    r"^[ \t#*_]*(?:(?:retrieved|relevant|background|source)[ \t]+)?"
    r"(?:context|documents?|sources?|passages?|excerpts?|knowledge|search results?|"
    r"kontext|dokumente?|quellen?|contexto|documentos?|fuentes?|contexte|上下文|资料|文档|コンテキスト|資料)[ \t*_]*[:：][ \t*_]*",
    re.IGNORECASE | re.MULTILINE,
)
_TAGGED: Final = re.compile(
    r"<(documents?|docs?|context|passages?|sources?|articles?|text|search_results?|excerpts?|knowledge)\b[^<>]{0,200}>(.+?)</\1>",
    re.IGNORECASE | re.DOTALL,
)
_EXAMPLE: Final = re.compile(
    r"^[ \t#*_]*(?:(?:example|beispiel|ejemplo|exemple|例)[ \t]*#?\d+|"
    r"(?:input|q|question|frage|pregunta|user|text|review|sentence|tweet|comment|message|ticket|e-?mail|eingabe|satz|texto|entrada|rese[ñn]a|"
    r"texte|entrée|phrase|avis|testo|recensione|frase|tekst|zin|вопрос|текст|отзыв|文本|输入|评论|问题|句子|入力|質問|文|입력|문장|النص|السؤال)"
    r"[ \t]*\d*)[ \t*_]*[:：.)]",
    re.IGNORECASE | re.MULTILINE,
)
_EXAMPLE_ANSWER: Final = re.compile(
    r"^[ \t#*_]*(?:output|a|answer|antwort|respuesta|assistant|label|sentiment|category|response|result|class|mood|rating|topic|intent|"
    r"ausgabe|kategorie|klasse|etiqueta|salida|saída|categoría|categoria|resposta|réponse|sortie|étiquette|catégorie|risposta|voto|"
    r"etichetta|antwoord|ответ|оценка|метка|категория|标签|答案|回答|输出|类别|出力|答え|ラベル|출력|답|الإجابة|الجواب|التصنيف)"
    r"[ \t]*\d*[ \t*_]*[:：]",
    re.IGNORECASE | re.MULTILINE,
)
_EXAMPLE_TAG: Final = re.compile(r"<example\b[^<>]{0,100}>.+?</example>", re.IGNORECASE | re.DOTALL)
_EMPTY_LINE: Final = re.compile(r"\n[ \t\r]*\n\s*")
# A paragraph that tells the model what to do: how it begins, or a word of obligation together with one of form.
_INSTRUCTION: Final = re.compile(
    r"\s*(?:[-*•\d.)#\s]*)(?:answer|respond|reply|use (?:only|the|these|this|just)|read the|given (?:the|these|this|an?)\b|"
    r"based on (?:the|these|this)|you (?:are|will|must|should|have|can|may)|please|summari[sz]e|"
    r"translate|extract|classify|rewrite|list (?:the|all)|return|output|format|do not|don't|never|"
    r"always|only (?:use|answer|return|respond)|must|be (?:concise|brief|precise|careful)|make sure|ensure|"
    r"if (?:the answer|you|it is not)|below (?:is|are)|here (?:is|are)|"
    r"the following|your task|follow|cite|quote|instructions?\b|rules?\b|constraints?\b|requirements?\b|important\b|note:|schema\b|"
    r"antworte|beantworte|verwende|nutze|lies|du bist|sie sind|bitte|gib|fasse|übersetze|wenn die antwort|hier (?:ist|sind)|im folgenden|"
    r"responde|contesta|usa|utiliza|lee|eres|por favor|resume|traduce|extrae|si la respuesta|a continuación|"
    r"réponds|répondez|utilise|lis|tu es|vous êtes|s'il vous plaît|résume|traduis|voici|"
    r"rispond(?:i|ete)\b|usa(?:te|ndo)\b|sei un|respond(?:a|am)\b|você (?:é|deve)\b|antwoord|gebruik|je bent|beantwoord|"
    r"отвеча|ответь|используй|ты |відповідай|використовуй|odpowiad|odpowiedz|użyj|jesteś|svara|använd|du är|"
    r"yalnızca|sadece|cevapla|hãy |chỉ trả|أجب|أجيبي|استخدم|أنت |پاسخ|ענה|ענו|השתמש|אתה |केवल|कृपया|"
    r"请|請|根据|根據|你是|您是|以下|回答|使用|不要|必须|必須|只|仅|僅|如果|ตอบ|ห้าม|กรุณา|โปรด|당신은)",
    re.IGNORECASE,
)
_MODAL: Final = re.compile(
    r"\b(?:must|never|always|only|do not|don't|should|required|mandatory|forbidden|at most|at least|no more than|exactly|"
    r"müssen|muss|niemals|immer|nur|darf|dürfen|nicht|debe|deben|nunca|siempre|solo|sólo|doit|jamais|toujours|seulement)\b|必须|不要|只能|禁止",
    re.IGNORECASE,
)
_FORM: Final = re.compile(
    r"\b(?:json|yaml|xml|csv|markdown|schema|format|output|answer|respond|response|reply|return|cite|words?|sentences?|keys?|field|language|"
    r"antwort\w*|ausgabe|wörter\w*|sätze\w*|respuesta|responde|salida|palabras|réponse|sortie|mots|you|your|user|customer|assistant|agent|tool)\b|回答|输出|格式",
    re.IGNORECASE,
)
# Requests in languages whose verbs come last.
_REQUEST: Final = re.compile(
    r"(?:ください|下さい|なさい|すること|하세요|마세요|십시오|시오|करें|दें|न गढ़ें|cevap ver(?:in)?)[\s.。!！।]*(?:\s|\Z)"
)
_ADDRESSED: Final = re.compile(
    r"\s*(?:you (?:are|will|must|should)|your task|instructions?\b[:\n]|rules?\b[:\n]|du bist|sie sind|eres|tu es|你是)", re.I
)
_ASKS: Final = re.compile(r"[?？؟;]\s*[\"'”’)\]]*\s*\Z")
_LABEL: Final = re.compile(r"[:：]\s*\Z")
_REMEMBERED: Final = 1_024  # texts: a conversation is read again with every turn
_LONGEST_INSTRUCTION: Final = 600  # characters
_SHORT: Final = 400  # characters: a longer paragraph without a question mark is no question
_LONG: Final = 240  # characters: a shorter text has nothing to spare
_REMARK: Final = 300  # characters: an instruction of two or three sentences
_NUMBERED: Final = re.compile(r"\s*\W{0,4}(?:[^\W\d_]{1,12}\W{0,3})?\d{1,3}(?=\W|$)")  # "[3]", "Document 3:", "3."
_ENDS: Final = re.compile(r"[.!:。！：।؟?][ \t\r]*\n")
_PLAIN: Final = 600  # characters: of a longer paragraph that asks nothing, the middle is a document


class Regions(NamedTuple):
    """A text's documents and examples: spans in order. Everything else is a question or an instruction."""

    documents: tuple[Span, ...] = ()
    examples: tuple[Span, ...] = ()


@lru_cache(maxsize=_REMEMBERED)
def regions_of_asked(text: str, *, alone: bool = False) -> Regions:
    """The documents in what a person sends.

    Tagged text is a document. Otherwise the question begins at `Question:`, or after the last empty line; of one paragraph, it is the last
    sentence or the first, whichever asks.

    Args:
        alone: the text is all there is: without any question in it, all of it is a document.
    """
    if tagged := _tagged(text):
        return Regions(tagged, examples_in(text))
    marks = list(_QUESTION.finditer(text))
    if marks:
        return _around_marks(text, marks)
    if examples := examples_in(text):
        return Regions((), examples)
    blocks = protected_blocks(text)
    borders = [match.span() for match in _EMPTY_LINE.finditer(text) if not _within(match.start(), blocks)]
    borders = [border for border in borders if text[: border[0]].strip() and text[border[1] :].strip()]
    if borders:
        first, last = borders[0], borders[-1]
        head, tail = text[: first[0]], text[last[1] :]
        asks_first = len(head) <= _SHORT and bool(_ASKS.search(head) or _LABEL.search(head) or _INSTRUCTION.match(head))
        if asks_first and not _ASKS.search(tail) and (len(tail) > _LONG or len(tail) > 2 * len(head)) and not is_instruction(tail):
            return Regions(_without_remarks(text, (first[1], len(text))))
        return Regions(_without_remarks(text, (0, last[0])))
    return Regions(_within_paragraph(text, alone=alone))


@lru_cache(maxsize=_REMEMBERED)
def regions_of_system(text: str) -> Regions:
    """The documents in a system prompt: tagged text, or what follows a line that is called context."""
    if tagged := _tagged(text):
        return Regions(tagged, examples_in(text))
    heads = [match for match in _CONTEXT.finditer(text) if len(text) - match.end() > _LONG]
    documents = _spans((heads[-1].end(), len(text))) if heads else ()
    return Regions(documents, examples_in(text, before=heads[-1].start() if heads else None))


def examples_in(text: str, *, before: int | None = None) -> tuple[Span, ...]:
    """Worked examples, each a question with its answer: (start, end). Fewer than two are none."""
    end = len(text) if before is None else before
    if "</example>" in text and len(tagged := [match.span() for match in _EXAMPLE_TAG.finditer(text, 0, end)]) > 1:
        return tuple(tagged)
    starts = [match.start() for match in _EXAMPLE.finditer(text, 0, end)]
    spans: list[Span] = []
    for start, after in zip(starts, [*starts[1:], end], strict=False):  # of none, nothing
        answer = _EXAMPLE_ANSWER.search(text, start, after)
        if answer is None or not text[answer.end() : after].strip():
            continue
        stop = _EMPTY_LINE.search(text, answer.end(), after)
        last = stop.start() if stop is not None and after == end else after
        if spans and _EXAMPLE_ANSWER.search(text, *spans[-1]) is None:
            spans[-1] = (spans[-1][0], last)
        else:
            spans.append((start, last))
    return tuple(spans) if len(spans) > 1 else ()


def is_instruction(paragraph: str) -> bool:
    """Whether a paragraph tells the model what to do, rather than what it may read."""
    if len(paragraph) > _LONGEST_INSTRUCTION:
        return len(paragraph) < 4 * _LONGEST_INSTRUCTION and _ADDRESSED.match(paragraph) is not None
    if _INSTRUCTION.match(paragraph) or (len(paragraph) < _SHORT and _REQUEST.search(paragraph) is not None):
        return True
    return len(paragraph) < _SHORT and _MODAL.search(paragraph) is not None and _FORM.search(paragraph) is not None


def constrains(sentence: str) -> bool:
    """Whether a sentence sets a constraint: must, never, only, at most."""
    return _MODAL.search(sentence) is not None


@lru_cache(maxsize=_REMEMBERED)
def paragraphs_of(text: str, span: Span) -> tuple[Span, ...]:
    """The paragraphs of a span, without the empty lines between them; code with empty lines in it is one of them."""
    start, end = span
    inner = text[start:end]
    blocks = protected_blocks(inner)
    breaks = [match.span() for match in _EMPTY_LINE.finditer(inner) if not _within(match.start(), blocks)]
    return tuple((start + first, start + last) for first, last in gaps(breaks, len(inner)) if inner[first:last].strip())


def _tagged(text: str) -> tuple[Span, ...]:
    if "</" not in text:
        return ()
    return tuple(match.span(2) for match in _TAGGED.finditer(text) if len(match.group(2)) > 40)


def _around_marks(text: str, marks: list[re.Match[str]]) -> Regions:
    examples = examples_in(text)
    first = min([marks[0].start(), *(start for start, _ in examples)])
    last = marks[-1]
    border = _EMPTY_LINE.search(text, last.end())
    head = text[:first]
    tail = (border.end(), len(text)) if border is not None else (len(text), len(text))
    if tail[1] - tail[0] > max(_LONG, 2 * len(head)) and not is_instruction(text[slice(*tail)]):
        return Regions(_without_remarks(text, tail), examples)  # the question comes before what it is about
    return Regions(_without_remarks(text, (0, first)) if head.strip() else (), examples)


def _without_remarks(text: str, span: Span) -> tuple[Span, ...]:
    """The span without what stands by itself at its two ends: short paragraphs, beside far longer ones, and a short first line.

    It is what tells the model, in whatever language, what to do with the documents between; at worst it is a heading.
    """
    start, end = span
    paragraphs = paragraphs_of(text, span)
    if end - start < _LONG or not paragraphs:
        return _spans(span)
    sizes = [last - first for first, last in paragraphs]
    longest = min(_REMARK, sorted(sizes)[len(sizes) // 2] // 2) if len(sizes) > 1 else 0
    if sizes[-1] <= longest and not _NUMBERED.match(text, paragraphs[-1][0]):
        end = paragraphs[-2][1]
    if _NUMBERED.match(text, paragraphs[0][0]):
        return _spans((start, end))
    if sizes[0] <= longest:
        return _spans((paragraphs[1][0], end))
    line = text.find("\n", *paragraphs[0])
    if 0 < line - start <= min(_REMARK, sizes[0] // 3) and _ENDS.search(text, start, line + 1):
        start = line + 1
    return _spans((start, end))


def _within_paragraph(text: str, *, alone: bool) -> tuple[Span, ...]:
    spans = sentence_spans(text)
    if len(text) < _LONG and (not alone or _ASKS.search(text) or _INSTRUCTION.match(text)):
        return ()
    lines = text.rstrip().rfind("\n")
    if lines > _LONG and _ASKS.search(text):
        return _spans((0, lines))
    if len(spans) > 1 and _ASKS.search(text[slice(*spans[-1])]):
        return _spans((0, spans[-1][0]))
    head = text[slice(*spans[0])] if spans else ""
    if len(spans) > 1 and (_ASKS.search(head) or _INSTRUCTION.match(head)):
        return _spans((spans[0][1], len(text)))
    if _ASKS.search(text):
        return ()
    if alone:
        return _spans((0, len(text)))
    if len(text) > _PLAIN and len(spans) > 3:
        return _spans((spans[0][1], spans[-1][0]))
    return ()


def _spans(span: Span) -> tuple[Span, ...]:
    return (span,) if span[0] < span[1] else ()


def _within(at: int, spans: list[Span]) -> bool:
    place = bisect_left(spans, (at, 0)) - 1
    return place >= 0 and spans[place][0] < at < spans[place][1]
