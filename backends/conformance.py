"""Does an adapter keep the contract of `backends.api`? Small named checks, each with its reason.

    subject = Subject(MyBackend, artifact, LoadOptions(context=256, threads=1), scratch)
    for check in CHECKS:
        print(check.run(subject))

Standard library only: it runs in a worker, under whatever interpreter the engine needs
(`bakeoff conform ENGINE`), and in pytest (`backends.conformance_suite`).

An adapter says what its engine cannot do by refusing with `Unsupported`. It may say why in an
attribute of its class, by the name of the check:

    gaps = {"min_p_honoured": "never: the engine has no such filter"}

`never` means that the engine can't, `notyet` that its authors plan it, `notimpl` that only the
adapter lacks it. A declared gap must really refuse, or fail openly: one that works is a fault.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from backends import (
    conformance_abilities,
    conformance_contract,
    conformance_generation,
    conformance_models,
    conformance_sampling,
)
from backends.api import Artifact, BackendError, Unsupported
from backends.conformance_subject import Subject
from backends.promises import Finding

__all__ = ["Artifact", "CHECKS", "GAP_KINDS", "Check", "Result", "Subject", "by_name"]

PASSED, FAILED, NOT_APPLICABLE = "passed", "failed", "not_applicable"
AUDITED = ("threads_as_told", "work_in_process")
"""Checks that only the audit of a run makes."""
GAP_KINDS = ("never", "notyet", "notimpl")


@dataclass(frozen=True)
class Result:
    """What one check found. `gap` is the adapter's own declaration, where it held."""

    check: str
    status: str
    detail: str = ""
    gap: str | None = None


@dataclass(frozen=True)
class Check:
    """One question to an adapter. `alone` asks for a process of its own: it may well crash. A
    `measured` one comes out by degrees: a declared gap says that it comes out badly."""

    ask: Callable[[Subject], Finding]
    alone: bool = False
    measured: bool = False

    @property
    def name(self) -> str:
        return self.ask.__name__

    @property
    def reason(self) -> str:
        """What is asked, in a sentence."""
        return " ".join((self.ask.__doc__ or "").split())

    def run(self, subject: Subject) -> Result:
        """Never raises, whatever the adapter does short of ending the process."""
        openly = False
        try:
            passed, detail = self.ask(subject)
        except Unsupported as error:
            passed, detail = None, f"refused: {error.reason}"
        except Exception as error:
            passed, detail = False, f"raised {type(error).__name__}: {error}"
            openly = isinstance(error, BackendError)
        gap = subject.gaps.get(self.name)
        if gap is not None and passed is False and (openly or self.measured):
            passed = None
        if passed and gap is not None and not self.measured:
            passed, detail = False, f"declared as a gap ({gap}), but it works: drop the gap"
        if passed is False:
            subject.release()  # what broke here must not fail the next check
        status = {True: PASSED, False: FAILED, None: NOT_APPLICABLE}[passed]
        held = gap if passed is None else None
        return Result(self.name, status, " ".join(str(detail).split())[:500], held)


def gaps_well_declared(subject: Subject) -> Finding:
    """Each declared gap names a check and says never, notyet or notimpl, and why."""
    for name, told in subject.gaps.items():
        if name not in {*by_name(), *AUDITED}:
            return False, f"gaps names {name!r}, which is no check"
        kind, _, why = str(told).partition(":")
        if kind not in GAP_KINDS or not why.strip():
            return False, f"gap {name!r}: {told!r} is not 'never: why', 'notyet: …' or 'notimpl: …'"
    return (True, "") if subject.gaps else (None, "no gaps are declared")


CHECKS: tuple[Check, ...] = (
    *map(Check, conformance_contract.BEFORE_LOADING),
    Check(gaps_well_declared),
    *map(Check, conformance_generation.CHECKS),
    *map(Check, conformance_sampling.CHECKS),
    *map(Check, conformance_abilities.CHECKS),
    *(Check(ask, alone=True) for ask in conformance_models.CHECKS),
    Check(conformance_models.memory_given_back, alone=True, measured=True),
)
"""In the order in which one loaded backend serves longest."""


def by_name() -> dict[str, Check]:
    return {check.name: check for check in CHECKS}
