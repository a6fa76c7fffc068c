"""A session that is in trouble goes on with a stronger model: a correction, the same question again, a loop that does not get on."""

from __future__ import annotations

import re
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from llmthrift_core.background.forks import ForkedLock
from llmthrift_core.cache.keys import canonical_json
from llmthrift_core.errors import ConfigurationError
from llmthrift_core.routing.policies.rules import PolicyWrapper
from llmthrift_core.routing.types import RouteDecision, RouteRequest, Tiers
from llmthrift_core.texts import as_texts

_NOT: Final = (
    r"(?:not (?:right|correct|true|it|what)|not working(?!.*[?])|(?:wrong|false|incorrect|mistaken|nonsense|rubbish)(?! with| for| to))"
)
CORRECTIONS: Final = (
    # English
    rf"(?:that|this|it|your answer|the (?:answer|result))(?:'s| is| was| looks| seems)(?: still| just| simply| completely| all)? {_NOT}",
    r"(?:that|this|it|they) (?:isn't|wasn't|aren't) (?:right|correct|true|what|working)",
    r"you(?:'re| are| were) (?:wrong|mistaken)|you(?: made| have made|'ve made) (?:a|another|the same) mistake",
    r"you (?:misunderstood|(?:got|have got) (?:it|that|this) wrong|didn't (?:answer|do what|understand)|ignored)",
    r"(?:still|does(?:n't| not)|did(?:n't| not)) (?:not )?work(?:ing)?\b(?!.*\?)|still (?:fails|broken|wrong)|same error",
    r"that does(?:n't| not) help",
    r"^\W{0,9}(?:nope\W+|no\W+)?(?:wrong|incorrect|false)(?: (?:again|answer))?\W*$",
    r"^\W{0,9}(?:nope\W+|no\W+)?(?:please )?try (?:it |that )?again\W*$",
    r"^\W{0,9}(?:nope|no)[,.!;:]? (?:i (?:said|meant|asked|want)|that|not)|i (?:already )?(?:said|told you)",
    r"not what i (?:asked|meant|wanted|said)",
    # German
    r"(?:das|es|dies|ihre antwort|deine antwort) (?:ist|war)(?: \w+){0,2} (?:falsch|unsinn|verkehrt|inkorrekt)",
    r"(?:das|es|dies|ihre antwort|deine antwort) (?:ist|war)(?: \w+){0,2} nicht (?:richtig|korrekt|wahr|das,? was)",
    r"(?:das|es) stimmt(?: \w+){0,2} nicht|stimmt (?:so )?nicht|^\W{0,9}(?:nein\W+)?(?:leider )?falsch\W*$",
    r"(?:du irrst|sie irren) (?:dich|sich)|du irrst",
    r"(?:das )?(?:meinte|wollte|fragte) ich (?:so )?nicht|nein,? (?:ich meine|ich meinte|ich wollte|das)",
    r"nicht (?:das )?,?(?: )?was ich (?:wollte|meinte|gefragt)",
    r"(?:funktioniert|geht|klappt) (?:immer noch|noch immer|weiterhin|so) nicht",
    r"^\W{0,9}(?:nein\W+)?(?:bitte )?versuch(?:e|'s| es)?(?: es)? noch ?(?:ein)?mal\W*$",
    # French
    r"(?:c'est|(?:ceci|cela|(?:votre|ta) réponse) est) (?:toujours |encore |complètement )?(?:faux|fausse|incorrecte?|erronée?)(?! \w+ \?)",
    r"(?:ce n'est|c'est) (?:toujours |vraiment )?pas (?:correct|exact|vrai|juste|bon|ça|ce que)|tu te trompes|vous vous trompez",
    r"pas ce que j'ai (?:demandé|dit|voulu)|(?:ne )?(?:marche|fonctionne) (?:toujours|encore) pas",
    r"^\W{0,9}(?:non\W+)?(?:faux|incorrect)\W*$",
    # Spanish
    r"(?:eso|esto|la respuesta|tu respuesta)? ?(?:está|es) (?:mal|incorrect[oa]|equivocad[oa]|fals[oa])\W*$",
    r"(?:eso|esto) (?:no es así|está mal|es incorrecto|es falso)",
    r"no es (?:correcto|cierto|verdad|lo que (?:te )?(?:pedí|dije|quería|pregunté|quise))|te equivocas(?:te)?|se equivoca",
    r"sigue sin funcionar",
    r"(?:todavía|aún) no funciona|^\W{0,9}(?:no\W+)?(?:incorrecto|falso|mal)\W*$",
    # Italian, Portuguese, Dutch, Polish, Turkish
    r"(?:non è|questo non è) (?:corretto|giusto|vero|quello che)|è (?:sbagliat[oa]|errat[oa])\W*$|ti sbagli",
    r"non funziona ancora|ancora non funziona",
    r"(?:não é|isso não é|isso não está) (?:correto|certo|verdade|o que)|(?:isso )?está (?:errad[oa]|incorret[oa])\W*$",
    r"não (?:foi )?o que (?:eu )?(?:pedi|disse)",
    r"(?:dat|dit) (?:is|was|klopt) (?:nog steeds )?(?:niet(?: (?:juist|correct|goed|waar|wat))?|fout|onjuist|verkeerd)\W*$",
    r"niet wat ik (?:vroeg|bedoelde)",
    r"to (?:jest )?(?:nieprawda|błąd|błędne|źle|nie (?:tak|to))\W*$|mylisz się",
    r"nie o to (?:pytałem|pytałam|prosiłem|prosiłam|chodziło)",
    r"(?:bu|cevap(?:ın)?) (?:yanlış|doğru değil|hatalı)\W*$|yanılıyorsun|^\W{0,9}(?:hayır\W+)?yanlış\W*$",
    # Russian
    r"это (?:неправильно|неверно|не так|не то|неправда|ошибка)\W*$|^\W{0,9}(?:нет\W+)?(?:неправильно|неверно|не то)\W*$",
    r"(?:вы|ты) (?:ошибаетесь|ошибся|ошиблись)",
    r"не то,? что я (?:просил|просила|спрашивал|имел)|всё ещё не работает|все еще не работает",
    # Chinese, Japanese, Korean: written without spaces
    r"^\W{0,9}(?:不|这|这个|那|你|答案|回答|这样|还是)*(?:不对|不正确|错了|搞错了|弄错了|答错了|是错的|有误|不是(?:我|这样|这个))",
    r"不是我(?:要|想要|问|说)的|還是不對|不對|錯了",
    r"(?:違い|ちがい)ます|^違う|(?:違う|違った)(?:よ|ね|と思)?[。!！]*$|間違っ(?:て|た)|間違いです|正しく(?:ない|ありません)|そうではなく",
    r"틀렸|틀린 ?(?:답|것)|(?:그게|그건|이건) 아니|맞지 않(?:아|습)|잘못(?:됐|되었|된 답)",
)
"""What people say to an answer that was wrong, in thirteen languages. Give your own where yours say it otherwise."""
_UNSPACED: Final = re.compile("[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")
_MOST_CHARS: Final = 600  # a correction is short; a long text that holds the words is something else


@dataclass(slots=True)
class _Session:
    """What is remembered of one session.

    Attributes:
        tier: that was decided last.
        least: the tier below which it does not go any more; None before any trouble.
        seen: troubles that it was raised for.
        questions: of late, to know one that is asked again, each with the length of the conversation.
    """

    tier: str
    at: float
    least: str | None = None
    seen: set[str] = field(default_factory=set)
    questions: dict[str, int] = field(default_factory=dict)


class Upgrading(PolicyWrapper):
    """Goes one tier up, once for each trouble, and stays there for the session.

    A trouble is a user's correction ("that was wrong"), a question that is asked again after its answer, and a loop in which a tool is
    called with the same arguments for the `repeats`-th time. An answer from the cache asks no policy: what is asked again word by word,
    with the same conversation before it, is answered as before. Calls belong together by user, session (or run) and call site; those with
    neither are decided one by one. What is remembered is this process's.

    Args:
        policy: decides first: whatever a router takes as its policy.
        repeats: so many equal tool calls since the last question are a trouble; None: none are.
        corrections: regular expressions of what users say; () to look for none.
        retries: whether a question that is asked again is a trouble.
        forget_seconds: a session that was idle for so long begins anew.
        most_sessions: how many are remembered; the ones idle for longest are forgotten.
        clock: seconds; for tests.

    Raises:
        ConfigurationError: an option that cannot be used.

    >>> from llmthrift_core import attribute
    >>> from llmthrift_core.attribution import current_attribution
    >>> from llmthrift_core.routing import RouteRequest, Tiers, Upgrading
    >>> policy, tiers = Upgrading(lambda request: "small"), Tiers(("small", "large"))
    >>> with attribute(session="s1"):
    ...     who = current_attribution()
    >>> policy.decide(RouteRequest("When does it open?", attribution=who), tiers).tier
    'small'
    >>> policy.decide(RouteRequest("That's wrong.", history_messages=3, attribution=who), tiers).tier
    'large'
    """

    decides_each_step: Final = True

    def __init__(
        self,
        policy: Any,
        *,
        repeats: int | None = 3,
        corrections: str | Sequence[str] = CORRECTIONS,
        retries: bool = True,
        forget_seconds: float = 1_800.0,
        most_sessions: int = 10_000,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(policy)
        if repeats is not None and repeats < 2:
            raise ConfigurationError(f"repeats must be 2 or more, or None, not {repeats!r}")
        if not forget_seconds > 0 or most_sessions < 1:
            raise ConfigurationError(
                f"forget_seconds={forget_seconds!r} must be positive, most_sessions={most_sessions!r} 1 or more",
            )
        patterns = as_texts("corrections", corrections)
        try:
            self._corrections = _searched(patterns)
        except re.error as error:
            raise ConfigurationError(f"not a regular expression: {error.pattern!r}: {error}") from None
        self._repeats, self._retries = repeats, retries
        self._forget_seconds, self._most_sessions, self._clock = forget_seconds, most_sessions, clock
        self._parts = repr((repeats, patterns, retries, forget_seconds))
        self._sessions: OrderedDict[tuple[str | None, str, str | None], _Session] = OrderedDict()
        self._lock = ForkedLock()

    @property
    def version(self) -> str:
        """The policy's version, followed by a hash of the options."""
        return self._version_with(self._parts)

    def decide(self, request: RouteRequest, tiers: Tiers) -> RouteDecision:
        """The policy's choice, or a stronger tier where the session is, or was, in trouble.

        Raises:
            NoModelQualifiesError: the policy refuses.
        """
        decision = self.policy.decide(request, tiers)
        key = request.session_key
        if key is None:
            return decision
        names, now = tiers.names, self._clock()
        with self._lock:
            session = self._sessions.get(key)
            if session is None or now - session.at > self._forget_seconds:
                session = self._sessions[key] = _Session(decision.tier, now)
            self._sessions.move_to_end(key)
            while len(self._sessions) > self._most_sessions:
                self._sessions.popitem(last=False)
            trouble = self._trouble(request, session)
            if trouble is not None:
                before = max((_place(names, each) for each in (session.tier, session.least, decision.tier)), default=0)
                session.least = names[min(before + 1, len(names) - 1)]
            if session.least is not None and _place(names, session.least) > names.index(decision.tier):
                why = "a trouble earlier in the session" if trouble is None else trouble
                decision = replace(decision.instead(session.least, why), explored=False)
            session.tier, session.at = decision.tier, now
        return decision

    def _trouble(self, request: RouteRequest, session: _Session) -> str | None:
        """What is wrong now and was not seen before; None where nothing is."""
        found: list[tuple[str, str]] = []
        question = " ".join(request.question.lower().split())
        if request.history_messages > 1 and self._corrections is not None and self._corrections.search(_plain(request.question)):
            found.append((f"correction {question}", "the user corrects an answer"))
        if question and self._retries:
            asked_at = session.questions.get(question)
            if asked_at is not None and request.history_messages > asked_at and not request.tool_calls():
                found.append((f"retry {question} {request.history_messages}", "the question is asked again"))
            session.questions[question] = max(asked_at or 0, request.history_messages)
            while len(session.questions) > 32:
                session.questions.pop(next(iter(session.questions)))
        if self._repeats is not None and (calls := request.tool_calls()):
            last = _call_key(calls[-1])
            times = sum(_call_key(each) == last for each in calls)
            if times and times % self._repeats == 0:
                found.append((f"loop {question} {last} {times}", f"{calls[-1].name} was called {times} times with the same arguments"))
        for name, why in found:
            if name not in session.seen:
                session.seen.add(name)
                return why
        return None


def _searched(patterns: Sequence[str]) -> re.Pattern[str] | None:
    """All patterns in one, those of scripts that have spaces between the ends of words."""
    spaced = [each for each in patterns if not _UNSPACED.search(each)]
    parts = [rf"(?<!\w)(?:{'|'.join(spaced)})(?!\w)"] if spaced else []
    parts += [each for each in patterns if _UNSPACED.search(each)]
    return re.compile("|".join(parts), re.IGNORECASE) if parts else None


def _plain(text: str) -> str:
    return " ".join(text[:_MOST_CHARS].replace("\u2019", "'").split())


def _call_key(call: Any) -> str:
    try:
        return f"{call.name} {canonical_json(call.arguments)!r}"
    except Exception:  # arguments of a form that JSON does not have
        return f"{call.name} {call.arguments!r}"


def _place(names: Sequence[str], tier: str | None) -> int:
    return names.index(tier) if tier in names else -1
