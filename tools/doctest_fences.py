"""The doctests of docstrings as blocks of code, for the reference: an extension of griffe, which mkdocs.yml names."""

from __future__ import annotations

import re
from typing import Any, Final

from griffe import Extension, Object

_DOCTEST: Final = re.compile(r"^>>> .+(?:\n.+)*", re.MULTILINE)


class DoctestFences(Extension):
    """Fences each doctest, whose brackets Markdown would else read as links."""

    def on_object(self, *, obj: Object, **_: Any) -> None:
        """Change the docstring of one object."""
        if obj.docstring is not None:
            obj.docstring.value = _DOCTEST.sub(lambda found: f"```pycon\n{found[0]}\n```", obj.docstring.value)
