"""Log files are found by the ids of replicas, whatever somebody asks for: readers of an environment ask here."""

from pathlib import Path

import pytest

from atoll.engines import logs
from atoll.keeper.linelog import LineLog

LINE = b"1000.5 o what another environment printed\n"


@pytest.mark.parametrize(
    "asked", ["{other}/web-r1-0", "{other}/web.", "../../other/web-r1-0", "../../other/web.", "../web/web-r1-0"]
)
async def test_no_path_is_an_id(tmp_path: Path, asked: str) -> None:
    own, other = tmp_path / "logs" / "orders", tmp_path / "other"
    for folder in (own, other, tmp_path / "logs" / "web"):
        folder.mkdir(parents=True)
    for path in (other / "web-r1-0.log", other / "web.nightly.log", tmp_path / "logs" / "web" / "web-r1-0.log"):
        path.write_bytes(LINE)
    replica = asked.format(other=other)
    assert logs.chosen(own, replica) == []
    assert [line async for line in logs.read(own, "orders", replica, 10, False, 0.0)] == []


def written(log: LineLog, numbers: range) -> None:
    for number in numbers:
        log.write("o", b"line %04d\n" % number)


def texts(lines: list[logs.LogLine]) -> list[int]:
    return [int(line.text.split()[1]) for line in lines]


def test_two_rotations_between_two_looks_hide_no_line(tmp_path: Path) -> None:
    """A file has 150 lines: of those that were there, what was written to the middle one is in the second file now."""
    path = tmp_path / "web-r1-0.log"
    log = LineLog(str(path), file_bytes=150 * 30)
    tail = logs.Tail(path, "web", from_end=True)
    written(log, range(100))
    assert texts(tail.lines()) == list(range(100))
    written(log, range(100, 310))  # to 149 in the first, to 299 in the second
    assert texts(tail.lines()) == list(range(100, 310))
    assert path.with_name("web-r1-0.log.1").read_bytes().count(b"\n") == 150
    tail.close()
    log.finish()


@pytest.mark.parametrize("meanwhile", [0, 10, 160])
def test_a_rotation_while_the_past_is_read_hides_no_line(tmp_path: Path, meanwhile: int) -> None:
    path = tmp_path / "web-r1-0.log"
    log = LineLog(str(path), file_bytes=150 * 30)
    written(log, range(295))
    tail = logs.Tail(path, "web", from_end=True)
    written(log, range(295, 295 + meanwhile))
    past = tail.past(1000, 0.0)
    assert texts(past + tail.lines()) == list(range(295 + meanwhile))
    tail.close()
    log.finish()


def test_who_looks_between_two_files_goes_on_with_the_next(tmp_path: Path) -> None:
    path = tmp_path / "web-r1-0.log"
    log = LineLog(str(path))
    written(log, range(10))
    log.finish()
    path.rename(path.with_name("web-r1-0.log.1"))
    tail = logs.Tail(path, "web", from_end=True)
    assert texts(tail.past(1000, 0.0)) == list(range(10))
    log = LineLog(str(path))
    written(log, range(10, 20))
    assert texts(tail.lines()) == list(range(10, 20))
    tail.close()
    log.finish()


def test_a_replica_that_is_new_is_read_from_its_first_file_on(tmp_path: Path) -> None:
    path = tmp_path / "web-r1-0.log"
    log = LineLog(str(path), file_bytes=150 * 30)
    written(log, range(200))
    tail = logs.Tail(path, "web", from_end=False)
    assert texts(tail.lines()) == list(range(200))
    tail.close()
    log.finish()
