"""Which tasks are affected: those whose key is not the last one that passed; and why, in a few words.

Called by the CLI, by plans for CI systems and by `atoll deploy --affected`. It only compares what `keys` and the records
say; git is not asked (`since` does, for people who think in diffs).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from atoll.pipeline.keys import Keyed

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from atoll.model.errors import UserError
    from atoll.pipeline.records import Records


class Affected(NamedTuple):
    """A task that passed with another key, or never did; `error`: its key cannot be told."""

    id: str
    service: str
    task: str
    key: str
    passed: str  # the key that passed last; "" when none did
    error: UserError | None = None


def affected(keys: Mapping[str, Keyed | UserError], green: Mapping[str, tuple[str, float]]) -> Iterator[Affected]:
    """The affected ones among all tasks, in their order. `green` is what `Records.green_keys` says."""
    for id, keyed in keys.items():
        passed = green.get(id, ("", 0.0))[0]
        if not isinstance(keyed, Keyed):
            service, _, task = id.partition(".")
            yield Affected(id, service, task, "", passed, keyed)
        elif passed != keyed.key:
            yield Affected(id, keyed.service, keyed.task, keyed.key, passed)


def why(each: Affected, keys: Mapping[str, Keyed | UserError], records: Records) -> tuple[str, ...]:
    """Why it is affected, short sentences; files first. Takes a millisecond, or more with many inputs."""
    from atoll.pipeline.key import differences

    keyed = keys[each.id]
    if not isinstance(keyed, Keyed):
        return (f"cannot be told: {keyed.what}",)
    if not each.passed:
        return ("never built" if each.task in {"build", "image"} else "never passed",)
    before = records.manifest(each.passed)
    return differences(before, keyed.manifest) if before else ("what it was made of the last time is not known",)


def nothing_to_do(keys: Mapping[str, Keyed | UserError], green: Mapping[str, tuple[str, float]]) -> float | None:
    """When every task passed with its very key: how many seconds all of them took; else None."""
    if next(affected(keys, green), None) is not None:
        return None
    return sum(green[id][1] for id in keys)
