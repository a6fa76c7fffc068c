"""One call of a model, from the request to its rows in the ledger: the order of the steps, and what adapters drive."""
