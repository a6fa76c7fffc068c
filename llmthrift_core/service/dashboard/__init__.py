"""The dashboard: pages that show what the ledger knows, drawn here and with nothing from elsewhere.

`view` says what a page holds; `spending`, `levers` and `watching` fill pages from the same functions as the command line; `drawing` makes
HTML of them; `routes` serves it.
"""
