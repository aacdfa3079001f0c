"""`ports.Vault`: secrets in `vault.db`, sealed with AES-256-GCM under the key in `vault.key`.

Name and version are authenticated with each value, so that rows cannot be swapped. A version is never given twice, not
even after a removal: a release that holds one gets that value or none. A file of its own, since copies of `state.db`
are handed around. Values are in no exception, no repr and no log.
"""

import asyncio
import secrets
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final, TypeVar

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from atoll.model.errors import UserError
from atoll.store import failures
from atoll.store.admission import admit_name, admit_value, unknown, unknown_version
from atoll.store.key_file import create_key, read_key

FILE: Final = "vault.db"
KEY_FILE: Final = "vault.key"
_SCHEMA_VERSION: Final = 1
_NONCE_BYTES: Final = 12  # NIST SP 800-38D; random: 2^32 values per key are safe
_CHECK: Final = b"atoll vault"  # sealed with the key, to tell a wrong key from a damaged value
_BUSY_S: Final = 5.0
_ANEW: Final = "and `atoll secret set` each secret; what runs keeps the values that it has until it is started again"
_TABLES: Final = """
CREATE TABLE names (name TEXT PRIMARY KEY, last INTEGER NOT NULL) STRICT;
CREATE TABLE secrets (
    name TEXT NOT NULL, version INTEGER NOT NULL, ciphertext BLOB NOT NULL, created REAL NOT NULL,
    PRIMARY KEY (name, version)
) STRICT;
CREATE TABLE key_check (id INTEGER PRIMARY KEY CHECK (id = 1), sealed BLOB NOT NULL) STRICT;
"""

_T = TypeVar("_T")


class SqliteVault:
    """The secrets of one environment in `state_dir`; files are made by the first `set`."""

    def __init__(self, state_dir: Path, *, wall: Callable[[], float] = time.time) -> None:
        """`wall` stamps what is set."""
        self.path = state_dir / FILE
        self.key_path = state_dir / KEY_FILE
        self._wall = wall
        self._one = threading.Lock()  # calls of one vault queue here, not at SQLite's busy handler

    async def set(self, name: str, value: str) -> int:
        """Keep a new version; returns its number, from 1. Raises UserError for a bad name or value."""
        admit_name(name)
        plain = admit_value(name, value)
        return await self._run(lambda database: self._set(database, name, plain))

    async def versions(self) -> Mapping[str, int]:
        """Name -> newest version, of all secrets there are."""
        return await self._run(_newest)

    async def get(self, name: str, version: int | None = None) -> str:
        """A value; the newest without `version`. Raises NotFound; UserError when the key is missing or wrong."""
        return await self._run(lambda database: self._get(database, name, version))

    async def remove(self, name: str) -> None:
        """Remove every version of a secret. Raises NotFound."""
        await self._run(lambda database: _remove(database, name))

    def key(self) -> bytes:
        """The key, made when nothing is sealed yet. Blocking. Raises UserError when it is missing or wrong."""
        try:
            with self._one, failures.translated(self.path, _ANEW), self._open() as database:
                return self._key(database)
        except OSError as exc:
            raise failures.unusable(self.path.parent, exc) from exc

    async def _run(self, work: Callable[[sqlite3.Connection], _T]) -> _T:
        def run() -> _T:
            try:
                with self._one, failures.translated(self.path, _ANEW), self._open() as database:
                    return work(database)
            except OSError as exc:
                raise failures.unusable(self.path.parent, exc) from exc

        return await asyncio.to_thread(run)

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """A connection inside one transaction, with the tables made."""
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.path.touch(mode=0o600)
        with closing(sqlite3.connect(self.path, isolation_level=None, timeout=_BUSY_S)) as database:
            # EXTRA also syncs the folder, secure_delete overwrites what was removed; both cost nothing that shows here.
            database.execute("PRAGMA synchronous=EXTRA")
            database.execute("PRAGMA secure_delete=ON")
            database.execute("BEGIN IMMEDIATE")
            try:
                self._make_tables(database)
                yield database
                database.execute("COMMIT")
            finally:
                if database.in_transaction:
                    database.execute("ROLLBACK")

    def _make_tables(self, database: sqlite3.Connection) -> None:
        (found,) = database.execute("PRAGMA user_version").fetchone()
        if found > _SCHEMA_VERSION:
            raise UserError(
                f"The vault {self.path} was written by a newer Atoll",
                f"its schema is {found}, this version knows {_SCHEMA_VERSION}",
                "start the newer version; a schema never goes back",
                id="database-newer",
            )
        if found < _SCHEMA_VERSION:
            for statement in filter(str.strip, _TABLES.split(";")):  # executescript would commit first
                database.execute(statement)
            database.execute(f"PRAGMA user_version={_SCHEMA_VERSION}")

    def _set(self, database: sqlite3.Connection, name: str, plain: bytes) -> int:
        cipher = self._cipher(database)
        (version,) = database.execute(
            "INSERT INTO names (name, last) VALUES (?, 1) "
            "ON CONFLICT (name) DO UPDATE SET last = last + 1 RETURNING last",
            (name,),
        ).fetchone()
        database.execute(
            "INSERT INTO secrets (name, version, ciphertext, created) VALUES (?, ?, ?, ?)",
            (name, version, _seal(cipher, plain, _bound(name, version)), self._wall()),
        )
        return int(version)

    def _get(self, database: sqlite3.Connection, name: str, version: int | None) -> str:
        known = _newest(database)
        if name not in known:
            raise unknown(name, known)
        version = known[name] if version is None else version
        row = database.execute(
            "SELECT ciphertext FROM secrets WHERE name = ? AND version = ?", (name, version)
        ).fetchone()
        if row is None:
            raise unknown_version(name, version, known[name])
        try:
            return _unseal(self._cipher(database), row[0], _bound(name, version)).decode()
        except InvalidTag:
            raise UserError(
                f"The secret {name} (version {version}) cannot be opened",
                f"its row in {self.path} was changed or is damaged",
                f"set it again: `atoll secret set {name}`",
                id="database-damaged",
            ) from None

    def _cipher(self, database: sqlite3.Connection) -> AESGCM:
        return AESGCM(self._key(database))

    def _key(self, database: sqlite3.Connection) -> bytes:
        """The key, checked against what is sealed already; made when nothing is."""
        check = database.execute("SELECT sealed FROM key_check").fetchone()
        key = read_key(self.key_path)
        if key is None and check is not None:
            raise UserError(
                f"The vault's key {self.key_path} is missing",
                f"what is in {self.path} is sealed with it",
                f"put back a copy of it; without one, `rm {self.path}` and set every secret again",
                id="vault-key",
            )
        key = create_key(self.key_path) if key is None else key
        cipher = AESGCM(key)
        if check is None:
            database.execute("INSERT INTO key_check VALUES (1, ?)", (_seal(cipher, _CHECK, _CHECK),))
            return key
        try:
            _unseal(cipher, check[0], _CHECK)
        except InvalidTag:
            raise UserError(
                f"The vault's key {self.key_path} is not the one that {self.path} is sealed with",
                "one of the two was replaced",
                f"put back the right key; without it, `rm {self.path}` and set every secret again",
                id="vault-key",
            ) from None
        return key


def without_values(path: Path) -> tuple[str, ...]:
    """Take every value out of the vault at `path`, whose key is lost; returns their names. No version is given twice, still."""
    with failures.translated(path, _ANEW), closing(sqlite3.connect(path, timeout=_BUSY_S)) as database, database:
        names = tuple(_newest(database))
        database.execute("PRAGMA secure_delete=ON")
        database.execute("DELETE FROM secrets")
        database.execute("DELETE FROM key_check")
    return names


def _newest(database: sqlite3.Connection) -> dict[str, int]:
    return dict(database.execute("SELECT name, max(version) FROM secrets GROUP BY name ORDER BY name"))


def _remove(database: sqlite3.Connection, name: str) -> None:
    known = _newest(database)
    if name not in known:
        raise unknown(name, known)
    database.execute("DELETE FROM secrets WHERE name = ?", (name,))


def _bound(name: str, version: int) -> bytes:
    return f"{name}\0{version}".encode()


def _seal(cipher: AESGCM, plain: bytes, bound: bytes) -> bytes:
    nonce = secrets.token_bytes(_NONCE_BYTES)
    return nonce + cipher.encrypt(nonce, plain, bound)


def _unseal(cipher: AESGCM, sealed: bytes, bound: bytes) -> bytes:
    if len(sealed) < _NONCE_BYTES:
        raise InvalidTag
    return cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], bound)
