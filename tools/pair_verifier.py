"""Trains the pair verifier: writes `llmthrift_core/cache/near_misses/data/verifier.json`.

    python -m tools.pair_verifier

The pairs are those of `tools/training_pairs.txt`, the paraphrases of `benchmarks.near_misses`, and variants of both that are made here:
questions with something added, a word exchanged, a slip of the keyboard, a courtesy; and neighbours that ask for something else. Only
those count that the guard lets pass. Needs the extras `semantic` and `routing`.
"""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Final

import numpy as np
from sklearn.linear_model import LogisticRegression

from benchmarks import near_misses
from benchmarks.pairs import Pair, read_pairs
from llmthrift_core.cache.near_misses import Facts
from llmthrift_core.cache.near_misses.comparing import difference
from llmthrift_core.cache.near_misses.everyday import LIGHT
from llmthrift_core.cache.near_misses.lexicon import is_word, lemma, relation
from llmthrift_core.cache.near_misses.verifier import NAMES, features
from llmthrift_core.cache.near_misses.words import STOP_WORDS
from llmthrift_core.embedding import DefaultEmbedder

DATA: Final = Path(__file__).parents[1] / "llmthrift_core" / "cache" / "guard" / "data" / "verifier.json"
_WRITTEN: Final = Path(__file__).parent / "training_pairs.txt"
_SHARE_SERVED: Final = 0.11  # of the near misses, at the threshold below
THRESHOLD: Final = 0.8
_COSINE: Final = 0.45  # how much of the score the cosine makes up
_FOR: Final = frozenset({"alike share", "nothing left", "near words left"})
_WRITTEN_WEIGHT: Final = 3.0  # of a near miss that was written by hand
_SEED: Final = 7
_ADDED: Final = (
    "for children", "for a business", "without a receipt", "for old customers", "on a tablet", "if I am self-employed", "after a refusal",
    "as a student", "for my parents", "during the holidays", "when I am abroad", "with a gift card", "as a landlord", "for free",
    "in the evening shift", "if I lost the contract", "for large families", "before it expires", "on behalf of a friend", "by post",
)  # fmt: skip
_COURTESIES: Final = (
    "Hi, {}", "Hello! {}", "{} Thanks!", "Sorry, but {}", "so {}", "uh {}", "Please tell me: {}", "quick question: {}", "{} please",
    "I was wondering, {}", "Could you tell me {}",
)  # fmt: skip


def main() -> None:
    """Make the pairs, fit, write."""
    chance = random.Random(_SEED)
    pairs = _pairs(chance)
    vectors = _vectors([text for pair in pairs for text in (pair.one, pair.other)])
    pairs += _neighbours(pairs, vectors)
    rows, labels, weights, kinds = [], [], [], []
    for pair in pairs:
        left, right = Facts.of(pair.one), Facts.of(pair.other)
        found = features(left, right) if difference(left, right) is None else None
        if found is not None:
            rows.append((float(vectors[pair.one] @ vectors[pair.other]), *found))
            labels.append(pair.is_equal)
            kinds.append(pair.kind)
            weights.append({"made": 0.3, "neighbour": 0.1}.get(pair.kind, 1.0 if pair.is_equal else _WRITTEN_WEIGHT))
    data, right_ones = np.array(rows), np.array(labels)
    raw = _fitted(data, right_ones, np.array(weights))
    raw *= _COSINE / raw[0]
    scores = data @ raw
    # Neighbours count little: some of them are equal questions.
    wrong = np.sort(scores[~right_ones & (np.array(kinds) != "neighbour")])[::-1]
    offset = THRESHOLD - wrong[int(len(wrong) * _SHARE_SERVED)]
    served = scores + offset >= THRESHOLD
    print(f"{right_ones.sum()} equal, {(~right_ones).sum()} near misses that the guard lets pass")
    print(f"at {THRESHOLD:g}: {served[right_ones].mean():.1%} and {served[~right_ones].mean():.1%} served")
    for kind in dict.fromkeys(kinds):
        of = np.array([each == kind for each in kinds])
        for equal in (True, False):
            if (of & (right_ones == equal)).any():
                print(f"  {kind} {equal}: {served[of & (right_ones == equal)].mean():.1%} of {(of & (right_ones == equal)).sum()}")
    weights_of = dict(zip(NAMES, (round(float(each), 4) for each in raw[1:]), strict=True))
    made = {"threshold": THRESHOLD, "offset": round(float(offset), 4), "cosine": _COSINE, "weights": weights_of}
    DATA.write_text(json.dumps(made, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(made, indent=1))


def _fitted(data: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The weights of a logistic regression, without features that would count the wrong way round."""
    scale = data.std(axis=0) + 1e-9
    signs = np.array([1.0, *(1.0 if name in _FOR else -1.0 for name in NAMES)])
    used = np.ones(data.shape[1], dtype=bool)
    while True:
        model = LogisticRegression(C=0.5, max_iter=5_000).fit(data[:, used] / scale[used], labels, sample_weight=weights)
        raw = np.zeros(data.shape[1])
        raw[used] = model.coef_[0] / scale[used]
        wrong = raw * signs < 0
        if not wrong.any():
            return raw
        used &= ~wrong


def _pairs(chance: random.Random) -> list[Pair]:
    written = list(read_pairs(_WRITTEN))
    written += [Pair("equal", one, other, True) for one, other in near_misses.paraphrases()]
    pool = sorted({lemma(word) for pair in written for word in Facts.of(pair.one).content if word not in LIGHT and is_word(word)})
    made = []
    for pair in written:
        if pair.is_equal:
            for one, other in ((pair.one, pair.other), (pair.other, pair.one)):
                made.append(Pair("made", one, _with_added(other, chance), False))
                exchanged = _exchanged(one, other, pool, chance)
                made.extend(Pair("made", one, text, False) for text in exchanged)
                made.append(Pair("made", one, chance.choice(_COURTESIES).format(other), True))
                made.append(Pair("made", one, _slip(other, chance), True))
        made.append(Pair("made", pair.one, chance.choice(_COURTESIES).format(_slip(pair.one, chance)), True))
    return written + made


def _with_added(text: str, chance: random.Random) -> str:
    return f"{text.rstrip('?.! ')} {chance.choice(_ADDED)}{'?' if text.endswith('?') else ''}"


def _exchanged(one: str, other: str, pool: list[str], chance: random.Random) -> list[str]:
    """The other question with a word that both have exchanged for one that is not too far."""
    both = [word for word in Facts.of(other).content if word in Facts.of(one).content and word not in LIGHT and word not in STOP_WORDS]
    found = []
    for word in both[:3]:
        near = [new for new in pool if relation(word, new).kind != "same" and 0.25 < relation(word, new).nearness < 0.9]
        pieces = other.split()
        place = next((place for place, piece in enumerate(pieces) if lemma(piece.strip("?.,!").lower()) == word), None)
        if near and place is not None:
            stripped = pieces[place].strip("?.,!")
            found.append(" ".join((*pieces[:place], pieces[place].replace(stripped, chance.choice(near)), *pieces[place + 1 :])))
    return found


def _slip(text: str, chance: random.Random) -> str:
    words = text.split()
    places = [place for place, word in enumerate(words) if len(word) > 5 and word.isalpha() and word.islower()]
    if places:
        place = chance.choice(places)
        word = words[place]
        at = chance.randrange(1, len(word) - 2)
        words[place] = chance.choice((word[:at] + word[at + 1 :], word[:at] + word[at + 1] + word[at] + word[at + 2 :]))
    return " ".join(words)


def _neighbours(pairs: list[Pair], vectors: dict[str, np.ndarray]) -> list[Pair]:
    """Questions of other rows that are near, and not so near that they may be equal."""
    written = [pair for pair in pairs if pair.kind != "made"]
    texts = [text for pair in written for text in (pair.one, pair.other)]
    rows = [number // 2 for number in range(len(texts))]
    table = np.array([vectors[text] for text in texts])
    near = table @ table.T
    found = []
    for place, text in enumerate(texts):
        order = np.argsort(-near[place])[:12]
        found += [
            Pair("neighbour", text, texts[other], False)
            for other in order
            if rows[other] != rows[place]
            and 0.4 < near[place, other] < 0.75
            and not set(Facts.of(text).content) >= set(Facts.of(texts[other]).content)
        ]
    return found


def _vectors(texts: list[str]) -> dict[str, np.ndarray]:
    embedder = DefaultEmbedder()
    wanted = list(dict.fromkeys(texts))
    found = {}
    for start in range(0, len(wanted), 64):
        made = np.asarray(embedder(wanted[start : start + 64]))
        found.update(zip(wanted[start : start + 64], made / np.linalg.norm(made, axis=1, keepdims=True), strict=True))
    return found


if __name__ == "__main__":
    main()
