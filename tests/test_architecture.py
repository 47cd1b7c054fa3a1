"""The house rules that no review should have to remember."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
OURS = {"harness", "backends", "results", "reports"}
MAY_IMPORT = {
    "harness": {"harness", "backends", "results", "reports"},
    "backends": {"backends"},
    "results": {"results"},
    "reports": {"reports", "results"},
}
STANDARD_ONLY = [
    ROOT / "backends" / "api.py",
    ROOT / "results" / "records.py",
    *sorted((ROOT / "harness" / "worker").glob("*.py")),
    ROOT / "harness" / "__init__.py",
    ROOT / "backends" / "__init__.py",
]


def _modules(path: Path, *, top_level_only: bool) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = tree.body if top_level_only else ast.walk(tree)
    found = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found.add(str(node.module))
    return found


def _python(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


@pytest.mark.parametrize("folder", sorted(OURS))
def test_folders_import_only_what_lies_left_of_them(folder: str) -> None:
    for path in _python(folder):
        tops = {name.partition(".")[0] for name in _modules(path, top_level_only=False)}
        assert tops & OURS <= MAY_IMPORT[folder], path


@pytest.mark.parametrize("path", STANDARD_ONLY, ids=lambda p: str(p.relative_to(ROOT)))
def test_what_runs_in_any_interpreter_needs_the_standard_library_only(path: Path) -> None:
    worker_side = {"harness", "backends", "results"}
    late = {"numpy"}  # where a measure needs it, inside a function
    at_once = {name.partition(".")[0] for name in _modules(path, top_level_only=True)}
    assert not at_once & late
    for name in _modules(path, top_level_only=False):
        top = name.partition(".")[0]
        assert top in sys.stdlib_module_names or top in worker_side | late, name
        assert top != "harness" or name == "harness" or name.startswith("harness.worker"), name


@pytest.mark.parametrize("path", _python("backends"), ids=lambda p: p.name)
def test_an_adapter_imports_no_engine_at_its_module_level(path: Path) -> None:
    tops = {name.partition(".")[0] for name in _modules(path, top_level_only=True)}
    assert tops - {"backends"} <= set(sys.stdlib_module_names)


def test_the_conversion_scripts_need_nothing_of_ours() -> None:
    for path in (ROOT / "harness" / "models" / "convert").glob("*.py"):
        tops = {name.partition(".")[0] for name in _modules(path, top_level_only=False)}
        assert not tops & OURS, path


def test_files_stay_small() -> None:
    for folder in OURS:
        for path in _python(folder):
            assert len(path.read_text(encoding="utf-8").splitlines()) <= 350, path


def test_help_imports_nothing_heavy() -> None:
    heavy = "pydantic rich pandas numpy scipy matplotlib torch yaml psutil huggingface_hub jinja2"
    program = (
        "import sys; sys.argv = ['bakeoff', '--help']\n"
        "from harness.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        f"print([m for m in {heavy!r}.split() if m in sys.modules])"
    )
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert "Compare local LLM engines honestly" in result.stdout
    assert result.stdout.splitlines()[-1] == "[]"
