"""What an engine's environment is asked to hold, and how to ask for the same again."""

from __future__ import annotations

import re
import shlex
from importlib.metadata import PackageNotFoundError, distribution

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import NormalizedName, canonicalize_name

from backends.openai_presets import PRESETS
from harness import registry
from harness.environments import SERVERS, Environment
from harness.errors import BadInput, BakeoffError, Problem
from harness.yaml_source import suggestion

TOOLS = frozenset({"litert-torch"})
"""Environments of converters, whose dependencies conflict with their own engine's."""
EXTRA = re.compile(r'extra == "([^"]+)"')
REPORTED = {"mlc": "mlc-llm-nightly-cpu"}
"""The package that an adapter's `probe` reports, where the names in its extra don't tell."""


def engines() -> tuple[str, ...]:
    """The names that an environment may be used under unnamed: of backends, servers and converters."""
    return (*registry.adapters(), *PRESETS, *TOOLS)


def backend_of(engine: str) -> str:
    """The backend of an engine's name: itself, or the one that drives that server; "" for a converter.
    Raises BadInput."""
    adapters = registry.adapters()
    if engine in adapters:
        return engine
    if engine in PRESETS:
        return SERVERS
    if engine in TOOLS:
        return ""
    raise BadInput(engine, [Problem("unknown engine" + suggestion(engine, engines()))])


def requirements(engine: str) -> tuple[Requirement, ...]:
    """What the adapter's distribution asks for in the extra of the engine's name.

    Raises BadInput for an unknown engine or one whose distribution has no such extra, here.
    """
    owner, asked = _asked(engine)
    found = tuple(_bare(r) for r in asked if _is_of_extra(r, engine))
    if not found:
        raise BadInput(
            engine,
            [Problem(f"{owner} has nothing to install for {engine!r} on this system")],
            "install the engine yourself and name its interpreter: `python: /path/to/python`",
        )
    return found


def _asked(engine: str) -> tuple[str, list[Requirement]]:
    """The adapter's distribution, and everything that it asks for with any extra, on any system."""
    backend = backend_of(engine)
    owner = "bakeoff"
    if backend:
        owner = registry.adapters()[backend].distribution.partition(" ")[0]
    try:
        asked = [Requirement(text) for text in distribution(owner).requires or ()]
    except (PackageNotFoundError, InvalidRequirement) as error:
        raise BadInput(engine, [Problem(f"its package {owner} says nothing: {error}")]) from error
    return owner, [one for one in asked if one.marker]


def _is_of_extra(requirement: Requirement, extra: str) -> bool:
    marker = requirement.marker
    return bool(marker and marker.evaluate({"extra": extra}) and not marker.evaluate({"extra": ""}))


def _bare(requirement: Requirement) -> Requirement:
    bare = Requirement(str(requirement))
    bare.marker = None
    return bare


def own_package(engine: str) -> NormalizedName:
    """The package whose version is the engine's: the one that its adapter reports, the same on every
    system. So what is asked for on some systems only is no candidate beside what all ask for.

    Raises BadInput where it can't be told.
    """
    if engine in REPORTED:
        return canonicalize_name(REPORTED[engine])
    called = canonicalize_name(engine)
    owner, asked = _asked(engine)
    of_extra = [
        one for one in asked if called in map(canonicalize_name, EXTRA.findall(str(one.marker)))
    ]
    everywhere = [one for one in of_extra if EXTRA.fullmatch(str(one.marker))]
    names = {canonicalize_name(one.name) for one in everywhere or of_extra}
    alike = {one for one in names if _joined(one).startswith(_joined(called))}
    for found in (names, names & {called}, alike):
        if len(found) == 1:
            return min(found)
    raise BadInput(
        engine,
        [Problem(f"which package is the version of? {owner} names {', '.join(sorted(names))}")],
        "leave the version out, or install the engine yourself and name its interpreter",
    )


def _joined(name: str) -> str:
    return name.replace("-", "")


def parse(given: str) -> tuple[str, str]:
    """`llamacpp==0.3.35` → the engine, and the version that is asked for (or none)."""
    match = re.fullmatch(r"([A-Za-z0-9][A-Za-z0-9._-]*?)\s*((?:==|>=|<=|~=|<|>).+)?", given.strip())
    if match is None:
        raise BadInput(given, [Problem("expected an engine, or engine==version")])
    return match[1], match[2] or ""


def wanted(given: str) -> tuple[Requirement, ...]:
    """The requirements of what the user gave: an engine, or one with a version. Raises BadInput."""
    engine, version = parse(given)
    found = requirements(engine)
    if not version:
        return found
    try:
        specifier = SpecifierSet(version)
    except InvalidSpecifier as error:
        raise BadInput(given, [Problem(f"{version!r} is no version: {error}")]) from error
    own = own_package(engine)
    if own not in {canonicalize_name(one.name) for one in found}:
        raise BadInput(
            given, [Problem(f"it is the version of {own}, which is not for this system")]
        )
    for one in found:
        if canonicalize_name(one.name) == own:
            one.specifier = specifier
    return found


def engine_of(one: Environment) -> str | None:
    """Of an environment made before this was kept: by the package that it was made with."""
    if one.engine:
        return one.engine
    if one.backend not in ("", SERVERS):
        return one.backend
    for engine in sorted(PRESETS if one.backend else TOOLS):
        try:
            if own_package(engine) in _specifiers(one):
                return engine
        except BakeoffError:
            continue
    return None


def now_asked(one: Environment) -> tuple[str, ...]:
    """What would be installed today if no version were given; empty where that can't be told."""
    try:
        return tuple(map(str, requirements(engine_of(one) or "")))
    except BakeoffError:
        return ()


def again(one: Environment) -> str:
    """The command that makes the same again."""
    engine = engine_of(one)
    if engine is None:
        return f"bakeoff engines remove {one.name}, then install its engine anew"
    command = ["bakeoff", "engines", "install", one.given or engine + _version(one, engine)]
    command += ["--as", one.name]
    command += ["--installer", one.installer] if one.installer else []
    command += ["--find-links", one.links] if one.links else []
    return shlex.join(command)


def _version(one: Environment, engine: str) -> str:
    """The version that was given, where only what was installed is known: that of the engine's own
    package, if it is not the adapter's."""
    try:
        own = own_package(engine)
        usual = {canonicalize_name(r.name): r.specifier for r in requirements(engine)}
    except BakeoffError:
        return ""
    made = _specifiers(one).get(own)
    return "" if made is None or made == usual.get(own) else str(made)


def _specifiers(one: Environment) -> dict[NormalizedName, SpecifierSet]:
    found = {}
    for text in one.requirements:
        try:
            requirement = Requirement(text)
        except InvalidRequirement:
            continue
        found[canonicalize_name(requirement.name)] = requirement.specifier
    return found


def as_server(one: Environment) -> str:
    """How a scenario uses an environment whose engine is a server."""
    server = engine_of(one) or one.name
    python = "" if server == one.name else f"python: {one.name}, "
    return f"a server, for `openai: {{{python}options: {{server: {server}}}}}`"
