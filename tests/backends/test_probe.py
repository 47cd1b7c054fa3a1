"""An adapter can be imported and asked without its engine, and imports nothing until asked."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ADAPTERS = [
    ("llamacpp", "LlamaCpp", ["llama_cpp"]),
    ("onnx", "OnnxGenAI", ["onnxruntime_genai"]),
    ("transformers", "Transformers", ["torch"]),
    ("transformers", "Transformers", ["transformers"]),
]
BLOCKED = """
import sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {engines!r}:
            raise ImportError(f"no module named {{name}}")
sys.meta_path.insert(0, Block())
"""


def run(code: str) -> str:
    """Output of `code` under this interpreter, in a process of its own, away from our folders."""
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{code}"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd="/", timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize(("module", "name", "engines"), ADAPTERS)
def test_without_the_engine_probe_says_what_to_install(
    module: str, name: str, engines: list[str]
) -> None:
    seen = run(
        BLOCKED.format(engines=engines)
        + f"from backends.{module} import {name} as B\n"
        + "a = B().probe()\nassert not a.available and a.version is None\n"
        + "print(a.reason)\nprint(a.remedy)"
    )
    reason, remedy = seen.splitlines()
    assert "not installed" in reason and engines[0] in reason
    assert remedy == f"pip install 'bakeoff[{module}]'"


@pytest.mark.parametrize(("module", "name", "engines"), ADAPTERS)
def test_without_the_engine_load_is_unavailable(module: str, name: str, engines: list[str]) -> None:
    seen = run(
        BLOCKED.format(engines=engines)
        + f"from backends.{module} import {name} as B\n"
        + "from backends.api import *\nfrom pathlib import Path\n"
        + "try: B().load(Artifact('m', 'a', 'f', Path('/x')), LoadOptions(64, 1))\n"
        + "except Unavailable as error: print(error.remedy)"
    )
    assert seen == f"pip install 'bakeoff[{module}]'"


@pytest.mark.parametrize(("module", "name", "engines"), ADAPTERS[:3])
def test_importing_and_creating_the_adapter_imports_the_standard_library_only(
    module: str, name: str, engines: list[str]
) -> None:
    seen = run(
        "before = set(sys.modules)\n"
        + f"from backends.{module} import {name} as B\nB().close()\n"
        + "new = {m.split('.')[0] for m in set(sys.modules) - before}\n"
        + "print(sorted(new - set(sys.stdlib_module_names) - {'backends'}))"
    )
    assert seen == "[]"
