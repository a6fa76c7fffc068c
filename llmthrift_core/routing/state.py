"""What was learned, as bytes: a header in JSON and arrays of numbers. Nothing in it is executed when it is read."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from llmthrift_core.errors import ConfigurationError

if TYPE_CHECKING:
    from numpy.typing import NDArray


def packed(header: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """A compressed .npz file with the header as one of its arrays."""
    file = io.BytesIO()
    text = np.frombuffer(json.dumps(header, sort_keys=True).encode(), dtype=np.uint8)
    np.savez_compressed(file, header=text, **arrays)  # type: ignore[arg-type]
    return file.getvalue()


def unpacked(data: bytes, kind: str) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """The header and the arrays.

    Raises:
        ConfigurationError: these bytes are something else.
    """
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        header = json.loads(arrays.pop("header").tobytes())
        found = header["kind"]
    except (ValueError, KeyError, TypeError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise ConfigurationError(f"these {len(data)} bytes are not a stored {kind} ({type(error).__name__})") from None
    if found != kind:
        raise ConfigurationError(f"expected a stored {kind}, found {found!r:.80}")
    return header, arrays


def version_of(header: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> str:
    """Hash of the header and the arrays: 16 hexadecimal digits."""
    digest = hashlib.blake2b(json.dumps(header, sort_keys=True).encode(), digest_size=8)
    for name in sorted(arrays):
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(arrays[name]).tobytes())
    return digest.hexdigest()
