"""What HTTP itself can break, and that no error of it shows the key or a part of it."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator

import pytest

from backends.api import GenerationFailed
from backends.openai_http import Address, Client
from backends.openai_stream import events

KEY = "sk-sesame-77"


@pytest.fixture
def answering() -> Iterator[Callable[..., Client]]:
    """`answering(data, key)`: a client of a server that sends these bytes to whoever asks."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def make(data: bytes, key: str = KEY) -> Client:
            def serve() -> None:
                connection, _ = listening.accept()
                with connection:
                    connection.recv(2**16)
                    connection.sendall(data)

            threading.Thread(target=serve, daemon=True).start()
            return Client(Address("127.0.0.1", listening.getsockname()[1]), 20.0, 20.0, key)

        yield make


def ok(body: bytes, kind: str = "application/json") -> bytes:
    head = f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def test_json_that_is_nested_too_deeply_is_no_json(answering: Callable[..., Client]) -> None:
    with pytest.raises(GenerationFailed, match="that is no JSON: "):
        answering(ok(b"[" * 100_000)).ask("GET", "/props")


@pytest.mark.parametrize("end", ["\r", "\n", "\r\n", "\udcff"])
def test_a_key_that_no_header_takes_is_a_failure_that_does_not_quote_it(
    answering: Callable[..., Client], end: str
) -> None:
    client = answering(ok(b"{}"), KEY + end)
    with pytest.raises(GenerationFailed, match="the request or its answer is broken") as caught:
        client.ask("GET", "/props")
    assert "sesame" not in caught.value.reason and "sesame" not in repr(client)


def test_no_part_of_the_key_is_left_where_a_text_is_cut(answering: Callable[..., Client]) -> None:
    """Wherever the cut falls: at 80 characters, at 160 and at 300."""
    for before in range(60, 82):
        client = answering(b"x" * before + KEY.encode() + b"\r\n\r\n")
        with pytest.raises(GenerationFailed, match="does not speak HTTP") as caught:
            client.ask("GET", "/props")
        assert "sk-" not in caught.value.reason
    for before in range(130, 161):
        line = b'data: {"error": "' + b"x" * before + KEY.encode() + b'"}\n\n'
        client = answering(ok(line, "text/event-stream"))
        with pytest.raises(GenerationFailed, match="reports an error") as caught:
            list(events(client.lines("/completion", {}), native=True))
        assert "sk-" not in caught.value.reason
    for before in range(285, 301):
        client = answering(ok(b"x" * before + KEY.encode()))
        with pytest.raises(GenerationFailed, match="no JSON") as caught:
            client.ask("GET", "/props")
        assert "sk-" not in caught.value.reason
