"""The tokenizer that the reference's ids come from: a folder's tokenizer.json, or a GGUF's own."""

from __future__ import annotations

import ctypes
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from backends.api import LoadFailed, Unsupported
from harness.models import gguf_header

_JSON_LIMIT = 256 << 20
_TEMPLATE_LIMIT = 1 << 20


class Vocabulary(Protocol):
    """`tokens` are the template's variables (`bos_token` …), `special` texts to ids."""

    maker: str
    template: str | None
    tokens: dict[str, str]
    special: dict[str, int]

    def encode(self, text: str) -> list[int]:
        """Ids with special tokens recognised and none added."""
        ...

    def tokenize(self, text: str) -> list[int]:
        """Ids with the special tokens that the tokenizer adds to a text by itself."""
        ...

    def piece(self, token: int) -> str: ...


class FolderVocabulary:
    """An HF or ONNX folder: tokenizer.json, tokenizer_config.json, chat_template.jinja."""

    def __init__(self, folder: Path) -> None:
        import tokenizers

        path = folder / "tokenizer.json"
        if not path.is_file():
            raise LoadFailed(folder, "has no tokenizer.json", "save it with a fast tokenizer")
        try:
            self._tokenizer = tokenizers.Tokenizer.from_str(_text(path, _JSON_LIMIT))
        except Exception as error:  # the library raises plain Exception
            raise LoadFailed(path, f"is no tokenizer: {error}") from error
        self.maker = f"tokenizers {tokenizers.__version__}, tokenizer.json"
        config = _config(folder / "tokenizer_config.json")
        named = {**_config(folder / "special_tokens_map.json"), **config}
        self.tokens = {
            name: text
            for name, value in named.items()
            if name.endswith("_token") and (text := _token(value)) is not None
        }
        self.template = _template(folder, config)
        self.special = {
            token.content: number
            for number, token in self._tokenizer.get_added_tokens_decoder().items()
            if token.special
        }

    def encode(self, text: str) -> list[int]:
        return list(self._tokenizer.encode(text, add_special_tokens=False).ids)

    def tokenize(self, text: str) -> list[int]:
        return list(self._tokenizer.encode(text).ids)

    def piece(self, token: int) -> str:
        return str(self._tokenizer.decode([token], skip_special_tokens=False))


class GgufVocabulary:
    """A GGUF that stands alone. Its ids are made by llama.cpp: no other tokenizer reads them."""

    def __init__(self, path: Path) -> None:
        try:
            import llama_cpp
        except (ImportError, OSError, RuntimeError) as error:
            raise Unsupported(
                f"a GGUF's tokenizer needs llama.cpp ({error})", "pip install 'bakeoff[llamacpp]'"
            ) from error
        try:
            self.template: str | None = gguf_header.read(path)["chat_template"]
        except gguf_header.Malformed as error:
            raise LoadFailed(path, str(error)) from error
        self._lib: Any = llama_cpp
        params = llama_cpp.llama_model_default_params()
        params.vocab_only = True
        self._model = llama_cpp.llama_model_load_from_file(os.fsencode(path), params)
        if not self._model:
            raise LoadFailed(path, "llama.cpp cannot read its vocabulary")
        self._vocab = llama_cpp.llama_model_get_vocab(self._model)
        self.maker = f"llama.cpp ({llama_cpp.__version__}), the GGUF's own"
        ends = {
            "bos_token": llama_cpp.llama_vocab_bos(self._vocab),
            "eos_token": llama_cpp.llama_vocab_eos(self._vocab),
        }
        self.tokens = {name: self.piece(number) for name, number in ends.items() if number >= 0}
        control = range(llama_cpp.llama_vocab_n_tokens(self._vocab))
        self.special = {
            self.piece(number): number
            for number in control
            if llama_cpp.llama_vocab_is_control(self._vocab, number)
        }

    def encode(self, text: str) -> list[int]:
        return self._ids(text, add=False)

    def tokenize(self, text: str) -> list[int]:
        return self._ids(text, add=True)

    def _ids(self, text: str, *, add: bool) -> list[int]:
        data = text.encode()
        ids = (self._lib.llama_token * (len(data) + 8))()
        count = self._lib.llama_tokenize(self._vocab, data, len(data), ids, len(ids), add, True)
        return list(ids[:count])

    def piece(self, token: int) -> str:
        room = ctypes.create_string_buffer(1024)
        size = self._lib.llama_token_to_piece(self._vocab, token, room, len(room), 0, True)
        return room.raw[: max(size, 0)].decode("utf-8", "replace")


def pieces(vocabulary: Vocabulary, ids: Sequence[int]) -> tuple[str, ...]:
    known = {token: vocabulary.piece(token) for token in set(ids)}
    return tuple(known[token] for token in ids)


def _text(path: Path, limit: int) -> str:
    if path.stat().st_size > limit:
        raise LoadFailed(path, f"is larger than {limit >> 20} MiB")
    return path.read_text("utf-8", "replace")


def _config(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        found = json.loads(_text(path, _JSON_LIMIT))
    except (ValueError, RecursionError) as error:
        raise LoadFailed(path, f"is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise LoadFailed(path, "is not a JSON object")
    return found


def _token(value: object) -> str | None:
    if isinstance(value, dict):
        value = value.get("content")
    return value if isinstance(value, str) else None


def _template(folder: Path, config: Mapping[str, Any]) -> str | None:
    """The file wins over the field, as in transformers; of several templates, the default one."""
    path = folder / "chat_template.jinja"
    if path.is_file():
        return _text(path, _TEMPLATE_LIMIT)
    found = config.get("chat_template")
    if isinstance(found, list):
        named = {t.get("name"): t.get("template") for t in found if isinstance(t, dict)}
        found = named.get("default")
    if found is not None and not isinstance(found, str):
        raise LoadFailed(folder / "tokenizer_config.json", "chat_template is not text")
    return found
