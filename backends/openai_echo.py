"""What HTTP itself costs here: a loopback server that streams chunks as an engine would.

The same client code reads it as reads the engine. Each chunk says when it was sent, and the next
one waits a moment, as for an engine: chunks that lie ready in a burst would cost almost nothing.
"""

from __future__ import annotations

import json
import statistics
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, HTTPServer
from time import perf_counter_ns, sleep

from backends.openai_http import Address, Client
from backends.openai_stream import events

TOKENS = 32
REQUESTS = 7
PAUSE_S = 0.0005


class _Echo(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self) -> None:
        """Chunks of the usual size, each with the time at which it was sent."""
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        choice = {"text": " word", "index": 0, "logprobs": None, "finish_reason": None}
        for _ in range(TOKENS):
            sleep(PAUSE_S)
            said = {"id": "cmpl-0", "object": "text_completion", "choices": [choice]}
            self._send(json.dumps({**said, "sent_ns": perf_counter_ns()}))
        self._send("[DONE]")
        self.wfile.write(b"0\r\n\r\n")

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""

    def _send(self, data: str) -> None:
        line = f"data: {data}\n\n".encode()
        self.wfile.write(b"%x\r\n%s\r\n" % (len(line), line))


def overhead() -> Mapping[str, float]:
    """Medians in ms: how late a token is, and from a request to its first chunk, the pause left out."""
    with HTTPServer(("127.0.0.1", 0), _Echo) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        try:
            client = Client(Address("127.0.0.1", server.server_port), 5.0, 10.0)
            asked = [_request(client) for _ in range(REQUESTS)][1:]
        finally:
            server.shutdown()
    late = [nanoseconds for _, lates in asked for nanoseconds in lates]
    wait = statistics.median(wait for wait, _ in asked) / 1e6 - PAUSE_S * 1e3
    return {
        "http_overhead_ms_per_token": statistics.median(late) / 1e6,
        "http_overhead_ms_per_request": max(0.0, wait),
    }


def _request(client: Client) -> tuple[int, list[int]]:
    """The time to the first chunk, and of each later one the time since it was sent."""
    began, first, lates = perf_counter_ns(), 0, []
    body = {"prompt": list(range(64)), "stream": True}
    for event in events(client.lines("/v1/completions", body), False):
        now = perf_counter_ns()
        first = first or now - began
        lates.append(now - int(event["sent_ns"]))
    return first, lates[1:]
