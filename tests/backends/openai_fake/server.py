"""A small deterministic server that speaks like three real ones, and lies or breaks on request.

Tokens are bytes; the next one depends on the prompt and on nothing else. Run by path:
`python server.py --model FILE --port N [--like KIND] [--fault NAME]`. `faults` says what there is.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

FAULTS = (
    "dies", "sleeps", "unhealthy", "hangs", "stalls", "drips", "garbage", "list", "shape", "binary",
    "long_line", "endless_line", "429", "500", "closes", "cuts_chunk", "no_done", "content_type",
    "redirects", "two_in_one", "held_back", "stops_early", "too_many", "no_ids", "late_no_ids",
    "usage", "prompt_count", "echoes_key", "crashes", "empty_events", "error_event", "other_model",
    "small_context", "reuses", "sigterm",
)  # fmt: skip
EOS = 0
CHUNK_S = 0.002


def encode(text: str) -> list[int]:
    return list(text.encode())


def decode(ids: list[int]) -> str:
    return bytes(ids).decode("utf-8", "replace")


def answer(prompt: list[int], count: int) -> list[int]:
    """Lower-case letters, so that each token is a text of its own."""
    return [97 + (sum(prompt) * 7 + len(prompt) + 5 * i) % 26 for i in range(count)]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    fault = ""
    like = "llama-server"
    model = ""
    requests: list[dict[str, Any]]
    seen: set[tuple[int, ...]]

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""

    def do_GET(self) -> None:
        if self.fault == "unhealthy":
            self.reply({"error": {"message": "loading model"}}, 503)
            return
        name = "/elsewhere/other.gguf" if self.fault == "other_model" else self.model
        context = 8 if self.fault == "small_context" else 4096
        llama = self.like == "llama-server"
        pages: dict[str, Any] = {
            "/v1/models": {"data": [{"id": name, **({"meta": {"n_vocab": 256}} if llama else {})}]},
            "/requests": self.requests,
        }
        if llama:
            settings = {"n_ctx": context}
            pages["/health"] = {"status": "ok"}
            pages["/props"] = {
                "model_path": name, "build_info": "b123", "default_generation_settings": settings,
            }  # fmt: skip
        elif self.like == "llama-cpp-python":
            pages["/openapi.json"] = {"info": {"version": "9.9"}}
        elif self.like == "vllm":
            pages["/version"] = {"version": "7.7"}
            pages["/health"] = None
        if self.path not in pages:
            self.reply({"detail": "Not Found"}, 404)
            return
        self.reply(pages[self.path])

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path in ("/tokenize", "/extras/tokenize"):
            text = body.get("content", body.get("prompt", body.get("input")))
            self.reply({"tokens": encode(text)})
            return
        if self.path in ("/detokenize", "/extras/detokenize"):
            text = decode(body["tokens"])
            self.reply({"content": text, "prompt": text, "text": text})
            return
        self.requests.append({"path": self.path, "key": self.headers.get("Authorization"), **body})
        if "prompt" not in body:
            self.reply({"error": "no prompt"}, 400)
            return
        if isinstance(body["prompt"], str) != (self.like == "llama-cpp-python"):
            self.reply({"error": "wrong kind of prompt"}, 500)
            return
        if not body.get("stream"):
            self.reply({"choices": [{"text": "x", "index": 0, "finish_reason": "length"}]})
        elif not self.refused():
            self.stream(body)

    def refused(self) -> bool:
        """Faults that come instead of a stream."""
        if self.fault in ("429", "500"):
            self.reply({"error": {"message": "told to refuse"}}, int(self.fault))
        elif self.fault == "redirects":
            self.send_response(302)
            self.send_header("Location", "http://127.0.0.1:9/elsewhere")
            self.send_header("Content-Length", "0")
            self.end_headers()
        elif self.fault == "content_type":
            self.reply({"content": "all of it at once"})
        elif self.fault == "binary":
            self.wfile.write(b"\x00\x01\x02 no HTTP at all\r\n\r\n")
            self.close_connection = True
        elif self.fault == "hangs":
            time.sleep(3600)
        elif self.fault == "echoes_key":
            self.reply({"error": f"bad key {self.headers.get('Authorization')}"}, 401)
        else:
            return False
        return True

    def stream(self, body: dict[str, Any]) -> None:
        prompt = body["prompt"]
        prompt = encode(prompt) if isinstance(prompt, str) else list(prompt)
        asked = body.get("n_predict", body.get("max_tokens"))
        forced = body.get("ignore_eos") or str(EOS) in (body.get("logit_bias") or {})
        made = answer(prompt, asked)
        if not forced:
            made = [*made[:3], EOS][:asked]
        if self.fault == "stops_early":
            made = made[:-1]
        if self.fault == "too_many":
            made = answer(prompt, asked + 1)
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream; charset=utf-8")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.misbehave_at_start()
        step = 2 if self.fault in ("two_in_one", "held_back") else 1
        for start in range(0, len(made), step):
            self.misbehave_at(start)
            self.requests[-1]["sent"] = start
            self.event(self.token(made[start : start + step], start + step, len(prompt)))
            time.sleep(CHUNK_S)
        for last in self.ends(made, prompt, asked):
            self.event(last)
        if self.fault != "no_done" and self.like != "llama-server":
            self.chunk(b"data: [DONE]\n\n")
        self.wfile.write(b"0\r\n\r\n")

    def misbehave_at_start(self) -> None:
        if self.fault == "garbage":
            self.chunk(b"data: {nonsense\n\n")
        elif self.fault == "list":
            self.chunk(b"data: [1, 2]\n\n")
        elif self.fault == "shape":
            self.event({"choices": "none", "content": 3, "stop": False})
        elif self.fault == "error_event":
            self.event({"error": {"message": "out of memory"}})
        elif self.fault == "long_line":
            self.chunk(b"data: " + b"x" * 2**21 + b"\n\n")
        elif self.fault == "endless_line":
            while True:
                self.chunk(b"x" * 2**16)
        elif self.fault == "drips":
            while True:
                self.chunk(b":")
                time.sleep(0.05)
        elif self.fault == "empty_events":
            while True:
                self.event(self.token([], 0, 0, text=""))

    def misbehave_at(self, start: int) -> None:
        if start != 2:
            return
        if self.fault == "stalls":
            time.sleep(3600)
        elif self.fault == "closes":
            self.close_connection = True
            raise ConnectionAbortedError
        elif self.fault == "cuts_chunk":
            self.wfile.write(b'ff\r\ndata: {"content": "he')
            self.close_connection = True
            raise ConnectionAbortedError
        elif self.fault == "crashes":
            print("told to crash", flush=True)
            os.kill(os.getpid(), signal.SIGSEGV)

    def token(
        self, ids: list[int], made: int, prompt: int, text: str | None = None
    ) -> dict[str, Any]:
        text = decode([i for i in ids if i != EOS]) if text is None else text
        sent = ids[-1:] if self.fault == "held_back" else ids
        if self.fault == "no_ids" or (self.fault == "late_no_ids" and made > 2):
            sent = []
        if self.like == "llama-server":
            counts = {"tokens_predicted": made, "tokens_evaluated": prompt}
            return {"content": text, "tokens": sent, "stop": False, **counts}
        choice: dict[str, Any] = {"text": text, "index": 0, "finish_reason": None}
        if self.like == "vllm":
            choice["token_ids"] = sent
        return {"choices": [choice]}

    def ends(self, made: list[int], prompt: list[int], asked: int) -> list[dict[str, Any]]:
        if self.fault == "no_done":
            return []
        said = len(prompt) + (self.fault == "prompt_count")
        count = len(made) + 3 * (self.fault == "usage")
        why = "length" if len(made) == asked and made[-1:] != [EOS] else "stop"
        if self.like == "llama-server":
            again = tuple(prompt) in self.seen
            self.seen.add(tuple(prompt))
            timings = {
                "prompt_n": 1 if self.fault == "reuses" and again else said,
                "prompt_ms": 1.0, "predicted_n": len(made), "predicted_ms": 2.0,
            }  # fmt: skip
            stop = {"stop": True, "stop_type": "limit" if why == "length" else "eos"}
            counts = {"tokens_predicted": count, "tokens_evaluated": said}
            return [{"content": "", "tokens": [], **stop, **counts, "timings": timings}]
        end = {"choices": [{"text": "", "index": 0, "finish_reason": why}]}
        if self.like != "vllm":
            return [end]
        details = {"cached_tokens": 0}
        usage = {"completion_tokens": count, "prompt_tokens": said}
        return [end, {"choices": [], "usage": {**usage, "prompt_tokens_details": details}}]

    def event(self, event: dict[str, Any]) -> None:
        self.chunk(b"data: " + json.dumps(event).encode() + b"\n\n")

    def chunk(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))

    def reply(self, found: Any, status: int = 200) -> None:
        data = b"" if found is None else json.dumps(found).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


class Quiet(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hung up is no news."""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--like", default="llama-server")
    parser.add_argument("--fault", default="", choices=("", *FAULTS))
    told = parser.parse_args()
    print(f"fake server, key in its environment: {'BAKEOFF_API_KEY' in os.environ}", flush=True)
    if told.fault == "dies":
        print("told to die: no such tensor", file=sys.stderr, flush=True)
        sys.exit(3)
    if told.fault == "sigterm":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if told.fault == "sleeps":
        time.sleep(3600)
    Path(told.model).read_bytes()
    Handler.fault, Handler.like, Handler.model = told.fault, told.like, told.model
    Handler.requests, Handler.seen = [], set()
    Quiet(("127.0.0.1", told.port), Handler).serve_forever()


if __name__ == "__main__":
    main()
