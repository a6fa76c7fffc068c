"""Refuses two questions that are the same but for one place, where the words in that place do not mean the same."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from llmthrift_core.cache.near_misses.alignment import Leftover, leftover, slot
from llmthrift_core.cache.near_misses.amounts import AMOUNT_WORDS
from llmthrift_core.cache.near_misses.everyday import COURTEOUS, LIGHT
from llmthrift_core.cache.near_misses.forms import are_akin, base_forms
from llmthrift_core.cache.near_misses.language import DETACHED, TRANSLATIONS
from llmthrift_core.cache.near_misses.lexicon import lemma, relation
from llmthrift_core.cache.near_misses.measuring import CALENDAR_WORDS, MONEY_WORDS, UNIT_WORDS
from llmthrift_core.cache.near_misses.names import NAME_WORDS, parts_of
from llmthrift_core.cache.near_misses.numbers import NUMBER_WORDS, is_number
from llmthrift_core.cache.near_misses.reader import OPERATORS
from llmthrift_core.cache.near_misses.roles import QUESTION_WORDS
from llmthrift_core.cache.near_misses.words import IRREGULAR, PRONOUNS, STOP_WORDS, word_set

if TYPE_CHECKING:
    from llmthrift_core.cache.near_misses.facts import Facts

_WIDEST: Final = 4  # words in the place where two texts differ
_FEW: Final = 3
_SHOWN: Final = 6
# Words that say how many, how often or when, by what they leave open. In the same place, words of different rows differ.
_TELLING: Final[dict[str, int]] = {
    word: row
    for row, words in enumerate(
        (
            "all every each everyone everybody both always entire whole",
            "one single",
            "still",
            "already",
            "some certain several few many sometimes occasionally half most",
            "any either anyone anybody",
            "no none neither nobody never nothing without not",
            "only just",
            "also too",
            "rarely seldom hardly barely",
            "before until till",
            "after since from following behind",
            "during within while inside throughout",
            "outside beyond",
            "and",
            "or",
            "unless",
            "if",
            "with",
            "above over more",
            "below under less fewer",
            "can could may might",
            "must should ought shall",
            "do does did",
            "because",
            "although though despite",
            "against",
            "on",
            "off",
            "out",
            "up",
            "down",
            "via",
            "around",
            "towards toward",
            "away",
            "behind",
        )
    )
    for word in words.split()
}
# Words that say when. Alone in the one place where two questions differ, those of different rows ask of different times.
_TENSES: Final[dict[str, str]] = {
    **dict.fromkeys(("is", "are", "am", "do", "does"), "now"),
    **dict.fromkeys(("was", "were", "did", "had", "used"), "then"),
    **dict.fromkeys(("will", "shall", "going"), "later"),
}
# "Had" and "used" may belong to something else; what can be is not past.
_TIMES: Final = {**{word: time for word, time in _TENSES.items() if word not in ("had", "used", "going")}, "can": "now", "could": "now"}
_HAD: Final = ({"has", "had"}, {"have", "had"})
_TENSELESS: Final = frozenset({"be", "been", "to"})
_DOING: Final = frozenset({_TELLING["can"], _TELLING["do"]})
_ADVISED: Final = frozenset({"who", "where"})  # "where should I", "where do I"
_SHOULD: Final = frozenset({"do", "does", "should"})
_HOW: Final = _DOING | {_TELLING["should"]}  # "how should I", "how do you"
# How a preposition relates to the time behind it.
_MOMENTS: Final[dict[str, int]] = {
    word: row
    for row, words in enumerate(
        ("at on in", "by", "until till through", "before", "after past", "from since", "around about near", "within")
    )
    for word in words.split()
}
_SURENESS: Final[dict[str, int]] = {
    word: row for row, words in enumerate(("can could may might", "will shall", "must", "did do does", "should")) for word in words.split()
}
_ASKED: Final = frozenset({"you"})
_REFUSED: Final = frozenset({"do", "does", "will", "not"})  # "does not open", "won't open"
_HOW_MANY: Final = frozenset(
    word for word, row in _TELLING.items() if row in [_TELLING[each] for each in ("all", "some", "any", "no", "one")]
) - {"not", "never", "nothing", "without"}
_NOT: Final = frozenset({"not", "never"})
_DENIED: Final = _NOT | {"do", "does", "did"}
# Of one row above, and still not the same.
_APART: Final = (
    frozenset({"until", "before"}), frozenset({"most", "few"}), frozenset({"many", "few"}), frozenset({"half", "most"}),
    frozenset({"since", "after"}), frozenset({"few", "half"}), frozenset({"from", "after"}),
)  # fmt: skip
# Function words, and those which are compared as facts.
_COMPARED: Final = (
    STOP_WORDS
    | CALENDAR_WORDS
    | MONEY_WORDS
    | UNIT_WORDS
    | AMOUNT_WORDS
    | NUMBER_WORDS
    | NAME_WORDS
    | {"plus", "minus", "times", "x", "+", "-", "*", "/"}
)
_QUIET: Final = word_set(
    "one single still already on and or if with only just any by from over can could may might must should ought shall do does did"
)
_AROUND: Final = word_set("hello hi hey hiya there greetings thanks thank please kindly cheers mate dear folks guys team then , . - ?")
_WHY: Final = frozenset({"why", "who", "when", "where"})
_EITHER: Final = frozenset({"what", "which"})
_MARKERS: Final = word_set("self non ex pre post anti semi sub multi co half part full")


def apart(left: Facts, right: Facts) -> str | None:
    """What stands in the one place where two texts differ, if that makes them different questions."""
    mine, theirs = _without_courtesies(left.tokens), _without_courtesies(right.tokens)
    one, other = slot(mine, theirs)
    if left.denies != right.denies:  # "none of them" denies, and is one of how many
        return _functions(one, other, how=False) if len(one) == len(other) == 1 and _HOW_MANY.issuperset((*one, *other)) else None
    if len(one) <= _WIDEST and len(other) <= _WIDEST and len(mine) - len(one) >= 2:
        return _one_place(left, right, one, other)
    return None


def _without_courtesies(tokens: Sequence[str]) -> Sequence[str]:
    """The words of a text without its salutation and thanks, which would hide that the rest differs in one place."""
    start, end = 0, len(tokens)
    while start < end and tokens[start] in _AROUND:
        start += 1
    while start < end and (tokens[end - 1] in _AROUND or tuple(tokens[end - 2 : end]) == ("thank", "you")):
        end -= 1
    return tokens[start:end] if end - start >= 2 else tokens


def unsaid(left: Facts, right: Facts) -> str | None:
    """What only one of two texts in German, Spanish or French says."""
    functions = [[word for word in facts.tokens if word in _TELLING and word not in _SURENESS] for facts in (left, right)]
    rows = [{_TELLING[word] for word in words} for words in functions]
    if rows[0] != rows[1] and (all(rows) or not _QUIET.issuperset((*functions[0], *functions[1]))):
        return f"words differ: {' '.join(functions[0])}, {' '.join(functions[1])}"
    ours, others = _rejoined(left.content, right.content), _rejoined(right.content, left.content)
    mine, theirs = _unlike(ours, others), _unlike(others, ours)
    if mine or theirs:
        return f"words differ: {' '.join(mine) or 'none'}, {' '.join(theirs) or 'none'}"
    return None


def _unlike(words: Sequence[str], others: Sequence[str]) -> list[str]:
    """The first of the words of which the others have no form."""
    known = frozenset(others)
    beginning: dict[str, list[str]] = {}
    for other in known:
        beginning.setdefault(other[0], []).append(other)
    found: list[str] = []
    for word in dict.fromkeys(words):
        if (
            word not in known
            and not any(are_akin(word, other) for other in beginning.get(word[0], ()))
            and not (word in TRANSLATIONS and any(other in TRANSLATIONS and relation(word, other).kind == "same" for other in known))
        ):
            found.append(word)
            if len(found) == _SHOWN:
                break
    return found


def _rejoined(words: Sequence[str], others: Sequence[str]) -> Sequence[str]:
    """The words with German verbs in one, where the other text has them so: "zurucksetzen" for "setze ... zuruck"."""
    for begin in [word.removesuffix(DETACHED) for word in words if word.endswith(DETACHED)]:
        for whole in (word for word in others if word.startswith(begin)):
            verb = next((word for word in words if are_akin(word, whole.removeprefix(begin))), None)
            if verb is not None:
                words = [word for word in words if word not in (verb, begin + DETACHED)] + [whole]
    return words


def left_over(left: Facts, right: Facts) -> str | None:
    """What two texts say that is opposite or of different kinds, wherever it stands."""
    found = leftover(left.content, right.content)
    if found is None:
        return None
    if found.opposite is not None and left.denies == right.denies:
        return f"opposite words: {found.opposite[0]}, {found.opposite[1]}"
    marked = _marked(left, right) or _marked(right, left)
    if marked:
        return f"only one side says: {marked}"
    if len(found.mine) == len(found.theirs) == 1 and _in_one_place(left, right, found):
        return f"words differ: {found.mine[0]}, {found.theirs[0]}"
    return None


def _one_place(left: Facts, right: Facts, one: Sequence[str], other: Sequence[str]) -> str | None:
    if len(one) == len(other) == 1 and one[0] in OPERATORS and other[0] in OPERATORS:
        return f"signs differ: {one[0]}, {other[0]}"
    if _other_tense(left, right, one, other):
        return f"another time: {' '.join(one)}, {' '.join(other)}"
    names = parts_of(left.known)
    mine, theirs = ([word for word in _told(words) if word not in names] for words in (one, other))
    how = left.tokens[0] == right.tokens[0] and (
        left.tokens[0] == "how" or (left.tokens[0] in _ADVISED and _SHOULD.issuperset((*one, *other)))
    )
    if not (one and other) and len(one or other) == 1 and (one or other)[0] in _WHY:
        return f"another question: {(one or other)[0]}"
    if not mine and not theirs:
        reason = _moments(left, right, one, other) or _modality(left, one, other)
        if reason:
            return reason
        return _only(left, right, one, other) or _functions(one, other, how=how)
    if not mine or not theirs:
        if one and other and _puts_in(one, other, mine or theirs) and not _is_said(mine or theirs, left, right):
            return f"words differ: {' '.join(one)}, {' '.join(other)}"
        if (one and other) or not any(word.isalpha() for word in (*one, *other)):
            return _functions(one, other, how=how) if one and other else None
        added = [word for word in (mine or theirs) if word not in COURTEOUS and word.isalpha()]
        return f"only one side says: {', '.join(added)}" if added and not _is_said(added, left, right) else None
    lemmas, others = [lemma(word) for word in mine], [lemma(word) for word in theirs]
    for word, another in ((word, another) for word in lemmas for another in others):
        if relation(word, another).kind == "same":
            rest = [[each for each in words if each not in told] for words, told in ((one, mine), (other, theirs))]
            return _functions(*rest, how=how) if len(mine) == len(theirs) == 1 and all(map(_says_how_many, rest)) else None
    if any(not _bases(word).isdisjoint(_bases(another)) for word in mine for another in theirs):  # "setting up", "set up"
        return None
    if all(word in LIGHT for word in (*mine, *theirs)) or "".join(mine) == "".join(theirs):
        return None
    return f"words differ: {' '.join(mine)}, {' '.join(theirs)}"


def _says_how_many(words: Sequence[str]) -> bool:
    return not _HOW_MANY.isdisjoint(words)


def _bases(word: str) -> frozenset[str]:
    return frozenset(base_forms(word))


def _moments(left: Facts, right: Facts, one: Sequence[str], other: Sequence[str]) -> str | None:
    """Prepositions before one time that relate to it in different ways: "by six", "at six"."""
    mine, theirs = ([word for word in words if word in _MOMENTS] for words in (one, other))
    if len(mine) != 1 or len(theirs) != 1 or _MOMENTS[mine[0]] == _MOMENTS[theirs[0]]:
        return None
    behind = [_behind(facts.tokens, words[0]) for facts, words in ((left, mine), (right, theirs))]
    return f"words differ: {mine[0]}, {theirs[0]}" if behind[0] & behind[1] & left.words & right.words else None


def _behind(tokens: Sequence[str], preposition: str) -> frozenset[str]:
    """The times that stand right behind a preposition."""
    following = (tokens[place + 1 : place + 3] for place, token in enumerate(tokens) if token == preposition)
    return frozenset(word for words in following for word in words if word in CALENDAR_WORDS or is_number(word))


def _modality(left: Facts, one: Sequence[str], other: Sequence[str]) -> str | None:
    """Verbs in the place of one that say how sure something is: what might be, what will be. To ask somebody for it is one in all."""
    if len(one) != 1 or len(other) != 1 or one[0] not in _SURENESS or other[0] not in _SURENESS or _SURENESS[one[0]] == _SURENESS[other[0]]:
        return None
    place = left.tokens.index(one[0])
    before, after = left.tokens[:place], left.tokens[place + 1 : place + 2]
    if (
        not QUESTION_WORDS.isdisjoint(before)
        or "why" in left.words
        or _ASKED.issuperset(after)
        or _REFUSED.issuperset((*one, *other, *after))
    ):
        return None
    is_asked = all(word in STOP_WORDS for word in before) and PRONOUNS.isdisjoint(before)
    if is_asked and "might" not in (one[0], other[0]) and "must" not in (one[0], other[0]):
        return None
    return f"words differ: {one[0]}, {other[0]}"


def _only(left: Facts, right: Facts, one: Sequence[str], other: Sequence[str]) -> str | None:
    """What says that one text speaks of nobody or nothing else. "I only want to ..." says nothing."""
    if (tuple(one), tuple(other)) not in ((("only",), ()), ((), ("only",))):
        return None
    tokens = left.tokens if one else right.tokens
    place = tokens.index("only")
    return None if place and tokens[place - 1] in PRONOUNS else "only one side says: only"


def _other_tense(left: Facts, right: Facts, one: Sequence[str], other: Sequence[str]) -> bool:
    """Whether the words in one place say another time ("who is", "who was"; "won", "will win"). Why something is or was, is alike."""
    if not one or not other or "why" in left.words:
        return False
    if len(one) == len(other) == 1 and {one[0], other[0]} in _HAD:
        return True
    mine, theirs = _tense(one), _tense(other)
    if left.denies and right.denies and {mine, theirs} == {"now", "later"}:  # "does not load", "won't load"
        return False
    if left.tokens[0] == "when" and "then" not in (mine, theirs):  # "when do you open", "when will you open"
        return False
    if all(word in _TENSES or word in _TENSELESS for word in (*one, *other)):
        return bool(mine and theirs) and mine != theirs
    return {mine, theirs} == {"then", "later"}


def tense_of(tokens: Sequence[str]) -> str:
    """The time of which the first auxiliary of a text speaks: "now", "then" or "later"; "" where there is none."""
    return next((_TIMES[token] for token in tokens if token in _TIMES), "")


def _tense(words: Sequence[str]) -> str:
    found = {_TENSES[word] for word in words if word in _TENSES}
    return max(found) if found else "then" if any(word in IRREGULAR for word in words) else ""


def _puts_in(one: Sequence[str], other: Sequence[str], told: Sequence[str]) -> bool:
    """Whether something stands in the place of a word without content: one word, or of a pronoun ("I", "local charities")."""
    if LIGHT.issuperset(told) or COURTEOUS.issuperset(told):
        return False
    bare = other if _told(one) else one
    return len(bare) == 1 and (len(one) == len(other) or bare[0] in PRONOUNS)


def _told(words: Sequence[str]) -> list[str]:
    """The words that are not compared as something else."""
    return [word for word in words if word not in _COMPARED and word not in _HOW_MANY and word[0].isalpha()]


def _is_said(added: Sequence[str], left: Facts, right: Facts) -> bool:
    """Whether both texts say it, one of them elsewhere or in other words."""
    mine, theirs = set(left.content), set(right.content)
    both = mine & theirs
    return all(lemma(word) in both or any(relation(lemma(word), another).kind == "same" for another in both) for word in added)


def _functions(one: Sequence[str], other: Sequence[str], *, how: bool) -> str | None:
    """Words in the same place that say how many, how often, when or both ("all", "until", "or")."""
    if len(one) > _FEW or len(other) > _FEW:
        return None
    mine, theirs = ([word for word in words if word in _TELLING] for words in (one, other))
    if "not" in mine and "not" in theirs:  # "not yet", "still not"
        mine, theirs = ([word for word in words if word not in ("still", "already")] for words in (mine, theirs))
    if _HOW_MANY.isdisjoint(theirs):  # "how can one apply"
        mine = [word for word in mine if word != "one"]
    elif _HOW_MANY.isdisjoint(mine):
        theirs = [word for word in theirs if word != "one"]
    if _DENIED.issuperset(mine) and _DENIED.issuperset(theirs) and not _NOT.isdisjoint(mine) and not _NOT.isdisjoint(theirs):
        return None  # "never received", "did not receive"
    if mine and theirs:
        rows, others = {_TELLING[word] for word in mine}, {_TELLING[word] for word in theirs}
        if (rows != others and not rows | others <= (_HOW if how else _DOING)) or frozenset((mine[0], theirs[0])) in _APART:
            return f"words differ: {' '.join(one)}, {' '.join(other)}"
        return None
    lone = [word for word in (*mine, *theirs) if word not in _QUIET]
    if lone and len(one) == len(other):
        return f"words differ: {' '.join(one)}, {' '.join(other)}"
    asked = [word for word in one if word in QUESTION_WORDS], [word for word in other if word in QUESTION_WORDS]
    if len(one) == len(other) == 1 and asked[0] and asked[1] and {one[0], other[0]} != _EITHER:
        return f"another question: {one[0]}, {other[0]}"
    return None


def _marked(owner: Facts, other: Facts) -> str:
    """A word with a mark such as "self-" that the other text has without it."""
    if owner.words.isdisjoint(_MARKERS):
        return ""
    for mark, word in zip(owner.tokens, owner.tokens[1:], strict=False):
        if mark in _MARKERS and mark not in other.words and word in other.words and word not in LIGHT:
            return f"{mark} {word}"
    return ""


def _in_one_place(left: Facts, right: Facts, found: Leftover) -> bool:
    """Whether the contents differ in one place only, in texts that have enough in common."""
    best = found.best[0]
    if found.shared < 1 or best.kind not in ("kinds", "wider"):
        return False
    mine = [word for word in left.content if word not in LIGHT or word in found.mine]
    theirs = [word for word in right.content if word not in LIGHT or word in found.theirs]
    one, other = slot(mine, theirs)
    return tuple(one) == found.mine and tuple(other) == found.theirs
