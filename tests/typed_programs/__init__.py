"""Programs as users write them, which `make typecheck` reads with `mypy --strict`, and which a test runs."""
