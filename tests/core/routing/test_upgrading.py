"""A session in trouble goes on with a stronger model, once for each trouble."""

from __future__ import annotations

from typing import Any

import pytest

from llmthrift_core import Thrift
from llmthrift_core.attribution import attribution_of
from llmthrift_core.errors import ConfigurationError
from llmthrift_core.routing import RouteRequest, Sticky, Tiers, ToolCall, Upgrading
from tests.core.clock import Clock

TIERS = Tiers(("small", "middle", "large"))
NAMES = {"small": "gpt-4o-mini", "middle": "gpt-4.1", "large": "gpt-4o"}


def asked(text: str, messages: int = 1, *, session: str | None = "s", calls: Any = (), **more: Any) -> RouteRequest:
    made = tuple(ToolCall(name, arguments) for name, arguments in calls)
    return RouteRequest(text, history_messages=messages, attribution=attribution_of(session=session), tool_calls=lambda: made, **more)


@pytest.fixture
def policy() -> Upgrading:
    return Upgrading(lambda request: "small")


def test_each_correction_goes_one_tier_up_and_the_session_stays_there(policy):
    said = [
        ("Where is it?", 1),
        ("That's wrong.", 3),
        ("And the other one?", 5),
        ("You made a mistake there.", 7),
        ("Thanks.", 9),
        ("No, that too.", 11),
    ]
    found = [policy.decide(asked(text, messages), TIERS) for text, messages in said]
    assert [each.tier for each in found] == ["small", "middle", "middle", "large", "large", "large"]
    assert ["corrects" in each.reason for each in found] == [False, True, False, True, False, True]
    assert ("small", "the user corrects an answer") in found[1].rejected
    assert policy.decide(asked("Where is it?", session="another"), TIERS).tier == "small"


@pytest.mark.parametrize(
    "text",
    [
        "That is incorrect.",
        "this was not what I asked",
        "Das ist falsch!",
        "It still doesn't work",
        "No, I meant the blue one",
        "stimmt so nicht",
        "das stimmt nicht",
        "Das stimmt so nicht.",
        "no, eso no es lo que pedí",
        "ce n'est pas correct",
        "不对",
        "Das ist leider falsch",
        "Nein, ich meinte die andere Datei",
        "That isn't right",
        "That's not what I asked for",
        "you got that wrong",
        "wrong!",
        "Nope, try again",
        "C’est faux",
        "Ce n’est pas ce que j’ai demandé",
        "está mal",
        "eso es incorrecto",
        "te equivocas",
        "está errado",
        "non è corretto",
        "è sbagliato",
        "それは違います",
        "間違っています",
        "틀렸어요",
        "это неправильно",
        "It still fails",
        "That doesn't work.",
        "Funktioniert immer noch nicht",
        "sigue sin funcionar",
        "ça ne marche toujours pas",
        "不是我要的",
        "错了",
        "你搞错了",
        "You didn't answer my question",
        "This is incorrect.",
        "Falsch.",
        "Das war nicht das, was ich wollte",
        "nein, das ist falsch",
        "La respuesta es incorrecta",
        "Eso no es correcto",
        "C'est faux, recommence",
        "Non, ce n'est pas ça",
        "Isso está errado",
        "Não foi o que eu pedi",
        "Dat klopt niet",
        "To nieprawda",
        "Bu yanlış",
        "Нет, это не то",
        "答案不对,再算一遍",
        "这个答案是错的",
        "違う、そうじゃない",
        "그게 아니라 파란색",
        "No. That's not it",
        "you've made another mistake",
        "Wrong again.",
        "That's wrong, the total is 12",
        "No, that is the wrong file",
    ],
)
def test_corrections_are_known(policy, text):
    policy.decide(asked("Where is it?"), TIERS)
    assert policy.decide(asked(text, 3), TIERS).tier == "middle"


@pytest.mark.parametrize(
    "text",
    [
        "Is that right?",
        "Which one is not in stock?",
        "What went wrong in 1929?",
        "Weiter.",
        "What is wrong with my car?",
        "Is it wrong to lie?",
        "Ist das falsch geparkt?",
        "¿Qué está mal en este código?",
        "Explain false positives",
        "Why does this not work: x = [1]?",
        "Ist 7 nicht eine Primzahl?",
        "Qu'est-ce qui est faux dans ce texte?",
        "Das Wetter ist heute schön, stimmt?",
        "Thanks, that is right.",
        "什么是对错?",
        "Das ist nicht schlimm, danke",
        "Das ist nicht alles, ich brauche auch X",
        "It is not urgent",
        "Great. Now try again with a bigger font",
        "对不对?",
        "Warum ist das Ergebnis nicht negativ?",
        "Ist das richtig oder falsch?",
        "¿Es correcto decir 'haiga'?",
        "Es malo fumar?",
        "Das geht nicht ohne Passwort, hier ist es: ...",
        "C'est pas grave",
        "Is this a mistake in the contract?",
        "这个不错,谢谢",
        "不是很急,明天也行",
        "Write a story about a man who was wrong about everything",
        "No problem, thank you!",
        "No, thanks",
        "Is my answer wrong?",
        "Why is this wrong?",
        "Nein danke",
        "No gracias",
        "是不对称的吗?",
        "Please write 'false' or 'true'",
        "What does it mean if this is not working?",
        "Esto no es urgente",
    ],
)
def test_what_is_no_correction_changes_nothing(policy, text):
    policy.decide(asked("Where is it?"), TIERS)
    assert policy.decide(asked(text, 3), TIERS).tier == "small"


def test_patterns_of_ones_own_stand_between_the_ends_of_words_where_their_script_has_such():
    own = Upgrading(lambda request: "small", corrections=["nee", "不行"])
    for session, text, tier in (
        ("a", "Nee!", "middle"),
        ("b", "I need it.", "small"),
        ("c", "这样不行吧", "middle"),
        ("d", "Wrong.", "small"),
    ):
        own.decide(asked("Where is it?", session=session), TIERS)
        assert own.decide(asked(text, 3, session=session), TIERS).tier == tier


def test_a_correction_counts_once_in_the_loop_that_it_begins(policy):
    policy.decide(asked("Where is it?"), TIERS)
    steps = [policy.decide(asked("That's wrong.", 3 + 2 * n, calls=[("look", {"n": n})] * bool(n)), TIERS).tier for n in range(4)]
    assert steps == ["middle"] * 4


def test_a_first_message_corrects_nothing(policy):
    assert policy.decide(asked("That's wrong."), TIERS).tier == "small"


def test_a_loop_that_does_not_get_on_goes_up_at_each_third_equal_call(policy):
    calls = [("look", {"a": 1, "b": 2}), ("look", {"b": 2, "a": 1})]
    loops = [asked("Find it.", 1 + 2 * n, calls=[calls[each % 2] for each in range(n)]) for n in range(8)]
    tiers = [policy.decide(each, TIERS).tier for each in loops]
    assert tiers == ["small", "small", "small", "middle", "middle", "middle", "large", "large"]


def test_a_loop_that_gets_on_stays(policy):
    tiers = {policy.decide(asked("Find it.", 1 + 2 * n, calls=[("look", {"n": each}) for each in range(n)]), TIERS).tier for n in range(9)}
    assert tiers == {"small"}


def test_a_question_asked_again_goes_up(policy):
    found = [policy.decide(asked(text, messages), TIERS).tier for text, messages in (("Where is it?", 1), ("where  is it?", 3), ("Hm.", 5))]
    assert found == ["small", "middle", "middle"]
    assert Upgrading(lambda request: "small", retries=False).decide(asked("Where is it?", 3), TIERS).tier == "small"


def test_calls_of_no_session_are_decided_one_by_one_and_an_open_run_is_one(policy):
    for text, messages in (("Where is it?", 1), ("That's wrong.", 3)):
        assert policy.decide(asked(text, messages, session=None), TIERS).tier == "small"
    found = [policy.decide(asked(text, n, session=None, run="r1"), TIERS).tier for text, n in (("Where?", 1), ("That's wrong.", 3))]
    assert found == ["small", "middle"]


def test_idle_sessions_are_forgotten_and_limits_hold():
    clock = Clock()
    policy = Upgrading(lambda request: "small", forget_seconds=60, clock=clock)
    policy.decide(asked("Where is it?"), TIERS)
    assert policy.decide(asked("That's wrong.", 3), TIERS).tier == "middle"
    assert policy.decide(asked("That's wrong.", 3), Tiers(("small",))).tier == "small"
    clock.now += 61
    assert policy.decide(asked("And now?", 5), TIERS).tier == "small"


@pytest.mark.parametrize("options", [{"repeats": 1}, {"forget_seconds": 0}, {"most_sessions": 0}, {"corrections": ["("]}])
def test_wrong_options_are_said(options):
    with pytest.raises(ConfigurationError):
        Upgrading(lambda request: "small", **options)


def test_versions_tell_options_apart():
    choose = lambda request: "small"  # noqa: E731 - one function for all
    assert len({Upgrading(choose, **each).version for each in ({}, {"repeats": 4}, {"corrections": ["nope"]}, {"retries": False})}) == 4


def test_a_session_keeps_its_model_in_another_process(tmp_path):
    """Two ledgers on one file stand for two processes: nothing but the database is shared."""
    long = "x" * 40_000

    def sticky(thrift: Thrift, tier: str) -> Sticky:
        return Sticky(lambda request: tier, NAMES, thrift=thrift, catalog=thrift.prices)

    with Thrift(tmp_path / "a.db") as first, Thrift(tmp_path / "a.db") as second:
        assert sticky(first, "large").decide(asked("Go on.", input_chars=40_000, system=long), TIERS).tier == "large"
        moved = sticky(second, "middle")
        assert (moved.waits, Sticky(lambda request: "middle", NAMES).waits) == (True, False)
        kept = moved.decide(asked("Go on.", input_chars=40_000, system=long), TIERS)
        assert (kept.tier, "large is in use" in kept.reason) == ("large", True)
        assert sticky(second, "middle").decide(asked("Go on.", session="new"), TIERS).tier == "middle"
        alone = Sticky(lambda request: "middle", NAMES, catalog=second.prices)
        assert alone.decide(asked("Go on.", input_chars=40_000, system=long), TIERS).tier == "middle"
