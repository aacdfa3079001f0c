"""How a new keeper takes over what an earlier one left. Called once, by `server`, before anything is served."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING

from atoll.keeper import proc, wire
from atoll.keeper.fixtures import Run
from atoll.keeper.held import Held
from atoll.keeper.journal import add, replay
from atoll.keeper.orphans import lost_exit
from atoll.keeper.places import Places
from atoll.keeper.wire import Message, Wire

if TYPE_CHECKING:
    from atoll.keeper.server import Keeper


def journals_on_disk(places: Places) -> Iterator[tuple[str, str, Message]]:
    """(name, path, merged records) of each process that was journalled; what cannot be read is removed."""
    for folder in (f"{places.state_dir}/replicas", f"{places.run_dir}/r"):
        for entry in sorted(os.listdir(folder)):
            name = entry.removesuffix(".journal")
            if name == entry:
                continue
            record = replay(f"{folder}/{entry}")
            if record.get("id") == name:
                yield name, f"{folder}/{entry}", record
            else:  # its shim died before its first record: nothing was started
                with suppress(OSError):
                    os.unlink(f"{folder}/{entry}")


def adopt(keeper: "Keeper") -> None:
    """Take over what an earlier keeper left: living shims by their sockets, the rest by their journals."""
    for name, path, record in journals_on_disk(keeper.places):
        held = keeper.hold(Held(record, _link_to(keeper, name, record)))
        held.ready = True
        if held.link is None:
            with suppress(OSError):
                os.unlink(keeper.places.socket(name))
        if held.link is None and held.running:
            if record.get("boot") != keeper.boot:
                held.record = {**record, "exit": lost_exit("the machine restarted")}
                add(path, {"exit": held.record["exit"]})
            else:
                keeper.lost(held)
    _adopt_sockets(keeper)
    running = [held.id for held in keeper.held.values() if held.running]
    keeper.sweep_groups()
    keeper.sweep_files()
    left = [held.id for held in keeper.held.values() if held.kind == "fixture" and held.running]
    if trouble := keeper.fixtures.load(left):
        keeper.say(f"{trouble}; daemon and proxy end, `atoll up` starts them")
    for fixture in keeper.fixtures.all.values():
        held_fixture = keeper.held.get(fixture.run.id)
        fixture.since = time.monotonic()
        if held_fixture is None or not held_fixture.running:
            keeper.fixtures.begin(fixture)
    for held in list(keeper.held.values()):
        if held.kind == "fixture" and not held.running and (run := Run.of(held.id)).at:
            keeper.fixtures.ended(run, held.record["exit"])
            keeper.erase(held)
        if held.kind == "fixture" and held.running and Run.of(held.id).fixture not in keeper.fixtures.all:
            keeper.ask_shim(held, {"op": "stop", "grace_s": 5.0})  # it was being stopped when the last keeper died
    if running:
        keeper.say(f"adopted {', '.join(running)}")


def _adopt_sockets(keeper: "Keeper") -> None:
    """Shims without a journal: one-off runs, whose askers went with the last keeper, or one just being started."""
    for name in os.listdir(f"{keeper.places.run_dir}/r"):
        base = name.removesuffix(".sock")
        if not name.endswith(".sock") or base in keeper.held:
            continue
        link = _link_to(keeper, base, {})
        if link is None:
            with suppress(OSError):
                os.unlink(keeper.places.socket(base))
            continue
        kind = "run" if base.startswith("run@") else "fixture" if base.startswith("@") else "replica"
        record = {"id": base, "kind": kind, "service": "", "release": 0, "shim": 0, "pid": None, "started_s": 0.0}
        held = keeper.hold(Held({**record, "notice": "", "groups": [], "exit": None}, link))
        if kind == "run":
            keeper.ask_shim(held, {"op": "stop", "grace_s": 0})


def _link_to(keeper: "Keeper", name: str, record: Message) -> Wire | None:
    """A connection to a living shim. One whose socket file was removed is asked to make it anew."""
    try:
        return Wire(wire.connect(keeper.places.socket(name)))
    except OSError:
        if record.get("exit") is not None or not record or record.get("boot") != keeper.boot:
            return None
    if not proc.send(record["shim"], record["shim_start"], signal.SIGHUP):
        return None
    deadline = time.monotonic() + 1.0
    while time.monotonic() < deadline:
        time.sleep(0.01)
        with suppress(OSError):
            return Wire(wire.connect(keeper.places.socket(name)))
    return None
