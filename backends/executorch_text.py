"""The tokenizer beside an ExecuTorch program: the C++ one that ExecuTorch's own runner links."""

from __future__ import annotations

import codecs
from collections.abc import Sequence
from pathlib import Path
from typing import Any

TOKENIZER = "tokenizer.json"


class Text:
    """Ids of text and text of ids. Raises RuntimeError for a file that it can't read."""

    def __init__(self, path: Path) -> None:
        from pytorch_tokenizers import CppHFTokenizer

        self._tokenizer: Any = CppHFTokenizer()
        self._tokenizer.load(str(path))

    def encode(self, text: str) -> list[int]:
        """Neither BOS nor EOS is added."""
        return [int(i) for i in self._tokenizer.encode(text, 0, 0)]

    def decode(self, ids: Sequence[int]) -> str:
        """Special tokens are left out, invalid UTF-8 becomes U+FFFD."""
        return b"".join(map(self.bytes, ids)).decode("utf-8", "replace")

    def bytes(self, token: int) -> bytes:
        """What the token stands for, which may be a part of a character."""
        try:
            return str(self._tokenizer.decode(int(token), True)).encode()
        except UnicodeDecodeError as error:
            # The binding can't make a str of a part of a character; the error holds its bytes.
            return error.object
        except RuntimeError:
            return b""  # a row of the model's vocabulary that the tokenizer has no token for

    def stream(self) -> Stream:
        return Stream(self)


class Stream:
    """Text by token: holds back the bytes of a character until it is whole."""

    def __init__(self, text: Text) -> None:
        self._text = text
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def add(self, token: int, last: bool) -> str:
        return self._decoder.decode(self._text.bytes(token), last)
