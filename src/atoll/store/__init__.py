"""What an environment remembers: state tables, ledger and secrets, in SQLite files of its state folder.

`SqliteStore` implements `ports.Store` and `SqliteVault` implements `ports.Vault`; only the daemon (through `app`) uses
either, and they are imported at their first use, since SQLAlchemy is slow to load. Nothing here decides anything: it
keeps what it is given, all or nothing, and says so when it cannot. It never runs on the event loop: one writer thread,
one reader thread.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from atoll.store.sqlite import SqliteStore
    from atoll.store.vault import SqliteVault

__all__ = ["SqliteStore", "SqliteVault"]


def __getattr__(name: str) -> object:
    if name == "SqliteStore":
        from atoll.store.sqlite import SqliteStore

        return SqliteStore
    if name == "SqliteVault":
        from atoll.store.vault import SqliteVault

        return SqliteVault
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
