"""What opens the gate of an environment, and what it holds of the records that it is given."""

from collections.abc import Mapping

import pytest
from msgspec.structs import replace

from atoll.decide.gate import KEPT, mistakes, sift, summary, unmet
from atoll.model.command import Command
from atoll.model.records import Outcome, TaskRecord
from atoll.model.state import Author
from atoll.model.task import Task

KEYS = {"build": "b" * 40, "test": "1" * 40, "lint": "2" * 40}


def ran(task: str, outcome: Outcome = "passed", *, key: str = "", wall: float = 1.0, namespace: str = "trusted",
        reason: str = "") -> TaskRecord:  # fmt: skip
    """A run of a task of orders with the key of its files, unless another one is named."""
    key = key or KEYS.get(task, "")
    return TaskRecord(
        task=f"orders.{task}", key=key, outcome=outcome, seconds=2.0, wall=wall, namespace=namespace, reason=reason
    )


@pytest.mark.parametrize(
    ("records", "missing"),
    [
        ((ran("test"), ran("lint")), []),
        ((ran("test", "flaky"), ran("lint", "failed"), ran("lint", wall=2.0)), []),
        ((ran("test"),), ["orders.lint has no green record for these files (key 22222222)"]),
        ((ran("test", key="3" * 40), ran("lint")), ["orders.test has no green record for these files (key 11111111)"]),
        (
            (ran("test", "failed", reason="exit code 1"), ran("test", "timed-out", wall=2.0), ran("lint")),
            ["orders.test timed out for these files"],
        ),
        (
            (ran("test", "failed", reason="exit code 1"), ran("lint")),
            ["orders.test failed for these files: exit code 1"],
        ),
        (
            (ran("test", namespace="pr-12"), ran("lint")),
            ["orders.test has no green record for these files (key 11111111)"],
        ),
        (
            (ran("test"), replace(ran("lint"), task="catalog.lint")),
            [],
        ),
    ],
    ids=[
        "green",
        "flaky",
        "no record",
        "other files",
        "newest failure",
        "failed",
        "a pull request's",
        "another service with the same files",
    ],
)
def test_the_gate_is_open_when_each_required_task_is_green_for_the_very_key(
    records: tuple[TaskRecord, ...], missing: list[str]
) -> None:
    assert unmet("orders", ("test", "lint"), KEYS, records) == missing


def test_a_task_that_the_service_does_not_have_asks_nothing_of_it() -> None:
    assert unmet("orders", ("e2e",), KEYS, ()) == []


def test_who_does_not_say_what_tasks_there_are_does_not_come_through() -> None:
    assert unmet("orders", ("test",), None, (ran("test"),)) == [
        "nobody said which tasks orders has, and with which keys"
    ]


def test_records_of_pull_requests_are_left_out_and_the_same_record_twice_is_one() -> None:
    held, new, foreign = ran("test"), ran("lint"), ran("test", wall=2.0, namespace="pr-12")
    sifted = sift([held, new, new, foreign], [held])
    assert (sifted.fresh, sifted.known, sifted.left_out) == ((new,), 2, 1)


def test_the_newest_records_of_each_task_are_held() -> None:
    many = [ran("test", wall=float(n)) for n in range(KEPT + 2)]
    sifted = sift([ran("lint", wall=0.0), many[0], *many[2:]], [many[1]])
    assert (len(sifted.fresh), sifted.surplus, sifted.known) == (KEPT + 1, (many[1].id,), 1)
    again = sift(many, sifted.fresh)
    assert (again.fresh, again.surplus, again.known) == ((), (), KEPT + 2)


def test_a_batch_is_summed_up_by_commit_for_those_who_measure_delivery() -> None:
    author = Author(actor="ada@ci", commit="c0ffee", commit_wall=90.0)
    records = [
        replace(ran("lint", "failed", wall=102.0), author=author),
        replace(ran("test", wall=100.0), author=author),
    ]
    assert summary(records) == {
        "commits": {
            "c0ffee": {
                "commit_wall": 90.0,
                "first_wall": 100.0,
                "last_wall": 102.0,
                "seconds": 4.0,
                "green": ["orders.test"],
                "red": ["orders.lint"],
            }
        }
    }


@pytest.mark.parametrize(
    ("required", "told"),
    [
        ({"require": ("test", "build")}, []),
        (
            {"environments.production.require": ("test", "tset")},
            [("environments.production.require[1]", "did you mean 'test'?")],
        ),
    ],
)
def test_a_requirement_that_no_service_could_meet_is_a_mistake(
    required: Mapping[str, tuple[str, ...]], told: list[tuple[str, str]]
) -> None:
    tasks = {"orders": (Task(name="test", steps=(Command(shell="make test"),)),)}
    assert [(each.field, each.fix) for each in mistakes(required, tasks)] == told
