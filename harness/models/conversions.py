"""Make one artifact from another, in a process of its own.

Each conversion is a script that stands alone (`convert/`), so that it can run under an engine's
own interpreter: `PYTHON SCRIPT '<json>'` makes the target, `PYTHON SCRIPT --versions` only says
which tools would. Both print one JSON line {"tool", "versions"}. A conversion whose tool comes with
an engine names that engine's environment, which is used where bakeoff's own interpreter lacks it.
"""

from __future__ import annotations

import functools
import json
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness import environments
from harness.errors import PrepareFailed
from harness.models import child

TIME_LIMIT_S = 3600.0
_VERSIONS_LIMIT_S = 60.0
_STDOUT_LIMIT = 1_000_000
MISSING = "missing"
"""What a script gives as the version of a package that is not installed."""

INSTALL = "pip install 'bakeoff[convert]'"
_OFFLINE = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "HF_DATASETS_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "1",
    "TOKENIZERS_PARALLELISM": "false",
}


@dataclass(frozen=True)
class Conversion:
    """A script and the formats it stands between.

    `precisions` it can make, None where only the script knows; `precision_option` is what the
    script calls the precision, None where it makes one only. `environment` is that of the engine
    that the tool comes with: it runs the script where the interpreter asked for lacks the tool.
    `wheels` is where its wheels lie if no index has them.
    """

    name: str
    script: Path
    reads: str
    writes: str
    folder: bool
    precisions: frozenset[str] | None = None
    precision_option: str | None = "precision"
    environment: str | None = None
    wheels: str | None = None

    @property
    def remedy(self) -> str:
        """What brings the tools."""
        if self.environment is None:
            return INSTALL
        links = f" --find-links {self.wheels}" if self.wheels else ""
        return f"bakeoff engines install {self.environment}{links}"

    def lossless(self, precision: str) -> bool:
        """Whether the numbers stay the same: float32 holds every value of a smaller type."""
        return precision == "f32"

    def options(self, precision: str, more: Mapping[str, Any]) -> dict[str, Any]:
        """What the script is told."""
        return {**({self.precision_option: precision} if self.precision_option else {}), **more}


@dataclass(frozen=True)
class Tools:
    """What did, or would do, a conversion."""

    tool: str
    versions: Mapping[str, str]

    @property
    def missing(self) -> tuple[str, ...]:
        return tuple(name for name, version in self.versions.items() if version == MISSING)


_SCRIPTS = Path(__file__).resolve().parent / "convert"

CONVERSIONS: dict[str, Conversion] = {
    c.name: c
    for c in (
        Conversion(
            "dequantize",
            _SCRIPTS / "dequantize.py",
            reads="gguf",
            writes="hf",
            folder=True,
            precisions=frozenset({"f32"}),
            precision_option=None,
        ),
        Conversion(
            "gguf-requantize",
            _SCRIPTS / "gguf_requantize.py",
            reads="gguf",
            writes="gguf",
            folder=False,
            precision_option="ftype",
        ),
        Conversion(
            "onnx-builder",
            _SCRIPTS / "onnx_builder.py",
            reads="hf",
            writes="onnx",
            folder=True,
            precisions=frozenset({"f32", "int4", "int8"}),
        ),
        Conversion(
            "hf-gguf",
            _SCRIPTS / "hf_gguf.py",
            reads="hf",
            writes="gguf",
            folder=False,
            precisions=frozenset({"f32"}),
            precision_option=None,
        ),
        Conversion(
            "hf-ctranslate2",
            _SCRIPTS / "hf_ctranslate2.py",
            reads="hf",
            writes="ctranslate2",
            folder=True,
            precisions=frozenset({"f32", "int8"}),
            environment="ctranslate2",
        ),
        Conversion(
            "executorch-export",
            _SCRIPTS / "executorch_export.py",
            reads="hf",
            writes="pte",
            folder=True,
            precisions=frozenset({"f32", "8da4w"}),
            environment="executorch",
        ),
        Conversion(
            "litert-lm-export",
            _SCRIPTS / "litert_lm_export.py",
            reads="hf",
            writes="litertlm",
            folder=False,
            precisions=frozenset({"f32", "int8"}),
            environment="litert-torch",
        ),
        Conversion(
            "mlc",
            _SCRIPTS / "mlc.py",
            reads="hf",
            writes="mlc",
            folder=True,
            # MLC stores float32 as bfloat16.
            precisions=frozenset({"bf16", "f16", "int4"}),
            environment="mlc",
            wheels="https://mlc.ai/wheels",
        ),
    )
}

# No conversion that a manifest could name: what makes the source `family`.
TINY = Conversion("tiny", _SCRIPTS / "tiny.py", "family", "hf", folder=True, precision_option=None)


def tools(conversion: Conversion, interpreter: str = sys.executable) -> Tools:
    """Versions that would do the work now. Remembered for the life of this process."""
    return _able(conversion, interpreter)[1]


def _able(conversion: Conversion, interpreter: str) -> tuple[str, Tools]:
    """The interpreter that runs the script, and what it has: the engine's only if need be."""
    stamp = conversion.script.stat().st_mtime_ns if conversion.script.is_file() else 0
    found = _tools(conversion, interpreter, stamp)
    if not found.missing or conversion.environment is None:
        return interpreter, found
    engines_own = environments.resolve(conversion.environment)
    if engines_own == conversion.environment:  # no environment of that name
        return interpreter, found
    return engines_own, _tools(conversion, engines_own, stamp)


@functools.cache
def _tools(conversion: Conversion, interpreter: str, stamp: int) -> Tools:
    with tempfile.TemporaryDirectory(prefix="bakeoff-") as scratch:
        log = Path(scratch) / "log"
        return _run(
            conversion, "--versions", interpreter, Path(scratch), log, _VERSIONS_LIMIT_S, None
        )


def convert(
    conversion: Conversion,
    source: Path,
    target: Path,
    options: Mapping[str, Any],
    *,
    scratch: Path,
    log: Path,
    interpreter: str = sys.executable,
    timeout_s: float = TIME_LIMIT_S,
    on_poll: Callable[[], None] | None = None,
) -> Tools:
    """Make `target` from `source`. The script's chatter goes to `log`. Raises PrepareFailed."""
    interpreter, before = _able(conversion, interpreter)
    if before.missing:
        raise PrepareFailed(
            f"{conversion.name} needs {', '.join(before.missing)}, which {interpreter} does not have",
            conversion.remedy,
        )
    job = json.dumps({"source": str(source), "target": str(target), "options": dict(options)})
    done = _run(conversion, job, interpreter, scratch, log, timeout_s, on_poll)
    if target.is_dir() != conversion.folder or not target.exists():
        what = "folder" if conversion.folder else "file"
        raise PrepareFailed(f"{conversion.name} said it was done, but made no {what} {target.name}")
    return done


def _run(
    conversion: Conversion,
    argument: str,
    interpreter: str,
    scratch: Path,
    log: Path,
    timeout_s: float,
    on_poll: Callable[[], None] | None,
) -> Tools:
    environment = child.environment(
        scratch, extra={**_OFFLINE, "HF_HOME": str(scratch / "hf-home")}
    )
    command = [interpreter, str(conversion.script), argument]
    with tempfile.TemporaryFile() as stdout, log.open("wb") as stderr:
        try:
            code = child.run(
                command,
                environment=environment,
                timeout_s=timeout_s,
                stdout=stdout,
                stderr=stderr,
                cwd=scratch,
                on_poll=on_poll,
            )
        except child.TimedOut as error:
            raise PrepareFailed(f"{conversion.name} {error}", f"see {log}") from error
        except OSError as error:
            raise PrepareFailed(f"{conversion.name} can't be started: {error}") from error
        size = stdout.seek(0, 2)
        stdout.seek(max(0, size - _STDOUT_LIMIT))
        said = stdout.read().decode("utf-8", "replace")
    if code != 0:
        reason = f"{conversion.name} failed ({child.describe_exit(code)})"
        last = child.tail(log)
        raise PrepareFailed(
            f"{reason}:\n{last}" if last else reason,
            f"if a package is missing: {conversion.remedy}; the whole log: {log}",
        )
    return _answer(conversion, said)


def _answer(conversion: Conversion, said: str) -> Tools:
    """The last JSON line; a tool underneath may have printed before it."""
    lines = [line for line in said.splitlines() if line.strip()]
    try:
        data = json.loads(lines[-1])
        versions = {str(k): str(v) for k, v in data["versions"].items()}
        return Tools(str(data["tool"]), versions)
    except (IndexError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise PrepareFailed(
            f"{conversion.name} did not end with its JSON line on stdout"
        ) from error
