"""A workplace for whole bakeoff commands: a folder with a tiny model for the fake engine."""

from __future__ import annotations

import io
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from harness import cli, console, environment, supervisor

BAKEOFF = Path(sys.executable).parent / "bakeoff"

MANIFEST = """\
id: tiny
name: Tiny
license: apache-2.0
context_length: 4096
tokenizer: fake
artifacts:
  fake: {format: fake, precision: f32, source: {path: weights.bin}}
"""


Ended = subprocess.CompletedProcess[str]


def run_here(
    folder: Path,
    *arguments: str | Path,
    variables: Mapping[str, str] | None = None,
    warm: Path | None = None,
) -> Ended:
    """A `bakeoff` command in this process; what it ends with is what its own process would.

    Starting Python and importing cost more than most refusals. An error that bakeoff does not turn
    into a message is raised here, where the command would print a traceback. `warm` is what runs
    the workers of transformers, see `warm_transformers`.
    """
    command = ["bakeoff", *map(str, arguments)]
    out, err = io.StringIO(), io.StringIO()
    terminated = signal.getsignal(signal.SIGTERM)
    try:
        with (
            pytest.MonkeyPatch.context() as patch,
            warnings.catch_warnings(),
            redirect_stdout(out),
            redirect_stderr(err),
        ):
            warnings.simplefilter("default")
            patch.chdir(folder)
            patch.setattr(sys, "argv", command)
            patch.setattr(console, "out", console.out)
            if warm is not None:
                patch.setattr(supervisor, "run", partial(_by, warm, supervisor.run))
            for name, value in (variables or {}).items():
                patch.setenv(name, value)
            with pytest.raises(SystemExit) as ended:
                cli.main()
    finally:
        signal.signal(signal.SIGTERM, terminated)
    return subprocess.CompletedProcess(
        command, int(ended.value.code or 0), out.getvalue(), err.getvalue()
    )


def _by(warm: Path, run: Callable[..., Any], job: Mapping[str, Any], **how: Any) -> Any:
    if str(job["backend"]).startswith("backends.transformers:"):
        how["interpreter"] = str(warm)
    return run(job, **how)


@dataclass(frozen=True)
class Workplace:
    folder: Path

    def write(self, text: str | bytes, name: str = "scenario.yaml") -> Path:
        path = self.folder / name
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return path

    def command(self, *arguments: str | Path) -> list[str]:
        return [str(BAKEOFF), *map(str, arguments)]

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "COLUMNS": "80", "BAKEOFF_CACHE": str(self.folder / "cache")}

    def bakeoff(self, *arguments: str | Path, timeout: float = 120) -> Ended:
        return subprocess.run(
            self.command(*arguments),
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def here(self, *arguments: str | Path) -> Ended:
        """The same command in this process; see `run_here`."""
        variables = {"COLUMNS": "80", "BAKEOFF_CACHE": str(self.folder / "cache")}
        return run_here(self.folder, *arguments, variables=variables)

    def start(self, *arguments: str | Path) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            self.command(*arguments),
            cwd=self.folder,
            env=self.environment,
            # Where the tests themselves run in the background, Ctrl-C is ignored, and that is inherited.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )


def furnished(folder: Path) -> Workplace:
    """The same files in every folder."""
    (folder / "models").mkdir(parents=True)
    (folder / "models" / "tiny.yaml").write_text(MANIFEST)
    (folder / "models" / "weights.bin").write_bytes(b"the weights")
    return Workplace(folder)


@pytest.fixture
def workplace(tmp_path: Path) -> Workplace:
    return furnished(tmp_path)


@pytest.fixture(scope="session")
def in_this_process() -> Callable[..., Ended]:
    """`run_here`, for tests with folders of their own."""
    return run_here


@pytest.fixture(scope="session")
def warm_transformers() -> Iterator[Path]:
    """An interpreter for transformers' workers that has imported it before: that is most of what a
    trial on a small model costs."""
    script = Path(__file__).with_name("warm_worker.py")
    # Not pytest's own folder: the path of a socket may have a hundred characters.
    with tempfile.TemporaryDirectory(prefix="bakeoff-") as name:
        client, address = Path(name) / "python", str(Path(name) / "socket")
        client.write_text(
            f"#!{sys.executable} -S\nimport sys\nsys.path.insert(0, {str(script.parent)!r})\n"
            f"import warm_worker\nwarm_worker.ask({address!r})\n"
        )
        client.chmod(0o755)
        with subprocess.Popen(
            [sys.executable, script, address],
            env=environment.for_worker(1),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
        ) as server:
            try:
                assert server.stdout is not None
                assert server.stdout.readline() == b"ready\n"
                yield client
            finally:
                server.kill()


@dataclass(frozen=True)
class Made:
    """A workplace where something has run, as it was then. Runs know their folder: it stays one."""

    workplace: Workplace
    kept: Path

    def again(self) -> Workplace:
        """The workplace, as if no test had touched it."""
        shutil.rmtree(self.workplace.folder)
        shutil.copytree(self.kept, self.workplace.folder)
        return self.workplace


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Callable[[Workplace], None]], Made]:
    """`make(work)`: do the work in a workplace once, so that each test can begin after it."""

    def make(work: Callable[[Workplace], None]) -> Made:
        folder = tmp_path_factory.mktemp("made")
        workplace = furnished(folder / "workplace")
        work(workplace)
        shutil.copytree(workplace.folder, folder / "kept")
        return Made(workplace, folder / "kept")

    return make
