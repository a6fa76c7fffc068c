"""Reads the word lists of the guard, which are written as plain lines of words."""

from __future__ import annotations


def word_set(words: str) -> frozenset[str]:
    """The words of a line."""
    return frozenset(words.split())


def word_list(words: str) -> list[str]:
    """The words of a line, in order."""
    return words.split()
