"""The application that a worker of `llmthrift serve` runs, made of the file that $LLMTHRIFT_CONFIG names."""

from __future__ import annotations

import logging
import os
import signal
import threading
from typing import TYPE_CHECKING, Any

from llmthrift_core.errors import ConfigurationError
from llmthrift_core.service.app import backend_of, create_app
from llmthrift_core.service.asking import Service
from llmthrift_core.service.config import Configuration, load_configuration
from llmthrift_core.service.guard import Limits
from llmthrift_core.thrift import Thrift

if TYPE_CHECKING:
    from fastapi import FastAPI

logger = logging.getLogger("llmthrift.service")


def make_app() -> FastAPI:
    """The application of one worker. SIGHUP reads the file again: calls under way go on with what they began with.

    Raises:
        ConfigurationError: no file is named, or it cannot be used.
    """
    path = os.environ.get("LLMTHRIFT_CONFIG")
    if not path:
        raise ConfigurationError("$LLMTHRIFT_CONFIG must name the service's TOML file")
    loaded = load_configuration(path)
    thrift = Thrift(loaded.database, durability=loaded.durability)
    set_budgets(thrift, loaded)
    limits = Limits(max_body_bytes=loaded.service.max_body_bytes, max_concurrency=loaded.service.max_concurrency)
    app = create_app(thrift, models=models_of(loaded), on_budget=loaded.service.on_budget, limits=limits, closes=True, **loaded.options())
    if hasattr(signal, "SIGHUP") and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGHUP, lambda *_: reload(app.state.service, path))
    return app


def reload(service: Service, path: str) -> bool:
    """Take over a changed file. One that cannot be used is logged, and what was in force stays. False then."""
    try:
        loaded = load_configuration(path)
        backend = backend_of(service.thrift, models_of(loaded), **loaded.options())
        set_budgets(service.thrift, loaded)
    except Exception as error:
        logger.error("%s was not taken over: %s", path, error if isinstance(error, ConfigurationError) else type(error).__name__)
        return False
    service.backend, service.on_budget = backend, loaded.service.on_budget
    logger.warning("%s was read again", path)
    return True


def models_of(loaded: Configuration) -> dict[str, Any]:
    """By tier its model: a name, or a pair of its name and its parameters."""
    found: dict[str, Any] = {}
    for name, tier in loaded.tiers.items():
        options = {key: value for key, value in tier.model_dump(exclude={"model"}).items() if value is not None}
        found[name] = (tier.model, options) if options else tier.model
    return found


def set_budgets(thrift: Thrift, loaded: Configuration) -> None:
    """Set the budgets of the file; one of the same name is replaced."""
    for budget in loaded.made_budgets():
        thrift.budgets.add(budget)
