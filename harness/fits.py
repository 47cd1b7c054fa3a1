"""Whether what a scenario asks for fits its models and this machine."""

from __future__ import annotations

from harness import companions, host, measures
from harness.models import Manifest
from harness.scenario import LoadedScenario, Scenario

CONTEXT_STEP = 256


def check_cpus(loaded: LoadedScenario, scenario: Scenario) -> None:
    usable = host.usable_cpu_numbers()
    for index, cpu in enumerate(scenario.plan.cpus or ()):
        if cpu not in usable:
            given = ", ".join(map(str, usable)) or "none: this system can't set them"
            raise loaded.refuse(f"CPU {cpu} is not usable here ({given})", ("plan", "cpus", index))


def check_ids(loaded: LoadedScenario, manifests: list[Manifest]) -> None:
    for index, manifest in enumerate(manifests):
        for other in manifests[:index]:
            if other.id == manifest.id and other.file != manifest.file:
                raise loaded.refuse(
                    f"is {manifest.id!r}, as is {other.file}; expected models of different names",
                    ("models", index),
                    "rename one, or give each a manifest with an id of its own",
                )


def context(scenario: Scenario, manifests: list[Manifest]) -> int:
    """What the longest request needs, in steps; room for a chat where the models have it."""
    longest = max(measures.tokens(p) for entry in scenario.measures for p in entry.parameters())
    if any(entry.templates or entry.item_set for entry in scenario.measures):
        longest = max(longest, measures.CHAT_CONTEXT)
    elif scenario.plan.audit:
        longest = max(longest, measures.tokens(companions.AUDIT))
    # Not beyond a model's own; a request that does not fit then is refused by name.
    stepped = -(-longest // CONTEXT_STEP) * CONTEXT_STEP
    return min(stepped, *(manifest.context_length for manifest in manifests))


def check_context(
    loaded: LoadedScenario, scenario: Scenario, manifests: list[Manifest], size: int
) -> None:
    for index, entry in enumerate(scenario.measures):
        where = ("measures", index, entry.name)
        for p in entry.parameters():
            asked = measures.tokens(p)
            limits = [(size, "plan.context")] if scenario.plan.context else []
            limits += [(m.context_length, f"the context of {m.id}") for m in manifests]
            for limit, whose in limits:
                if asked > limit:
                    raise loaded.refuse(
                        f"needs {p['prompt_tokens']} + {p['output_tokens']} = {asked} tokens, "
                        f"{whose} holds {limit}",
                        where,
                    )
    for manifest in manifests:
        if scenario.plan.context and scenario.plan.context > manifest.context_length:
            raise loaded.refuse(
                f"is {scenario.plan.context}, the context of {manifest.id} holds {manifest.context_length}",
                ("plan", "context"),
            )
