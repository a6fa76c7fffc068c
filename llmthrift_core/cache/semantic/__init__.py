"""Answers by meaning. Loads numpy, so it is imported on first use."""
