"""A fixture that is changed takes over from what runs (`handover`), instead of replacing it."""

import os
from pathlib import Path

import pytest
from tests.keeper.conftest import words_of

from atoll.keeper.client import KeeperError

ENV = {"PATH": "/usr/bin:/bin"}


class Line:
    """A program that sleeps, and tells its words by its command line."""

    def __init__(self, box, retire_s=600.0):
        self.box = box
        self.handover = {"retire_s": retire_s, "leaves": [f"{box.folder}/left.{{line}}.*"]}

    def ensure(self, word):
        # A shell that waits for its child keeps the words; one that execs has lost them.
        argv = ["/bin/sh", "-c", "sleep 1000 & wait", self.box.mark, word, "{line}", "{turn}", "{at}"]
        return self.box.client.ensure("proxy", argv, ENV, self.box.folder / "proxy.log", handover=self.handover)

    @property
    def status(self):
        return self.box.client.status()["fixtures"]["proxy"]


def words(pid):
    """word, line, turn, at."""
    found = words_of(pid)
    return found[4], *map(int, found[5:8])


@pytest.fixture
def line(box):
    box.boot()
    return Line(box)


def test_a_change_begins_beside_what_runs_and_the_old_one_has_time_to_finish(line):
    first = line.ensure("one")
    second = line.ensure("two")
    (_, number, turn, at), (_, same, next_turn, later) = words(first), words(second)
    assert (same, turn, next_turn) == (number, 0, 1)
    assert later > at
    assert (line.status["pid"], line.status["older"], line.status["settled"]) == (second, [first], False)
    line.box.client.settle("proxy", good=True)
    assert (line.status["older"], line.status["settled"]) == ([first], True)
    assert line.ensure("two") == second
    third = line.ensure("three")
    assert words(third)[1:3] == (number, 2)
    line.box.client.settle("proxy", good=True)
    assert sorted(line.status["older"]) == sorted([first, second])


def test_a_predecessor_that_does_not_finish_is_ended(line):
    line.handover["retire_s"] = 0.2
    first = line.ensure("one")
    second = line.ensure("two")
    line.box.client.settle("proxy", good=True)
    line.box.wait(lambda: not Path(f"/proc/{first}").exists(), "the first is ended")
    assert (line.status["pid"], line.status["older"], line.status["restarts"]) == (second, [], 0)


def test_a_successor_that_dies_before_it_took_over_leaves_the_old_one_in_place(line):
    first = line.ensure("one")
    second = line.ensure("two")
    line.box.kill(second)
    line.box.wait(lambda: line.status["settled"], "it is settled")
    assert (line.status["pid"], line.status["restarts"]) == (first, 0)
    assert line.ensure("one") == first  # its definition is in force again
    with pytest.raises(KeeperError, match="no-such-thing"):
        line.box.client.ensure("proxy", ["/no-such-thing"], ENV, line.box.folder / "log", handover=line.handover)
    line.box.wait(lambda: line.status["settled"], "it is settled")
    assert line.status["pid"] == first


def test_one_that_did_not_take_over_is_withdrawn(line):
    first = line.ensure("one")
    second = line.ensure("two")
    with pytest.raises(KeeperError, match="taking over"):
        line.ensure("three")
    line.box.client.settle("proxy", good=False)
    line.box.wait(lambda: line.status["pid"] == first, "the first is back in its place")
    assert not Path(f"/proc/{second}").exists()
    line.box.client.settle("proxy", good=True)  # nothing is left to settle


def test_a_predecessor_that_ends_by_itself_has_settled_it(line):
    first = line.ensure("one")
    second = line.ensure("two")
    line.box.kill(first)
    line.box.wait(lambda: line.status["settled"], "it is settled")
    assert (line.status["pid"], line.status["restarts"]) == (second, 0)


def test_one_that_dies_begins_a_new_line_and_its_leavings_go(line):
    first = line.ensure("one")
    _, number, _, _ = words(first)
    left = line.box.folder / f"left.{number}.sock"
    left.write_text("")
    second = line.ensure("two")
    line.box.client.settle("proxy", good=True)
    line.box.kill(second)
    third = line.box.wait(lambda: (pid := line.status["pid"]) not in {None, second} and pid, "another is there")
    assert words(third)[1] != number
    assert words(third)[2] == 0
    assert left.exists()
    assert line.status["older"] == [first]
    line.box.kill(first)
    line.box.wait(lambda: not left.exists(), "what the line left is removed")
    assert line.status["pid"] == third


@pytest.mark.parametrize("how", ["kill", "renew"])
def test_the_next_keeper_knows_who_takes_over_from_whom(line, how):
    first = line.ensure("one")
    second = line.ensure("two")
    line.box.client.settle("proxy", good=True)
    third = line.ensure("three")
    _next_keeper(line.box, how)
    assert (line.status["pid"], line.status["settled"]) == (third, False)
    assert sorted(line.status["older"]) == sorted([first, second])
    line.box.client.settle("proxy", good=False)
    line.box.wait(lambda: line.status["pid"] == second, "the second is back in its place")
    assert line.ensure("two") == second


@pytest.mark.parametrize("who", ["successor", "predecessor"])
def test_the_next_keeper_sees_who_of_the_two_died_meanwhile(line, who):
    first = line.ensure("one")
    second = line.ensure("two")
    os.kill(line.box.client.status()["pid"], 9)
    line.box.kill(second if who == "successor" else first)
    line.box.boot()
    left = first if who == "successor" else second
    assert (line.status["pid"], line.status["settled"], line.status["older"]) == (left, True, [])
    assert line.ensure("one" if who == "successor" else "two") == left


def test_stopping_it_ends_all_of_them(line):
    first = line.ensure("one")
    second = line.ensure("two")
    line.box.client.stop("proxy")
    line.box.wait(lambda: not any(Path(f"/proc/{pid}").exists() for pid in (first, second)), "both are gone")
    third = line.ensure("two")
    assert words(third)[2] == 0


def _next_keeper(box, how):
    if how == "kill":
        box.kill(box.client.status()["pid"])
        box.boot()
    else:
        box.client.renew()
