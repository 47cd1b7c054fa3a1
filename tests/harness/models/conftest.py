"""A cache of its own per test, manifests written on the spot, and a tiny conversion."""

from __future__ import annotations

import hashlib
import json
import textwrap
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from harness.models import conversions, manifest
from harness.models.conversions import CONVERSIONS, Conversion
from harness.models.manifest import Manifest

FAKE_SCRIPT = '''\
"""Doubles its source. Notes every run; waits where the option says so; fails where it says so."""
import json, os, pathlib, sys, time
here = pathlib.Path(__file__).parent
said = {"tool": "double", "versions": json.loads((here / "versions.json").read_text())}
if "DOUBLER" in os.environ:
    said["versions"]["doubler"] = os.environ["DOUBLER"]
if sys.argv[1] != "--versions":
    job = json.loads(sys.argv[1])
    options = job["options"]
    target = pathlib.Path(job["target"])
    assert not target.exists()
    with (here / "runs.log").open("a") as log:
        log.write(json.dumps({"pid": os.getpid(), "env": dict(os.environ), **job}) + "\\n")
    target.write_bytes(b"half")
    time.sleep(options.get("wait_s", 0))
    if "fail" in options:
        sys.exit("double: " + options["fail"])
    if not options.get("lie"):
        target.write_bytes(pathlib.Path(job["source"]).read_bytes() * 2)
    else:
        target.unlink()
print("chatter of a tool underneath")
print(json.dumps(said))
'''


@dataclass(frozen=True)
class Double:
    """The fake conversion `double` (gguf to gguf), and what it did."""

    folder: Path
    environment: str | None = None

    @property
    def conversion(self) -> Conversion:
        return Conversion(
            "double",
            self.folder / "double.py",
            "gguf",
            "gguf",
            folder=False,
            environment=self.environment,
        )

    @property
    def runs(self) -> list[dict[str, object]]:
        log = self.folder / "runs.log"
        return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []

    def versions(self, **versions: str) -> None:
        (self.folder / "versions.json").write_text(json.dumps(versions))
        conversions._tools.cache_clear()

    def edit(self, more: str) -> None:
        script = self.folder / "double.py"
        script.write_text(script.read_text() + more)
        conversions._tools.cache_clear()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "cache"
    monkeypatch.setenv("BAKEOFF_CACHE", str(path))
    return path


@pytest.fixture
def double(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Double]:
    folder = tmp_path / "double"
    folder.mkdir()
    (folder / "double.py").write_text(FAKE_SCRIPT)
    fake = Double(folder)
    fake.versions(doubler="1.0")
    monkeypatch.setitem(CONVERSIONS, "double", fake.conversion)
    yield fake
    conversions._tools.cache_clear()


Write = Callable[[str], Manifest]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write `m.yaml` with these artifacts (YAML), the first being the tokenizer's, and load it."""

    def write_and_load(artifacts: str) -> Manifest:
        path = tmp_path / "m.yaml"
        body = textwrap.indent(textwrap.dedent(artifacts).strip(), "  ")
        first = body.split(":", 1)[0].strip()
        path.write_text(
            f"id: m\nname: M\nlicense: mit\ncontext_length: 8\ntokenizer: {first}\nartifacts:\n{body}\n"
        )
        return manifest.load(path)

    return write_and_load


class Server:
    """HTTP on a local port. Files by path; every request is noted.

    `cut_after` breaks the connection that many bytes into the body, once. `etags` off makes the
    server forget them, `ranges` off makes it always send all.
    """

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.json: dict[str, object] = {}
        self.headers: dict[str, str] = {}
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        self.cut_after: list[int] = []
        self.etags = self.ranges = True
        self.status: dict[str, int] = {}
        self._http = _Http(("127.0.0.1", 0), _Handler)
        self._http.app = self
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.05,))
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._http.server_port}"

    def asked(self, method: str = "GET") -> list[str]:
        return [path for verb, path, _ in self.requests if verb == method]

    def close(self) -> None:
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()


class _Http(ThreadingHTTPServer):
    app: Server


class _Handler(BaseHTTPRequestHandler):
    server: _Http

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, body: bool) -> None:
        app, path = self.server.app, self.path.split("?", 1)[0]
        headers = {name.lower(): value for name, value in self.headers.items()}
        app.requests.append((self.command, self.path, headers))
        content = app.files.get(path)
        if path in app.json:
            content = json.dumps(app.json[path]).encode()
        status = app.status.get(path, 200 if content is not None else 404)
        content = content if content is not None and status == 200 else b""
        etag, start = f'"{hashlib.sha256(content).hexdigest()}"', 0
        if app.ranges and (wanted := headers.get("range")):
            same = headers.get("if-range", etag) == etag
            start = int(wanted.removeprefix("bytes=").split("-")[0]) if same else 0
            if start >= len(content):
                status, start, content = 416, 0, b""
        self.send_response(206 if start else status)
        self.send_header("Content-Length", str(len(content) - start))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        if app.etags:
            self.send_header("ETag", etag)
        for name, value in app.headers.items():
            self.send_header(name, value)
        self.end_headers()
        if not body:
            return
        rest = content[start:]
        if app.cut_after and content:
            rest = rest[: app.cut_after.pop(0)]
        self.wfile.write(rest)


@pytest.fixture
def server() -> Iterator[Server]:
    running = Server()
    yield running
    running.close()


@pytest.fixture
def base(tmp_path: Path) -> Path:
    path = tmp_path / "base.gguf"
    path.write_bytes(b"weights")
    return path
