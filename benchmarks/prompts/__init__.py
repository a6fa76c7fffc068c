"""Answers that are still there when documents are selected or shortened, beside peers; and how long it takes."""
