"""Docker as the tasks of one call use it, by its own command line: so its contexts, credentials and plugins are the user's.

`making` runs a task's steps with `env`; `work` and `making` ask whether an image is there, `collect` removes some. Which of
Docker's two builders works on this machine is found out here: no key depends on it. Blocking; run it in a thread.
"""

import fnmatch
import os
import re
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from atoll.model.catalogue.ids import ErrorId
from atoll.model.environment import DockerSpec
from atoll.model.errors import UserError
from atoll.pipeline.inputs import Stopped

ASK_TIMEOUT_S = 30.0  # a busy dockerd answers late, one that hangs never
MOVE_TIMEOUT_S = 900.0  # to push or pull one image; the build's
_PASSED = ("DOCKER_*", "BUILDX_*", "BUILDKIT_*", "HOME", "PATH", "XDG_*", "*_PROXY", "*_proxy", "SSH_AUTH_SOCK")
_INTEGRATED_UNTIL = 23  # the first version of the command line that needs buildx for BuildKit
_DOCKERDS = "dockerds"  # the file that has their sockets, a line each; "" is what Docker's command line uses by itself
_LOOK_S = 0.2  # how soon it is seen that nobody waits any more

MISSING = UserError(
    "Docker's command line is missing",
    "there is no `docker` on the PATH",
    "install Docker (apt-get install docker.io, or https://docs.docker.com/engine/install)",
    id="tool-missing",
)


class Trouble(NamedTuple):
    """What a person should know of a docker command that failed. `{image}` in `what` is the image that it is about."""

    what: str
    fix: str
    id: ErrorId


_UNREACHABLE = Trouble(
    "dockerd cannot be reached",
    "start it (`systemctl start docker`), or correct `docker.socket` of the environment in atoll.toml; `docker info` shows what answers",
    "docker-unreachable",
)
_NOT_ALLOWED = Trouble(
    "dockerd may not be used by this user",
    "add the user to the group `docker` and log in again; who is in it is as good as root",
    "docker-unreachable",
)
_FULL = Trouble("dockerd's disk is full", "free some space (`docker system df`, `docker builder prune`)", "disk-full")
_REFUSED = Trouble(
    "a registry refuses {image}",
    "`docker login` with an account that may read it; or correct the name, for registries answer so for what they do not have",
    "image-unavailable",
)
_AWAY = Trouble(
    "{image} is not on this machine, and its registry is not reached",
    (
        "see why (network, proxy and DNS are dockerd's own), or correct its name; where a mirror has it, say so: [image] base, or "
        "`docker.bases` of the environment in atoll.toml"
    ),
    "image-unavailable",
)
_UNKNOWN = Trouble(
    "{image} cannot be had",
    "correct its name; where a mirror has it, say so: [image] base, or `docker.bases` of the environment in atoll.toml",
    "image-unavailable",
)
_NO_BUILDX = Trouble(
    "BuildKit was asked for, and this machine's `docker` has no buildx",
    "unset DOCKER_BUILDKIT: the classic builder makes the same image; or install buildx (https://docs.docker.com/go/buildx)",
    "tool-missing",
)
_FULL_SAID = r"no space left on device|disk quota exceeded"
# A command in the image failed, so that the words before are its own: npm, too, is refused by registries.
_INSIDE = r"returned a non-zero code|did not complete successfully|executor failed running"
# What Docker prints, in lower case -> what it means. The first that fits counts.
_TROUBLES: tuple[tuple[str, Trouble], ...] = (
    (
        r"permission denied while trying to connect to the docker|dial unix \S+: connect: permission denied",
        _NOT_ALLOWED,
    ),
    (
        r"cannot connect to the docker daemon|is the docker daemon running|error during connect|failed to connect to the docker api",
        _UNREACHABLE,
    ),
    (_FULL_SAID, _FULL),
    (r"buildx component is missing or broken", _NO_BUILDX),
    (
        r"pull access denied|unauthorized|authentication required|no basic auth credentials|denied: requested access",
        _REFUSED,
    ),
    (
        # Of a registry, whose addresses are below /v2/: an instruction, too, fetches what it names.
        r"/v2/\S* .*(dial tcp|tls handshake|x509: |request canceled|timeout awaiting|proxyconnect tcp|connection reset)",
        _AWAY,
    ),
    (
        (
            r"manifest unknown|manifest for \S+ not found|failed to (resolve source|load) metadata|repository name not known"
            r"|get \"?https?://\S+/v2/|invalid reference format|failed to resolve reference"
            r"|failed to create llb definition|failed to do request"
        ),
        _UNKNOWN,
    ),
)


def trouble(said: str, image: str = "") -> Trouble | None:
    """What the output of a docker command means, where that is known; `image` is the one it is about, if not what it says."""
    text = said.lower()
    if re.search(_INSIDE, text):
        return _FULL if re.search(_FULL_SAID, text) else None
    meant = next((meant for pattern, meant in _TROUBLES if re.search(pattern, text)), None)
    named = image or _sought(said) or "an image that it starts from"
    return meant._replace(what=meant.what.format(image=named)) if meant else None


def _sought(said: str) -> str:
    """The image that a build was looking for when it ended, as either builder names it; "" is none."""
    for pattern in (r"^Step \d+/\d+ : FROM (?:--platform=\S+ )?(\S+)", r"^ > \[internal\] load metadata for (\S+):$"):
        if found := re.findall(pattern, said, re.MULTILINE):
            return str(found[-1]).removeprefix("docker.io/").removeprefix("library/")
    return ""


class Docker:
    """Docker's command line for one call."""

    def __init__(self, spec: DockerSpec, caller: Mapping[str, str] = os.environ) -> None:
        self.registry = spec.registry
        self._socket, self._caller = spec.socket, caller
        self._ids: set[str] | None = None  # of the images that were there a moment ago
        self._lock = threading.Lock()

    @cached_property
    def env(self) -> Mapping[str, str]:
        """What every docker command gets: which dockerd, whose credentials, and which builder. Raises UserError without docker."""
        env = {name: text for name, text in self._caller.items() if _passes(name)}
        if shutil.which("docker", path=env.get("PATH")) is None:
            raise MISSING
        if self._socket:
            env["DOCKER_HOST"] = f"unix://{self._socket}"
            env.pop("DOCKER_CONTEXT", None)
        env.pop("DOCKER_DEFAULT_PLATFORM", None)  # images are for the machine that makes them: the key says which
        env.setdefault("BUILDX_BUILDER", "default")  # another one may keep what it builds to itself
        if _integrated(env):
            env.setdefault("DOCKER_BUILDKIT", "1")
        return env

    # --- images ---------------------------------------------------------------------------------------------------

    def present(self, image: str) -> bool:
        """Whether an image is there, by its id or name: somebody may have pruned it. Raises UserError when nobody can say."""
        with self._lock:
            if self._ids is None:
                self._ids = set(self._said("image", "ls", "--quiet", "--no-trunc").split())
            if image in self._ids:
                return True
        done = self._run("image", "inspect", "--format", "{{.Id}}", image)
        if done.returncode == 0:
            return True
        if "no such image" in done.stderr.lower():
            return False
        raise self._failed(done)

    def pull(self, name: str, stop: threading.Event) -> str:
        """Pull an image from its registry; returns what stood in the way, "" is nothing."""
        done = self._run("pull", "--quiet", name, stop=stop, timeout_s=MOVE_TIMEOUT_S)
        return "" if done.returncode == 0 else _last_line(done.stderr or done.stdout) or "docker pull failed"

    def push(self, image: str, name: str, stop: threading.Event) -> str:
        """Push an image under a name; returns what stood in the way, "" is nothing."""
        try:
            self.tag(image, name)
            done = self._run("push", name, stop=stop, timeout_s=MOVE_TIMEOUT_S)
            self.remove(name)  # it has a name of ours
        except UserError as exc:
            return f"{exc.what}: {exc.why}"
        return "" if done.returncode == 0 else _last_line(done.stderr or done.stdout)

    def tag(self, image: str, name: str) -> None:
        """Give an image a name. Raises UserError."""
        self._said("tag", image, name)

    def inspect(self, image: str, template: str) -> str:
        """What Docker says of an image. Raises UserError."""
        return self._said("image", "inspect", "--format", template, image)

    def remove(self, name: str) -> bool:
        """Take a name away, and with its last name the image; False where dockerd refuses that, or there is none."""
        return self._run("image", "rm", name).returncode == 0

    def let_go(self, name: str) -> bool:
        """The same for one that may be gone already: whether it is now. Not while a container has it, or dockerd does not answer.

        dockerd itself refuses only the last name of an image that a container has.
        """
        try:
            if self._said("ps", "--all", "--quiet", "--filter", f"ancestor={name}"):
                return False
            return self.remove(name) or not self.present(name)
        except UserError as exc:
            return exc is MISSING  # Docker is no longer on this machine

    def remember(self, cache: Path) -> None:
        """Note in the folder `cache` that images were made here; see `dockerds`."""
        if self._socket not in _noted(cache):
            with (cache / _DOCKERDS).open("a", encoding="utf-8") as file:
                file.write(f"{self._socket}\n")

    # --- commands -------------------------------------------------------------------------------------------------

    def _said(self, *arguments: str) -> str:
        done = self._run(*arguments)
        if done.returncode != 0:
            raise self._failed(done)
        return done.stdout

    def _failed(self, done: "subprocess.CompletedProcess[str]") -> UserError:
        said = done.stderr or done.stdout
        what, fix, id = trouble(said) or (
            "dockerd does not do what it was asked for",
            "see `docker info`",
            _UNREACHABLE.id,
        )
        return UserError(what, _last_line(said), fix, id=id)

    def _run(
        self, *arguments: str, stop: threading.Event | None = None, timeout_s: float = ASK_TIMEOUT_S
    ) -> "subprocess.CompletedProcess[str]":
        return _run(("docker", *arguments), self.env, stop, timeout_s)


def dockerds(cache: Path) -> list[Docker]:
    """Every dockerd that has made images for the artifacts folder whose `cache` it is."""
    return [Docker(DockerSpec(socket=socket)) for socket in sorted(_noted(cache))]


def _noted(cache: Path) -> set[str]:
    try:
        return set((cache / _DOCKERDS).read_text(encoding="utf-8").split("\n")[:-1])
    except FileNotFoundError:
        return set()


def _integrated(env: Mapping[str, str]) -> bool:
    """Whether this command line has a BuildKit that it does not use unasked; later ones use buildx where it is."""
    version = re.search(r"version (\d+)", _run(("docker", "--version"), env).stdout)
    return version is not None and int(version[1]) < _INTEGRATED_UNTIL


def _passes(name: str) -> bool:
    return any(fnmatch.fnmatchcase(name, each) for each in _PASSED)


def _last_line(said: str) -> str:
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    return lines[-1][:400] if lines else ""


def _run(
    argv: Sequence[str],
    env: Mapping[str, str],
    stop: threading.Event | None = None,
    timeout_s: float = ASK_TIMEOUT_S,
) -> "subprocess.CompletedProcess[str]":
    """Run it to its end, to a deadline, or until nobody waits any more: then Stopped is raised."""
    process = subprocess.Popen(
        argv,
        env=dict(env),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        errors="replace",
        start_new_session=True,
    )
    deadline = time.monotonic() + timeout_s
    try:
        while True:
            try:
                out, err = process.communicate(timeout=_LOOK_S)
                return subprocess.CompletedProcess(argv, process.returncode, out, err)
            except subprocess.TimeoutExpired:
                if stop is not None and stop.is_set():
                    raise Stopped from None
                if time.monotonic() > deadline:
                    raise UserError(
                        "dockerd does not answer",
                        f"`{' '.join(argv[:3])}` took longer than {timeout_s:.0f} s",
                        "see `docker info`, and dockerd's own log",
                        id="docker-unreachable",
                    ) from None
    finally:
        if process.poll() is None:  # with its plugins and credential helpers, which hold its output open
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
