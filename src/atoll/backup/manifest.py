"""What a backup says of itself, and which files of an environment's state folder are in one."""

from typing import Final, Literal

import msgspec

from atoll.model.errors import UserError
from atoll.model.wire_artifacts import Need
from atoll.pipeline.artifacts import Record
from atoll.store import sqlite, vault

FORMAT: Final = 1
SUFFIX: Final = ".backup"
STATE: Final = sqlite.FILE
VAULT: Final = vault.FILE
KEY_FILE: Final = vault.KEY_FILE
SIGNALS: Final = "signals.sqlite"
GATEWAY_VAULT: Final = f"tls/{VAULT}"  # the certificates and the account of the gateway
DATABASES: Final = (
    STATE,
    VAULT,
    GATEWAY_VAULT,
)  # in this order: a release of the first finds its secrets in the second
ACCESS: Final = "access.json"
PLAIN: Final = ("daemon.json", ACCESS, "users.json", "notified.json", "tls/attempts.json")
FURTHER_KEYS: Final = (f"tls/{KEY_FILE}",)  # sealed with the vault's key, so that one key file is enough
SEALED_KEYS: Final = "keys.sealed"
FILES: Final = frozenset({*DATABASES, *PLAIN, SIGNALS, SEALED_KEYS})

MANIFEST: Final = "manifest.json"
MAC: Final = "manifest.mac"
NOTE: Final = "backup.json"  # beside the store: what is known of the last one


class FileIn(msgspec.Struct, frozen=True, kw_only=True):
    """One file of the state folder."""

    name: str
    sha256: str
    size_bytes: int


class ArtifactIn(msgspec.Struct, frozen=True, kw_only=True):
    """One artifact. `record` has its key, digest and folder; `tree` is the SHA-256 of its list of files."""

    record: Record
    needs: tuple[Need, ...] = ()  # what it finds outside itself
    named: tuple[str, ...] = ()  # text files in it that hold the path of its folder, and are not made to fit another
    tree: str
    tree_bytes: int


class DumpIn(msgspec.Struct, frozen=True, kw_only=True):
    """A file that a service handed over."""

    service: str
    name: str
    sha256: str
    size_bytes: int


class Left(msgspec.Struct, frozen=True, kw_only=True):
    """Something that is not in a backup, as a sentence."""

    kind: Literal["data", "store", "image", "folder", "artifact"]
    name: str
    text: str


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """The first thing in a backup. What it does not vouch for is not in it."""

    format: int = FORMAT
    id: str
    version: str  # of Atoll
    workspace: str
    environment: str
    root: str
    state: str  # the state folder that it was made of
    made_wall: float
    key_id: str  # of the vault's key, with which this is signed
    releases: int
    files: tuple[FileIn, ...]
    artifacts: tuple[ArtifactIn, ...]
    dumps: tuple[DumpIn, ...] = ()
    contents: int  # files of artifacts, each once
    contents_bytes: int
    left: tuple[Left, ...] = ()

    @property
    def title(self) -> str:
        """`production of shop`."""
        return f"{self.environment} of {self.workspace}"

    @property
    def artifacts_bytes(self) -> int:
        """Of all artifacts as they will lie in their folders."""
        return sum(each.record.size_bytes for each in self.artifacts)


def damaged(where: object, why: str) -> UserError:
    """A backup that nothing may be made of."""
    return UserError(
        f"the backup {where} cannot be used",
        why,
        "take another one; `atoll restore FILE --check` tells whether one is sound",
        id="backup-damaged",
    )
