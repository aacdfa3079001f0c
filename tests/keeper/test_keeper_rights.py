"""A fixture that is given a user of its own, and what is left of root then."""

import os
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can start another's programs")
ENV = {"PATH": "/usr/bin:/bin"}
UID, GID = 64901, 64902


def status(pid: int) -> dict[str, list[str]]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: text.split() for name, _, text in (line.partition(":") for line in lines)}


def user(**fields: object) -> dict[str, object]:
    return {"uid": UID, "gid": GID, "reads": [], **fields}


def test_a_confined_one_may_listen_on_low_ports_and_nothing_else(box):
    box.boot()
    line = ["/bin/sleep", box.mark]
    pid = box.client.ensure("proxy", line, ENV, box.folder / "proxy.log", user=user(confined=True))
    found = status(pid)
    assert (set(found["Uid"]), set(found["Gid"]), found["Groups"]) == ({str(UID)}, {str(GID)}, [])
    assert {int(found[f"Cap{each}"][0], 16) for each in ("Inh", "Prm", "Eff", "Bnd", "Amb")} == {1 << 10}
    assert found["NoNewPrivs"] == ["1"]


def test_it_comes_back_as_the_same_user_and_a_next_keeper_knows_whom(box):
    box.boot()
    first = box.client.ensure(
        "proxy", ["/bin/sleep", box.mark], ENV, box.folder / "proxy.log", user=user(confined=True)
    )
    keeper = box.client.status()["pid"]
    box.kill(keeper)
    box.boot()
    box.kill(first)
    second = box.wait(lambda: (now := box.client.status()["fixtures"]["proxy"]["pid"]) != first and now, "it is back")
    assert set(status(second)["Uid"]) == {str(UID)}


def test_one_that_is_not_confined_has_no_rights_at_all(box):
    box.boot()
    pid = box.client.ensure("proxy", ["/bin/sleep", box.mark], ENV, box.folder / "proxy.log", user=user())
    assert {int(status(pid)[f"Cap{each}"][0], 16) for each in ("Prm", "Eff", "Amb")} == {0}


def test_one_whose_user_cannot_read_what_it_needs_runs_as_root_and_that_is_said(box):
    box.boot()
    secret = box.folder / "secret"
    secret.write_text("")
    secret.chmod(0o600)
    wish = user(confined=True, reads=[str(secret)])
    pid = box.client.ensure("proxy", ["/bin/sleep", box.mark], ENV, box.folder / "proxy.log", user=wish)
    assert set(status(pid)["Uid"]) == {"0"}
    said = f"@proxy runs as root: its own user ({UID}) may not use {secret}"
    box.wait(lambda: said in box.keeper_log(), "it is said")
