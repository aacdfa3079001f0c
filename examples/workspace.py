"""A copy of the shop to play with, and the command line for it: in folders and at ports of its own."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from rich.console import Console

SHOP = Path(__file__).resolve().parent / "shop"
UP_S = 600  # the first start also fetches and builds
COMMAND_S = 120
RECOVER_S = 30.0
PORTS = 400
OPTIONAL = frozenset({"payments", "recommendations", "shipping"})  # the shop does without what cannot be built here

say = Console(stderr=True, highlight=False).print


class Broken(Exception):
    """The demo cannot go on; the text says what happened."""


def copy_shop(folder: Path, settings: str) -> int:
    """A shop to play with; the gateway's port."""
    shutil.copytree(
        SHOP, folder / "shop", ignore=shutil.ignore_patterns("node_modules", "__pycache__", "target", ".atoll")
    )
    with (folder / "shop" / "orders" / "service.toml").open("a") as file:
        # Its acts are about the switch itself; web's are about earning it.
        file.write('\n[rollout]\nstrategy = "blue-green"\n')
    first = free_ports(PORTS)
    (folder / "shop" / "atoll.toml").write_text(
        f'name = "shop"\nservices = ["*"]\ngateway = "127.0.0.1:{first}"\nports = [{first + 1}, {first + PORTS - 1}]\n{settings}'
    )
    return first


def free_ports(count: int) -> int:
    """The first of `count` ports that nobody listens on, above those of tests and below where the kernel takes its own."""
    for _ in range(50):
        first = random.randrange(22_000, 32_000 - count)
        with contextlib.ExitStack() as held:
            try:
                for port in range(first, first + count):
                    held.enter_context(socket.socket()).bind(("127.0.0.1", port))
            except OSError:
                continue
            return first
    raise Broken(f"found no {count} free ports in a row")


class Atoll:
    """The command line, for the demo's own workspace and home."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "shop"
        self.home = folder / "home"
        (folder / "run").mkdir(mode=0o700)
        self.env = os.environ | {
            "ATOLL_HOME": str(self.home),
            "ATOLL_RUN": str(folder / "run"),
            "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        }
        self.argv = [sys.executable, "-m", "atoll.app"]

    async def __call__(self, *argv: str, timeout_s: float = COMMAND_S, spare: bool = False) -> str:
        """`atoll ARGV` to its end; its standard output. Broken when it fails (`spare`: as a whole) or takes too long."""
        # In a session of its own, so that Ctrl-C ends the demo in order and not this command in the middle.
        process = await asyncio.create_subprocess_exec(
            *self.argv, *argv, cwd=self.root, env=self.env, start_new_session=True,
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        try:
            out, err = await asyncio.wait_for(process.communicate(), timeout_s)
        except TimeoutError:
            raise Broken(f"`atoll {' '.join(argv)}` took more than {timeout_s:g} s") from None
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if process.returncode and not (spare and b'"failures"' in out):
            raise Broken(f"`atoll {' '.join(argv)}` exited {process.returncode}:\n{err.decode().strip()}")
        return out.decode()

    async def up(self) -> dict[str, str]:
        """Start the shop. Returns which services it has to do without, and why; Broken when one of the others fails."""
        began = json.loads(await self("up", "--json", timeout_s=UP_S, spare=True))
        failed = {name: each["what"].removeprefix(f"{name}: ") for name, each in began["failures"].items()}
        well = {"live", "certified", "unchanged", "superseded"}
        failed |= {each["service"]: each.get("text", "") for each in began["operations"] if each["phase"] not in well}
        if needed := sorted(failed.keys() - OPTIONAL):
            raise Broken("\n".join(f"{name} did not start: {failed[name]}" for name in needed))
        return failed

    async def json(self, *argv: str) -> Any:
        return json.loads(await self(*argv, "--json"))

    async def status(self) -> Any:
        return await self.json("status")

    async def service(self, name: str) -> Any:
        return next(one for one in (await self.status())["services"] if one["name"] == name)

    async def pid(self, part: str) -> int | None:
        """The process of keeper, daemon or proxy; None while it is away."""
        return next((one.get("pid") for one in (await self.status())["parts"] if one["name"] == part), None)

    def down(self) -> None:
        """Stop everything. Synchronous, to work when the loop is gone."""
        try:
            subprocess.run(
                [*self.argv, "down", "--yes", "--quiet"], cwd=self.root, env=self.env, timeout=COMMAND_S, check=False,
                start_new_session=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            say(f"[red]`atoll down` took more than {COMMAND_S} s[/]")


async def until(what: str, holds: Callable[[], Awaitable[object]], within_s: float = RECOVER_S) -> float:
    """Ask until it holds; the seconds that took. Broken when it does not within `within_s`."""
    began = time.monotonic()
    last: object = None
    while time.monotonic() - began < within_s:
        try:
            if last := await holds():
                return time.monotonic() - began
        except (Broken, KeyError, StopIteration) as problem:
            last = problem
        await asyncio.sleep(0.1)
    raise Broken(f"{what}: not within {within_s:g} s (last: {last})")


async def page_shows(url: str, text: str) -> bool:
    def ask() -> bool:
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:
                return text in answer.read().decode()
        except OSError:
            return False

    return await asyncio.to_thread(ask)
