"""A workplace for whole bakeoff commands: a folder with a tiny model for the fake engine."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

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

    def bakeoff(
        self, *arguments: str | Path, timeout: float = 120
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*arguments),
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

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


@pytest.fixture
def workplace(tmp_path: Path) -> Workplace:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "tiny.yaml").write_text(MANIFEST)
    (tmp_path / "models" / "weights.bin").write_bytes(b"the weights")
    return Workplace(tmp_path)
