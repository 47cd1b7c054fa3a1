"""HTTP as a benchmark needs it: every read is bounded in time and in size, nothing is followed.

One connection per request, so that no request waits for what an earlier one left behind. A timer
ends the connection when the request's time is over: a server that sends a byte now and then
would keep a socket's own timeout from ever coming.
"""

from __future__ import annotations

import http.client
import json
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from backends import checks
from backends.api import GenerationFailed, Unsupported

MAX_LINE = 2**20
MAX_BODY = 4 * 2**20
_SNIPPET = 300


@dataclass(frozen=True)
class Address:
    """Where a server listens. `prefix` stands before every path."""

    host: str
    port: int
    tls: bool = False
    prefix: str = ""


def address(url: str) -> Address:
    """From an http or https URL, with or without the `/v1` at its end."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise Unsupported("the option `url` is no URL") from None
    if parts.username is not None or parts.password is not None or parts.query:
        # Not quoted: it holds a secret, and this text is kept.
        raise Unsupported("the option `url` holds a name, a password or a query: no place for keys")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise Unsupported(f"the option `url` is {url!r}: expected http://host:port")
    tls = parts.scheme == "https"
    prefix = parts.path.rstrip("/").removesuffix("/v1")
    return Address(parts.hostname, port or (443 if tls else 80), tls, prefix)


@dataclass(frozen=True)
class Client:
    """Requests to one server. `stall_s` is for one read, `total_s` for a whole request."""

    address: Address
    stall_s: float
    total_s: float
    key: str = field(default="", repr=False)

    def clean(self, text: str) -> str:
        """The text without the key: whatever a server echoes may be kept."""
        return checks.without(self.key, text)

    def ask(
        self, method: str, path: str, payload: object = None, *, total_s: float | None = None
    ) -> Any:
        """The JSON of an answer with status 200. Raises GenerationFailed for anything else."""
        with self._exchange(method, path, payload, total_s or self.total_s) as talk:
            body = talk.rest()
            try:
                return json.loads(self._cleaned(body))
            except (ValueError, RecursionError):
                what = talk.response.headers.get_content_type()
                raise GenerationFailed(
                    f"{path}: the server answered with {what} that is no JSON: {self._cut(body)}"
                ) from None

    def trouble(self, path: str, total_s: float) -> str:
        """Why a GET is not answered with status 200; empty where it is."""
        try:
            with self._exchange("GET", path, None, total_s):
                return ""
        except GenerationFailed as error:
            return error.reason

    def lines(self, path: str, payload: object) -> Iterator[bytes]:
        """The lines of a stream of events, as they arrive. Closing the iterator hangs up."""
        with self._exchange("POST", path, payload, self.total_s) as talk:
            what = talk.response.headers.get_content_type()
            if what != "text/event-stream":
                raise GenerationFailed(
                    f"{path}: asked for a stream of events, the server answered with {what}: "
                    + self._cut(talk.rest())
                )
            rest = b""
            while data := talk.some():
                *whole, rest = (rest + data).split(b"\n")
                if len(rest) > MAX_LINE or any(len(line) > MAX_LINE for line in whole):
                    raise GenerationFailed(
                        f"{path}: the server sent a line of over {MAX_LINE // 1024} KiB"
                    )
                for line in whole:
                    yield self._cleaned(line.rstrip(b"\r"))
            if rest:
                yield self._cleaned(rest)

    @contextmanager
    def _exchange(self, method: str, path: str, payload: object, total_s: float) -> Iterator[_Talk]:
        talk = _Talk(self, total_s)
        try:
            talk.begin(method, path, payload)
            self._check(path, talk)
            yield talk
        except GenerationFailed:
            raise
        except (OSError, http.client.HTTPException) as error:
            raise GenerationFailed(f"{path}: {talk.why(error)}") from None
        except (ValueError, RecursionError) as error:
            # Its text is left out: it may quote the request's header, with the key in it.
            name = type(error).__name__
            raise GenerationFailed(f"{path}: the request or its answer is broken: {name}") from None
        finally:
            talk.end()

    def _check(self, path: str, talk: _Talk) -> None:
        status = talk.response.status
        if status == 200:
            return
        if 300 <= status < 400:
            where = self._cut((talk.response.headers.get("Location") or "").encode())
            raise GenerationFailed(
                f"{path}: the server redirects to {where} ({status}): it is not followed"
            )
        raise GenerationFailed(f"{path}: the server answered {status}: {self._cut(talk.rest())}")

    def _cleaned(self, data: bytes) -> bytes:
        # Before anybody cuts it, as in `_cut`.
        return data.replace(self.key.encode(), b"[key]") if self.key else data

    def _cut(self, body: bytes) -> str:
        # Cleaned before it is cut: half a key is still a secret.
        text = self.clean(body[: MAX_BODY // 4].decode("utf-8", "replace"))
        text = " ".join(text.split())
        return text[:_SNIPPET] + ("…" if len(text) > _SNIPPET else "") if text else "(nothing)"


class _Talk:
    """One request and its answer, on a connection of its own."""

    response: http.client.HTTPResponse

    def __init__(self, client: Client, total_s: float) -> None:
        self._client, self._total_s = client, total_s
        where = client.address
        kind = http.client.HTTPSConnection if where.tls else http.client.HTTPConnection
        self._connection = kind(where.host, where.port, timeout=min(client.stall_s, total_s))
        self._socket: socket.socket | None = None
        self._expired = False
        self._timer = threading.Timer(total_s, self._expire)
        self._timer.daemon = True

    def begin(self, method: str, path: str, payload: object) -> None:
        self._timer.start()
        headers: dict[str, str] = {"Connection": "close", "User-Agent": "bakeoff"}
        body = None
        if payload is not None:
            body = json.dumps(payload, separators=(",", ":")).encode()
            headers["Content-Type"] = "application/json"
        if self._client.key:
            headers["Authorization"] = f"Bearer {self._client.key}"
        self._connection.connect()
        self._socket = self._connection.sock
        self._connection.request(method, self._client.address.prefix + path, body, headers)
        self.response = self._connection.getresponse()

    def some(self) -> bytes:
        """What has arrived, at least a byte of it; nothing where the answer is over."""
        data = self.response.read1(2**16)
        if not data and (self._expired or self.response.length):
            raise ConnectionResetError
        return data

    def rest(self) -> bytes:
        whole = b""
        while data := self.some():
            whole += data
            if len(whole) > MAX_BODY:
                raise GenerationFailed(f"the server's answer is over {MAX_BODY // 2**20} MiB")
        return whole

    def why(self, error: Exception) -> str:
        client = self._client
        if self._expired:
            return f"the server was not done after {self._total_s:g} s"
        if isinstance(error, TimeoutError):
            return f"the server sent nothing for {min(client.stall_s, self._total_s):g} s"
        if isinstance(error, ConnectionRefusedError):
            return f"nothing listens at {client.address.host}:{client.address.port}"
        broken = (ConnectionError, http.client.IncompleteRead, http.client.RemoteDisconnected)
        if isinstance(error, broken):
            return "the server closed the connection before its answer was complete"
        if isinstance(error, http.client.HTTPException):
            said = client.clean(str(error))[:80]
            return f"the server does not speak HTTP: {type(error).__name__} {said!r}"
        return f"the connection broke: {client.clean(str(error))}"

    def end(self) -> None:
        self._timer.cancel()
        with suppress(OSError):
            self._connection.close()
        if hasattr(self, "response"):
            with suppress(OSError, http.client.HTTPException):
                self.response.close()
        if self._socket is not None:
            with suppress(OSError):
                self._socket.close()

    def _expire(self) -> None:
        self._expired = True
        if self._socket is not None:
            with suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)


def first(found: Any, *names: str | int) -> Any:
    """The value at a path into JSON, None where there is none."""
    for name in names:
        if isinstance(name, int):
            found = found[name] if isinstance(found, list) and len(found) > name else None
        else:
            found = found.get(name) if isinstance(found, Mapping) else None
    return found
