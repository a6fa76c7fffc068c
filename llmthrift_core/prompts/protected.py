"""What a step on texts never changes: code, YAML, JSON, tables, quotations, URLs, numbers, identifiers."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from typing import Final

from llmthrift_core.prompts.terms import UNSPACED

Span = tuple[int, int]

_FENCE: Final = re.compile(r"(?:(?=```)|^[ \t]*(?=~~~))(```|~~~)[^\n`]*\n.*?(?:^[ \t]*\1[ \t]*$|\Z)", re.DOTALL | re.MULTILINE)
_LINE: Final = re.compile(r"[^\n]*\n?")
# A line that is code, whatever the language: how it begins, or how it ends.
_CODE_LINE: Final = re.compile(
    r"\s*(?:(?:async\s+)?def\s+\w+\s*\(|class\s+\w+.*[:{]\s*$|import\s+[\w.{*]+|from\s+[\w.]+\s+import\b|@\w+[\w.(]*|#include\b|#!/|//|/\*|\*/"
    r"|(?:public|private|protected|static|final|export|const|let|var|function|func|fn|struct|enum|interface|package|using|namespace)\s+[\w<(*{]"
    r"|(?:if|for|while|elif|else|try|except|with|switch|return|catch)\b.*[:{;]\s*$"
    r"|(?:SELECT|INSERT|UPDATE|DELETE|CREATE|ALTER|DROP)\s+\S+.*(?:\bFROM\b|\bINTO\b|\bSET\b|\bTABLE\b|;)"
    r"|(?:FROM|WHERE|JOIN|LEFT JOIN|GROUP BY|ORDER BY)\s+[\w.\"`]+|\$\s+\w+|>>>\s|In \[\d|[}\])]+[;,]?\s*$|</?\w+[^<>]*>\s*$"
    r"|[\w.\[\]\"']+\s*(?:=|\+=|-=|:=|=>|->)\s*\S|[\w.]+\([^)]*\)\s*(?:[;{]|$)"
    r"|.*(?:[{;\\]|=>|->)\s*$|.*\)\s*:\s*$)"
)
_KEY_LINE: Final = re.compile(
    r"\s*(?:- )?(?!(?:question|query|answer|q|a|context|note)\s*:)[\"']?[A-Za-z_][\w./-]*[\"']?\s*:"
    r"(?:[ \t]+[^\n]{0,80}(?<![.!?]))?\s*$|---\s*$",
    re.IGNORECASE,
)
_TABLE_LINE: Final = re.compile(r"\s*\|.*\|\s*$|\s*[+|:-][-+|:= ]{3,}$|[^\t\n]*\t[^\t\n]*\t")
_INDENTED: Final = re.compile(r"(?: {4}|\t)\s*\S")
_BRACKET: Final = re.compile(r"[{\[]")
# Such as base64; a text in a script without spaces, and its punctuation, is none.
_LONG_WORD: Final = re.compile(rf"[^\s{UNSPACED}\u3001-\u303f\uff01-\uff65]{{400,}}")
_WITHIN: Final = re.compile(
    r"`[^`\n]+`"
    r"|https?://\S+|www\.\S+|[\w.+-]{1,64}@[\w-]{1,64}\.[\w.-]{1,64}|(?:[A-Za-z]:)?(?:[\\/][\w.~-]+){2,}"
    r"|\"[^\"\n]{1,500}\"|“[^”]{1,500}”|„[^“”\n]{1,500}[“”]|«[^»]{1,500}»|‹[^›]{1,200}›|「[^」]{1,500}」|『[^』]{1,500}』|‘[^’\n]{1,200}’(?!\w)"
    r"|(?<!\w)'[^'\n]{1,200}'(?!\w)"
    r"|</?\w[^<>\n]{0,200}>|\{\{?[\w. ]{1,60}\}?\}|\$\w+|%\(?\w*\)?[sd]"
    r"|[$€£¥#]?[+-]?\d[\d.,:/%\u00b0-]*\w*"
    r"|\b\w+(?:[_/\\]\w+)+\b|\b[a-z]+[A-Z]\w*|\b[A-Z]{2,}\w*\b|\b\w+(?:\.\w+)+\(?\)?|\b\w*\d\w*\b|\b\w+\(\)"
)
_MOST_LINE: Final = 2_000


def protected_blocks(text: str) -> list[Span]:
    """The spans of code, YAML, JSON and tables: whole lines or balanced brackets, in order, not overlapping."""
    spans = [match.span() for match in _FENCE.finditer(text)]
    spans += json_spans(text, spans)
    return _merged([*spans, *_line_spans(text, spans)])


def protected_spans(text: str) -> list[Span]:
    """The blocks, and what is protected within prose: quotations, URLs, numbers, identifiers, placeholders."""
    blocks = protected_blocks(text)
    spans = list(blocks)
    for start, end in gaps(blocks, len(text)):
        spans += [match.span() for match in _WITHIN.finditer(text, start, end)]
    return _merged(spans)


def change_prose(text: str, change: Callable[[str], str], *, spans: list[Span] | None = None) -> str:
    """The text with `change` applied between what is protected."""
    spans = protected_spans(text) if spans is None else spans
    if not spans:
        return change(text)
    parts = []
    at = 0
    for start, end in spans:
        parts += [change(text[at:start]) if at < start else "", text[start:end]]
        at = end
    parts.append(change(text[at:]) if at < len(text) else "")
    return "".join(parts)


def gaps(spans: Sequence[Span], length: int) -> list[Span]:
    """The spans between these, up to the text's end."""
    found = []
    at = 0
    for start, end in spans:
        if at < start:
            found.append((at, start))
        at = max(at, end)
    if at < length:
        found.append((at, length))
    return found


def json_spans(text: str, taken: Sequence[Span] = ()) -> list[Span]:
    """Objects and lists that are JSON, of two or more characters within."""
    decoder = json.JSONDecoder()
    found: list[Span] = []
    work = 4 * len(text) + 10_000  # broken JSON is read again from each bracket in it
    for first, last in gaps(taken, len(text)):
        at = first
        while work > 0 and (match := _BRACKET.search(text, at, last)) is not None:
            at = match.start()
            try:
                value, end = decoder.raw_decode(text, at)
            except json.JSONDecodeError as error:
                work -= error.pos - at + 20
                at += 1
                continue
            except (ValueError, RecursionError):
                work -= 20_000
                at += 1
                continue
            if value and (isinstance(value, dict) or end - at > 12) and end <= last:
                found.append((at, end))
            at = end
    return found


def _line_spans(text: str, taken: list[Span]) -> list[Span]:
    """Runs of lines that are code, YAML or rows of a table. Empty lines within a run belong to it."""
    found: list[Span] = []
    for first, last in gaps(taken, len(text)):
        run: Span | None = None
        is_code, keys = False, 0
        for match in _LINE.finditer(text, first, last):
            line = match.group()
            kind = _kind_of_line(line) if line.strip() else "empty"
            if kind == "prose":
                if run is not None and (is_code or keys > 1):
                    found.append(run)
                run, is_code, keys = None, False, 0
            elif kind != "empty":
                run = (run[0] if run is not None else match.start(), match.end())
                is_code = is_code or kind == "code"
                keys += kind == "key"  # one line "Name: value" may be prose; two are YAML
        if run is not None and (is_code or keys > 1):
            found.append(run)
    return found + [match.span() for match in _LONG_WORD.finditer(text)]


def _kind_of_line(line: str) -> str:
    if len(line) > _MOST_LINE:
        return "prose"
    if _TABLE_LINE.match(line) or (line[0] in " \t" and _INDENTED.match(line)):
        return "code"
    if _KEY_LINE.match(line):
        return "key"
    return "code" if _CODE_LINE.match(line) else "prose"


def _merged(spans: list[Span]) -> list[Span]:
    merged: list[Span] = []
    for start, end in sorted(spans):
        if merged and start < merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], end))
        elif start < end:
            merged.append((start, end))
    return merged
