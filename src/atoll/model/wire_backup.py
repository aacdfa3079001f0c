"""What the API and `atoll restore` say of backups."""

import msgspec

from atoll.model.wire import Attributed


class BackupRequest(Attributed, frozen=True, kw_only=True):
    """Send a backup: the bytes of one file. `signals`: with the golden signals of the last month."""

    signals: bool = False


class BackupKept(Attributed, frozen=True, kw_only=True):
    """A backup that was sent is kept now, whole, where its maker wanted it."""

    id: str  # of its manifest
    size_bytes: int
    made_wall: float


class BackupKeyRequest(Attributed, frozen=True, kw_only=True):
    """Give out the key of the secrets, sealed with this passphrase."""

    passphrase: str


class BackupKeyView(msgspec.Struct, frozen=True, kw_only=True):
    """A key file: the key is in it, sealed with the passphrase."""

    text: str
    key_id: str


class RestoreView(msgspec.Struct, frozen=True, kw_only=True):
    """What is in a backup, and whether an environment was made of it or it was only tried."""

    id: str
    workspace: str
    environment: str
    made_wall: float
    version: str  # of the Atoll that made it
    signed: bool  # whether its key was there, so that it is known to be unchanged
    restored: bool = False
    services: tuple[str, ...] = ()
    releases: int = 0
    artifacts: int = 0
    artifacts_bytes: int = 0
    events: int = 0  # the number of the last one
    secrets: int = 0  # versions, each opened; 0 without the key
    forgotten: tuple[str, ...] = ()  # secrets whose values were left out: each is to be set again
    dumps: tuple[str, ...] = ()  # files that services handed over, `SERVICE/NAME`
    dumps_in: str = ""  # the folder where they lie now
    left: tuple[str, ...] = ()  # sentences: what is not in it
    lacking: tuple[str, ...] = ()  # sentences: artifacts that do not run on this machine, and are not restored
    aside: str = ""  # the folder where the files lie that were there before
