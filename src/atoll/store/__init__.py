"""What an environment remembers: state tables, ledger and secrets, in SQLite files of its state folder.

`sqlite.SqliteStore` implements `ports.Store` and `vault.SqliteVault` implements `ports.Vault`; only the daemon (through
`app`) imports either, since SQLAlchemy is slow to load. Nothing here decides anything: it keeps what it is given, all
or nothing, and says so when it cannot. It never runs on the event loop: one writer thread, one reader thread.
"""
