"""Threads: the only place that starts one, and what a fork does to them."""
