"""Measures the near-miss guard on generated near misses, by kind, and on paraphrases written by hand.

Run: python -m benchmarks.near_misses
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from itertools import combinations, pairwise
from typing import Final, NamedTuple

from llmthrift_core.cache.near_misses import Facts, near_miss
from llmthrift_core.cache.near_misses.comparing import difference

Pair = tuple[str, str]
PER_TEMPLATE: Final = 12


class Kind(NamedTuple):
    """Templates with one hole each, and the values of which two make a near miss."""

    name: str
    templates: tuple[str, ...]
    values: tuple[str, ...]


KINDS: Final = (
    Kind(
        "numbers",
        (
            "what is the status of order {}",
            "how do I cook rice for {} people?",
            "Summarise chapter {} of the book",
            "is {} a prime number",
            "Give me {} tips for better sleep",
            "what happens if I drink {} glasses of water a day",
        ),
        ("2", "3", "five", "twelve", "17", "twenty-one", "40", "100", "1,250", "3.5"),
    ),
    Kind(
        "years",
        ("who won the world cup in {}", "What was the inflation rate in {}?", "best films of {}", "tax brackets for {}"),
        ("1987", "1999", "2008", "2016", "2022", "2023"),
    ),
    Kind(
        "dates",
        ("is the museum open on {}?", "book a table for {}", "what is the weather forecast for {}", "which events take place on {}"),
        ("2024-05-01", "2 May 2024", "June 3rd", "monday", "Tuesday", "tomorrow", "today", "next week", "next month", "Christmas"),
    ),
    Kind(
        "times",
        ("wake me up at {}", "Is there a train at {}?", "does the shop close at {}"),
        ("5am", "5pm", "6:30", "7 p.m.", "17:45", "noon"),
    ),
    Kind(
        "money",
        ("can I send {} abroad", "What can I buy for {}?", "how is {} taxed", "is {} a fair price for a used bike"),
        ("$20", "€20", "£20", "30 dollars", "30 euros", "500 yen", "500 USD"),
    ),
    Kind(
        "units",
        ("how much is 40 {}", "Convert 12 {} please", "is 3 {} a lot", "what does 100 {} look like"),
        ("kg", "pounds", "km", "miles", "litres", "gallons", "inches", "cm", "MB", "GB", "minutes", "hours"),
    ),
    Kind(
        "codes",
        ("what does {} do?", "Where can I find documentation of {}", "is {} deprecated", "how do I fix a problem with {}"),
        (
            "v1.2",
            "v1.3",
            "ERR-104",
            "ERR-105",
            "get_name",
            "set_name",
            "parseJson",
            "--verbose",
            "main.py",
            "E1001",
            "a@b.com",
            "Python 3.12",
        ),
    ),
    Kind(
        "quotes",
        ("what does {} mean", "how do you spell {}", "Translate {} into German", "use {} in a sentence"),
        ('"break a leg"', '"piece of cake"', "'ubiquitous'", "`git stash`", "“carpe diem”"),
    ),
    Kind(
        "names, capitalised",
        ("who is {}", "What did {} invent?", "tell me about the life of {}", "where was {} born", "Did {} ever win a prize?"),
        ("John Smith", "Jane Smith", "Ada Lovelace", "Alan Turing", "Grace Hopper", "Marie Curie", "Nikola Tesla"),
    ),
    Kind(
        "places, lower case",
        ("what is the weather in {}", "things to do in {}", "what language is spoken in {}", "cheap flights to {}"),
        ("paris", "london", "japan", "brazil", "new york", "california", "egypt", "south korea"),
    ),
    Kind(
        "products, lower case",
        ("how do I install {}", "is {} free to use", "who owns {}", "alternatives to {}"),
        ("python", "postgres", "mysql", "docker", "spotify", "netflix", "windows", "linux", "photoshop"),
    ),
)

OPPOSITES: Final = """
how do I {buy|sell} a house; what is the {maximum|minimum} temperature; {increase|decrease} the volume; {open|close} a bank account;
how do I log {in|out}; check {in|out} online; turn {on|off} the lights; turn the heating {up|down}; who is the {youngest|oldest} player;
is it better {before|after} a meal; {import|export} a csv file; how do I {encrypt|decrypt} a disk; {upload|download} a video;
{add|remove} a user; {create|delete} a table; why was my request {accepted|rejected}; {allow|deny} access; {include|exclude} weekends;
git {push|pull}; {lock|unlock} my phone; {hot|cold} drinks; the {cheapest|most expensive} hotel;
{male|female} names; my {husband|wife}'s visa;
the {left|right} lung; the {north|south} side; {win|lose} weight loss bets; {borrow|lend} money; {arrivals|departures} board;
{ascending|descending} order; {inbound|outbound} calls; {incoming|outgoing} mail; rights of the {landlord|tenant};
duties of an {employer|employee}; {physical|virtual} cards; {public|private} schools; is hunting {legal|illegal} here;
{install|uninstall} the app; {subscribe to|unsubscribe from} the list; {activate|deactivate} my sim; {connect|disconnect} the printer;
{more|less} than a litre; at {least|most} a week; {debit|credit} card fees; the {first|last} chapter; {send|receive} a fax;
{deposit|withdraw} cash; {start|stop} the engine; is it {possible|impossible} to travel faster than light; {warm|cool} colours;
the {highest|lowest} mountain; {breakfast|lunch} recipes; the {red|blue} wire; {summer|winter} clothes; {savings|checking} account
"""
NEGATIONS: Final = """
which animals can{| not} swim; why is my phone{| not} charging; foods {with|without} sugar; should I{| never} wake a sleepwalker;
the printer is{| not} responding, what now; why does{|n't} my code compile; {|non-}alcoholic drinks; who can{|not} vote in elections;
which countries are{|n't} in the union; is it ok to{| not} tip; all days {|except} sunday; songs with{|out} lyrics;
people who do{| not} eat meat; what if I do{|n't} pay rent; why did the build {fail|not fail}; cars that do{| not} need petrol;
is the shop{| not} open on holidays; when should you{| not} use antibiotics; books that have{| never} been translated;
which plants need{| no} sunlight; mammals that{| do not} lay eggs; why won't the door open{|}; can{|not} dogs eat grapes
"""
DIRECTIONS: Final = (
    ("convert {} to {}", ("USD", "EUR", "GBP", "celsius", "fahrenheit", "kg", "pounds")),
    ("flights from {} to {}", ("Paris", "London", "berlin", "tokyo", "Leeds", "york")),
    ("translate this from {} into {}", ("English", "French", "german", "latin")),
    ("is {} bigger than {}", ("Mars", "Venus", "texas", "france", "a whale", "an elephant")),
    ("how do I migrate from {} to {}", ("mysql", "postgres", "Oracle", "sqlite")),
    ("what is {} minus {}", ("7", "12", "30", "x")),
    ("divide {} by {}", ("4", "9", "27")),
    ("did {} defeat {}", ("rome", "carthage", "Sparta", "Athens")),
)
FOCUSES: Final = (
    ("who wrote this opera", "when was this opera written", "where was this opera written", "why was this opera written"),
    ("who built the bridge", "when was the bridge built", "how was the bridge built"),
    ("where is the party", "when is the party"),
    ("how many apples are there", "how old are the apples there"),
    ("how long is the river", "how deep is the river"),
)

PARAPHRASES: Final = """
How do I reset my password? | I forgot my password, how can I reset it? | what's the way to reset a password
What's the weather like in Paris? | what is the weather in paris | How is the weather in Paris right now?
How long does it take to boil an egg? | how long should I boil an egg | What's the right time for boiling an egg?
Where is my parcel? | I'm still waiting for my parcel, where is it? | my parcel has not arrived yet
My laptop won't turn on | my laptop is not turning on | Why does my laptop not turn on?
How can I lose weight fast? | What is the quickest way to lose weight? | tips for losing weight quickly
Can you recommend a good book? | please suggest a good book to read | Which book would you recommend?
What is the capital of France? | what's the French capital | capital of france
how do i cancel my subscription | I'd like to cancel my subscription please | Is there a way to cancel the subscription?
Why is the sky blue? | how come the sky is blue | what makes the sky blue
How do I make pancakes? | pancake recipe | What is a good recipe for pancakes?
My payment failed | the payment did not go through | Why was my payment declined?
Convert 5 km to miles | how many miles are five kilometers | what is 5 km in miles
I need to change my address | how do I update my address? | can I change the address in my profile
What time is it in Tokyo? | current time in tokyo | tell me the time in Tokyo
How much does shipping cost? | what are the shipping fees | What do you charge for shipping?
The app keeps crashing | why does the app crash all the time | app crashes constantly, please help
How do I sort a list in Python? | sort list python | What's the way of sorting a Python list?
What does GDP stand for? | meaning of GDP | what is gdp
How can I contact customer service? | I want to talk to a human | what's the phone number of customer support
Who wrote Hamlet? | who is the author of Hamlet | Which writer wrote hamlet?
Is it safe to eat raw eggs? | can I eat raw eggs | are raw eggs safe
book a table for 2 people | I'd like to reserve a table for two | Could you book me a table for two persons?
How tall is Mount Everest? | what is the height of mount everest | Mount Everest height
I lost my keys, what should I do? | what do I do if I have lost my keys | my keys are lost
Do you ship to Canada? | is shipping to canada possible | Can I get something shipped to Canada?
How do I delete my account? | please remove my account | I want my account deleted
What is the meaning of life? | what's life's meaning | Tell me the meaning of life
How many calories are in a banana? | calories of a banana | banana calories
How do vaccines work? | explain how vaccines work | What is the working principle of vaccines?
When does the store open? | what time does the shop open | opening hours of the store
My internet is slow | why is my internet so slow? | internet connection is very slow
How do I fix a leaking tap? | leaking tap repair | my tap leaks, how can I repair it?
What causes headaches? | why do people get headaches | reasons for headaches
What is machine learning? | explain machine learning to me | could you define machine learning
How do I apply for a passport? | what's the process of applying for a passport | passport application
Can I return a product after 30 days? | is it possible to return an item after thirty days | I want to return something after 30 days
How do I train a puppy? | puppy training tips | What is the best way of training a puppy?
I was charged $20 extra | why was I charged an extra 20 dollars? | there's an additional charge of 20 USD
What's a good gift for my mother? | gift ideas for mom | what should I give my mum
I can't log in to my account | unable to log into my account | login to my account doesn't work
How do I connect my phone to wifi? | connect phone to wi-fi | how can my phone be connected to Wi-Fi
What is the population of Japan? | how many people live in Japan | population of japan
Who is the president of the US? | who is the president of the United States | current president of the USA
How do I write a cover letter? | help me with writing a cover letter | cover letter writing tips
What's 15% of 80? | how much is 15 percent of 80 | calculate 15 % of 80
My order is late | why is my order delayed? | the order has not come in time
Where can I park near the airport? | parking close to the airport | is there a car park by the airport
How do I learn to play the guitar? | I want to learn guitar, how do I begin? | best way to learn playing guitar
The heating isn't working | heating does not work | my heating is broken
How often should I water a cactus? | how frequently do cacti need water | watering schedule of a cactus
What are the symptoms of flu? | flu symptoms | how do I know that I have the flu
Can I bring my dog? | are dogs allowed | is it ok to bring a dog
I don't understand recursion | explain recursion to me | what is recursion
How do I remove a stain from a carpet? | getting stains out of carpet | carpet stain removal
Please summarise this article | give me a summary of this article | Could you summarise the article for me?
What's the best phone under $500? | best phone for less than $500 | which phone below 500 dollars is best
How old do I have to be to drive? | minimum age for driving | what is the legal driving age
How do I find my IP address? | what's my ip address | show me my IP address
Meeting on 3 May 2024 at 5 pm | meeting at 5pm on May 3rd, 2024 | meeting on 2024-05-03 at 5:00 PM
How do I cook a steak medium rare? | cooking medium-rare steak | what's the trick to a medium rare steak
Does the hotel have a pool? | is there a swimming pool in the hotel | hotel pool?
Why can't I sleep? | I'm not able to sleep | what can I do against sleeplessness
How do I speed up my computer? | make my pc faster | my computer is slow, how do I make it faster
What's the exchange rate of the dollar? | dollar exchange rate | current exchange rate for dollars
Is coffee good for you? | is drinking coffee healthy | health effects of coffee
How do I get a refund? | I want my money back | can you refund me please
Screen of my phone is cracked | my phone's screen broke | how do I repair a cracked phone screen
How do I undo a git commit? | revert a commit in git | git: take back a commit
What is a black hole? | define black hole | Could you explain what black holes are?
"""


def near_misses(seed: int = 7) -> Iterator[tuple[str, Pair]]:
    """Near misses, each with its kind."""
    chance = random.Random(seed)
    for kind in KINDS:
        pairs = list(combinations(kind.values, 2))
        for template in kind.templates:
            for one, other in chance.sample(pairs, min(PER_TEMPLATE * 2, len(pairs))):
                yield kind.name, (template.format(one), template.format(other))
    for name, block in (("opposites", OPPOSITES), ("negation", NEGATIONS)):
        for row in " ".join(block.split()).split(";"):
            pair = _alternatives(row.strip())
            if pair[0] != pair[1]:
                yield name, pair
                yield name, (f"Hi, {pair[1]}? Thanks", pair[0])
    for template, values in DIRECTIONS:
        for one, other in combinations(values, 2):
            yield "direction", (template.format(one, other), template.format(other, one))
    for questions in FOCUSES:
        for one, other in combinations(questions, 2):
            yield "what is asked", (one, other)
    for one, other in combinations("+-*/", 2):
        for left, right in ((1, 1), (12, 4), (7, 30)):
            yield "formulas", (f"what is {left}{one}{right}", f"what is {left}{other}{right}")
            yield "formulas", (f"{left} {one} {right} =", f"{left} {other} {right} =")


def paraphrases() -> Iterator[Pair]:
    """Pairs of questions which ask for the same thing."""
    for row in PARAPHRASES.strip().splitlines():
        yield from combinations([question.strip() for question in row.split("|")], 2)


def _alternatives(row: str) -> Pair:
    head, _, rest = row.partition("{")
    choice, _, tail = rest.partition("}")
    one, _, other = choice.partition("|")
    return f"{head}{one}{tail}", f"{head}{other}{tail}"


def main() -> None:
    """Print, by kind, how many near misses are caught, then the paraphrases that are lost."""
    caught: dict[str, list[bool]] = {}
    missed: list[Pair] = []
    for kind, pair in near_misses():
        found = near_miss(*pair) is not None
        caught.setdefault(kind, []).append(found)
        if not found:
            missed.append(pair)
    print(f"{'near misses':24}{'caught':>8}{'of':>8}{'':>10}")
    for kind, results in caught.items():
        print(f"{kind:24}{sum(results):8}{len(results):8}{sum(results) / len(results):10.1%}")
    total = [result for results in caught.values() for result in results]
    print(f"{'all':24}{sum(total):8}{len(total):8}{sum(total) / len(total):10.1%}")
    pairs = list(paraphrases())
    lost = [(pair, reason) for pair in pairs if (reason := near_miss(*pair))]
    print(f"{'paraphrases lost':24}{len(lost):8}{len(pairs):8}{len(lost) / len(pairs):10.1%}")
    for (one, other), reason in lost:
        print(f"  lost: {one} | {other}: {reason}")
    for one, other in missed:
        print(f"  missed: {one} | {other}")
    _time([text for pair in pairs for text in pair])


def _time(texts: list[str]) -> None:
    start = time.perf_counter()
    facts = [Facts.of(text) for text in texts]
    made = time.perf_counter()
    for one, other in pairwise(facts):
        difference(one, other)
    compared = time.perf_counter()
    print(f"Facts.of {(made - start) / len(texts) * 1e6:.1f} us, difference {(compared - made) / len(texts) * 1e6:.1f} us")


if __name__ == "__main__":
    main()
