"""Engine environments without an index: a `uv` that makes empty ones and keeps what it was told."""

from __future__ import annotations

import ast
import json
import shlex
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import packaging.markers
import pytest
from packaging.utils import canonicalize_name
from typer.testing import CliRunner

from harness import cli, environments, environments_asked, registry
from harness.environments import Environment
from harness.environments_install import install
from harness.errors import BadInput, BakeoffError

UV = """\
#!{python} -I
import json, os, pathlib, sys, venv
with pathlib.Path({told!r}).open("a") as told:
    told.write(json.dumps({{"arguments": sys.argv[1:], "environment": dict(os.environ)}}) + "\\n")
if sys.argv[1] == "venv":
    venv.create(sys.argv[-1], symlinks=True)
elif any({fails!r} in one for one in sys.argv):
    sys.exit("no such version")
"""
SECRETS = ("HF_TOKEN", "AWS_SECRET_ACCESS_KEY", "BAKEOFF_API_KEY", "UV_PUBLISH_TOKEN",
           "UV_PUBLISH_PASSWORD", "UV_GITHUB_TOKEN", "PYTHONPATH")  # fmt: skip
NEEDED = ("PIP_INDEX_URL", "PIP_CONFIG_FILE", "PIP_CERT", "UV_INDEX_URL", "UV_CACHE_DIR",
          "UV_INDEX_OURS_PASSWORD", "UV_CONFIG_FILE", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "NETRC",
          "https_proxy", "SSL_CERT_FILE", "CMAKE_ARGS", "CC", "LC_ALL")  # fmt: skip


def silent(text: str) -> None:
    pass


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BAKEOFF_DATA", str(tmp_path / "data"))
    return tmp_path / "data" / "engines"


@pytest.fixture
def uv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[dict[str, Any]]]:
    """What each call of it was told. It fails on the version 0.0.0."""
    script, told = tmp_path / "bin" / "uv", tmp_path / "told"
    script.parent.mkdir()
    script.write_text(UV.format(python=sys.executable, told=str(told), fails="==0.0.0"))
    script.chmod(0o755)
    monkeypatch.setenv("PATH", str(script.parent), prepend=":")
    return lambda: [json.loads(line) for line in told.read_text().splitlines()]


def made(name: str, backend: str, *requirements: str, **asked: str) -> Environment:
    return Environment(name, backend, requirements, {}, "2026-11-21T20:34:50+00:00", **asked)


def place(folder: Path, facts: Mapping[str, Any] | None) -> Path:
    """An environment, half made without facts."""
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "python").write_text("")
    if facts is not None:
        (folder / "engine.json").write_text(json.dumps(facts))
    return folder


MLX = asdict(made("mlx", "mlx", "mlx-lm==0.32.2"))


def test_an_installer_sees_its_settings_and_no_secrets(
    uv: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in SECRETS:
        monkeypatch.setenv(name, "/secret")
    for name in NEEDED:
        monkeypatch.setenv(name, "/needed")
    install("llamacpp", None, silent, "uv")
    assert len(uv()) == 2
    for call in uv():
        assert set(NEEDED) <= set(call["environment"])
        assert not set(SECRETS) & set(call["environment"])


def test_an_environments_own_python_sees_no_secrets(
    uv: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the installer may see: a .pth file of any package runs when Python starts."""
    install("llamacpp", None, silent, "uv")
    folder = environments.find("llamacpp").folder
    site = next(folder.glob("lib/python*/site-packages"))
    seen = tmp_path / "seen"
    (site / "thief.pth").write_text(
        f"import os; print(open({str(seen)!r}, 'a').write(' '.join(os.environ) + chr(10)))\n"
    )
    for name in (*SECRETS, "PIP_INDEX_URL", "UV_INDEX_OURS_PASSWORD"):
        monkeypatch.setenv(name, "/secret")
    told = CliRunner().invoke(cli.app, ["engines", "doctor", "llamacpp"]).output
    assert "its Python does not run" not in told
    stolen = set(seen.read_text().split())
    assert "PATH" in stolen
    assert not stolen & {*SECRETS, "PIP_INDEX_URL", "UV_INDEX_OURS_PASSWORD"}


def test_one_that_is_put_aside_is_not_there(root: Path) -> None:
    place(root / ".mlx.old", MLX)
    place(root / "mlx", None)
    assert environments.known() == ()
    assert environments.usual("mlx", {}) is None


@pytest.mark.parametrize("half", [True, False], ids=["half made", "gone"])
def test_a_killed_reinstall_loses_nothing_when_the_next_one_fails(
    root: Path, uv: Any, half: bool
) -> None:
    install("mlx", None, silent, "uv")
    good = environments.find("mlx").folder
    (good / "mark").write_text("the good one")
    good.rename(root / ".mlx.old")
    if half:
        place(good, None)
    with pytest.raises(BakeoffError, match="no such version"):
        install("mlx==0.0.0", None, silent, "uv")
    assert (good / "mark").is_file()
    assert environments.find("mlx").given == "mlx"
    assert not (root / ".mlx.old").exists()


def test_what_is_half_made_is_no_fallback(root: Path, uv: Any) -> None:
    place(root / "mlx", None)
    with pytest.raises(BakeoffError, match="no such version"):
        install("mlx==0.0.0", None, silent, "uv")
    assert [path.name for path in root.iterdir()] == [".mlx.lock"]


@pytest.mark.parametrize(
    ("folder", "aside"),
    [(None, MLX), ("half", MLX), ("half", None), ("half", "half"), (MLX, "half"), (MLX, None)],
)
def test_removing_takes_all_that_a_kill_left(root: Path, folder: Any, aside: Any) -> None:
    for name, facts in (("mlx", folder), (".mlx.old", aside)):
        if facts is not None:
            place(root / name, None if facts == "half" else facts)
    assert environments.remove("mlx") == root / "mlx"
    assert [path.name for path in root.iterdir()] == [".mlx.lock"]
    with pytest.raises(BadInput, match="no such engine environment"):
        environments.remove("mlx")


@pytest.mark.parametrize("name", ["../outside", ".mlx.old", "", "."])
def test_only_an_environment_can_be_removed(root: Path, name: str) -> None:
    place(root / ".mlx.old", MLX)
    place(root.parent / "outside", MLX)
    with pytest.raises(BadInput, match="no such engine environment"):
        environments.remove(name)
    assert (root.parent / "outside" / "engine.json").is_file()
    assert (root / ".mlx.old" / "engine.json").is_file()


def test_nothing_is_removed_while_it_is_being_made(root: Path) -> None:
    place(root / ".mlx.old", MLX)
    with environments.held("mlx"), pytest.raises(BakeoffError, match="another bakeoff"):
        environments.remove("mlx")
    assert (root / ".mlx.old" / "engine.json").is_file()


def test_what_was_asked_for_is_kept_and_can_be_asked_for_again(uv: Any, tmp_path: Path) -> None:
    wheels = tmp_path / "own wheels"
    wheels.mkdir()
    found = install("xllamacpp==1.2", "xllamacpp-old", silent, "uv", str(wheels))
    assert environments.find("xllamacpp-old") == found
    words = shlex.split(environments_asked.again(found))
    assert words == ["bakeoff", "engines", "install", "xllamacpp==1.2", "--as", "xllamacpp-old",
                     "--installer", "uv", "--find-links", str(wheels)]  # fmt: skip
    first = uv()[-1]["arguments"]
    result = CliRunner().invoke(cli.app, words[1:])
    assert result.exit_code == 0, result.output
    assert uv()[-1]["arguments"] == first
    used = "openai: {python: xllamacpp-old, options: {server: xllamacpp}}"
    assert used in " ".join(result.output.split())


@pytest.mark.parametrize(
    ("given", "name"),
    [("llamacpp", "onnx"), ("llamacpp==0.3.35", "Onnx"), ("xllamacpp", "llamacpp"),
     ("xllamacpp", "openai"), ("mlx", "llama-server"), ("mlx", "litert-torch"),
     ("litert-torch", "litert-lm")],
)  # fmt: skip
def test_the_name_of_another_engine_is_refused(root: Path, uv: Any, given: str, name: str) -> None:
    """All cases of that engine would run there, unnamed."""
    with pytest.raises(BadInput, match=f"'{name}' is another engine's name"):
        install(given, name, silent, "uv")
    assert not root.exists()


def test_an_engines_own_name_and_one_like_anothers_are_taken(uv: Any) -> None:
    for name in ("llamacpp", "onnx-old", "LlamaCpp"):
        assert install("llamacpp", name, silent, "uv").name == name


def test_without_a_version_the_same_again_is_what_the_adapter_names_then() -> None:
    one = made("mlx", "mlx", "mlx-lm==0.1", engine="mlx", given="mlx")
    assert environments_asked.again(one) == "bakeoff engines install mlx --as mlx"


def test_a_password_in_an_address_is_not_kept(uv: Any) -> None:
    found = install("mlc", None, silent, None, "https://me:sesame@mlc.ai/wheels")
    assert "https://me:sesame@mlc.ai/wheels" in uv()[-1]["arguments"]
    assert "sesame" not in (found.folder / "engine.json").read_text()
    expected = "bakeoff engines install mlc --as mlc --find-links https://mlc.ai/wheels"
    assert environments_asked.again(found) == expected


@pytest.mark.parametrize(
    ("older", "again"),
    [
        # Another torch than today's is not the version of the engine.
        (made("ctranslate2", "ctranslate2", "ctranslate2==4.8.5", "torch==2.12.0"),
         "bakeoff engines install ctranslate2 --as ctranslate2"),
        (made("old", "ctranslate2", "ctranslate2==4.8.4", "torch==2.13.0"),
         "bakeoff engines install ctranslate2==4.8.4 --as old"),
        (made("old", "ctranslate2", "ctranslate2>=4,<4.8"),
         "bakeoff engines install 'ctranslate2<4.8,>=4' --as old"),
        (made("xllamacpp-old", "openai", "numpy", "xllamacpp==1.2"),
         "bakeoff engines install xllamacpp==1.2 --as xllamacpp-old"),
        (made("other", "openai", "llama-cpp-python[server]==0.3.36"),
         "bakeoff engines install llama-cpp-python --as other"),
        (made("tool", "", "litert-torch==0.10.0", "torch==2.13.0"),
         "bakeoff engines install litert-torch --as tool"),
        (made("who", "openai", "no requirement at all"),
         "bakeoff engines remove who, then install its engine anew"),
    ],
)  # fmt: skip
def test_environments_from_before_it_was_kept_are_read(
    root: Path, older: Environment, again: str
) -> None:
    facts = {k: v for k, v in asdict(older).items() if k not in ("engine", "given", "links")}
    del facts["installer"]
    place(root / older.name, {**facts, "a field of tomorrow": 1})
    assert environments.known() == (older,)
    assert environments_asked.again(older) == again


@pytest.mark.parametrize("facts", [{}, [], 1, {**MLX, "installed": 3}, {**MLX, "requirements": 1}])
def test_facts_that_are_none_are_left_out(root: Path, facts: Any) -> None:
    place(root / "mlx", facts)
    assert environments.known() == ()


def reported(adapter: registry.Adapter) -> set[str]:
    """The distributions that an adapter's `probe` names, read from its source."""
    module = adapter.reference.partition(":")[0]
    path = Path(str(adapter.folder())) / Path(*module.split(".")).with_suffix(".py")
    calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    named = [c for c in calls if isinstance(c.func, ast.Name) and c.func.id == "Availability"]
    names = {call.args[1].value for call in named if len(call.args) > 1
             and isinstance(call.args[1], ast.Constant)}  # fmt: skip
    if adapter.name == "mlc":  # of the wheel that holds this module, whichever it is
        names = {"mlc-llm-nightly-cpu"} if 'packages_distributions().get("mlc_llm"' in (
            path.read_text()) else set()  # fmt: skip
    return {str(name) for name in names}


OURS = {n: a for n, a in registry.adapters().items() if a.distribution.startswith("bakeoff ")}


@pytest.mark.parametrize("engine", sorted(OURS.keys() - {"openai"}))
@pytest.mark.parametrize("system", ["linux", "darwin"])
def test_a_version_is_that_of_the_package_that_the_adapter_reports(
    engine: str, system: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    here: dict[str, str] = dict(packaging.markers.default_environment())  # type: ignore[arg-type]
    monkeypatch.setattr(
        packaging.markers, "default_environment", lambda: {**here, "sys_platform": system}
    )
    assert {environments_asked.own_package(engine)} == reported(OURS[engine])
    if (engine, system) == ("apple-foundation-models", "linux"):
        return
    plain = {str(one) for one in environments_asked.wanted(engine)}
    asked = environments_asked.wanted(f"{engine}==5.4.0")
    (pinned,) = [one for one in asked if str(one) not in plain]
    assert {canonicalize_name(pinned.name)} == reported(OURS[engine])
    assert str(pinned.specifier) == "==5.4.0"


@pytest.mark.parametrize("engine", ["xllamacpp", "llama-cpp-python", "litert-torch"])
def test_a_servers_or_converters_version_is_that_of_its_own_name(engine: str) -> None:
    assert environments_asked.own_package(engine) == engine


@pytest.mark.parametrize(
    ("requires", "own"),
    [
        (["a-b; extra == 'fake'"], "a-b"),
        (["fake-lm; extra == 'fake'", "fake; sys_platform == 'linux' and extra == 'fake'"], "fake-lm"),
        (["Fake_LM; extra == 'fake'", "numpy; extra == 'fake'", "fake; extra == 'x'"], "fake-lm"),
        (["a; extra == 'fake'", "b; extra == 'fake'"], None),
    ],
)  # fmt: skip
def test_a_package_that_cannot_be_told_takes_no_version(
    requires: list[str], own: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Dist:
        def __init__(self, name: str) -> None:
            self.requires = requires

    monkeypatch.setattr(environments_asked, "distribution", Dist)
    if own is None:
        with pytest.raises(BadInput, match=r"which package .* names a, b"):
            environments_asked.wanted("fake==1")
        assert len(environments_asked.wanted("fake")) == 2
    else:
        assert environments_asked.own_package("fake") == own


def test_a_package_for_other_systems_takes_no_version_here(monkeypatch: pytest.MonkeyPatch) -> None:
    class Dist:
        def __init__(self, name: str) -> None:
            self.requires = [
                "fake; sys_platform == 'beos' and extra == 'fake'",
                f"other; sys_platform == '{sys.platform}' and extra == 'fake'",
            ]

    monkeypatch.setattr(environments_asked, "distribution", Dist)
    with pytest.raises(BadInput, match="the version of fake, which is not for this system"):
        environments_asked.wanted("fake==1")
