"""The guard knows opposites, amounts, signs, capitals, scope and three more languages; the learned score puts what passes in order."""

from __future__ import annotations

import gzip
import json
from importlib.resources import files

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.pairs import adversarial, outside
from llmthrift_core.cache.guard import Facts, near_miss, score
from llmthrift_core.cache.guard.lexicon import lemma, relation
from llmthrift_core.cache.guard.verifier import NAMES, features

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
]


@pytest.mark.parametrize(("one", "other"), NEAR_MISSES)
def test_a_near_miss_is_refused_both_ways(one: str, other: str) -> None:
    assert near_miss(one, other)
    assert near_miss(other, one)


@pytest.mark.parametrize(("one", "other"), PARAPHRASES)
def test_a_paraphrase_passes_both_ways(one: str, other: str) -> None:
    assert near_miss(one, other) is None
    assert near_miss(other, one) is None


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
    data = files("llmthrift_core.cache.guard").joinpath("data")
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
    made = json.loads(files("llmthrift_core.cache.guard").joinpath("data", "verifier.json").read_text())
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


def test_few_near_misses_of_an_adversary_pass_and_few_equal_questions_are_refused() -> None:
    pairs = adversarial()
    passed = [near_miss(pair.one, pair.other) is None for pair in pairs if not pair.is_equal]
    refused = [near_miss(pair.one, pair.other) is not None for pair in pairs if pair.is_equal]
    assert len(passed) > 300
    assert len(refused) > 100
    assert sum(passed) / len(passed) <= 0.08
    assert sum(refused) / len(refused) < 0.05


def test_few_equal_questions_of_others_are_refused() -> None:
    pairs = outside()
    if not pairs:
        pytest.skip("the outside pairs are not here (../shared/data/question_pairs.csv.gz)")
    refused = [near_miss(pair.one, pair.other) is not None for pair in pairs if pair.is_equal]
    passed = [near_miss(pair.one, pair.other) is None for pair in pairs if not pair.is_equal]
    assert sum(refused) / len(refused) <= 0.055
    assert sum(passed) / len(passed) <= 0.16
