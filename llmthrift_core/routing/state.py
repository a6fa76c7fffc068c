"""Learned state as bytes: a header in JSON and arrays of numbers. Nothing in it is executed when it is read."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from math import prod
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from llmthrift_core.errors import ConfigurationError, StorageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

_MOST_BYTES: Final = 2**24
"""What is stored may unpack to so many bytes ..."""
_MOST_TIMES: Final = 100
"""... or to so many times its size. A router of a hundred short examples takes 3 MB, 40 times its size."""


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


@contextmanager
def restoring(kind: str) -> Iterator[None]:
    """Around the making of something from a header and arrays that may lack parts, or hold others than they should.

    Raises:
        StorageError: they do.
    """
    try:
        yield
    except ConfigurationError:  # which is a ValueError
        raise
    except (LookupError, TypeError, AttributeError, ValueError, ArithmeticError) as error:
        raise StorageError(f"a part of this stored {kind} is missing or damaged ({type(error).__name__})") from None


def kind_of(data: bytes) -> str:
    """What was stored.

    Raises:
        ConfigurationError: these bytes are something else.
    """
    return str(_read(data, "router")[0]["kind"])


def _read(data: bytes, wanted: str) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as file:
            if sum(each.file_size for each in file.infolist()) > max(_MOST_BYTES, _MOST_TIMES * len(data)):
                raise ValueError("a small file that unpacks to a large one")
            arrays = {name.removesuffix(".npy"): _array(file.read(name)) for name in file.namelist()}
        header = json.loads(arrays.pop("header").tobytes())
        header["kind"]
    except (
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        OSError,
        EOFError,
        RuntimeError,
        RecursionError,
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        raise ConfigurationError(f"these {len(data)} bytes are not a stored {wanted} ({type(error).__name__})") from None
    return header, arrays


def _array(data: bytes) -> NDArray[Any]:
    """One member of the file. Numpy makes room for the shape that the header names before it looks whether so much follows."""
    file = io.BytesIO(data)
    version = np.lib.format.read_magic(file)
    read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read_header(file)
    if dtype.hasobject or prod(shape) * dtype.itemsize != len(data) - file.tell():
        raise ValueError("an array of another size than its header says")
    file.seek(0)
    array: NDArray[Any] = np.lib.format.read_array(file, allow_pickle=False)
    return array


def version_of(header: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> str:
    """Hash of the header and the arrays: 16 hexadecimal digits."""
    digest = hashlib.blake2b(json.dumps(header, sort_keys=True).encode(), digest_size=8)
    for name in sorted(arrays):
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(arrays[name]).tobytes())
    return digest.hexdigest()
