"""The guard knows opposites, amounts, signs, capitals, scope and three more languages; the learned score puts what passes in order."""

from __future__ import annotations

import gzip
import json
from importlib.resources import files

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.pairs import Pair, adversarial, outside, questions
from llmthrift_core.cache.near_misses import Facts, near_miss, score
from llmthrift_core.cache.near_misses.lexicon import lemma, relation
from llmthrift_core.cache.near_misses.verifier import NAMES, features

NEAR_MISSES = [
    # opposites of the lexicon, and by prefix or suffix
    ("Why did I pass the audit?", "Why did I fail the audit?"),
    ("What do you praise in a speech?", "Which speech would you criticize?"),
    ("Which plants tolerate shade?", "Which plants hate shade?"),
    ("Is the wire shielded?", "Is the wire unshielded?"),
    ("How do I cure a painful tooth?", "How do I cure a painless tooth?"),
    ("Are employed nurses insured?", "Are self-employed nurses insured?"),
    ("a profit organisation", "a nonprofit organisation"),
    # one place that differs
    ("How do I grow rhubarb?", "How do I grow spinach?"),
    ("Is the sauna open to guests?", "Is the sauna open to staff?"),
    ("Can I smoke on the balcony?", "Can tenants smoke on the balcony?"),
    ("How do I wash a coat?", "How do I wash a leather coat?"),
    ("What is the fee?", "What is the fee for a duplicate key?"),
    ("Which rooms have a bath?", "Which rooms lack a bath?"),
    ("Are all fees waived?", "Are some fees waived?"),
    ("Do most bees sting?", "Do few bees sting?"),
    ("Is it shut since noon?", "Is it shut until noon?"),
    ("Can I swap it within a month?", "Can I swap it after a month?"),
    ("May I leave the exam early?", "Must I leave the exam early?"),
    ("How do owls hear?", "Why do owls hear?"),
    ("Tell me about herring please", "Hi there, tell me about parsley, thanks kindly then"),
    ("How do I cancel my card?", "Hello, how do I activate my card? Thank you"),
    # signs, flags, capitals
    ("rows where a != b", "rows where a = b"),
    ("loop while x < limit", "loop while x > limit"),
    ("find x AND y", "find x OR y"),
    ("what does tar -x do", "what does tar -X do"),
    ("what does rm --force do", "what does rm --Force do"),
    ("a plant of 5 MW", "a plant of 5 mW"),
    ("a plant of 5MW", "a plant of 5mW"),
    ("a line of 20 Mb", "a line of 20 MB"),
    ("Is CO toxic?", "Is Co toxic?"),
    # amounts
    ("Is 2 weeks enough?", "Is 15 days enough?"),
    ("Is 1 kg enough?", "Is 100 g enough?"),
    ("Is half a litre enough?", "Is a litre and a half enough?"),
    # German, Spanish, French
    ("Wie lange hält ein Akku?", "Wie lange hält ein Reifen?"),
    ("Gibt es ein Zimmer für zwei Nächte?", "Gibt es ein Zimmer für drei Nächte?"),
    ("Ist der Markt am Samstag offen?", "Ist der Markt am Sonntag offen?"),
    ("Darf ich hier grillen?", "Darf ich hier nicht grillen?"),
    ("Welche Brote sind ohne Nüsse?", "Welche Brote sind mit Nüssen?"),
    ("Ist das Formular vollständig?", "Ist das Formular unvollständig?"),
    ("Wann wurde Heinrich Heine geboren?", "Wann wurde Theodor Storm geboren?"),
    ("¿Puedo pagar con cheque?", "¿No puedo pagar con cheque?"),
    ("Quiero un café sin azúcar", "Quiero un café con azúcar"),
    ("¿Cuánto cuesta el curso de enero?", "¿Cuánto cuesta el curso de febrero?"),
    ("Donde compro tres boletos", "Donde compro cinco boletos"),
    ("Est-ce que je peux fumer ici ?", "Est-ce que je ne peux pas fumer ici ?"),
    ("Un gateau sans oeufs", "Un gateau avec des oeufs"),
    ("Combien coute un billet pour trois jours", "Combien coute un billet pour cinq jours"),
    ("Comment changer mon adresse ?", "Comment changer mon nom ?"),
    ("Wo ist mein Schlüssel?", "¿Dónde está mi llave?"),
    ("Wie schalte ich das Licht an?", "Wie schalte ich das Licht aus?"),
    ("Beginnt der Kurs nach Ostern?", "Beginnt der Kurs vor Ostern?"),
    ("Pourquoi je peux entrer ?", "Pourquoi je ne peux pas entrer ?"),
    # prefixes that exclude each other, rare words that are no slips
    ("What is a macroclimate?", "What is a microclimate?"),
    ("Is nitrate in the water?", "Is nitrite in the water?"),
    # when: was, is, will be
    ("Who is the king of Norway?", "Who was the king of Norway?"),
    ("Who won the cup?", "Who will win the cup?"),
    ("Is the rink open every day?", "Is the rink open every other day?"),
    ("Will it melt if it is warm?", "Will it melt even if it is warm?"),
    # what must be, may be, is advised
    ("Do I have to sign the lease?", "Am I allowed to sign the lease?"),
    ("Is a deposit required?", "Is a deposit recommended?"),
    # what stands behind what
    ("Who was Caesar betrayed by?", "Who was betrayed by Caesar?"),
    ("Should I paint the wall before I lay the floor?", "Should I lay the floor before I paint the wall?"),
    # a denial beside trouble that both name, or that has nothing to do with it
    ("Which maps open offline?", "Which maps do not open offline?"),
    ("What if the tenant fails to pay the rent?", "What if the tenant pays the rent?"),
    ("What happens if I do not pay rent?", "What happens if I pay rent late?"),
    ("How do I turn off the alarm?", "How do I enable the alarm?"),
    ("Can I use the sauna?", "Can season ticket holders use the sauna?"),
    ("How long is the bridge?", "How wide is the bridge?"),
    ("a fare with + 5 points", "a fare with - 5 points"),
    ("What does `\\s` match?", "What does `\\S` match?"),
    # who does it to whom; what is counted and what ranked; what is only so; what must not be and what need not
    ("What does a lessor sign?", "What does a lessee sign?"),
    ("Who is the mortgagor?", "Who is the mortgagee?"),
    ("Who beat Spain?", "Who did Spain beat?"),
    ("What scares elephants?", "What do elephants scare?"),
    ("Name the 3 tallest towers", "Name the third tallest tower"),
    ("a flat on the 5th floor", "a flat on 5 floors"),
    ("Is the ferry free for pupils?", "Is the ferry only free for pupils?"),
    ("Only nurses may open the cabinet", "Nurses may only open the cabinet"),
    ("Visitors must not feed the swans", "Visitors need not feed the swans"),
    ("You shouldn't tip the driver", "You don't have to tip the driver"),
    # another time, with the words in another order
    ("What was the fare in June?", "What will the fare be in June?"),
    ("Was I upgraded?", "Can I be upgraded?"),
    ("Which abbey has a cloister?", "Which abbey had a cloister?"),
    # what stands before a word in programs
    ("What does !done print?", "What does done print?"),
    ("What is *q in C?", "What is &q in C?"),
    ("Remove *.bak here", "Remove *.old here"),
    ("What is p-q?", "What is p+q?"),
    # how sure it is, and how a preposition relates to a time
    ("The bridge may close, they say", "The bridge will close, they say"),
    ("Might the ferry be late?", "Will the ferry be late?"),
    ("The valve could leak in winter", "The valve did leak in winter"),
    ("Is the draft due by ten?", "Is the draft due at ten?"),
    ("Do we leave around noon?", "Do we leave by noon?"),
    ("Is he already insured?", "Is he still insured?"),
    # how many, where one side denies or the noun has another number
    ("None of the lamps lit, why?", "All of the lamps lit, why?"),
    ("Every tenant signed the lease", "Only some tenants signed the lease"),
    ("Is a signature of either parent valid?", "Is a signature of both parents valid?"),
    ("Which swimmers have arrived?", "Which swimmers have not yet arrived?"),
    ("Can a nurse overrule an intern?", "Can an intern overrule a nurse?"),
    # the same in German, Spanish, French: what must be and may be, who to whom, from where, in both spellings of a sign
    ("Muss ich eine Haube tragen?", "Darf ich eine Haube tragen?"),
    ("¿Debo firmar el acta?", "¿Puedo firmar el acta?"),
    ("Dois-je signer le bail ?", "Puis-je signer le bail ?"),
    ("Wie tausche ich Kronen in Franken um?", "Wie tausche ich Franken in Kronen um?"),
    ("¿El tren a Bilbao es puntual?", "¿El tren desde Bilbao es puntual?"),
    ("Est-ce ouvert hors saison ?", "Est-ce ouvert en saison ?"),
]
PARAPHRASES = [
    ("Can I return it within 2 weeks?", "May I send it back within 14 days?"),
    ("Is 90 minutes enough?", "is an hour and a half enough"),
    ("500 ml of cream", "half a litre of cream"),
    ("2 kg of sugar", "2000 g sugar"),
    ("a dozen roses", "12 roses"),
    ("a warranty of 1 year", "a warranty of 12 months"),
    ("Is it done in 24 hours?", "Is it done in a day?"),
    ("Morning! Where do I park?", "Where do I park?"),
    ("Good evening, is the bar open?", "is the bar open?"),
    ("Is it open on wensday", "Is it open on Wednesday?"),
    ("a trip in Febuary", "a trip in February"),
    ("Is the bar open at 10 am?", "Is the bar open at 10 in the morning?"),
    ("open from Monday to Friday", "open on weekdays"),
    ("When does the shop close?", "What time does the store shut?"),
    ("How do I fix a bike?", "How can I repair my bicycle?"),
    ("How do I modfy my booking?", "How do I modify my booking?"),
    ("Where do I charge an electric vehicle?", "Where do I charge my EV?"),
    ("what does the -l flag do", "What does the flag -l do?"),
    ("how to install nodejs on a MAC", "How to install nodejs on a mac"),
    ("Wo finde ich den Schlüssel?", "Wo ist der Schlüssel?"),
    ("Wie kann ich meinen Namen ändern?", "Wie ändere ich meinen Namen?"),
    ("¿Dónde está la llave?", "donde esta la llave"),
    ("¿Cómo puedo cambiar mi nombre?", "Como cambio mi nombre"),
    ("Comment puis-je changer mon nom ?", "Comment changer mon nom"),
    ("À quelle heure ouvre la piscine ?", "Quand ouvre la piscine"),
    ("Wie kann ich den Keller aufräumen?", "Wie räume ich den Keller auf?"),
    ("Where is the theatre?", "Where is the theater?"),
    ("Can I pay by cheque?", "Can I pay by check?"),
    ("Is it open whilst it snows?", "Is it open while it snows?"),
    ("What is 5 per cent of 60?", "What is 5% of 60?"),
    ("Does the train leave at 17:45?", "Does the train leave at 5:45 pm?"),
    ("Does it shut at twelve noon?", "Does it shut at midday?"),
    ("When did World War I begin and World War II end?", "When did World War I begin and World War 2 end?"),
    ("How many files are on 1 GB?", "How many files are on a gigabyte?"),
    ("Which docs do I bring?", "Which documents do I bring?"),
    ("Is it open on Wed?", "Is it open on Wednesday?"),
    ("How do I get to New York?", "How do I get to NYC?"),
    ("Is 40 degrees Celsius too hot?", "Is 40 celsius too hot?"),
    ("How do I switch off the heating?", "How do I disable the heating?"),
    ("When it rains, is the fair open?", "Is the fair open when it rains?"),
    ("Why does the lamp not work?", "Why did the lamp stop working?"),
    ("Is cycling prohibited in the park?", "Is cycling not allowed in the park?"),
    ("The kiosk is not open", "The kiosk is closed"),
    ("Towels are excluded", "Towels are not included"),
    ("Is the pier shut on 4 June 2025?", "Is the pier shut on June 4th, 2025?"),
    ("The 1st of June", "June 1st"),
    ("I rang the bell twice", "I rang the bell two times"),
    ("The tour takes 100 minutes", "The tour takes an hour and 40 minutes"),
    ("He is 6 feet 2 inches", "He is 74 inches"),
    ("When was the pier opened?", "When did they open the pier?"),
    ("When do you close tomorrow?", "When will you close tomorrow?"),
    ("Whom do I ask?", "Who should I ask?"),
    ("Is rhubarb considered a fruit?", "Is rhubarb a fruit?"),
    ("Can I not pay by cheque?", "Can't I pay by cheque?"),
    ("I only want to know your address", "I want to know your address"),
    ("**Where** is the *pier*?", "Where is the pier?"),
    ("Why didn't my last upload go through?", "Why did my last upload fail?"),
    ("The badge still hasn't come", "The badge hasn't come yet"),
    ("I never got a badge", "I didn't get a badge"),
    ("How can one apply for a visa?", "How do I apply for a visa?"),
    ("Setting up the scanner", "How do I set up the scanner?"),
    ("The hatch does not open", "The hatch won't open"),
    ("Will you repair the lamp?", "Can you repair the lamp?"),
    ("Ist der Eintritt gratis?", "Ist der Eintritt kostenlos?"),
    ("Wie hoch ist die Miete?", "Was beträgt die Miete?"),
    ("Was ist ein Wechselrichter?", "Erkläre bitte, was ein Wechselrichter ist"),
    ("¿Es posible aplazar la cita?", "¿Puedo aplazar la cita?"),
    ("¿Qué métodos de pago hay?", "¿Qué formas de pago hay?"),
    ("Quels moyens de transport proposez-vous ?", "Quels modes de transport proposez-vous ?"),
    ("Est-il possible de reporter la visite ?", "Puis-je reporter la visite ?"),
]


@pytest.mark.parametrize(
    ("one", "other", "kind"),
    [
        ("cheap", "expensive", "opposite"),
        ("kind", "unkind", "opposite"),
        ("hope", "hopeless", "opposite"),
        ("car", "automobile", "same"),
        ("cancel", "cancellation", "same"),
        ("vaccination", "vaccinaton", "same"),
        ("dog", "parcel", "other"),
    ],
)
def test_how_words_relate(one: str, other: str, kind: str) -> None:
    assert relation(one, other).kind == kind
    assert relation(other, one) == relation(one, other)


def test_words_are_found_under_their_forms() -> None:
    assert [lemma(word) for word in ("parcels", "copied", "running", "children", "unheardofword")] == [
        "parcel", "copy", "running", "child", "unheardofword",
    ]  # fmt: skip


def test_every_word_has_a_vector() -> None:
    data = files("llmthrift_core.cache.near_misses").joinpath("data")
    words = gzip.decompress(data.joinpath("lexicon.tsv.gz").read_bytes()).decode().splitlines()
    assert len(data.joinpath("vectors.bin").read_bytes()) == 48 * len(words)
    assert relation("dog", "puppy").nearness > relation("dog", "invoice").nearness


# --- the learned score ---


def scored(one: str, other: str, cosine: float = 0.8) -> float:
    return score(Facts.of(one), Facts.of(other), cosine)


def test_what_is_said_in_other_words_scores_higher_than_what_is_added() -> None:
    asked = "How do I repair my bicycle?"
    assert scored(asked, "How can I fix a bike?") > 0.9 > scored(asked, "How do I repair a bicycle lamp for my nephew?")
    assert scored("When are you open?", "What are the opening hours?") > scored("When are you open?", "What do you charge?")


def test_nearer_embeddings_score_higher() -> None:
    assert scored("Where is my parcel?", "my package has not come", 0.9) > scored("Where is my parcel?", "my package has not come", 0.5)


def test_languages_that_are_not_read_have_their_cosine() -> None:
    assert scored("какая погода", "какая цена", 0.61) == 0.61


def test_the_weights_are_those_of_the_features() -> None:
    made = json.loads(files("llmthrift_core.cache.near_misses").joinpath("data", "verifier.json").read_text())
    assert tuple(made["weights"]) == NAMES
    found = features(Facts.of("Where is my parcel?"), Facts.of("my package has not come"))
    assert found is not None
    assert len(found) == len(NAMES)


@given(st.text(max_size=60), st.text(max_size=60), st.floats(-1, 1))
def test_a_score_is_a_share_and_the_same_both_ways(one: str, other: str, cosine: float) -> None:
    found = scored(one, other, cosine)
    assert 0 <= found <= 1
    assert scored(other, one, cosine) == pytest.approx(found)


# --- on whole sets of pairs ---


@pytest.mark.parametrize(
    "pairs", [adversarial(), *map(questions, ("first", "second", "third"))], ids=["adversarial", "first", "second", "third"]
)
def test_few_near_misses_written_by_hand_pass_and_few_equal_questions_are_refused(pairs: list[Pair]) -> None:
    passed = [near_miss(pair.one, pair.other) is None for pair in pairs if not pair.is_equal]
    refused = [near_miss(pair.one, pair.other) is not None for pair in pairs if pair.is_equal]
    assert len(passed) >= 120
    assert len(refused) > 80
    assert sum(passed) / len(passed) <= 0.03
    assert sum(refused) / len(refused) < 0.065


def test_few_near_misses_in_other_languages_pass_and_most_equal_questions_do() -> None:
    pairs = questions("languages")
    passed = [near_miss(pair.one, pair.other) is None for pair in pairs if not pair.is_equal]
    refused = [near_miss(pair.one, pair.other) is not None for pair in pairs if pair.is_equal]
    assert len(passed) == len(refused) == 120
    assert sum(passed) / len(passed) <= 0.02
    assert sum(refused) / len(refused) <= 0.36


def test_few_equal_questions_of_others_are_refused() -> None:
    pairs = outside()
    if not pairs:
        pytest.skip("the outside pairs are not here (../shared/data/question_pairs.csv.gz)")
    refused = [near_miss(pair.one, pair.other) is not None for pair in pairs if pair.is_equal]
    passed = [near_miss(pair.one, pair.other) is None for pair in pairs if not pair.is_equal]
    assert sum(refused) / len(refused) <= 0.055
    assert sum(passed) / len(passed) <= 0.16
