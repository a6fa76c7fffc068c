"""The whole flow behind HTTP: a service that speaks OpenAI's format and llmthrift's own, and shows the ledger in a browser.

`create_app` makes a FastAPI application of a `Thrift` and models; `llmthrift serve` runs it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmthrift_core.exports import lazy_exports

if TYPE_CHECKING:
    from llmthrift_core.service.app import create_app as create_app
    from llmthrift_core.service.backend import Answered as Answered
    from llmthrift_core.service.backend import Asked as Asked
    from llmthrift_core.service.backend import ChatBackend as ChatBackend
    from llmthrift_core.service.dashboard.routes import create_dashboard as create_dashboard
    from llmthrift_core.service.keys import ApiKey as ApiKey
    from llmthrift_core.service.keys import ApiKeys as ApiKeys

__all__ = ["Answered", "ApiKey", "ApiKeys", "Asked", "ChatBackend", "create_app", "create_dashboard"]

__getattr__ = lazy_exports(
    __name__,
    {
        "llmthrift_core.service.app": ("create_app",),
        "llmthrift_core.service.backend": ("Answered", "Asked", "ChatBackend"),
        "llmthrift_core.service.dashboard.routes": ("create_dashboard",),
        "llmthrift_core.service.keys": ("ApiKey", "ApiKeys"),
    },
    names=__all__,
    needs={
        "llmthrift_core.service.app": ("service", "fastapi", "uvicorn", "jinja2", "aiohttp"),
        "llmthrift_core.service.dashboard.routes": ("service", "fastapi", "uvicorn", "jinja2"),
    },
)
