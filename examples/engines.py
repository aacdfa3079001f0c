"""What differs for the demo between engines: what must be there, how a replica is killed, and what may be left of it."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

DOCKERD = Path(__file__).resolve().parent.parent / "scripts" / "dockerd.py"
BASES = "ATOLL_DEMO_BASES"  # of a dockerd that can pull none: technology -> image, as JSON
ASK_S = 60
LEFT_S = 10.0


class Unfit(Exception):
    """The engine cannot run the demo here; the text says why."""


class Processes:
    """Replicas as plain processes."""

    settings = ""  # lines of atoll.toml; the last ones, since they may hold tables

    def prepare(self) -> None:
        """Unfit, when the shop cannot be run here."""
        if missing := _missing("node", "npm"):
            raise Unfit(f"the demo needs {missing}: one of its services is written for Node.js 18 or newer")

    def untested(self) -> Sequence[str]:
        """Services whose own tests cannot run here."""
        return ()

    def kill(self, replica: Mapping[str, Any]) -> None:
        """`kill -9` it."""
        os.kill(replica["pid"], signal.SIGKILL)

    def remember(self, folder: Path) -> None:
        """Take down what `atoll down` will take away and `end_what_is_left` needs."""

    def end_what_is_left(self, folder: Path) -> list[str]:
        """End what `atoll down` left behind of a shop in `folder`; what that was. It should be nothing."""
        deadline = time.monotonic() + LEFT_S
        while (left := processes_of(folder)) and time.monotonic() < deadline:
            time.sleep(0.1)
        named = [f"{pid} {command[:120]}" for pid, command in left.items()]
        for _ in range(50):  # a supervisor may have started another one meanwhile
            if not (left := processes_of(folder)):
                break
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.1)
        return named


class Containers(Processes):
    """Replicas as containers of the dockerd that Docker's own client would use."""

    _environments: Sequence[str] = ()

    def prepare(self) -> None:
        """Unfit without Docker. Where none answers and one of our own can run, the program begins anew with that one."""
        if missing := _missing("docker"):
            raise Unfit(f"the demo on Docker needs {missing}")
        if answer := _docker("version", "--format", "{{.Server.Version}}", check=False):
            print(f"on the Docker {answer} that answers here", file=sys.stderr)
        elif BASES in os.environ:
            raise Unfit("the dockerd that was started for the demo does not answer")
        else:
            print("no dockerd answers here: the demo starts one of its own (as root only)", file=sys.stderr, flush=True)
            os.execv(sys.executable, [sys.executable, str(DOCKERD), f"--bases={BASES}", sys.executable, *sys.argv])

        # Images to start from, where the usual ones cannot be pulled.
        bases = json.loads(os.environ.get(BASES, "{}"))
        lines = ['engine = "docker"', "[docker.bases]", *(f'{name} = "{image}"' for name, image in bases.items()), ""]
        self.settings = "\n".join(lines)

    def untested(self) -> Sequence[str]:
        """Tests run on the machine itself, which needs no toolchain for images."""
        return [name for name, tools in (("web", ("node", "npm")), ("payments", ("go",))) if _missing(*tools)]

    def kill(self, replica: Mapping[str, Any]) -> None:
        """`docker kill` it: whoever may use dockerd's socket may do so, without being root."""
        [container] = _ours("container", f"dev.atoll.replica={replica['id']}")
        _docker("kill", container)

    def remember(self, folder: Path) -> None:
        """An environment's id, as it stands on all that it has of Docker, is its folder's name."""
        self._environments = [each.name for each in (folder / "run").iterdir()]

    def end_what_is_left(self, folder: Path) -> list[str]:
        """Remove volumes and images, too: they stay after `atoll down`, and here nobody wants them."""
        left = super().end_what_is_left(folder)
        for environment in self._environments:
            label = f"dev.atoll.environment={environment}"
            for kind, remove in (("container", ("rm", "--force", "--volumes")), ("network", ("rm",))):
                if found := _ours(kind, label):
                    left += [f"Docker's {kind} {each}" for each in found]
                    _docker(kind, *remove, *found, check=False)
            if volumes := _ours("volume", label):
                _docker("volume", "rm", *volumes, check=False)
        made = [json.loads(said.read_text())["id"] for said in folder.glob("home/*/artifacts/*/.atoll/image.json")]
        if made:
            _docker("image", "rm", *made, check=False)
        return left


def processes_of(folder: Path) -> dict[int, str]:
    """Every living process that was started from `folder`, as pid -> command line."""
    found = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        with contextlib.suppress(OSError):  # it ended meanwhile
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
            environment = (entry / "environ").read_bytes()
            cwd = (entry / "cwd").readlink()
            if command and (f"={folder}/".encode() in environment or f"{folder}/" in f"{cwd}/ {command}"):
                found[int(entry.name)] = command
    return found


def _missing(*tools: str) -> str:
    return " and ".join(tool for tool in tools if not shutil.which(tool))


def _ours(kind: str, label: str) -> list[str]:
    more = ["--all"] if kind == "container" else []
    return _docker(kind, "ls", *more, "--quiet", "--filter", f"label={label}").split()


def _docker(*argv: str, check: bool = True) -> str:
    """`docker ARGV`: its output, "" when it fails and that does not matter."""
    try:
        done = subprocess.run(
            ["docker", *argv], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=ASK_S, check=False
        )
    except subprocess.TimeoutExpired:
        return ""
    if done.returncode and check:
        raise RuntimeError(f"`docker {' '.join(argv)}` exited {done.returncode}: {done.stderr.strip()}")
    return done.stdout.strip() if done.returncode == 0 else ""
