"""An environment's files, made by the real parts: store, vault and artifacts as a daemon and the pipeline leave them."""

import asyncio
import io
import os
import sys
import tarfile
import threading
from collections.abc import Mapping
from pathlib import Path

import msgspec

from atoll.backup.archivist import StateArchivist
from atoll.backup.making import Source
from atoll.model.environment import EnvironmentSpec
from atoll.model.rows import Change
from atoll.model.spec import Command, ServiceSpec
from atoll.model.state import Artifact, Event, Intent, Release
from atoll.pipeline.artifacts import Artifacts, Record, seal
from atoll.pipeline.cache.zstd import decompress
from atoll.pipeline.key import Manifest
from atoll.pipeline.tools import this_platform
from atoll.store.sqlite import SqliteStore
from atoll.store.vault import SqliteVault

SECRET = "correct-horse-battery-staple-7431"
OLD_SECRET = "an-older-value-9912"
ACME_KEY = "-----BEGIN PRIVATE KEY----- of the gateway"
PASSPHRASE = "five words taken by chance"
KEY = "a1" * 20
OTHER_KEY = "b2" * 20


class Made:
    """One environment in a folder: `state`, `artifacts`; nothing runs in it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.state, self.artifacts = root / "state", root / "artifacts"

    @property
    def archivist(self) -> StateArchivist:
        return StateArchivist(Source("shop", "production", "/srv/shop", self.state))

    def backup(self, to: Path, *, signals: bool = False) -> Path:
        """Write a backup of it into the file `to`."""
        making = self.archivist.begin(signals=signals, now_wall=1_700_000_000.0)
        try:
            with to.open("wb") as file:
                for chunk in making.chunks():
                    file.write(chunk)
        finally:
            making.close()
        return to

    def key(self) -> bytes:
        return SqliteVault(self.state).key()

    def artifact(self, key: str, files: Mapping[str, str | bytes], platform: str = "") -> Artifact:
        """A complete artifact; a file named `*.sh` or in a `bin` is a program, a text that begins with `->` a link."""
        place = Artifacts(self.artifacts.resolve())
        place.prepare()
        folder = place.folder(key)
        for name, text in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(text, str) and text.startswith("->"):
                path.symlink_to(text[2:])
                continue
            path.write_bytes(text.encode() if isinstance(text, str) else text)
            path.chmod(0o755 if name.endswith(".sh") or path.parent.name == "bin" else 0o644)
        digest, size = seal(folder, lambda _: True, threading.Event())
        artifact = Artifact(
            key=key,
            digest=digest,
            builder="command",
            platform=platform or this_platform(),
            path=str(folder),
            command_env={"PATH": f"{folder}/.venv/bin:/usr/bin"},
        )
        manifest = Manifest(
            builder="command", recipe=1, steps=(), outputs=(), env={}, tools={}, platform="linux", inputs=()
        )
        place.finish(
            Record(artifact=artifact, manifest=manifest, service="orders", size_bytes=size, seconds=1.0, wall=1.0)
        )
        return artifact


def release(n: int, artifact: Artifact, **fields: object) -> Release:
    """`orders rN` of that artifact."""
    spec = ServiceSpec(name="orders", run=Command(shell="./run.sh"))
    return Release(**({"service": "orders", "n": n, "spec": spec, "artifact": artifact} | fields))  # type: ignore[arg-type]


def environment(root: Path) -> Made:
    """Two releases with artifacts that share a file, secrets in two versions, a gateway's vault, a daemon's settings."""
    made = Made(root)
    first = made.artifact(
        KEY,
        {"run.sh": "#!/bin/sh\necho one\n", "shared.txt": "the same in both\n" * 500, "sub/link": "->../shared.txt"},
    )
    venv = {
        "run.sh": "#!/bin/sh\necho two\n",
        "copy.txt": "the same in both\n" * 500,
        ".venv/pyvenv.cfg": f"home = {os.path.dirname(sys.executable)}\n",
        ".venv/bin/python": f"->{os.path.realpath(sys.executable)}",
        ".venv/bin/tool": f"#!{made.artifacts.resolve()}/{OTHER_KEY}/.venv/bin/python\nprint('tool')\n",
    }
    second = made.artifact(OTHER_KEY, venv)
    asyncio.run(_filled(made.state, (release(1, first), release(2, second, secrets={"db": 2}))))
    config = {
        "workspace": "shop",
        "root": "/srv/shop",
        "state": str(made.state),
        "run": str(root / "run"),
        "environment": msgspec.to_builtins(EnvironmentSpec(name="production")),
    }
    (made.state / "daemon.json").write_bytes(msgspec.json.encode(config))
    return made


async def _filled(state: Path, releases: tuple[Release, ...]) -> None:
    store = SqliteStore(state)
    await store.lead()
    events = tuple(Event(kind="test", service="orders", message=f"{n}") for n in range(40))
    await store.commit(Change(puts=(*releases, Intent(service="orders", generation=2, target=2)), events=events))
    await store.close()
    vault = SqliteVault(state)
    await vault.set("db", OLD_SECRET)
    await vault.set("db", SECRET)
    await SqliteVault(state / "tls").set("acme-shop.example.com", ACME_KEY)


def members(file: Path) -> dict[str, bytes]:
    """What stands in it, by Python's own reader of tar."""
    with tarfile.open(fileobj=io.BytesIO(decompress(file.read_bytes()))) as tar:
        return {each.name: tar.extractfile(each).read() for each in tar}  # type: ignore[union-attr]
