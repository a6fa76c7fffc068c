"""What was learned, as bytes: a header in JSON and arrays of numbers. Nothing in it is executed when it is read."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
import zlib
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
    header, arrays = _read(data, kind)
    if header["kind"] != kind:
        raise ConfigurationError(f"expected a stored {kind}, found {header['kind']!r:.80}")
    return header, arrays


def kind_of(data: bytes) -> str:
    """What was stored.

    Raises:
        ConfigurationError: these bytes are something else.
    """
    return str(_read(data, "router")[0]["kind"])


def _read(data: bytes, wanted: str) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        header = json.loads(arrays.pop("header").tobytes())
        header["kind"]
    except (
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        OSError,
        EOFError,
        NotImplementedError,
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        raise ConfigurationError(f"these {len(data)} bytes are not a stored {wanted} ({type(error).__name__})") from None
    return header, arrays


def version_of(header: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> str:
    """Hash of the header and the arrays: 16 hexadecimal digits."""
    digest = hashlib.blake2b(json.dumps(header, sort_keys=True).encode(), digest_size=8)
    for name in sorted(arrays):
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(arrays[name]).tobytes())
    return digest.hexdigest()
