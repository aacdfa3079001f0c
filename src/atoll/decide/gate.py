"""Whether what an environment requires of a deploy was seen to pass: by records of its tasks, for the very keys. Pure.

Admission asks `unmet`; the book of records keeps what `sift` says.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from atoll.model.errors import Problem
from atoll.model.records import GREEN, TRUSTED, TaskRecord
from atoll.model.suggest import did_you_mean
from atoll.model.task import BUILD, IMAGE, Task, task_id

KEPT = 120  # records of one task that an environment holds: more than a workspace's own store keeps and can export
_SHOWN = 8  # digits of a key: as git shows commits


def unmet(
    service: str, require: Sequence[str], keys: Mapping[str, str] | None, records: Iterable[TaskRecord]
) -> list[str]:
    """What keeps the gate shut, a sentence for each task; empty when it is open.

    Args:
        service: whose deploy.
        require: names of tasks; one that the service does not have asks nothing of it.
        keys: the service's tasks -> the keys of its files; None when nobody said, which opens no gate.
        records: all that are known of these keys; equal keys are equal work, whichever service it was done for.
    """
    if keys is None:
        return [f"nobody said which tasks {service} has, and with which keys"]
    known = list(records)
    mine = {task: keys[task] for task in require if task in keys}
    return [said for task, key in mine.items() if (said := _missing(task_id(service, task), key, known))]


def _missing(task: str, key: str, records: Iterable[TaskRecord]) -> str:
    mine = [each for each in records if (each.key, each.namespace) == (key, TRUSTED)]
    if any(each.outcome in GREEN for each in mine):
        return ""
    if not mine:
        return f"{task} has no green record for these files (key {key[:_SHOWN]})"
    last = max(mine, key=lambda each: each.wall)
    return f"{task} {last.outcome.replace('-', ' ')} for these files" + (f": {last.reason}" if last.reason else "")


class Sifted(NamedTuple):
    """Records that were handed over."""

    fresh: tuple[TaskRecord, ...]
    surplus: tuple[str, ...]  # ids of held ones that make room
    known: int  # held already, handed over twice, or too old to be held
    left_out: int  # of pull requests: who may push a branch could open every gate


def sift(records: Iterable[TaskRecord], held: Iterable[TaskRecord]) -> Sifted:
    """What to keep of them beside those that are held: the newest `KEPT` of each task."""
    given, there = list(records), {each.id: each for each in held}
    trusted = {each.id: each for each in given if each.namespace == TRUSTED}
    too_old = _beyond({**trusted, **there}.values())
    fresh = tuple(each for id, each in trusted.items() if id not in there and id not in too_old)
    left_out = sum(each.namespace != TRUSTED for each in given)
    known = len(given) - left_out - len(fresh)
    return Sifted(fresh, tuple(sorted(too_old & there.keys())), known, left_out)


def _beyond(records: Iterable[TaskRecord]) -> set[str]:
    """The ids of those beyond the newest `KEPT` of each task."""
    by_task: dict[str, list[TaskRecord]] = {}
    for each in records:
        by_task.setdefault(each.task, []).append(each)
    return {
        each.id for mine in by_task.values() for each in sorted(mine, key=lambda one: one.wall, reverse=True)[KEPT:]
    }


def summary(records: Iterable[TaskRecord]) -> dict[str, Any]:
    """What the ledger keeps of a batch for ever, by commit: for delivery metrics, long after the rows are gone."""
    commits: dict[str, dict[str, Any]] = {}
    for each in sorted(records, key=lambda one: one.wall):
        found = commits.setdefault(
            each.author.commit,
            {"commit_wall": each.author.commit_wall, "first_wall": each.wall, "seconds": 0.0, "green": [], "red": []},
        )
        found["seconds"] = round(found["seconds"] + each.seconds, 3)
        found["last_wall"] = each.wall
        found["green" if each.outcome in GREEN else "red"].append(each.task)
    return {"commits": commits}


def mistakes(required: Mapping[str, Sequence[str]], tasks: Mapping[str, Sequence[Task]]) -> Iterator[Problem]:
    """Requirements that nothing could ever meet, or that ask nothing of anybody: `required` is by the file's field."""
    known = {BUILD, IMAGE, *(task.name for each in tasks.values() for task in each)}
    for field, names in required.items():
        for index, name in enumerate(names):
            if name not in known:
                what = f'names a task that no service has: "{name}"'
                at = f"{field}[{index}]"
                yield Problem(
                    file="atoll.toml", field=at, what=f"{at} {what}", fix=did_you_mean(name, known), id="unknown-task"
                )
