"""A replica's journal: appended to, replayed, torn, and written to a full disk."""

import pytest

from atoll.keeper.journal import Journal, add, replay


def test_records_are_merged_in_order(tmp_path):
    path = str(tmp_path / "a.journal")
    journal = Journal.create([path])
    journal.append({"id": "a", "pid": None, "exit": None})
    journal.append({"pid": 7})
    journal.close()
    assert replay(path) == {"id": "a", "pid": 7, "exit": None}
    add(path, {"exit": {"code": 0}})
    assert replay(path) == {"id": "a", "pid": 7, "exit": {"code": 0}}


@pytest.mark.parametrize("torn", [b'{"exit": {"co', b"\0\0\0", b"nonsense\n", b"[1]\n", b""])
def test_a_torn_last_line_is_ignored_and_written_over(tmp_path, torn):
    path = tmp_path / "a.journal"
    path.write_bytes(b'{"id":"a","pid":7}\n' + torn)
    assert replay(str(path)) == {"id": "a", "pid": 7}
    add(str(path), {"exit": {"code": 1}})
    assert replay(str(path)) == {"id": "a", "pid": 7, "exit": {"code": 1}}


def test_what_is_missing_replays_as_nothing(tmp_path):
    assert replay(str(tmp_path / "none")) == {}
    add(str(tmp_path / "none"), {"exit": 1})
    assert not (tmp_path / "none").exists()


def test_the_second_place_is_taken_when_the_first_has_no_room(tmp_path):
    second = tmp_path / "second.journal"
    journal = Journal.create([str(tmp_path / "missing" / "first.journal"), str(second)])
    assert journal.append({"id": "a"})
    journal.close()
    assert replay(str(second)) == {"id": "a"}
    with pytest.raises(OSError, match="No such file"):
        Journal.create([str(tmp_path / "missing" / "first.journal")])
