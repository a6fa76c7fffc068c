"""Pages as HTML. Jinja2 escapes every value; only charts are taken as they are, which escape their own."""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files
from typing import Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from llmthrift_core.display import cell
from llmthrift_core.service.dashboard.view import Code, Link, shown

# Nothing from elsewhere, nothing inline. A notebook on this machine may show it in a frame.
POLICY: Final = (
    "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'self' http://localhost:* http://127.0.0.1:*"
)
HEADERS: Final = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
STATIC: Final = {
    "dashboard.css": "text/css; charset=utf-8",
    "dashboard.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}
PLACES: Final = (
    ("spend", "Spend"),
    ("explorer", "Explorer"),
    ("runs", "Runs"),
    ("opportunities", "Opportunities"),
    ("plans", "Plans"),
    ("prompts", "Prompts"),
    ("cache", "Caching"),
    ("routing", "Routing"),
    ("budgets", "Budgets"),
    ("experiments", "Experiments"),
    ("alerts", "Alerts"),
    ("health", "Health"),
)
_PART_OF: Final = {"calls": "explorer", "call": "explorer"}


def draw(template: str, *, place: str = "", **values: Any) -> str:
    """A template with these values.

    Args:
        place: the name of the page, which its navigation marks.
    """
    return _templates().get_template(template).render(places=PLACES, place=_PART_OF.get(place, place), **values)


@cache
def static(name: str) -> bytes:
    """A file that pages load."""
    return files("llmthrift_core.service.dashboard").joinpath("static", name).read_bytes()


@cache
def _templates() -> Environment:
    found = Environment(
        loader=PackageLoader("llmthrift_core.service.dashboard"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters.update(cell=cell, shown=shown, prose=_prose, drawing=Markup)
    found.tests.update(link=lambda value: isinstance(value, Link), code=lambda value: isinstance(value, Code))
    return found


def _prose(text: Any) -> Markup:
    """A sentence; what stands between backticks is typed as it is."""
    return Markup(re.sub("`([^`]+)`", r"<code>\1</code>", str(escape(cell(text)))))  # noqa: S704 - escaped
