"""Does each engine run here, is its environment sound, and what is to be done?"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from harness import environments, registry
from harness.environments import Environment
from harness.environments_asked import again, as_server, engine_of, now_asked
from harness.environments_child import Contents, look
from harness.errors import BadInput, BakeoffError, Problem
from harness.probe import Probe, probe
from harness.yaml_source import suggestion


@dataclass(frozen=True)
class Checkup:
    """One engine in one place. `facts` are shown as they are; each trouble has what to do, if
    anything can be done. An engine that was never installed is no trouble: `absent`."""

    name: str
    where: str
    facts: tuple[str, ...]
    troubles: tuple[tuple[str, str | None], ...] = ()
    absent: bool = False


def checkups(names: Collection[str] = ()) -> Iterator[Checkup]:
    """Every environment, then every engine that has none. Raises BadInput for an unknown name."""
    adapters = registry.adapters()
    housed = {one.name: one for one in environments.known()}
    engines = {name: engine_of(one) for name, one in housed.items()}
    everything = {*housed, *adapters, *filter(None, engines.values())}
    unknown = [name for name in names if name not in everything]
    if unknown:
        problem = Problem("no such engine or environment" + suggestion(unknown[0], everything))
        raise BadInput(unknown[0], [problem], "see what is there: bakeoff engines list")
    for name, one in housed.items():
        if not names or {name, one.backend, engines[name]} & {*names}:
            yield _environment(one)
    for name, adapter in adapters.items():
        if name not in housed and (not names or name in names):
            seen = probe(adapter)
            yield Checkup(name, "bakeoff's own Python", _facts(seen), _unavailable(seen), True)


def _environment(one: Environment) -> Checkup:
    where, remedy = str(one.folder), again(one)
    adapter = registry.adapters().get(one.backend)
    if adapter is None and one.backend:
        instead = f"bakeoff engines remove {one.name}, or install the adapter's package"
        return Checkup(one.name, where, (), ((f"its backend {one.backend} is gone", instead),))
    try:
        found = look(one.python)
    except BakeoffError as error:
        return Checkup(one.name, where, (), ((f"its Python does not run: {error}", remedy),))
    troubles = [(trouble, remedy) for trouble in (*_changes(one, found), *_unmet(found))]
    if adapter is None:
        return Checkup(one.name, where, ("a converter",), tuple(troubles))
    asked = now_asked(one)
    other: tuple[str, ...] = ()
    if asked and asked != one.requirements:
        told = f"made with {', '.join(one.requirements)}; its adapter names {', '.join(asked)}"
        other = (told,)
    if one.backend == environments.SERVERS:
        has = (f"{name} {version}" for name, version in one.installed.items())
        return Checkup(one.name, where, (*has, *other, as_server(one)), tuple(troubles))
    seen = probe(adapter, str(one.python))
    return Checkup(one.name, where, (*_facts(seen), *other), (*troubles, *_unavailable(seen)))


def _changes(one: Environment, found: Contents) -> Iterator[str]:
    for package, version in one.installed.items():
        now = found.versions.get(package, "missing")
        if now != version:
            yield f"{package} was {version} when it was made, now {now}"


def _unmet(found: Contents) -> Iterator[str]:
    """As `pip check` does it: what a distribution requires with an extra is left out."""
    python = ".".join(found.python.split(".")[:2])
    place = {"python_full_version": found.python, "python_version": python, "extra": ""}
    for package, asked in sorted(found.requires.items()):
        for text in asked:
            try:
                requirement = Requirement(text)
                if requirement.marker and not requirement.marker.evaluate(place):
                    continue
                now = found.versions.get(canonicalize_name(requirement.name))
                specifier = requirement.specifier
                if now is None or not specifier.contains(Version(now), prereleases=True):
                    bare = f"{requirement.name}{specifier}"
                    yield f"{package} requires {bare}, there is {now or 'none'}"
            except (InvalidRequirement, InvalidVersion):
                continue


def _facts(seen: Probe) -> tuple[str, ...]:
    if not seen.available:
        return ()
    said = [f"{seen.version}, runs on {', '.join(seen.devices) or 'no device'}"]
    return (*said, *(f"{name}: {value}" for name, value in seen.build.items()))


def _unavailable(seen: Probe) -> tuple[tuple[str, str | None], ...]:
    return () if seen.available else ((str(seen.reason), seen.remedy),)
