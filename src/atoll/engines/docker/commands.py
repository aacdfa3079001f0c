"""A command run to its end: in a replica's container while that runs, else in a container of its own."""

import asyncio
import contextlib
import os
import signal
import time

import aiohttp
import msgspec

from atoll.engines.docker.client import CALL_S, Client, DockerFailed, DockerRefused, frames
from atoll.engines.docker.container import Config, complaint, ended_with, hosted, may_be_unexecuted, told
from atoll.keeper.client import proc
from atoll.model.command import Command
from atoll.model.errors import Retryable
from atoll.model.state import Exit

OUTPUT_BYTES = 1024 * 1024
_LOOK_S = 0.25  # between two looks whether a command has ended that prints nothing
_OF_RUNC = "OCI runtime exec failed: "


class _Output:
    """The first MiB of what a command prints, both streams as they come."""

    def __init__(self) -> None:
        self._data = bytearray()

    @property
    def text(self) -> str:
        return self._data.decode("utf-8", "replace")

    @property
    def full(self) -> bool:
        return len(self._data) == OUTPUT_BYTES

    async def read(self, body: aiohttp.StreamReader, *, on: bool) -> None:
        """Keep what fits; with `on` the rest is read all the same, since its writer would wait otherwise."""
        async for _, piece in frames(body):
            self._data += piece[: OUTPUT_BYTES - len(self._data)]
            if self.full and not on:
                return


def boot_minus_wall_s() -> float:
    """What to add to dockerd's times: CLOCK_BOOTTIME less the wall clock, as they are now."""
    return proc.boottime_s() - time.time()


async def inside(client: Client, container: str, command: Command, folder: str, timeout_s: float) -> tuple[Exit, str]:
    """Run it in a container that runs, as its user, in its environment."""
    async with client.asked("run a command in a container") as docker:
        made = await docker.containers.container(container).exec(list(command.vector), workdir=folder)
    output, deadline_s = _Output(), time.monotonic() + timeout_s
    begin = {"Detach": False, "Tty": False}
    async with client.stream("run a command in a container", f"exec/{made.id}/start", body=begin) as body:
        reading = asyncio.create_task(output.read(body, on=True))
        try:
            while True:
                await asyncio.wait([reading], timeout=max(0.0, min(_LOOK_S, deadline_s - time.monotonic())))
                async with client.asked("look at a command in a container") as docker:
                    info: Config = await made.inspect()
                if not info["Running"]:
                    break  # what it left behind may hold its output open
                if time.monotonic() >= deadline_s:
                    await _kill(client, container, int(info["Pid"]))
                    return _overran(timeout_s), output.text
        finally:
            if not reading.done():
                reading.cancel()
            await asyncio.wait([reading])
    code, text = int(info["ExitCode"]), output.text
    if code in {126, 127} and text.startswith(_OF_RUNC):
        return now(Exit(error=f"cannot execute {command.vector[0]}: {told(text.strip().removeprefix(_OF_RUNC))}")), ""
    return now(ended_with(code)), text


async def alone(client: Client, config: Config, name: str, timeout_s: float) -> tuple[Exit, str]:
    """Run it in a container of its own, which is removed again. Killed in between, it is found by its label."""
    output = _Output()
    async with client.asked("run a command") as docker:
        container = await docker.containers.create(config, name=name)
    try:
        try:
            async with client.asked("run a command") as docker:
                await container.start()
        except (DockerRefused, DockerFailed) as exc:
            return now(Exit(error=told(exc.said))), ""
        over = await _is_over(client, container.id, timeout_s)
        async with client.asked("look at a command") as docker:
            info: Config = await docker.containers.container(container.id).show()
        what = f"containers/{container.id}/logs"
        asked = {"stdout": "1", "stderr": "1"}
        async with client.stream("read what a command printed", what, asked, within_s=CALL_S) as body:
            await output.read(body, on=False)
    finally:
        with contextlib.suppress(DockerRefused, Retryable):  # found by its label later
            async with client.asked("remove a container") as docker:
                await container.delete(force=True, v=True)
    if over:
        return _overran(timeout_s), output.text
    last = output.text.rstrip().rpartition("\n")[2]
    error = complaint(last, str(config["Image"])) if may_be_unexecuted(info) else ""
    ended = hosted(info, boot_minus_wall_s(), error).exit
    return ended or now(Exit(error="ended without a status")), "" if error else output.text


async def _is_over(client: Client, container: str, timeout_s: float) -> bool:
    """Wait for its end; whether it had to be killed for its time."""
    over = False
    try:
        async with client.asked("wait for a command", timeout_s + CALL_S) as docker:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(timeout_s):
                    await docker.containers.container(container).wait()
                    return False
            over = True
            await docker.containers.container(container).kill()
            await docker.containers.container(container).wait()
    except DockerRefused:
        if not over:
            raise
        # it ended by itself in that very moment
    return over


async def _kill(client: Client, container: str, pid: int) -> None:
    """End a command in a container with all below it: dockerd knows no way. `pid` is the machine's."""
    tree = [pid, *(stat.pid for stat in proc.descendants(pid, proc.scan()))]
    try:
        os.killpg(pid, signal.SIGKILL)
        for each in tree:
            with contextlib.suppress(ProcessLookupError):
                os.kill(each, signal.SIGKILL)
    except ProcessLookupError:
        pass
    except PermissionError:  # not root: the container's own user may, where there is a shell
        if numbers := " ".join(_as_it_sees(each) for each in tree):
            with contextlib.suppress(DockerRefused):
                async with client.asked("end a command in a container") as docker:
                    ending = await docker.containers.container(container).exec(["/bin/sh", "-c", f"kill -9 {numbers}"])
                    await ending.start(detach=True)


def _as_it_sees(pid: int) -> str:
    """A process' number in its own namespace; "" when it is gone."""
    with contextlib.suppress(OSError), open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as file:  # noqa: PTH123
        return next((line.split()[-1] for line in file if line.startswith("NSpid:")), "")
    return ""


def now(ended: Exit) -> Exit:
    """The same end, at this moment."""
    return msgspec.structs.replace(ended, at_s=proc.boottime_s(), wall=time.time())


def _overran(timeout_s: float) -> Exit:
    return now(Exit(error=f"ran longer than {timeout_s:g} s and was killed"))
