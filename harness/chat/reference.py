"""The reference for the measure `templates`: the model's own template and tokenizer, no engine.

It runs in a worker like an adapter, under the same limits, and has a record like one; but it is
bakeoff's own, is not in the registry of engines, and generates nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jinja2

from backends.api import (
    Artifact,
    Availability,
    LoadOptions,
    Rendering,
    Request,
    Token,
    Unsupported,
)
from harness.chat import template
from harness.chat.vocabulary import FolderVocabulary, GgufVocabulary, Vocabulary, pieces
from harness.registry import REFERENCE
from harness.worker.templates import Broken

SPECIAL_LIMIT = 4096


class TemplateReference:
    """Renders with the template that the artifact carries."""

    name = REFERENCE.name
    formats = frozenset({"hf", "onnx", "gguf"})

    def __init__(self) -> None:
        self._vocabulary: Vocabulary | None = None

    def probe(self) -> Availability:
        """The template engine's version."""
        return Availability(jinja2.__version__, "jinja2")

    def load(self, artifact: Artifact, options: LoadOptions) -> None:
        """Read template and tokenizer; no weights."""
        if artifact.format == "gguf":
            self._vocabulary = GgufVocabulary(artifact.path)
        else:
            self._vocabulary = FolderVocabulary(artifact.path)

    def generate(self, request: Request) -> Iterator[Token]:
        """There is no model here."""
        raise Unsupported("the reference renders templates only")

    def close(self) -> None:
        """Nothing is held that matters."""
        self._vocabulary = None

    def render(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        prefill: bool = False,
        variables: Mapping[str, Any] | None = None,
    ) -> Rendering:
        """Raises Broken for a model without a usable template, Rejected for what it refuses."""
        found = self._loaded()
        if found.template is None:
            raise Broken("the model has no chat template")
        text = template.render(
            found.template,
            messages,
            tokens=found.tokens,
            prefill=prefill,
            variables=variables or {},
        )
        ids = tuple(found.encode(text))
        return Rendering(text, ids, pieces(found, ids))

    def tokenize(self, text: str) -> list[int]:
        """With the special tokens that the model's tokenizer adds to a text by itself."""
        return self._loaded().tokenize(text)

    def detokenize(self, ids: Sequence[int]) -> str:
        """Piece by piece: for looking at, not for reading."""
        return "".join(pieces(self._loaded(), ids))

    def vocabulary(self) -> Mapping[str, Any]:
        """For the record's conditions. Of special tokens, the first few thousand."""
        found = self._loaded()
        return {
            "bos": found.tokens.get("bos_token"),
            "eos": found.tokens.get("eos_token"),
            "special": dict(list(found.special.items())[:SPECIAL_LIMIT]),
            "tokenizer": found.maker,
        }

    def encode(self, text: str) -> list[int]:
        """Ids of an answer, which follows a prompt."""
        return self._loaded().encode(text)

    def _loaded(self) -> Vocabulary:
        if self._vocabulary is None:
            raise Unsupported("nothing is loaded")
        return self._vocabulary
