"""An arm of a gate: what it says over the scenario, on the command line or in a small file.

--candidate "backend=llamacpp artifact=gguf-q8_0 options.n_batch=256"
--candidate python=/opt/new-build/bin/python
--candidate new-build.yaml
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field

from harness import yaml_source
from harness.errors import BadInput, Problem
from harness.plan import Overrides
from harness.scenario import Interpreter, Name, Scalar
from harness.strict import Strict


class ArmFields(Strict):
    """What an arm may change. Everything else is the scenario's, the same for both arms."""

    backend: Name | None = Field(None, description="run this backend only")
    model: str | None = Field(None, min_length=1, description="id, or path of a manifest or model")
    artifact: Name | None = Field(None, description="run this artifact only")
    artifacts: list[Name] | None = Field(None, min_length=1)
    python: Interpreter | None = Field(None, description="interpreter, or an engine environment")
    device: str | None = Field(None, min_length=1, max_length=80)
    mmap: bool | None = None
    mlock: bool | None = None
    threads: int | None = Field(None, ge=1, le=4096)
    options: dict[Name, Scalar] = Field(default_factory=dict)


@dataclass(frozen=True)
class Overlay:
    """`text` is what the user gave: empty where the arm is as the scenario says."""

    overrides: Overrides
    text: str


def parse(role: str, given: str | None) -> Overlay:
    """An arm from what stands after `--base` or `--candidate`. Raises BadInput."""
    where = f"--{role}"
    if not given or not given.strip():
        return Overlay(Overrides(), "")
    path = Path(given)
    if path.is_dir() or path.suffix == ".json":
        raise BadInput(
            where,
            [Problem(f"{given} is a stored run or baseline, expected an arm to run now")],
            "timings of another session are incomparable: name what to run as the base here, "
            "such as python=/path/to/the/old/build/bin/python; "
            "what is deterministic can be held against a file: bakeoff baseline check",
        )
    if path.suffix in (".yaml", ".yml") and (path.is_file() or "=" not in given):
        fields = yaml_source.validate(ArmFields, yaml_source.read(path))
    else:
        document = yaml_source.Document(Path(where), given, _fields(where, given), {})
        fields = yaml_source.validate(ArmFields, document)
    return Overlay(_overrides(fields), given.strip())


def _fields(where: str, given: str) -> dict[str, Any]:
    try:
        words = shlex.split(given)
    except ValueError as error:
        raise BadInput(where, [Problem(f"{given!r} can't be read: {error}")]) from error
    found: dict[str, Any] = {}
    for word in words:
        name, equals, text = word.partition("=")
        if not equals or not name:
            raise BadInput(
                where,
                [Problem(f"{word!r} is no file and no field=value")],
                f"fields: {', '.join(ArmFields.model_fields)}; options.NAME=value for the engine's own",
            )
        target, _, option = name.partition(".")
        if target == "options" and option:
            found.setdefault("options", {})[option] = _value(text)
        elif name == "artifacts":
            found[name] = text.split(",")
        elif name in ("mmap", "mlock", "threads"):
            found[name] = _value(text)
        else:
            found[name] = text
    return found


def _value(text: str) -> Any:
    """A number or a truth value where it is written as one."""
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        return text
    return value if isinstance(value, str | int | float | bool) else text


def _overrides(fields: ArmFields) -> Overrides:
    settings = {
        name: value
        for name in ("artifacts", "python", "device", "mmap", "mlock")
        if (value := getattr(fields, name)) is not None
    }
    if fields.artifact is not None:
        settings["artifacts"] = [fields.artifact]
    if fields.options:
        settings["options"] = dict(fields.options)
    return Overrides(
        backends=(fields.backend,) if fields.backend else (),
        models=(fields.model,) if fields.model else (),
        threads=fields.threads,
        settings=settings,
    )
