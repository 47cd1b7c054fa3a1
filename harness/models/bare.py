"""A manifest for a model that has none: a GGUF file, or a folder in HF or ONNX format."""

from __future__ import annotations

import json
import re
from pathlib import Path

from harness.errors import BadInput, Problem
from harness.models import gguf_facts
from harness.models.manifest import ArtifactSpec, Manifest, PathSource

_JSON_LIMIT = 16 << 20
_CONTEXT = 4096
"""Tokens, where the model does not say how many it is made for."""


def is_model(path: Path) -> bool:
    """Whether the path looks like a model rather than a manifest."""
    return path.suffix.lower() == ".gguf" or path.is_dir()


def manifest(path: Path) -> Manifest:
    """One artifact, used in place. Raises BadInput for what is no model."""
    path = path.expanduser()
    if path.is_dir():
        form, name, context, precision = _folder(path)
    elif path.is_file():
        facts = gguf_facts.read(path)
        form, name = "gguf", path.stem
        context, precision = facts.context_length, facts.quantisation
    else:
        raise BadInput(path, [Problem("no such file or folder")])
    word = re.sub(r"[^a-z0-9._-]+", "-", name.lower()).strip("-._") or "model"
    stored = re.sub(r"[^a-z0-9._-]+", "-", (precision or "unknown").lower()).strip("-._")
    found = Manifest(
        id=word[:100],
        name=name,
        license="unknown",
        context_length=context or _CONTEXT,
        tokenizer=form,
        artifacts={
            form: ArtifactSpec(
                format=form,
                precision=stored or "unknown",
                source=PathSource(path=str(path.resolve())),
            )
        },
    )
    found._file = path.resolve()
    return found


def _folder(path: Path) -> tuple[str, str, int | None, str | None]:
    name = path.resolve().name
    if (path / "genai_config.json").is_file():
        model = _json(path / "genai_config.json").get("model")
        context = model.get("context_length") if isinstance(model, dict) else None
        return "onnx", name, _count(context), None
    if (path / "config.json").is_file():
        config = _json(path / "config.json")
        precision = config.get("dtype", config.get("torch_dtype"))
        known = {"float32": "f32", "float16": "f16", "bfloat16": "bf16"}
        return "hf", name, _count(config.get("max_position_embeddings")), known.get(str(precision))
    if (path / "mlc-chat-config.json").is_file():
        context = _json(path / "mlc-chat-config.json").get("context_window_size")
        return "mlc", name, _count(context), None
    raise BadInput(
        path,
        [
            Problem(
                "holds no model: expected config.json (HF), genai_config.json (ONNX) or "
                "mlc-chat-config.json (MLC)"
            )
        ],
        "give a GGUF file, a model's folder, a manifest or a model's id",
    )


def _json(path: Path) -> dict[str, object]:
    try:
        if path.stat().st_size > _JSON_LIMIT:
            raise BadInput(path, [Problem(f"is larger than {_JSON_LIMIT >> 20} MiB")])
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise BadInput(path, [Problem(f"is not JSON: {error}")]) from error
    if not isinstance(found, dict):
        raise BadInput(path, [Problem("is not a JSON object")])
    return found


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and value > 0 else None
