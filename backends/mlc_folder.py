"""An MLC folder: what `mlc_llm convert_weight`, `gen_config` and `compile` leave behind.

It is checked before the engine sees it: MLC-LLM loads in a thread of its own, and when that thread
fails, the one that waits for it waits for ever.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backends.api import LoadFailed

CONFIG = "mlc-chat-config.json"
LIBRARIES = ("lib.so", "lib.dylib", "lib.dll")
INDEXES = ("tensor-cache.json", "ndarray-cache.json")  # the newer name first
TOKENIZER = "tokenizer.json"
_BYTE = re.compile("<0x[0-9A-F]{2}>")


@dataclass(frozen=True)
class Folder:
    """`context` and `chunk` are the most tokens of a sequence and of a prefill step."""

    path: Path
    library: Path
    vocabulary: int
    context: int
    chunk: int
    ends: frozenset[int]
    special: frozenset[int]
    byte_level: bool


def read(path: Path) -> Folder:
    """Raises LoadFailed for what is missing, cut or no JSON."""
    if not path.is_dir():
        raise LoadFailed(path, "no such folder")
    try:
        config = json.loads((path / CONFIG).read_text("utf-8"))
        template = config["conv_template"]
        found = Folder(
            path=path,
            library=_library(path),
            vocabulary=int(config["vocab_size"]),
            context=int(config["context_window_size"]),
            chunk=int(config["prefill_chunk_size"]),
            ends=_ids(config.get("eos_token_id")) | _ids(template.get("stop_token_ids")),
            special=_special(path / TOKENIZER),
            byte_level=config["tokenizer_info"]["token_postproc_method"] == "byte_level",
        )
        _check_weights(path)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise LoadFailed(path, f"no MLC folder: {error!r}") from error
    if found.context < 1:
        raise LoadFailed(path, "compiled for a sliding window: requests can't be held to a context")
    return found


def spellings(folder: Folder) -> dict[bytes, int]:
    """From a token's bytes to its id, as MLC-LLM spells tokens; what two ids share is left out."""
    content = json.loads((folder.path / TOKENIZER).read_text("utf-8"))
    vocabulary = content["model"]["vocab"]
    if isinstance(vocabulary, list):  # Unigram: pieces with their scores, by id
        vocabulary = {piece: number for number, (piece, _) in enumerate(vocabulary)}
    ids = {**vocabulary, **{one["content"]: one["id"] for one in content["added_tokens"]}}
    if folder.byte_level:
        return _once((_byte_level(text), number) for text, number in ids.items())
    # Of two tokens for one byte, `<0x20>` and `\u2581`, no text becomes the former.
    single = {text for text in ids if _BYTE.fullmatch(text)}
    bytes_ = {bytes([int(text[3:5], 16)]): ids[text] for text in single}
    words = ((text.replace("\u2581", " ").encode(), ids[text]) for text in set(ids) - single)
    return {**bytes_, **_once(words)}


def _once(spelled: Iterable[tuple[bytes, int]]) -> dict[bytes, int]:
    """Without what is there more than once."""
    pairs = list(spelled)
    count = Counter(data for data, _ in pairs)
    return {data: number for data, number in pairs if count[data] == 1}


def _library(path: Path) -> Path:
    for name in LIBRARIES:
        if (path / name).is_file():
            return path / name
    # Without one MLC-LLM would compile the model while it is timed.
    raise LoadFailed(
        path, "no compiled model library in it", f"mlc_llm compile {path / CONFIG} -o lib.so"
    )


def _check_weights(path: Path) -> None:
    index = next((path / name for name in INDEXES if (path / name).is_file()), None)
    if index is None:
        raise LoadFailed(path, f"no {INDEXES[0]} in it", "mlc_llm convert_weight")
    for record in json.loads(index.read_text("utf-8"))["records"]:
        name = str(record["dataPath"])
        if name != Path(name).name:
            raise LoadFailed(path, f"{index.name} names {name}, which is not in the folder")
        size = (path / name).stat().st_size
        if size != record["nbytes"]:
            raise LoadFailed(path, f"{name} has {size} bytes, {index.name} says {record['nbytes']}")


def _special(path: Path) -> frozenset[int]:
    """Ids of special tokens. Only their list is parsed: the whole file takes tenths of a second."""
    text = path.read_text("utf-8")
    start = text.index("[", text.index('"added_tokens"'))
    added: list[dict[str, Any]] = json.JSONDecoder().raw_decode(text, start)[0]
    return frozenset(int(one["id"]) for one in added if one["special"])


def _ids(given: Any) -> frozenset[int]:
    """Of one id, many or none."""
    if given is None:
        return frozenset()
    return frozenset([given] if isinstance(given, int) else map(int, given))


def _byte_level(text: str) -> bytes:
    if all(character in _BYTES for character in text):
        return bytes(_BYTES[character] for character in text)
    return text.encode()


def _alphabet() -> dict[str, int]:
    """GPT-2's alphabet: printable bytes stand for themselves, the others follow from U+0100 on."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {
        **{chr(byte): byte for byte in printable},
        **{chr(0x100 + rank): byte for rank, byte in enumerate(others)},
    }


_BYTES = _alphabet()
