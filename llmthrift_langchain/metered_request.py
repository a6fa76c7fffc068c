"""A request of an agent whose model stays metered and within budgets, whoever inside of the middleware takes another one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from langchain.agents.middleware import ModelRequest
from langchain_core.language_models.chat_models import BaseChatModel


class MeteredRequest(ModelRequest[Any]):
    """As a `ModelRequest`; a model that it is overridden with, as `ModelFallbackMiddleware` and routers do, is wrapped too."""

    def override(self, **overrides: Any) -> ModelRequest[Any]:
        """A request with some of its parts replaced."""
        metered: Callable[[BaseChatModel], BaseChatModel] = vars(self)["llmthrift_metered"]
        if isinstance(model := overrides.get("model"), BaseChatModel):
            overrides["model"] = metered(model)
        made = super().override(**overrides)
        vars(made)["llmthrift_metered"] = metered
        return made


def metered_request(
    request: ModelRequest[Any], model: BaseChatModel, metered: Callable[[BaseChatModel], BaseChatModel], **overrides: Any
) -> ModelRequest[Any]:
    """The request with another model and other parts, whose further models are wrapped.

    Args:
        metered: wraps a model; a router stays as it is.
    """
    fields = {name: value for name, value in vars(request).items() if name != "llmthrift_metered"}
    made = MeteredRequest(**{**fields, "model": model, **overrides})
    vars(made)["llmthrift_metered"] = metered
    return made
