"""Checks of the contract that need no model in memory."""

from __future__ import annotations

from dataclasses import replace

from backends.api import BackendError, GenerationFailed, Request, Unsupported
from backends.conformance_subject import Subject
from backends.promises import Finding


def import_is_light(subject: Subject) -> Finding:
    """Importing the adapter and creating it brings in the standard library only: bakeoff asks for
    adapters whose engines are not installed, and times the engine's import in `probe`."""
    seen = subject.imports.first
    if "imported" not in seen:
        return False, f"it cannot be imported in a fresh process: {seen['raised']}"
    heavy = seen["imported"]
    return not heavy, f"importing the adapter imports {', '.join(heavy[:5])}" if heavy else ""


def probe_answers(subject: Subject) -> Finding:
    """`probe` says version and devices, or a reason with a remedy, and never raises: also when
    all that it imports is not installed."""
    asked = [("", subject.imports.first)]
    if subject.imports.without is not None:
        asked.append(("without the engine ", subject.imports.without))
    for when, seen in asked:
        said = seen.get("probe")
        if said is None:
            return False, f"{when}probe raised {seen.get('raised')}"
        if said["kind"] != "Availability":
            return False, f"{when}probe gave {said['kind']} instead of an Availability"
        if said["reason"] is None and not said["version"]:
            return False, f"{when}probe says neither a version nor why there is none"
        if said["reason"] is not None and not said["remedy"]:
            return False, f"{when}probe says {said['reason']!r}, but not what to do"
    return True, ""


def describes_itself(subject: Subject) -> Finding:
    """`name` is a word and `formats` hold the artifact's format: planning goes by them."""
    backend = subject.make()
    name, formats = getattr(backend, "name", None), getattr(backend, "formats", None)
    if not isinstance(name, str) or not name or any(c.isspace() for c in name):
        return False, f"name is {name!r}: expected a word"
    if not isinstance(formats, frozenset) or not all(isinstance(f, str) for f in formats):
        return False, f"formats is {formats!r}: expected a frozenset of names"
    if subject.artifact.format not in formats:
        return False, f"the artifact is {subject.artifact.format}, it reads {sorted(formats)}"
    return True, ""


def needs_a_model(subject: Subject) -> Finding:
    """Before `load`, `generate` raises GenerationFailed; `close` does nothing."""
    with subject.fresh() as backend:
        backend.close()
        try:
            made = list(backend.generate(Request((65, 66, 67), 1)))
        except GenerationFailed:
            return True, ""
        except Exception as error:
            return False, f"raised {type(error).__name__}: {error}; expected GenerationFailed"
    return False, f"without a model it gave {len(made)} tokens"


def unknown_options_refused(subject: Subject) -> Finding:
    """An option that the engine doesn't have is Unsupported: ignored, it would change nothing and
    the report would say that it did."""
    wrong = replace(subject.options, extra={**subject.options.extra, "bakeoff_no_such_option": 1})
    with subject.fresh() as backend:
        try:
            backend.load(subject.artifact, wrong)
        except Unsupported:
            return True, ""
        except BackendError as error:
            return False, f"{type(error).__name__} instead of Unsupported: {error.reason}"
    return False, "an unknown option was ignored"


def unknown_devices_refused(subject: Subject) -> Finding:
    """A device that isn't there is Unsupported: falling back to the CPU in silence makes a number
    for another machine."""
    with subject.fresh() as backend:
        try:
            backend.load(subject.artifact, replace(subject.options, device="no-such-device"))
        except Unsupported:
            return True, ""
        except BackendError as error:
            return False, f"{type(error).__name__} instead of Unsupported: {error.reason}"
    return False, "an unknown device was ignored"


BEFORE_LOADING = (
    import_is_light,
    probe_answers,
    describes_itself,
    needs_a_model,
    unknown_options_refused,
    unknown_devices_refused,
)
