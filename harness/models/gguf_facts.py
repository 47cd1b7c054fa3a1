"""What a GGUF says about itself. The file is never parsed in this process: see gguf_header."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import BadInput, Problem
from harness.models import child, gguf_header

TIME_LIMIT_S = 20.0
_ANSWER_LIMIT = 16 << 20


@dataclass(frozen=True)
class GgufFacts:
    """The header in short. None where the file doesn't say; nothing here is to be trusted.

    `quantisation` is what the file calls itself, `census` counts its tensors by stored type.
    """

    architecture: str | None
    name: str | None
    context_length: int | None
    quantisation: str | None
    census: Mapping[str, int]
    bytes: int
    tensors: int
    parameters: int
    vocabulary: int | None
    tokenizer_model: str | None
    tokenizer_pre: str | None
    bos_id: int | None
    eos_id: int | None
    chat_template: str | None


def read(path: Path, *, timeout_s: float = TIME_LIMIT_S) -> GgufFacts:
    """Read the header in a limited child process. Raises BadInput."""
    with tempfile.TemporaryDirectory(prefix="bakeoff-") as scratch:
        out, err = Path(scratch) / "out", Path(scratch) / "err"
        # -I: neither the script's folder nor the environment adds to its modules.
        command = [sys.executable, "-I", gguf_header.__file__, str(path.resolve())]
        try:
            with out.open("wb") as stdout, err.open("wb") as stderr:
                code = child.run(
                    command,
                    environment=child.environment(Path(scratch)),
                    timeout_s=timeout_s,
                    stdout=stdout,
                    stderr=stderr,
                    cwd=Path(scratch),
                )
        except child.TimedOut as error:
            raise BadInput(
                path, [Problem(f"is not a usable GGUF: reading its header {error}")]
            ) from error
        if code != 0:
            reason = child.tail(err, lines=1) or child.describe_exit(code)
            raise BadInput(path, [Problem(f"is not a usable GGUF: {reason}")])
        data = json.loads(out.read_bytes()[:_ANSWER_LIMIT])
    return _facts(data)


def _facts(data: Mapping[str, Any]) -> GgufFacts:
    def text(key: str) -> str | None:
        return data[key] if isinstance(data[key], str) else None

    def count(key: str) -> int | None:
        return data[key] if isinstance(data[key], int) else None

    return GgufFacts(
        architecture=text("architecture"),
        name=text("name"),
        context_length=count("context_length"),
        quantisation=_file_type(count("file_type")),
        census={_tensor_type(int(kind)): n for kind, n in data["census"].items()},
        bytes=data["bytes"],
        tensors=data["tensors"],
        parameters=data["parameters"],
        vocabulary=count("vocabulary"),
        tokenizer_model=text("tokenizer_model"),
        tokenizer_pre=text("tokenizer_pre"),
        bos_id=count("bos_id"),
        eos_id=count("eos_id"),
        chat_template=text("chat_template"),
    )


def _file_type(number: int | None) -> str | None:
    if number is None:
        return None
    from gguf import LlamaFileType

    try:
        name = str(LlamaFileType(number).name)
    except ValueError:
        return f"unknown type {number}"
    return name.removeprefix("MOSTLY_").removeprefix("ALL_").lower()


def _tensor_type(number: int) -> str:
    from gguf import GGMLQuantizationType

    try:
        return str(GGMLQuantizationType(number).name).lower()
    except ValueError:
        return f"unknown type {number}"
