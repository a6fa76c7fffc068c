"""Splits a text into words, numbers and signs, and notes what only the spelling tells: codes, capitals, currencies, quotes."""

from __future__ import annotations

import re
import unicodedata
from typing import Final

from llmthrift_core.cache.near_misses.numbers import canonical
from llmthrift_core.cache.near_misses.quantities import AFTER_NUMBER, CURRENCY_SIGNS, MONTH_NUMBERS, SPANS, UNITS
from llmthrift_core.cache.near_misses.words import CONTRACTIONS, GENERIC_CAPITALS, STARTERS, STOP_WORDS, TAILS, word_set

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
# What stands before a word in programs and shells: "!x", "*args", "*.py", "~/x". Around one it is emphasis.
SIGILS: Final = frozenset("!*~&")
SIGIL: Final = re.compile(r"(?:!{1,2}|\*{1,2}|\*\.|~/|&)[A-Za-z][^*~]*$")
LETTERS: Final = re.compile(r"[A-Za-z](?:[-+*^][A-Za-z])+")
WORD: Final = re.compile(r"[^\W\d_]{2,}")
PIECES: Final = re.compile(r"\d+(?:[.,]\d+)*|[-+*/^=<>!%]+|[^\W\d_]+")
SIGNED: Final = re.compile(r"\w{2,}-[\w-]*")
ENDING: Final = word_set(
    "com org net io ai co uk de fr eu gov edu dev app info me tv py js ts json csv tsv txt pdf md html css java cpp go rs sh yml yaml "
    "xml doc docx xls xlsx ppt pptx png jpg jpeg gif svg zip gz tar exe toml ini cfg conf sql rb php mp3 mp4 log lock h c"
)


class Reading:
    """The tokens of a text in order, with numbers in one spelling, and the facts which the tokens no longer show."""

    __slots__ = ("capitals", "cased", "clock", "codes", "currencies", "lowered", "names", "openers", "quotes", "ranked", "signs", "tokens")

    def __init__(self, text: str) -> None:
        self.tokens: list[str] = []
        self.codes: set[str] = set()
        self.names: set[str] = set()
        self.openers: set[str] = set()
        self.currencies: set[str] = set()
        self.clock: set[str] = set()
        self.cased: dict[str, str] = {}
        self.ranked: set[str] = set()
        self.signs: set[str] = set()
        self.quotes: tuple[str, ...] = ()
        self.capitals = 0
        self.lowered = 0
        self._read(text)

    def _read(self, text: str) -> None:
        if not text.isascii():
            text = unicodedata.normalize("NFC", text).translate(CHARACTERS)
        if '"' in text or "`" in text or "'" in text:
            self.quotes = quoted(text)
        if "\n" in text:
            text = text.replace("\n", " . ")
        opening = True
        tokens = self.tokens
        for chunk in text.split():
            core = chunk.strip(EDGES)
            if chunk in SIGNS:
                self.signs.add(chunk)
                if chunk in OPERATORS:
                    tokens.append(chunk)
            elif core.isalpha():
                word = core.lower()
                if chunk[0] in SIGILS and SIGIL.match(chunk):
                    self.codes.add(chunk.rstrip(EDGES).casefold())
                if word is core or word == core:
                    self.lowered += 1
                else:
                    self._capitalised(core, word, opening or chunk[0] == '"')
                if word in CONTRACTIONS:
                    tokens.extend(CONTRACTIONS[word])
                else:
                    tokens.append(word)
                opening = chunk[-1] in ENDS
            elif core:
                self._special(core, chunk, opening)
                opening = chunk[-1] in ENDS
            elif chunk in OPERATORS:
                tokens.append(chunk)
            else:
                opening = opening or chunk[-1] in ENDS

    def _capitalised(self, core: str, word: str, opening: bool) -> None:
        self.capitals += 1
        if word in LOGICAL and core.isupper():
            self.signs.add(word)
        if len(core) == 2 and word not in GENERIC_CAPITALS and not (opening and core[1:] == word[1:]):
            self.cased[word] = core
        if len(core) > 1 and core.isupper():
            if word not in GENERIC_CAPITALS and (word not in STOP_WORDS or word in ("us", "it")):
                self.names.add(word)
        elif opening:
            if word not in STARTERS:
                self.openers.add(word)
        elif word not in STOP_WORDS and word not in GENERIC_CAPITALS:
            self.names.add(word)

    def _special(self, core: str, chunk: str, opening: bool) -> None:
        word = core.lower()
        if len(core) > LONGEST:
            self._code(word)
        elif word in CONTRACTIONS:
            self.tokens.extend(CONTRACTIONS[word])
        elif FLAG.fullmatch(core) and (len(core) == 2 or core[1] == "-"):
            self._code(core)
        elif "@" in core or "://" in core or "_" in core.strip("_") or word.startswith(("www.", "--")) or chunk.startswith("./"):
            self._code(word.rstrip("/"))
        elif (
            (core[0] == "#" and len(core) > 1 and not core[1:].isdigit())
            or word.endswith(("#", "++"))
            or (chunk[0] == "." and word.isalpha() and len(word) > 1 and chunk[:2] != "..")
        ):
            self._code(word)
        elif any(character.isdigit() for character in core):
            self._digits(core.lstrip("#").strip(EDGES), word.lstrip("#").strip(EDGES), chunk, opening)
        elif "'" in core:
            self._contracted(core, word, opening)
        elif core in OPERATORS or core in CURRENCY_SIGNS:
            if core in CURRENCY_SIGNS:
                self.currencies.add(CURRENCY_SIGNS[core])
            else:
                self.tokens.append(core)
        elif word in UNITS:
            self.tokens.append(word)
        elif "." in core:
            self._dotted(core, word, opening)
        elif "->" in core or "=>" in core:
            self.tokens.append("to")
        else:
            self._split(core, opening)

    def _code(self, word: str) -> None:
        self.codes.add(word)
        self.tokens.append(word)

    def _contracted(self, core: str, word: str, opening: bool) -> None:
        if word.endswith("n't") and len(word) > 3:
            self.tokens.extend((word[:-3], "not"))
            return
        tail = next((tail for tail in TAILS if word.endswith(tail)), "")
        core, word = core[: len(core) - len(tail)].replace("'", ""), word.removesuffix(tail).replace("'", "")
        if word.isalpha():
            if core != word:
                self._capitalised(core, word, opening)
            self.tokens.append(word)
        elif word:
            self._split(core, opening)

    def _dotted(self, core: str, word: str, opening: bool) -> None:
        pieces = word.split(".")
        if word in ("a.m", "p.m"):
            self.clock.add(word[0] + "m")
        elif all(len(piece) == 1 for piece in pieces):
            if word in ("e.g", "i.e"):
                return
            self.tokens.append(word)
        elif pieces[-1] in ENDING or not (core.split(".")[-1][:1].isupper() or set(pieces) & STOP_WORDS):
            self._code(word)
        else:
            self._split(core, opening)

    def _split(self, core: str, opening: bool) -> None:
        parts = PIECES.findall(core)
        if LETTERS.fullmatch(core):
            self.tokens.extend(part.lower() for part in parts)
            return
        if "&" in core and core.replace("&", "").isalpha():
            self._capitalised(core.replace("&", ""), core.replace("&", "").lower(), opening)
            parts = [core.replace("&", "")]
        for part in parts:
            if part.isalpha():
                word = part.lower()
                if word != part and len(part) > 1:
                    self._capitalised(part, word, opening)
                self.tokens.extend(CONTRACTIONS.get(word, (word,)))
            elif part[0].isdigit():
                self.tokens.append(canonical(part))
            elif part != "-" and part in OPERATORS and part != "/":
                self.tokens.append(part)

    def _digits(self, core: str, word: str, chunk: str, opening: bool) -> None:
        for sign, currency in CURRENCY_SIGNS.items():
            if sign in word:
                before, _, after = word.partition(sign)
                prefix = {"us": "usd", "a": "aud", "c": "cad", "ca": "cad", "au": "aud", "hk": "hkd", "nz": "nzd", "s": "sgd"}.get(before)
                self.currencies.add(prefix or currency)
                word = after.replace(sign, "") if prefix else before + after.replace(sign, "")
        if word[-1:] in LARGE and word[:-1].replace(".", "").isdigit() and self.currencies:
            self.tokens.extend((canonical(word[:-1]), LARGE[word[-1]]))
            return
        if chunk[0] == "." and word[:1].isdigit():
            word = "." + word
        if NUMBER.fullmatch(word):
            self.tokens.append(canonical(word))
        elif match := DATE.fullmatch(word):
            self._date(*match.groups())
        elif match := ORDINAL.fullmatch(word):
            self.tokens.append(match[1])
            self.ranked.add(match[1])
        elif match := CLOCK.fullmatch(word):
            self._hour(int(match[1]), match[2], match[3])
        elif match := MERIDIEM.fullmatch(word):
            self.tokens.append(match[1])
            self._meridiem(match[2])
        elif match := VERSION.fullmatch(word):
            self.tokens.extend(("version", canonical(match[1])))
        elif (match := MEASURE.fullmatch(word)) and (
            match[2] in UNITS or match[2] in AFTER_NUMBER or match[2] in SPANS or len(match[2]) < 3
        ):
            self.tokens.extend((canonical(match[1]), match[2]))
            unit = core[-len(match[2]) :]
            if unit != match[2] and len(unit) == 2:
                self.cased[match[2]] = unit
        elif match := WORDY.fullmatch(word):
            self.tokens.append(canonical(match[1]))
            self.tokens.extend(match[2].strip("-").split("-"))
        elif match := NAMED.fullmatch(word):
            self.tokens.extend((match[1], canonical(match[2])))
            if not opening:
                self.codes.add(match[1])
        elif word == "1/2":
            self.tokens.append("0.5")
        elif FORMULA.fullmatch(word) and not SIGNED.fullmatch(word.lstrip("0123456789")):
            self.tokens.extend(canonical(piece) if piece[0].isdigit() else piece for piece in PIECES.findall(word))
        elif word:
            self._code(word)

    def _date(self, year: str, month: str, day: str) -> None:
        number = int(month)
        name = MONTH_NUMBERS[number - 1] if 1 <= number <= 12 else month
        self.tokens.extend((str(int(day)), name, year))
        self.clock.add(name)

    def _hour(self, hour: int, minutes: str, letter: str | None) -> None:
        if not letter and (hour == 0 or 12 < hour < 24):
            letter, hour = ("p", hour - 12) if hour else ("a", 12)
        self.tokens.append(str(hour) if minutes == "00" else f"{hour}:{minutes}")
        self._meridiem(letter)

    def _meridiem(self, letter: str | None) -> None:
        if letter:
            self.clock.add(letter + "m")


def quoted(text: str) -> tuple[str, ...]:
    """What stands between quotation marks or backticks, in small letters and with single spaces. A letter that stands alone in backticks
    stays as it is: `\\d` is not `\\D`."""
    found: list[str] = []
    for sign, pattern in (('"', QUOTED), ("`", TICKED), ("'", SINGLE)):
        if sign in text:
            for inside in pattern.findall(text):
                small = WORD.sub(lambda word: word[0].casefold(), inside) if sign == "`" else inside.casefold()
                found.append(" ".join(small.split()).strip(" .,;:!?"))
    return tuple(sorted({inside for inside in found if inside}))
