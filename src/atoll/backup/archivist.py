"""`ports.Archivist`: backups of the environment in one state folder, running or not, and the note of the last one."""

import os

import msgspec

from atoll.backup import keys
from atoll.backup import manifest as m
from atoll.backup.making import Backup, Source
from atoll.model.wire import BackupView
from atoll.model.wire_backup import BackupKeyView
from atoll.pipeline.artifacts import disk_trouble
from atoll.store.key_file import read_key
from atoll.store.vault import SqliteVault


class StateArchivist:
    """Of one environment."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._file = source.state / m.NOTE
        self._note: BackupView | None = None

    def begin(self, *, signals: bool, now_wall: float) -> Backup:
        """See `making.Backup`."""
        return Backup(self._source, signals=signals, now_wall=now_wall)

    def key(self, passphrase: str) -> BackupKeyView:
        """The vault's key in a key file; made when there is none yet, so that a backup can be signed with it."""
        keys.admit(passphrase)
        key = SqliteVault(self._source.state).key()
        data = keys.written(key, passphrase, self._source.workspace, self._source.environment)
        return BackupKeyView(text=data.decode(), key_id=keys.id_of(key))

    def key_id(self) -> str:
        """Raises UserError for a key that cannot be used."""
        key = read_key(self._source.state / m.KEY_FILE)
        return keys.id_of(key) if key else ""

    @property
    def note(self) -> BackupView:
        """As it was written last; one that cannot be read is none."""
        if self._note is None:
            try:
                self._note = msgspec.json.decode(self._file.read_bytes(), type=BackupView)
            except (OSError, msgspec.MsgspecError):
                self._note = BackupView()
        return self._note

    def write(self, note: BackupView) -> None:
        """Atomically. Raises UserError."""
        fresh = self._file.with_name(f"{m.NOTE}.{os.getpid()}~")
        try:
            with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "wb") as file:
                file.write(msgspec.json.encode(note))
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(self._file)
        except OSError as exc:
            fresh.unlink(missing_ok=True)
            raise disk_trouble(exc, self._source.state) from exc
        self._note = note
