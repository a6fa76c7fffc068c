"""The near-miss guard: questions that look alike and are not the same are told apart, paraphrases are not."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmthrift_core.cache.near_misses import Facts, near_miss
from llmthrift_core.cache.near_misses.comparing import difference
from tests.core.cache.near_misses import test_meaning

NEAR_MISSES = [
    # numbers
    ("refund order 123", "refund order 456"),
    ("how do I order two cards", "how do I order three cards"),
    ("I ordered 2 cards", "I ordered cards"),
    ("what is 1.5 times 2", "what is 15 times 2"),
    ("what is 15% of 200", "what is 25% of 200"),
    ("what is 3/4 of 80", "what is 1/4 of 80"),
    ("call +1 555 123 4567", "call +1 555 123 4568"),
    ("ping 192.168.1.1", "ping 192.168.1.10"),
    ("who was the first president of France", "who was the second president of France"),
    ("a dozen eggs", "two dozen eggs"),
    ("twenty-five people", "twenty-six people"),
    ("price of 1.000 bolts", "price of 1000 bolts"),
    ("room for 2 adults and 3 children", "room for 3 adults and 2 children"),
    ("a million users", "a billion users"),
    # dates
    ("weather on 2024-05-01", "weather on 2024-05-02"),
    ("weather on 2024-05-01", "weather on 2024-01-05"),
    ("events on 1 May 2024", "events on 1 June 2024"),
    ("is the shop open on Monday", "is the shop open on Tuesday"),
    ("is the shop open on monday", "is the shop open on friday"),
    ("sales in january", "sales in march"),
    ("what is the weather today", "what is the weather tomorrow"),
    ("report for last week", "report for this week"),
    ("report for last month", "report for last year"),
    ("a table for this morning", "a table for this evening"),
    ("book at 5pm", "book at 5am"),
    ("book at 5 p.m.", "book at 5 a.m."),
    ("revenue in Q1", "revenue in Q2"),
    ("who won the cup in 2018", "who won the cup in 2022"),
    # money and units
    ("send $5 to my mother", "send €5 to my mother"),
    ("how much is 20 dollars", "how much is 20 euros"),
    ("change 100 USD", "change 100 GBP"),
    ("how heavy is 5 kg", "how heavy is 5 lb"),
    ("run 10 km", "run 10 miles"),
    ("what is 20 celsius", "what is 20 fahrenheit"),
    ("a file of 3 MB", "a file of 3 GB"),
    ("wait 10 minutes", "wait 10 hours"),
    ("500ml of milk", "500l of milk"),
    ("5m of rope", "5cm of rope"),
    # codes
    ("what is new in v1.2", "what is new in v1.3"),
    ("install Python 3.11", "install Python 3.12"),
    ("price of an iPhone 14", "price of an iPhone 15"),
    ("status of ABC-123", "status of ABD-123"),
    ("status of ABC-123", "status of ABC-124"),
    ("error 404", "error 500"),
    ("mail to jane@example.com", "mail to joe@example.com"),
    ("open https://a.example/x", "open https://a.example/y"),
    ("open report.pdf", "open invoice.pdf"),
    ("follow @alice", "follow @bob_2"),
    ("posts with #summer", "posts with #winter"),
    ("what does get_user do", "what does set_user do"),
    ("what does getUser do", "what does getOrder do"),
    ("what does --force do", "what does --quiet do"),
    ("learn C++", "learn C#"),
    ("550e8400-e29b-41d4-a716-446655440000", "550e8400-e29b-41d4-a716-446655440001"),
    ("what does vitamin c do", "what does vitamin d do"),
    # quotes
    ('what does "gift" mean', 'what does "poison" mean'),
    ("translate 'good morning'", "translate 'good night'"),
    ("what does `ls -l` do", "what does `rm -r` do"),
    ("synonym of “happy”", "synonym of “sad”"),
    # names
    ("what is the weather in Paris", "what is the weather in London"),
    ("who is John Smith", "who is Jane Smith"),
    ("AWS pricing", "GCP pricing"),
    ("capital of france", "capital of germany"),
    ("how to sort a list in python", "how to sort a list in java"),
    ("can I pay by visa", "can I pay by mastercard"),
    ("does apple pay work", "does google pay work"),
    ("hotels in new york", "hotels in los angeles"),
    ("Zorbulon is what", "tell me what Quibbleton is"),
    ("What does Hamlet say to Ophelia?", "What does Hamlet say to Gertrude?"),
    ("WHAT IS THE CAPITAL OF FRANCE", "WHAT IS THE CAPITAL OF SPAIN"),
    ("Tell Me About John Smith", "Tell Me About John Brown"),
    # negation
    ("why is my card not working", "why is my card working"),
    ("which birds can fly", "which birds can't fly"),
    ("foods with gluten", "foods without gluten"),
    ("smoking rooms", "non-smoking rooms"),
    ("is it legal to park here", "is it illegal to park here"),
    ("how do I subscribe", "how do I unsubscribe"),
    ("is it possible to fly", "is it impossible to fly"),
    ("all countries except Spain", "all countries and Spain"),
    ("why did my payment fail", "why did my payment not fail"),
    ("should I take aspirin", "should I never take aspirin"),
    ("is it still open", "is it no longer open"),
    ("am I eligible", "am I ineligible"),
    ("don't open the box", "open the box"),
    # opposites
    ("how do I buy shares", "how do I sell shares"),
    ("increase my limit", "decrease my limit"),
    ("how do I log in", "how do I log out"),
    ("opting in to mails", "opting out of mails"),
    ("turn the lights on", "turn the lights off"),
    ("what is the maximum age", "what is the minimum age"),
    ("did I send money", "did I receive money"),
    ("encrypted files", "decrypted files"),
    ("the north pole", "the south pole"),
    ("flights before noon", "flights after noon"),
    ("who is the landlord", "who is the tenant"),
    ("sort in ascending order", "sort in descending order"),
    ("physical card", "virtual card"),
    # direction
    ("convert USD to EUR", "convert EUR to USD"),
    ("convert usd to eur", "convert eur to usd"),
    ("translate English to French", "translate French to English"),
    ("flight from Paris to London", "flight from London to Paris"),
    ("a bus from the airport to the station", "a bus to the airport from the station"),
    ("is python faster than java", "is java faster than python"),
    ("did the dog bite the man", "did the man bite the dog"),
    ("more than 5 guests", "less than 5 guests"),
    ("at least 5 guests", "at most 5 guests"),
    ("what is 10 minus 3", "what is 3 minus 10"),
    ("flights to London", "flights from London"),
    ("how many ounces in a pound", "how many pounds in an ounce"),
    ("transfer money from savings to checking", "transfer money from checking to savings"),
    ("room for 9-10 people", "room for 9-11 people"),
    # formulas
    ("1+1", "1-1"),
    ("what is 2 * 3", "what is 2 / 3"),
    ("is 3 < 4", "is 3 > 4"),
    # what is asked for
    ("who founded the bank", "when was the bank founded"),
    ("where is the meeting", "when is the meeting"),
    ("how many eggs", "how much are eggs"),
    # not English
    ("wie ist das Wetter", "wie war das Wetter"),
    ("какая погода", "какая цена"),
    ("¿dónde está la estación?", "¿dónde está la playa?"),
    ("天气怎么样", "价格怎么样"),
    ("", "hello"),
]

PARAPHRASES = [
    ("How do I reset my password?", "I forgot my password, how can I reset it?"),
    ("What's the weather like in Paris?", "what is the weather in paris"),
    ("order two cards", "order 2 cards"),
    ("top up my card", "top-up my card"),
    ("Can you tell me what my balance is, please?", "what is my balance"),
    ("my payment did not go through", "my payment failed"),
    ("my card doesn't work", "my card is not working"),
    ("I can't log in", "I am unable to log in"),
    ("send $5", "send 5 dollars"),
    ("send 5 dollars", "send 5 USD"),
    ("run 5 km", "run 5 kilometers"),
    ("1,000 users", "1000 users"),
    ("the 1st of May", "May first"),
    ("on 2024-05-01", "on 1 May 2024"),
    ("meet at 5pm", "meet at 5 pm"),
    ("meet at 5:00 pm", "meet at 5pm"),
    ("50% of it", "50 percent of it"),
    ("what's iPhone14", "what's iphone 14"),
    ("how come it rains", "why does it rain"),
    ("why not order a pizza", "order a pizza"),
    ("can't you please open the door", "can you open the door"),
    ("Refund Policy", "refund policy"),
    ("REFUND POLICY", "refund policy"),
    ("WHERE IS MY ORDER", "Where is my order?"),
    ("what does idempotent mean", 'what does "idempotent" mean'),
    ("which one is better", "which is better"),
    ("capital of france", "the French capital"),
    ("Paris hotels", "hotels in Paris"),
    ("hotels in the US", "hotels in the United States"),
    ("what is 1 plus 1", "what is 1 + 1"),
    ("half of ten", "1/2 of 10"),
    ("I don't know how to cook rice", "how do I cook rice"),
    ("twenty-five guests", "25 guests"),
    ("wie ist das Wetter?", "Wie ist das Wetter"),
    ("card arrival", "arrival of the card"),
    ("isn't it cold in Oslo?", "is it cold in Oslo?"),
    ("São Paulo weather", "sao paulo weather"),
    ("What is 5 x 3", "what is 5 times 3"),
    ("$5M revenue", "$5 million revenue"),
    ("e-mail me", "email me"),
    ("How do I get from the hotel to the beach?", "how to get to the beach from the hotel"),
    ("Difference between TCP and UDP", "udp vs tcp"),
    ("I haven't received my refund yet", "where is my refund"),
    ("Could not connect to the server, what now?", "I can't connect to the server"),
    ("Is it illegal to jaywalk?", "Is jaywalking against the law?"),
    ("how do I turn off notifications", "disable notifications"),
    ("resume tips", "résumé tips"),
]


@pytest.mark.parametrize(("one", "other"), [*NEAR_MISSES, *test_meaning.NEAR_MISSES])
def test_a_near_miss_is_refused_both_ways(one: str, other: str) -> None:
    assert near_miss(one, other)
    assert near_miss(other, one)


@pytest.mark.parametrize(("one", "other"), [*PARAPHRASES, *test_meaning.PARAPHRASES])
def test_a_paraphrase_passes_both_ways(one: str, other: str) -> None:
    assert near_miss(one, other) is None
    assert near_miss(other, one) is None


def test_the_reason_names_both_sides() -> None:
    assert near_miss("refund order 123", "refund order 456") == "numbers differ: 123, 456"


def test_facts_are_kept_for_many_comparisons() -> None:
    kept = Facts.of("refund order 123")
    assert difference(kept, Facts.of("refund order 124")) == near_miss("refund order 123", "refund order 124")
    assert difference(kept, Facts.of("Refund order 123, please!")) is None


ODD = [
    *("", " ", "?", "\x00", "a\x00b", "\ud800", "\udfff \ud800 hello", "שלום עולם", "\u202eabc", "'''", '"""', "``", "-", "--", "..", "$"),
    *("$$5", "#", "@", "1" * 500, "9" * 6000 + " million", "²", "٣", "½", "1/0", "0000-99-99", ".5", "5.", "'s", "n't", "a.b.c", "&"),
    *("R&D", "İ", "ß", "ﬁ", "1e999", "٣-٣", "5٪", "²³", "a²", "1²", "①", "½½", "$½", "€", "€€ €", "--1", "+-1", "v", "v.", "1st2nd"),
]


@pytest.mark.parametrize("text", ODD)
def test_odd_text_equals_itself_and_raises_nothing(text: str) -> None:
    assert near_miss(text, text) is None
    near_miss(text, "hello 5")
    near_miss("hello 5", text)


@pytest.mark.parametrize(
    "piece", ["a", "word ", "1", "1 ", "'", '"', "`", "a.", "a-", "1-", "$", "@", "one hundred and ", "to from ", "not ", "é "]
)
def test_long_texts_take_linear_time(piece: str) -> None:
    def seconds(characters: int) -> float:
        text = piece * (characters // len(piece))
        start = time.process_time()
        assert near_miss(text, text) is None
        assert near_miss(text, text + "x")
        return time.process_time() - start

    assert seconds(300_000) < 40 * max(min(seconds(30_000) for _ in range(3)), 0.001)  # ten times as long; quadratic would be a hundred
    text = piece * (20_000 // len(piece))
    difference(Facts.of(text), Facts.of(text[:-1]))


PIECES = st.lists(
    st.sampled_from(
        [
            "card",
            "not",
            "2",
            "two",
            "3",
            "Paris",
            "London",
            "$5",
            "from",
            "to",
            "pay",
            "don't",
            "is",
            "the",
            "where",
            "5pm",
            "May",
            "'a",
            "b'",
            "-",
            "+",
            "1,000",
            "in",
            "out",
            "log",
            "new",
            "old",
        ]
    ),
    max_size=12,
).map(" ".join)
TEXTS = st.one_of(st.text(max_size=60), PIECES, st.text(alphabet="aA1 .,'\"`-+/$%#@€é\n", max_size=30))


@given(TEXTS, TEXTS)
def test_it_never_raises_and_refuses_both_ways(one: str, other: str) -> None:
    assert (near_miss(one, other) is None) == (near_miss(other, one) is None)


@given(TEXTS)
def test_a_text_never_differs_from_itself(text: str) -> None:
    assert near_miss(text, text) is None


@given(st.text(alphabet=st.characters(codec="utf-8", exclude_characters="\x00"), max_size=40))
def test_any_text_equals_itself(text: str) -> None:
    assert near_miss(text, text) is None


@given(
    st.integers(2, 10**9),
    st.integers(2, 10**9),
    st.sampled_from(["refund order {}", "what happened in {}?", "I paid {} for it", "give me {} apples"]),
)
def test_a_changed_number_is_always_found(one: int, other: int, template: str) -> None:
    assert (near_miss(template.format(one), template.format(other)) is None) == (one == other)
