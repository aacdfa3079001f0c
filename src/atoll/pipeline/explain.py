"""Why a task is run again or not: its key against the records, every difference, followed into what it needs.

Called by `atoll why orders.test`. Local: the work tree, the snapshot and the records are all that is looked at.
"""

from collections.abc import Collection, Mapping

import msgspec

from atoll.model.errors import NotFound, UserError
from atoll.model.records import GREEN, TaskRecord
from atoll.model.suggest import did_you_mean
from atoll.pipeline.key import differences
from atoll.pipeline.keys import Keyed
from atoll.pipeline.records import Records


class TaskWhy(msgspec.Struct, frozen=True, kw_only=True):
    """A task as the files are now, and what is known of it."""

    task: str  # "orders.test"
    key: str = ""  # of the files as they are; "" when it cannot be told
    trouble: str = ""  # why it cannot be told
    hit: TaskRecord | None = None  # the last run with that very key that passed: it is not run again
    failed: TaskRecord | None = None  # the last run with that very key, when it did not pass
    last: TaskRecord | None = None  # the last run that passed, whatever its key
    differences: tuple[str, ...] = ()  # between the files as they are and those of `last`, a short sentence each
    needs: tuple["TaskWhy", ...] = ()  # the tasks that it needs and that are not as they were for `last`


def explain(task: str, keys: Mapping[str, Keyed | UserError], records: Records, namespaces: Collection[str]) -> TaskWhy:
    """Why that task is run or not. Raises NotFound for one that nobody has."""
    if task not in keys:
        known = [id for id in keys if id.partition(".")[0] == task.partition(".")[0]] or list(keys)
        raise NotFound(
            f"there is no task '{task}'",
            f"there is {', '.join(known[:8])}",
            did_you_mean(task, keys),
            id="unknown-task",
        )
    keyed = keys[task]
    last = records.green(task, namespaces)
    if not isinstance(keyed, Keyed):
        return TaskWhy(task=task, trouble=f"{keyed.what}: {keyed.why}" if keyed.why else keyed.what, last=last)
    hit = records.passed([keyed.key], namespaces).get(keyed.key)
    before = records.manifest(last.key) if last and last.key != keyed.key else None
    moved = [need for need, key in keyed.needs.items() if before is not None and before.needs.get(need) != key]
    return TaskWhy(
        task=task,
        key=keyed.key,
        hit=hit,
        failed=None if hit else _failed(keyed, records),
        last=last,
        differences=differences(before, keyed.manifest) if before else (),
        needs=tuple(explain(need, keys, records, namespaces) for need in moved),
    )


def _failed(keyed: Keyed, records: Records) -> TaskRecord | None:
    runs = records.history(service=keyed.service, limit=200)
    run = next((run for run in runs if run.task == keyed.id and run.key == keyed.key), None)
    return run if run is not None and run.outcome not in GREEN else None
