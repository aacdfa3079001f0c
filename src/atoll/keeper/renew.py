"""A keeper that becomes a newer one: the same process runs the new program, and nobody notices.

The pid, the children, the lock, the listening socket and every connection stay; what only memory holds goes along as
JSON in a file that is none (memfd). So nobody has to ask again, a command that runs for somebody is not cut off, and
whoever waits is answered by the successor. A successor that cannot read what it was handed (another `FORMAT`) adopts,
as after a crash: then clients connect anew.
"""

import json
import os
import signal
import socket
from typing import TYPE_CHECKING, Any

from atoll import __version__
from atoll.keeper.fixtures import Fixture, Run
from atoll.keeper.held import Held, Waiter
from atoll.keeper.shim import HANDLED_SIGNALS
from atoll.keeper.wire import Message, Wire

if TYPE_CHECKING:
    from atoll.keeper.server import Keeper

FORMAT = 1  # raised when an older keeper's words would be misread
_LUCK = ("wanted", "restarts", "last_exit", "backoff_s", "retry_at", "since")


def become(keeper: "Keeper", argv: list[str], env: dict[str, str], asker: Waiter) -> None:
    """Run `argv --resume FD` in this process; the successor answers `asker`. Raises OSError when it cannot be run, and
    everything is as it was.
    """
    words, fds = _written(keeper, asker)
    for fd in fds:
        os.set_inheritable(fd, True)
    # A signal that comes between the two programs waits for the second.
    signal.pthread_sigmask(signal.SIG_BLOCK, HANDLED_SIGNALS)
    memory = os.memfd_create("atoll-keeper", 0)
    try:
        os.write(memory, words)
        os.execve(argv[0], [*argv, "--resume", str(memory)], env)  # noqa: S606  as it is, without a shell
    finally:  # only after a failure
        os.close(memory)
        for fd in fds:
            os.set_inheritable(fd, False)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, HANDLED_SIGNALS)


def read(fd: int) -> Message | None:
    """What the predecessor handed over; None when it is not understood. Then nothing of it is open any more."""
    try:
        words: Message = json.loads(os.pread(fd, os.fstat(fd).st_size, 0))
        if words["format"] != FORMAT:
            raise ValueError(words["format"])
        for each in words["fds"]:
            os.set_inheritable(each, False)
    except (OSError, ValueError, KeyError, TypeError):
        os.closerange(3, 65536)
        return None
    os.close(fd)
    return words


def listening(words: Message) -> tuple[int, socket.socket]:
    """The lock, and the socket that clients connect to."""
    return int(words["lock"]), socket.socket(fileno=words["server"])


def resume(keeper: "Keeper", words: Message) -> None:
    """Go on where the predecessor stopped."""
    clients = [Wire.restored(each) for each in words["clients"]]

    def waiters(found: list[Any]) -> list[Waiter]:
        return [(clients[number], n) for number, n in found]

    for client in clients:
        keeper.requests.welcome(client)
    keeper.requests.watchers |= {clients[number] for number in words["watchers"]}
    keeper.requests.runs, keeper.serial, keeper.aloud = words["runs"], words["serial"], words["aloud"]
    for each in words["held"]:
        held = Held(each["record"], Wire.restored(each["link"]) if each["link"] else None)
        held.ready, held.dropped, held.output = each["ready"], each["dropped"], each["output"]
        held.waiters, held.forget_after = waiters(each["waiters"]), waiters(each["forget_after"])
        held.asked = dict(zip(each["asked"], waiters(each["askers"]), strict=True))
        keeper.hold(held)
    for name, each in words["fixtures"].items():
        fixture = keeper.fixtures.all[name] = Fixture(name, each["definition"])
        fixture.run, fixture.retiring, fixture.waiters = Run.of(each["run"]), each["retiring"], waiters(each["waiters"])
        fixture.before = (each["before"][0], Run.of(each["before"][1])) if each["before"] else None
        for field in _LUCK:
            setattr(fixture, field, each[field])
    for held in [each for each in keeper.held.values() if each.running and each.link is None]:
        keeper.lost(held)  # it was being swept
    keeper.say(f"keeper {__version__} goes on in the same process, pid {os.getpid()}")
    keeper.requests.reply(waiters([words["asker"]])[0], keeper.requests.about())


def _written(keeper: "Keeper", asker: Waiter) -> tuple[bytes, list[int]]:
    """All of it, and the descriptors that it speaks of."""
    clients = list(keeper.requests.clients)
    links = [held.link for held in keeper.held.values() if held.link is not None]
    fds = [keeper.lock, keeper.server.fileno(), *(wire.fileno() for wire in (*clients, *links))]

    def waiters(found: list[Waiter]) -> list[tuple[int, object]]:
        return [(clients.index(client), n) for client, n in found if client in keeper.requests.clients]

    def of_held(held: Held) -> Message:
        return {
            "record": held.record,
            "link": held.link.saved() if held.link is not None else None,
            "ready": held.ready,
            "dropped": held.dropped,
            "output": held.output,
            "waiters": waiters(held.waiters),
            "forget_after": waiters(held.forget_after),
            "asked": [number for number, waiter in held.asked.items() if waiter[0] in keeper.requests.clients],
            "askers": waiters(list(held.asked.values())),
        }

    def of_fixture(fixture: Fixture) -> Message:
        luck = {field: getattr(fixture, field) for field in _LUCK}
        before = (fixture.before[0], fixture.before[1].id) if fixture.before else None
        more = {"run": fixture.run.id, "before": before, "retiring": fixture.retiring, "definition": fixture.definition}
        return {**luck, **more, "waiters": waiters(fixture.waiters)}

    words = {
        "format": FORMAT,
        "fds": fds,
        "lock": keeper.lock,
        "server": keeper.server.fileno(),
        "clients": [client.saved() for client in clients],
        "watchers": [clients.index(client) for client in keeper.requests.watchers],
        "asker": waiters([asker])[0],
        "runs": keeper.requests.runs,
        "serial": keeper.serial,
        "aloud": keeper.aloud,
        "held": [of_held(held) for held in keeper.held.values()],
        "fixtures": {name: of_fixture(fixture) for name, fixture in keeper.fixtures.all.items()},
    }
    return json.dumps(words).encode(), fds
