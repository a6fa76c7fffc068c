"""Questions that may be about their asker: known in English, taken for such in every language that is not read, kept per user."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from llmthrift_core import Thrift
from llmthrift_core.attribution import Attribution, attribute
from llmthrift_core.cache import CachePolicy, ExactOnly, FixedThreshold, SemanticCache
from llmthrift_core.cache.first_person import is_personal
from tests.core.cache.askers import ABOUT_ASKERS, FOR_EVERYBODY

ADA, BOB, NOBODY = Attribution(user="ada", feature="chat"), Attribution(user="bob", feature="chat"), Attribution()
PERSONAL = [
    "What is my account balance?", "Where is mine?", "Am I eligible?", "whats my balance", "WHAT DO WE OWE", "Let us know the total",
    "im locked out, what now?", "ive lost the card", "gimme the balance", "lemme see the invoice", "id like the balance",
    "I’d like a refund", "iam waiting for the parcel", "What is ma balance", "Which plan am-I on", "Has it been shipped to us?",
    "this user's address?", "What is the caller's balance?", "What was charged to the card on file?", "Which plan does this account have?",
    "Wo ist mein Paket?", "Was schulde ich?", "was ist mit meinem Konto?", "¿Cuánto debo?", "Muéstrame mis facturas", "Où est mon colis ?",
    "Combien dois-je ?", "Dov'è il mio pacco?", "Qual è il mio saldo?", "Onde está a minha encomenda?", "Waar is mijn pakket?",
    "Gdzie jest moja paczka?", "Paketim nerede?", "我的包裹在哪里?", "私の荷物はどこですか?", "Где моя посылка?", "أين طردي؟",
    "내 소포 어디 있어?", "havent recieved anything, status?", "wheres my stuff at", "u owe me", "Kann die Rechnung nicht öffnen",
    "Wo ist my parcel?", "¿Cómo activo la tarjeta?", "¿Cuánto pagaba antes?", "dime el saldo", "¿Debería cambiar de plan?",
    "¿Qué dirección aparece en esta cuenta?", "jai oublié le mot de passe", "A qui dois-je m'adresser ?", "Quando vou receber o pedido?",
    "Onde retiro o pacote?", "Quanto devo?", "Kdy mi přijde balíček?", "Hol a csomagom?",
    "refund status", "status of the latest shipment", "where's the parcel", "Has the claim been paid?", "Still hasn't shipped",
    "current balance pls", "any new messages?", "upcoming appointments", "how much is due",
]  # fmt: skip
SHARED = [
    "Wann öffnet die Post am Samstag?", "Was kostet ein Zimmer im Hotel?", "¿Cuánto cuesta el billete al mes?",
    "Quelle est la capitale de la France ?", "Kann der Ausweis verlängert werden?",
    "When do you open?", "What is the capital of France?", "What's the late fee for rent?", "Does US law apply?", "Who wrote Hamlet?",
    "Is weekend delivery available?", "How long does the delivery take?",
    "What is the status of the Antarctic treaty?", "What is a balance beam?", "Convert 5 mW to W", "2 + 2", "Hello", "What is a café?", "",
]  # fmt: skip


@pytest.mark.parametrize("question", PERSONAL)
def test_what_may_be_about_its_asker(question: str) -> None:
    assert is_personal(question)


@pytest.mark.parametrize("question", SHARED)
def test_what_everybody_gets_the_same_answer_to(question: str) -> None:
    assert not is_personal(question)


@pytest.mark.parametrize("language", ABOUT_ASKERS)
def test_no_question_of_a_person_about_himself_is_missed(language: str) -> None:
    questions = ABOUT_ASKERS[language]
    assert len(questions) >= 150
    assert [question for question in questions if not is_personal(question)] == []


@pytest.mark.parametrize("language", FOR_EVERYBODY)
def test_few_questions_that_anybody_may_ask_are_taken_for_personal(language: str) -> None:
    questions = FOR_EVERYBODY[language]
    assert len(questions) >= 150
    assert sum(map(is_personal, questions)) <= len(questions) // 10


def test_a_text_of_any_length_is_read() -> None:
    page = "When do you open? " * 5_000
    assert not is_personal(page)
    assert is_personal(page + "What is my balance?")


@pytest.mark.parametrize("share", ["namespace", "feature"])
def test_the_key_holds_the_user_of_a_personal_question(share: str) -> None:
    policy = CachePolicy(share=share)  # type: ignore[arg-type]

    def key(who: Attribution, *asked: str) -> bytes:
        return policy.key(b"q", attribution=who, asked=lambda: asked)

    mine = key(ADA, "When do you open?", "What is my balance?")
    assert mine == key(ADA, "What is my balance?")
    assert mine != key(BOB, "What is my balance?")
    assert key(ADA, "When do you open?") == key(BOB, "When do you open?") != mine


def test_a_user_that_is_not_known_has_no_answers_of_his_own_and_gets_nobodys() -> None:
    policy, asked = CachePolicy(), lambda: ["What is my balance?"]
    assert policy.key(b"q", asked=asked) == policy.key(b"q") != policy.key(b"q", attribution=ADA, asked=asked)
    assert policy.owner(asked, NOBODY) is None


def test_sharing_such_answers_too_is_asked_for_by_name() -> None:
    policy, asked = CachePolicy(share="global"), lambda: ["What is my balance?"]
    assert policy.key(b"q", attribution=ADA, asked=asked) == policy.key(b"q", attribution=BOB, asked=asked)


@pytest.mark.parametrize("question", ["What is my balance?", "¿Cuál es mi saldo?", "Paketim nerede?", "我的余额是多少?"])
@pytest.mark.parametrize("policy", [ExactOnly, lambda: FixedThreshold(0.8)], ids=["equal", "by meaning"])
def test_the_semantic_cache_keeps_them_apart(thrift: Thrift, policy: Callable[[], object], question: str) -> None:
    cache = SemanticCache(thrift, policy=policy())
    with attribute(user="ada"):
        cache.store(question, "ada's")
        assert cache.lookup(question) is not None
    for who in ("bob", None):
        with attribute(user=who):
            assert cache.lookup(question) is None
            assert cache.lookup(question.lower()) is None


def test_the_semantic_cache_shares_them_where_it_is_told_to(thrift: Thrift) -> None:
    cache = SemanticCache(thrift, policy=ExactOnly(), limits=CachePolicy(share="global"))
    with attribute(user="ada"):
        cache.store("How do I reset my password?", "So.")
    with attribute(user="bob"):
        hit = cache.lookup("How do I reset my password?")
    assert hit is not None
    assert hit.answer == "So."


@pytest.mark.parametrize("share", ["user", "feature"])
def test_who_shares_with_nobody_else_and_is_not_known_has_no_answers(thrift: Thrift, share: str) -> None:
    cache = SemanticCache(thrift, policy=FixedThreshold(0.8), limits=CachePolicy(share=share))  # type: ignore[arg-type]
    question = "When do you open?"
    cache.store(question, "At nine.")
    assert cache.lookup(question) is None
    with attribute(user="ada", feature="chat"):
        assert cache.lookup(question) is None
        cache.store(question, "At nine.")
        assert cache.lookup(question) is not None
    assert cache.lookup(question) is None
    health = cache.health()
    assert health["errors"] == 0
    assert [reason for reason in health["uncacheable"] if f"share='{share}'" in reason]
