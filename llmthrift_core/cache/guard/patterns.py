"""The signs and patterns by which a text is split into words, numbers and codes."""

from __future__ import annotations

import re
from typing import Final

from llmthrift_core.cache.guard.tables import word_set

# Digits of other scripts, by their zeros: Arabic, Persian, Devanagari, Bengali, Thai.
DIGITS: Final = {zero + value: str(value) for zero in (0x0660, 0x06F0, 0x0966, 0x09E6, 0x0E50) for value in range(10)}
CHARACTERS: Final = (
    {
        ord(sign): other
        for others, other in (
            ("’‘ʼ´", "'"),
            ("“”„«»", '"'),
            ("‐‑‒–−", "-"),
            ("—", " , "),
            ("…", "... "),
            ("→⇒", " to "),
            ("×", "*"),
            ("÷", "/"),
        )
        for sign in others
    }
    | {ord("½"): " 0.5", ord("²"): "^2", ord("³"): "^3", ord("\x00"): " ", ord("\u00a0"): " "}
    | DIGITS
    | {wide: chr(wide - 0xFEE0) for wide in range(0xFF01, 0xFF5F)}
)
EDGES: Final = ".,;:!?()[]{}\"'<>|*`~…"
ENDS: Final = frozenset(".!?:;")
# After an amount of money these letters are not units.
LARGE: Final = {"m": "million", "b": "billion"}
LONGEST: Final = 80
OPERATORS: Final = frozenset({"+", "-", "*", "/", "=", "<", ">", "^", "%", "**", "==", "!=", "<=", ">=", "//", "+=", "-=", "<<", ">>"})
# Compared wherever they stand alone, and in programs where they stand between words.
SIGNS: Final = frozenset(
    {
        "=",
        "<",
        ">",
        "==",
        "!=",
        "===",
        "!==",
        "<=",
        ">=",
        "<>",
        "=~",
        "&&",
        "||",
        "&",
        "|",
        "+=",
        "-=",
        "*=",
        "/=",
        "++",
        "--",
        "<<",
        ">>",
        "->",
        "=>",
        ":=",
        "!",
    }
)
LOGICAL: Final = frozenset({"and", "or", "not"})
FLAG: Final = re.compile(r"--?[A-Za-z][\w-]*")

QUOTED: Final = re.compile(r'"([^"]{1,400})"')
TICKED: Final = re.compile(r"`{1,3}([^`]{1,2000})`{1,3}")
SINGLE: Final = re.compile(r"(?<!\w)'([^'\n]{1,200})'(?!\w)")
DATE: Final = re.compile(r"(\d{4})[-/](\d{1,2})[-/](\d{1,2})(?:t[\d:.]+z?)?", re.IGNORECASE)
NUMBER: Final = re.compile(r"[-+]?(?:\d+(?:[.,]\d+)*|\.\d+)")
ORDINAL: Final = re.compile(r"(\d+)(?:st|nd|rd|th)")
CLOCK: Final = re.compile(r"(\d{1,2}):(\d{2})([ap])?\.?m?")
MERIDIEM: Final = re.compile(r"(\d{1,2})([ap])\.?m")
MEASURE: Final = re.compile(r"([-+]?\d+(?:[.,]\d+)*)-?([a-z°%]+(?:/h)?)")
NAMED: Final = re.compile(r"([^\W\d_]{3,})-?(\d+(?:\.\d+)*)")
VERSION: Final = re.compile(r"v\.?(\d+(?:\.\d+)*)")
WORDY: Final = re.compile(r"(\d+)((?:-[a-z]+)+)")
FORMULA: Final = re.compile(r"(?:\d+(?:[.,]\d+)*|[-+*/^=<>!%()]+|[a-z](?![a-z]))+")
WORD: Final = re.compile(r"[^\W\d_]{2,}")
PIECES: Final = re.compile(r"\d+(?:[.,]\d+)*|[-+*/^=<>!%]+|[^\W\d_]+")
SIGNED: Final = re.compile(r"\w{2,}-[\w-]*")
ENDING: Final = word_set(
    "com org net io ai co uk de fr eu gov edu dev app info me tv py js ts json csv tsv txt pdf md html css java cpp go rs sh yml yaml "
    "xml doc docx xls xlsx ppt pptx png jpg jpeg gif svg zip gz tar exe toml ini cfg conf sql rb php mp3 mp4 log lock h c"
)
