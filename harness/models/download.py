"""Fetch a file over http(s); what arrived stays, and the next try goes on from there."""

from __future__ import annotations

import http.client
import json
import re
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from harness.errors import PrepareFailed
from harness.models import cache

_CHUNK = 1 << 18
_SOCKET_TIMEOUT_S = 30
_TRIES = 4
_PAUSE_S = 0.5

OnBytes = Callable[[int, int | None], None]
"""Called with the bytes there are and the bytes there will be, if known."""


@dataclass(frozen=True)
class _Answer:
    """What the server says that it sends."""

    start: int
    total: int | None
    etag: str | None


def download(url: str, target: Path, part: Path, expected: int | None, on_bytes: OnBytes) -> None:
    """Write the file to `target`. Raises PrepareFailed; `part` then keeps what arrived.

    A part is only continued when the server proves with its ETag (or, without one, its
    unchanged length) that the file is still the same; otherwise it starts over.
    """
    failure: Exception | None = None
    for attempt in range(_TRIES):
        if attempt:
            time.sleep(_PAUSE_S * 2**attempt)
        try:
            if _fetch(url, part, expected, on_bytes):
                _note(part).unlink(missing_ok=True)
                shutil.move(part, target)
                return
            failure = ConnectionError("the connection ended early")
        except urllib.error.HTTPError as error:
            error.close()
            if error.code == 416:  # our part is longer than the file: it is another file now
                _drop(part)
            elif error.code < 500 and error.code not in (408, 429):
                raise PrepareFailed(
                    f"{url}: HTTP {error.code} {error.reason}", "check the address"
                ) from error
            failure = error
        except (OSError, http.client.HTTPException) as error:
            failure = error
    got = part.stat().st_size if part.exists() else 0
    raise PrepareFailed(
        f"{url}: {failure}; {got:,} bytes arrived", "try again: the download goes on from there"
    ) from failure


def _fetch(url: str, part: Path, expected: int | None, on_bytes: OnBytes) -> bool:
    """One request. True when the file is complete."""
    have, etag, total_then = _resume(part, url)
    request = urllib.request.Request(
        url, headers={"User-Agent": "bakeoff", "Accept-Encoding": "identity"}
    )
    if have:
        request.add_header("Range", f"bytes={have}-")
        if etag and not etag.startswith("W/"):
            request.add_header("If-Range", etag)
    with urllib.request.urlopen(request, timeout=_SOCKET_TIMEOUT_S) as response:
        answer = _answer(response)
        changed = (etag and answer.etag and etag != answer.etag) or (
            total_then is not None and answer.total is not None and answer.total != total_then
        )
        if answer.start and (answer.start != have or changed):
            _drop(part)
            raise ConnectionError("the file on the server has changed")
        if expected is not None and answer.total is not None and answer.total != expected:
            _drop(part)
            raise PrepareFailed(
                f"{url}: is {answer.total:,} bytes, expected {expected:,}",
                "check `bytes` and the address in the manifest",
            )
        cache.require_space(part.parent, (answer.total or expected or 0) - answer.start)
        limit = answer.total if answer.total is not None else expected
        _note(part).write_text(json.dumps({"url": url, "etag": answer.etag, "total": answer.total}))
        size = answer.start
        with part.open("ab" if answer.start else "wb") as file:
            while chunk := response.read(_CHUNK):
                size += len(chunk)
                if limit is not None and size > limit:
                    file.close()
                    _drop(part)
                    raise PrepareFailed(f"{url}: sends more than {limit:,} bytes")
                file.write(chunk)
                on_bytes(size, limit)
    return size == limit if limit is not None else True


def _answer(response: http.client.HTTPResponse) -> _Answer:
    etag = response.headers.get("ETag")
    length = response.headers.get("Content-Length")
    if response.status == 206:
        found = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", ""))
        if found is None:
            raise ConnectionError("the server answered with a range that makes no sense")
        total = None if found[2] == "*" else int(found[2])
        return _Answer(int(found[1]), total, etag)
    total = int(length) if length is not None and length.isdigit() else None
    return _Answer(0, total, etag)


def _resume(part: Path, url: str) -> tuple[int, str | None, int | None]:
    """Bytes, ETag and total of a part that can be continued; otherwise there is none any more."""
    try:
        note = json.loads(_note(part).read_text())
        if note["url"] == url and (note["etag"] or note["total"]):
            return part.stat().st_size, note["etag"], note["total"]
    except (OSError, ValueError, TypeError, KeyError):
        pass
    _drop(part)
    return 0, None, None


def _note(part: Path) -> Path:
    return part.with_suffix(".etag")


def _drop(part: Path) -> None:
    part.unlink(missing_ok=True)
    _note(part).unlink(missing_ok=True)
