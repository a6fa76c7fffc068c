"""The paths of the batch APIs: which method of the desk answers which request."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

from llmthrift_core.testing.batch_desk import BatchDesk, parts_of_form, shown

_PATH: Final = re.compile(r"(?:/v1)?/(?P<kind>files|batches|messages/batches)(?:/(?P<id>[\w.-]+))?(?:/(?P<action>content|cancel|results))?")
_PAGE: Final = 20


@dataclass(frozen=True, slots=True)
class Reply:
    """What a client gets: an object, or the lines of a file. A reply that is lost closes the connection instead."""

    status: int
    body: Mapping[str, Any] | bytes
    is_lost: bool = False


def is_of_batches(path: str) -> bool:
    """Whether a path belongs to the batch APIs."""
    return _PATH.fullmatch(urlsplit(path).path.rstrip("/")) is not None


def reply_to(desk: BatchDesk, method: str, path: str, body: Any, base_url: str) -> Reply:
    """The answer to a request.

    Args:
        body: the parsed JSON, or content type and bytes of a form.

    Raises:
        KeyError: there is no such batch, file or path. ValueError: what was submitted is refused.
    """
    parts = urlsplit(path)
    found = _PATH.fullmatch(parts.path.rstrip("/"))
    assert found is not None  # noqa: S101 - is_of_batches came first
    kind, identity, action = found["kind"], found["id"], found["action"]
    query = {name: values[0] for name, values in parse_qs(parts.query).items()}
    if kind == "files":
        return _files(desk, method, identity, action, body)
    api = "openai" if kind == "batches" else "anthropic"
    if identity is None and method == "POST":
        batch = desk.submit_openai(body) if api == "openai" else desk.submit_anthropic(body)
        return Reply(200, shown(batch, base_url), is_lost=desk.loses_this())
    if identity is None:
        batches, has_more = desk.listed(api, query.get("after") or query.get("after_id"), int(query.get("limit") or _PAGE))
        data = [shown(batch, base_url) for batch in batches]
        ends = {"first_id": data[0]["id"] if data else None, "last_id": data[-1]["id"] if data else None}
        return Reply(200, {"object": "list", "data": data, "has_more": has_more, **ends})
    if action == "cancel":
        return Reply(200, shown(desk.cancel(identity), base_url))
    batch = desk.find(identity)
    if batch.kind != api:
        raise KeyError(identity)
    if action == "results":
        return Reply(200, "".join(batch.lines).encode())
    return Reply(200, shown(batch, base_url))


def _files(desk: BatchDesk, method: str, identity: str | None, action: str | None, body: Any) -> Reply:
    if identity is None and method == "POST":
        content = dict(parts_of_form(*body)).get("file", b"")
        return Reply(200, _file(desk.keep_file(content), len(content)))
    if identity is None:
        return Reply(200, {"object": "list", "data": [_file(name, len(content)) for name, content in desk.files.items()]})
    content = desk.file_of(identity)
    if action == "content":
        return Reply(200, content)
    if method == "DELETE":
        desk.files.pop(identity, None)
        return Reply(200, {"id": identity, "object": "file", "deleted": True})
    return Reply(200, _file(identity, len(content)))


def _file(identity: str, size: int) -> dict[str, Any]:
    return {
        "id": identity,
        "object": "file",
        "bytes": size,
        "created_at": 0,
        "filename": "batch.jsonl",
        "purpose": "batch",
        "status": "processed",
    }
