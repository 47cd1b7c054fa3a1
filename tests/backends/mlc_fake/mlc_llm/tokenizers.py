"""A fake: tokens are bytes, and 256 is a special one. See `mlc_fake`."""

from __future__ import annotations

import codecs

END, SPELLED = 256, "<|end|>"


class Tokenizer:
    def encode(self, text: str) -> list[int]:
        parts = text.split(SPELLED)
        ids = list(parts[0].encode())
        for part in parts[1:]:
            ids += [END, *part.encode()]
        return ids

    def decode(self, ids: list[int]) -> str:
        spelled = b"".join(SPELLED.encode() if i == END else bytes([i]) for i in ids)
        return spelled.decode("utf-8", "replace")


class TextStreamer:
    def __init__(self, tokenizer: Tokenizer) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._finished = False

    def put(self, delta_tokens: list[int]) -> str:
        assert not self._finished, "`put` is not expected to be invoked after finish."
        return "".join(
            SPELLED if i == END else self._decoder.decode(bytes([i])) for i in delta_tokens
        )

    def finish(self) -> str:
        self._finished = True
        return self._decoder.decode(b"", True)
