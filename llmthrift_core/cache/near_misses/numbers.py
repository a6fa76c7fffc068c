"""Numbers in digits and in words, brought to one spelling so that "two" and "2", "1,000" and "1000" are equal."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from llmthrift_core.cache.near_misses.words import word_list, word_set

_UNITS: Final = word_list(
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen"
)
_TENS: Final = word_list("twenty thirty forty fifty sixty seventy eighty ninety")
_ORDINALS: Final = word_list(
    "first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth fourteenth fifteenth sixteenth "
    "seventeenth eighteenth nineteenth"
)
_ORDINAL_TENS: Final = word_list("twentieth thirtieth fortieth fiftieth sixtieth seventieth eightieth ninetieth")
SMALL: Final[dict[str, int]] = {
    **{word: value for value, word in enumerate(_UNITS)},
    **{word: 20 + 10 * place for place, word in enumerate(_TENS)},
    "fourty": 40,
    # In Roman figures, those which are no words and no other abbreviations.
    "ii": 2, "iii": 3, "vii": 7, "viii": 8, "xii": 12, "xiii": 13, "xiv": 14, "xvi": 16, "xvii": 17, "xviii": 18, "xix": 19,
}  # fmt: skip
ORDINALS: Final[dict[str, int]] = {
    **{word: value for value, word in enumerate(_ORDINALS, start=1)},
    **{word: 20 + 10 * place for place, word in enumerate(_ORDINAL_TENS)},
    "hundredth": 100,
    "thousandth": 1000,
}
SCALES: Final[dict[str, int]] = {
    "dozen": 12, "hundred": 100, "thousand": 1000, "k": 1000, "million": 10**6, "mn": 10**6,
    "billion": 10**9, "bn": 10**9, "trillion": 10**12,
}  # fmt: skip
NUMBER_WORDS: Final = frozenset([*SMALL, *ORDINALS, *SCALES, "half", "dozens"]) - {"k", "mn", "bn"}
SCALE_WORDS: Final = frozenset(SCALES)
# Before these words "first" is a manner of speaking; after "a" or a number "second" is a span of time.
_FIRST_IDIOMS: Final = word_set("time times of and")
_BEFORE_SECOND: Final = word_set("a per each every one split")
# After these words "one" is a number that matters.
_COUNTED: Final = word_set("page chapter step part number level phase day question option version season episode act volume week")

_PLAIN: Final = re.compile(r"[-+]?\d+")
_THOUSANDS: Final = re.compile(r"[-+]?\d{1,3}(?:,\d{3})+(?:\.\d+)?")
_DECIMAL: Final = re.compile(r"([-+]?\d*)[.,](\d+)")


def canonical(digits: str) -> str:
    """The one spelling of a number written in digits. What has two readings ("1.000") stays as written."""
    if _PLAIN.fullmatch(digits):
        return digits.removeprefix("+")
    if _THOUSANDS.fullmatch(digits):
        digits = digits.replace(",", "")
        if "." not in digits:
            return digits.removeprefix("+")
    match = _DECIMAL.fullmatch(digits)
    if match is None:
        return digits
    whole, part = match.groups()
    if len(part) == 3 and part == "000":
        return digits
    if not part.strip("0"):
        return whole.removeprefix("+") or "0"
    if digits[len(whole)] == "," and len(part) == 3:
        return digits
    return f"{whole.removeprefix('+') or '0'}.{part}"


def is_number(word: str) -> bool:
    """Whether a word of a text is a number, after `merged`."""
    return word[-1:].isdigit() and (word[0].isdigit() or word[0] == "-")


def scaled(digits: str, scale: int) -> str:
    """A number times a power of ten or a dozen, exactly."""
    whole, _, part = digits.partition(".")
    try:
        value = int(whole + part) * scale
    except ValueError:
        return f"{digits}*{scale}"
    quotient, rest = divmod(value, 10 ** len(part))
    return f"{quotient}.{str(rest).rjust(len(part), '0').rstrip('0')}" if rest else str(quotient)


def merged(tokens: Sequence[str]) -> tuple[list[str], bool]:
    """The tokens with each spelled-out number as one word of digits, and whether a "one" was left out of account."""
    result: list[str] = []
    loose = False
    place = 0
    while place < len(tokens):
        word = tokens[place]
        before = result[-1] if result else ""
        after = tokens[place + 1] if place + 1 < len(tokens) else ""
        if word == "half":
            result.append("0.5")
        elif word in ORDINALS:
            if _is_manner(word, before, after, place):
                loose = loose or word == "first"
                result.append(word)
            else:
                result.append(str(ORDINALS[word]))
        elif word in SMALL or (word in SCALES and word != "k" and len(word) > 2):
            value, used = _spelled(tokens, place)
            if value == 1 and word == "one" and before not in _COUNTED:
                loose = True
                result.append(word)
            else:
                result.append(str(value))
            place += used - 1
        elif word == "times" and before == "2" and not is_number(after) and after not in SMALL:
            result[-1] = "twice"
        elif is_number(word) and after in SCALES:
            result.append(scaled(word, SCALES[after]))
            place += 1
        else:
            result.append(word)
        place += 1
    return result, loose


def _is_manner(word: str, before: str, after: str, place: int) -> bool:
    if word == "first":
        return place == 0 or before == "at" or after in _FIRST_IDIOMS
    return word == "second" and (before in _BEFORE_SECOND or is_number(before))


def _spelled(tokens: Sequence[str], place: int) -> tuple[int, int]:
    total = current = 0
    start, last = place, 10**15
    while place < len(tokens) and place - start < 12:
        word = tokens[place]
        if word in SMALL and SMALL[word] < last:
            value = SMALL[word]
            current += value
            last = 10 if value >= 20 else 1
        elif word in ORDINALS and place > start and ORDINALS[word] < last:
            current += ORDINALS[word]
            return total + current, place - start + 1
        elif word in SCALES and len(word) > 2:
            scale = SCALES[word]
            if scale >= 1000:
                total, current = total + (current or 1) * scale, 0
            else:
                current = (current or 1) * scale
            last = scale
        elif word == "and" and last >= 100 and place > start and place + 1 < len(tokens) and tokens[place + 1] in SMALL:
            pass
        else:
            break
        place += 1
    return total + current, place - start
