"""The heuristic tells simple from hard questions, and shows how."""

from __future__ import annotations

import re
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmthrift_core.errors import ConfigurationError
from llmthrift_core.routing import Complexity, RouteRequest, Tiers
from llmthrift_core.routing.policies import complexity

TIERS = Tiers(("simple", "complex"))
# Written for this test, without looking at the patterns' words: ordinary requests of support, office and coding assistants.
SIMPLE = """\
What is the capital of Peru?
When does the store open on Sunday?
Translate 'good morning' into Spanish.
Is this review positive or negative: 'It broke after a day'?
Extract the invoice number from: Invoice INV-2291, due May 3.
What's your phone number?
How do I reset my password?
Classify this ticket as billing, shipping or other: my card was charged twice.
Who wrote Don Quixote?
Convert 5 miles to kilometres.
Define photosynthesis.
Give me a synonym for happy.
Where can I find my order history?
Do you ship to Canada?
Fix the spelling: recieve
Thanks, that helped!
What day is Christmas this year?
Format this date as ISO: March 4, 2025
Can I pay with PayPal?
Is the blue one in stock?
What does API stand for?
List the planets of the solar system.
Rephrase: the package was sent yesterday.
How can I contact support?
Tag this email as spam or not spam: You have won a prize!
""".splitlines()
HARD = """\
Compare leasing and buying a car over 5 years at 7% interest and say which is cheaper.
Why did our conversion rate drop after the redesign, and what should we test first?
Write a Python function that merges overlapping intervals and explain its complexity.
Design a database schema for a booking system that must prevent double bookings.
Prove that the square root of 2 is irrational.
Analyse the trade-offs between microservices and a monolith for a team of 6.
Debug this: TypeError: 'NoneType' object is not subscriptable in line 14 of app.py
Plan a three-week itinerary through Japan for two adults and a toddler without flights, at most $4,000.
Explain why the sky is blue and why sunsets are red.
What are the pros and cons of remote work for a company that has 3 offices?
Derive the formula for compound interest step by step.
If I return two of five items and used a 15% voucher on $120, how much will be refunded?
Evaluate whether we should migrate to Postgres given that we must not have more than 5 minutes of downtime.
Refactor this class to remove the global state: class Cache: data = {}
Write an SQL query that returns the top 3 customers per region by revenue.
A train leaves at 9:10 at 80 km/h, another at 9:40 at 110 km/h. Calculate when they meet.
Recommend a pricing strategy for a SaaS product that loses 4% of its customers a month.
Draft a negotiation strategy for a supplier who wants to raise prices by 12%, assuming that we have one alternative.
What would happen to our margin if shipping costs rose by 20% while prices stayed the same?
Critique this argument and find its hidden assumptions: all innovative firms fail often, so failing often makes firms innovative.
Implement a rate limiter that allows at most 100 requests per minute per user.
Diagnose the root cause: checkout latency doubled on Tuesday although traffic was flat.
Optimise this query, which takes 40 seconds: SELECT * FROM orders o JOIN items i ON o.id = i.order_id
Contrast Keynesian and monetarist explanations of the inflation of the 1970s.
Split $930 between three people who worked 12, 20 and 30 hours and justify the shares.
""".splitlines()


def test_most_labelled_questions_go_where_they_belong():
    policy = Complexity()
    wrong = [question for question in SIMPLE if policy.decide(RouteRequest(question), TIERS).tier != "simple"]
    wrong += [question for question in HARD if policy.decide(RouteRequest(question), TIERS).tier != "complex"]
    assert len(wrong) <= 0.15 * (len(SIMPLE) + len(HARD)), wrong


def test_the_explanation_adds_up_to_the_score():
    policy = Complexity()
    request = RouteRequest("Compare both plans and calculate which is cheaper for 12 users over 3 years.")
    signals = policy.explain(request)
    assert {"base", "complex task", "calculation"} <= set(signals)
    assert policy.score(request) == pytest.approx(min(1.0, sum(signals.values())))
    decision = policy.decide(request, TIERS)
    assert decision.score == policy.score(request)
    assert decision.rejected == (("simple", "too weak"),)
    assert "calculation" in decision.reason


def test_thresholds_weights_and_words_change_decisions_and_the_version():
    question = RouteRequest("Where is my parcel?")
    assert Complexity().decide(question, TIERS).tier == "simple"
    assert Complexity(thresholds=[0.0]).decide(question, TIERS).tier == "complex"
    assert Complexity(complex=["parcel"]).decide(question, TIERS).tier == "complex"
    assert Complexity(weights={"base": 0.9}).decide(question, TIERS).tier == "complex"
    versions = {
        policy.version
        for policy in (Complexity(), Complexity(thresholds=[0.0]), Complexity(complex=["parcel"]), Complexity(weights={"base": 0.9}))
    }
    assert len(versions) == 4
    assert Complexity().version == Complexity().version


def test_three_tiers_have_two_thresholds():
    tiers = Tiers(("small", "medium", "large"))
    chosen = [Complexity(thresholds=[0.2, 0.8]).decide(RouteRequest(text), tiers).tier for text in ("Thanks!", "Tell a tale", HARD[0])]
    assert chosen == ["small", "medium", "large"]
    with pytest.raises(ConfigurationError, match="3 tiers need 2 thresholds, not 1"):
        Complexity(thresholds=[0.5]).decide(RouteRequest("x"), tiers)


def test_one_tier_is_chosen_without_a_look_at_the_question():
    class Unread(RouteRequest):
        @property
        def head_and_tail(self):
            raise AssertionError("the question was read")

    for thresholds in (None, [], [0.4]):
        decision = Complexity(thresholds=thresholds).decide(Unread("Prove it."), Tiers(("only",)))
        assert (decision.tier, decision.score, decision.rejected) == ("only", None, ())


WORDS = (
    "Why", "LIST", "lIſt", "İs there", "ıf so then", "hıgh KERNEL", "compareK", "CLASSIFYING", "How much 1 2", "at MOST", "API", "apis",
    "x;", "=> y", "def f", "Class Foo(", "SELECT a FROM b", "```", "Explain how", "straße", "ΣΑΣ", "regeX", "stack trace", "\n", "?",
    "what is", "\u212aernel",
)  # fmt: skip


@given(st.lists(st.sampled_from(WORDS), max_size=8).map(" ".join))
def test_signals_are_found_as_the_expressions_find_them_ignoring_case(text):
    found = set(Complexity().explain(RouteRequest(text)))

    def has(pattern):
        return re.search(rf"(?<!\w)(?:{pattern})(?!\w)", text, re.IGNORECASE | re.DOTALL) is not None

    is_complex = has(complexity.COMPLEX)
    assert ("complex task" in found) == is_complex
    assert ("simple task" in found) == (not is_complex and has(complexity.SIMPLE))
    assert ("open question" in found) == (not is_complex and has(complexity.OPEN))
    assert ("technical terms" in found) == has(complexity.TECHNICAL)
    assert ("constraints" in found) == has(complexity.CONSTRAINTS)
    assert ("calculation" in found) == (has(complexity.CALCULATION) and len(re.findall(r"\d[\d.,]*", text)) >= 2)
    assert ("code" in found) == (re.search(complexity.CODE, text, re.IGNORECASE | re.MULTILINE) is not None)


def test_what_users_write_may_tell_capitals_apart():
    policy = Complexity(complex=["(?-i:BGB)"])
    assert "complex task" in policy.explain(RouteRequest("The BGB of Acme"))
    assert "complex task" not in policy.explain(RouteRequest("The bgb of Acme"))


def test_other_languages_are_taken_for_hard_when_in_doubt():
    for question in ("Porównaj oba plany i powiedz, który wybrać dla małej firmy", "两个方案哪个更便宜,请比较并说明理由"):
        assert Complexity().decide(RouteRequest(question), TIERS).tier == "complex"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"thresholds": [0.8, 0.2]}, "must rise"),
        ({"thresholds": [1.5]}, "within 0..1"),
        ({"weights": {"colour": 1.0}}, "no such signal: colour"),
        ({"complex": ["("]}, "not a regular expression"),
    ],
)
def test_what_makes_no_sense_is_refused(options, message):
    with pytest.raises(ConfigurationError, match=message):
        Complexity(**options)


@given(st.text(max_size=300), st.integers(0, 10**7))
def test_every_text_gets_a_score_within_bounds(text, chars):
    assert 0 <= Complexity().score(RouteRequest(text, input_chars=chars)) <= 1


def test_a_pasted_book_is_judged_by_its_beginning_and_end():
    book = "word " * 200_000
    assert Complexity().explain(RouteRequest("Compare these: " + book))["complex task"] > 0
    assert Complexity().explain(RouteRequest(book + " Now compare them."))["complex task"] > 0


def test_the_beginnings_of_words_change_no_score(monkeypatch):
    """A signal none of whose words begins as a word of the text does is not searched for, and would not have been found."""
    random = Random(7)
    pieces = [
        piece
        for name in ("SIMPLE", "COMPLEX", "CALCULATION", "OPEN", "TECHNICAL", "CONSTRAINTS")
        for piece in re.findall(r"[a-z]+(?: [a-z]+)*", getattr(complexity, name))
    ]
    pieces += [
        "Zug",
        "42",
        "3.5",
        "\u00e9t\u00e9",
        "x-",
        "_",
        "?",
        "HOW DOES",
        "hi",
        "if the train is late then",
        "no more than",
        "trade-offs",
        "analyses",
    ]
    texts = [
        "".join(random.choice(pieces) + random.choice(["", " ", " ", "-", ". "]) for _ in range(random.randint(1, 9))) for _ in range(4_000)
    ]
    policy = Complexity()
    quick = [policy.explain(RouteRequest(text)) for text in texts]
    monkeypatch.setattr(complexity, "_HEADS", {})
    assert quick == [policy.explain(RouteRequest(text)) for text in texts]
    assert len({name for found in quick for name in found}) >= 8


@pytest.mark.parametrize("pattern", [r"\w+ing", r"re(?:port|ply)", r"do ?you", r"hi?", r"no\w*"])
def test_alternatives_whose_beginning_is_open_have_none(pattern):
    with pytest.raises(ValueError, match="begins with fewer"):
        complexity.heads_of(pattern)
