"""A fake model: a hash of the ids picks numbers from the weights. See `mlc_fake`."""

from __future__ import annotations

import json
import math
import os
import random
import zlib
from pathlib import Path
from typing import Any

from .tokenizers import END, SPELLED

POISON = 7  # a prompt that begins with it breaks the engine's thread
WORDS = 257
WEIGHTS = "params_shard_0.bin"


def threads() -> str | None:
    """What TVM reads."""
    return os.environ.get("TVM_NUM_THREADS")


def write(path: Path, seed: int = 1) -> None:
    """A folder as the three commands of MLC-LLM leave it."""
    from tvm.runtime import LIBRARY

    path.mkdir()
    config = {
        "model_type": "llama",
        "quantization": "q0f32",
        "vocab_size": WORDS,
        "context_window_size": 512,
        "prefill_chunk_size": 128,
        "tokenizer_info": {"token_postproc_method": "byte_level"},
        "conv_template": {"stop_token_ids": [END]},
        "eos_token_id": END,
    }
    (path / "mlc-chat-config.json").write_text(json.dumps(config))
    (path / "lib.so").write_bytes(LIBRARY)
    weights = random.Random(seed).randbytes(65536)
    (path / WEIGHTS).write_bytes(weights)
    records = [{"dataPath": WEIGHTS, "nbytes": len(weights)}]
    (path / "tensor-cache.json").write_text(json.dumps({"records": records}))
    (path / "tokenizer.json").write_text(json.dumps(_tokenizer()))


def _tokenizer() -> dict[str, Any]:
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = [byte for byte in range(256) if byte not in printable]
    letters = {byte: chr(0x100 + rank) for rank, byte in enumerate(others)}
    vocabulary = {letters.get(byte, chr(byte)): byte for byte in range(256)}
    added = [{"id": END, "content": SPELLED, "special": True}]
    return {"version": "1.0", "added_tokens": added, "model": {"vocab": vocabulary}}


class Model:
    def __init__(self, path: Path) -> None:
        self.config = json.loads((path / "mlc-chat-config.json").read_text())
        self.weights = (path / WEIGHTS).read_bytes()
        self.broken = len(self.weights) != 65536

    def logits(self, ids: list[int]) -> list[float]:
        start = zlib.crc32(json.dumps(ids).encode())
        size = len(self.weights)
        found = [self.weights[(start + 7919 * i) % size] / 16 for i in range(WORDS)]
        found[END] -= 8  # an answer that ends at once tests little
        return found


class Sampler:
    def __init__(self, model: Model, how: dict[str, Any]) -> None:
        self._model, self._how = model, how
        self._random = random.Random(how["seed"])

    def __call__(self, ids: list[int]) -> tuple[int, str]:
        logits = self._model.logits(ids)
        temperature = self._how["temperature"]
        best = sorted(range(WORDS), key=lambda i: -logits[i])
        if temperature <= 1e-5:
            return best[0], _json([1.0 if i == best[0] else 0.0 for i in range(WORDS)], best, 0)
        weights = [math.exp((value - logits[best[0]]) / temperature) for value in logits]
        shares = [weight / sum(weights) for weight in weights]
        kept, total = [], 0.0
        for token in best:
            kept.append(token)
            total += shares[token]
            if total >= self._how["top_p"]:
                break
        drawn = self._random.choices(kept, [shares[i] for i in kept])[0]
        return drawn, _json(shares, best, self._how.get("logprobs") or 0, drawn)


def _json(shares: list[float], best: list[int], top: int, drawn: int | None = None) -> str:
    def one(token: int) -> dict[str, Any]:
        data = SPELLED.encode() if token == END else bytes([token])
        shown = "".join(chr(byte) for byte in data if 33 <= byte <= 126)
        value = math.log(max(shares[token], 1e-10))
        return {"token": shown, "logprob": value, "bytes": list(data)}

    found = one(best[0] if drawn is None else drawn)
    return json.dumps({**found, "top_logprobs": [one(token) for token in best[:top]]})
