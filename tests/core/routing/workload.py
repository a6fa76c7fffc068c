"""Synthetic labelled traffic whose best routing is known."""

from __future__ import annotations

import random

from llmthrift_core.routing import Example

EASY = ("greet the customer", "translate the word", "name the capital", "spell the noun", "count the letters")
HARD = ("prove the theorem", "refactor the scheduler", "derive the bound", "audit the contract", "integrate the function")


def prompts(count: int, *, seed: int = 0) -> list[tuple[str, bool]]:
    """Prompts, each with whether only a strong model can answer it."""
    chance = random.Random(seed)
    made = []
    for number in range(count):
        hard = chance.random() < 0.5
        task = chance.choice(HARD if hard else EASY)
        made.append(
            (f"Please {task} of case {chance.randrange(10_000)}, {chance.choice(('quickly', 'carefully', 'again'))} ({number})", hard)
        )
    return made


def labelled(
    count: int, *, seed: int = 0, weak: str = "weak", strong: str = "strong", noise: float = 0.05, sites: bool = False
) -> list[Example]:
    """The strong model answers nearly everything, the weak one nearly all that is easy."""
    chance = random.Random(seed + 1)
    examples = []
    for prompt, hard in prompts(count, seed=seed):
        site = ("research" if hard else "support") if sites else None
        good = hard == (chance.random() < noise)
        examples.append(Example(prompt, weak, float(good), call_site=site))
        examples.append(Example(prompt, strong, float(chance.random() >= noise / 2), call_site=site))
    return examples
