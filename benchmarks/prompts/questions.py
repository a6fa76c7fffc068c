"""Questions with the paragraphs that answer them, and the built-in model's vectors, each computed once."""

from __future__ import annotations

import csv
import gzip
import random
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

FOLDERS = (Path(__file__).parents[3] / "shared" / "data", Path("../shared/data"), Path("../../shared/data"))
CANDIDATES = 20


@dataclass(frozen=True)
class Asked:
    """A question with its answer, as the paragraph has it."""

    language: str
    question: str
    answer: str
    paragraph: str


def data_file(name: str) -> Path:
    """The path of a file of the data. Ends the program where it is absent."""
    path = next((found for folder in FOLDERS if (found := folder / name).exists()), None)
    if path is None:
        sys.exit(f"the data is not here: {name}")
    return path


def questions(every: int = 1) -> list[Asked]:
    """Those of the data, or every so many of them. Ends the program where the data is absent."""
    with gzip.open(data_file("paragraph_questions.csv.gz"), "rt", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    paragraphs = {(row["language"], row["article"], row["paragraph"]): row["context"] for row in rows if row["context"]}
    found = [
        Asked(row["language"], row["question"], row["answer"], paragraphs[row["language"], row["article"], row["paragraph"]])
        for row in rows
    ]
    return found[::every]


def with_others(asked: Asked, among: Sequence[str], seed: int) -> list[str]:
    """Its paragraph among nineteen others of its language, in an order of chance."""
    chance = random.Random(seed)
    mixed = [asked.paragraph, *chance.sample([each for each in among if each != asked.paragraph], CANDIDATES - 1)]
    chance.shuffle(mixed)
    return mixed


class Vectors:
    """The built-in model, asked once for each text."""

    name = "built-in, remembered"

    def __init__(self) -> None:
        from llmthrift_core.embedding import DefaultEmbedder

        self._model = DefaultEmbedder()
        self._known: dict[str, np.ndarray] = {}

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        new = [text for text in dict.fromkeys(texts) if text not in self._known]
        for text, vector in zip(new, self._model(new) if new else (), strict=True):
            self._known[text] = vector
        return np.array([self._known[text] for text in texts])

    def remember(self, known: dict[str, np.ndarray]) -> None:
        """Take vectors that were computed before."""
        self._known.update(known)
