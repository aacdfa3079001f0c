"""The tables of `state.db`. The migrations make them; a test keeps the two the same.

Every state table has the columns that people and queries look for, and a `body`: the row as JSON, which is the truth.
"""

from typing import Final

from sqlalchemy import Column, Float, Index, Integer, MetaData, String, Table, Text

HEAD: Final = "0003"  # the newest revision in migrations/versions; revisions are ordered by their name

metadata = MetaData()

releases = Table(
    "releases",
    metadata,
    Column("service", String, primary_key=True),
    Column("n", Integer, primary_key=True, autoincrement=False),
    Column("created_wall", Float, nullable=False),
    Column("body", Text, nullable=False),
)

intents = Table(
    "intents",
    metadata,
    Column("service", String, primary_key=True),
    Column("generation", Integer, nullable=False),
    Column("target", Integer),
    Column("body", Text, nullable=False),
)

rollouts = Table(
    "rollouts",
    metadata,
    Column("id", String, primary_key=True),
    Column("service", String, nullable=False),
    Column("kind", String, nullable=False),
    Column("candidate", Integer, nullable=False),
    Column("stable", Integer),
    Column("phase", String, nullable=False),
    Column("started_wall", Float, nullable=False),
    Column("body", Text, nullable=False),
)

replicas = Table(
    "replicas",
    metadata,
    Column("id", String, primary_key=True),
    Column("service", String, nullable=False),
    Column("release", Integer, nullable=False),
    Column("slot", Integer, nullable=False),
    Column("phase", String, nullable=False),
    Column("created_wall", Float, nullable=False),
    Column("body", Text, nullable=False),
)

receipts = Table(
    "receipts",
    metadata,
    Column("rollout", String, primary_key=True),
    Column("service", String, nullable=False),
    Column("kind", String, nullable=False),
    Column("release", Integer, nullable=False),
    Column("outcome", String, nullable=False),
    Column("wall", Float, nullable=False),
    Column("body", Text, nullable=False),
)

job_runs = Table(
    "job_runs",
    metadata,
    Column("id", String, primary_key=True),
    Column("service", String, nullable=False),
    Column("job", String, nullable=False),
    Column("release", Integer, nullable=False),
    Column("trigger", String, nullable=False),
    Column("state", String, nullable=False),
    Column("created_wall", Float, nullable=False),
    Column("body", Text, nullable=False),
)

task_records = Table(
    "task_records",
    metadata,
    Column("id", String, primary_key=True),
    Column("task", String, nullable=False),
    Column("key", String, nullable=False),
    Column("outcome", String, nullable=False),
    Column("wall", Float, nullable=False),
    Column("body", Text, nullable=False),
)

leases = Table(
    "leases",
    metadata,
    Column("port", Integer, primary_key=True, autoincrement=False),
    Column("holder", String, nullable=False),
)

# Append-only (a trigger refuses updates). AUTOINCREMENT: a number is never given twice, whatever retention removed.
ledger = Table(
    "ledger",
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=True),
    Column("wall", Float, nullable=False),
    Column("service", String, nullable=False),
    Column("release", Integer),
    Column("kind", String, nullable=False),
    Column("message", Text, nullable=False),
    Column("actor", String, nullable=False),
    Column("commit", String, nullable=False),
    Column("commit_wall", Float),
    Column("dirty", Integer, nullable=False),
    Column("data", Text, nullable=False),
    Index("ledger_by_service", "service", "seq"),
    sqlite_autoincrement=True,
)

# One row. `epoch` grows with each leader; `clean` is 1 when the last one closed in good order.
leader = Table(
    "leader",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("epoch", Integer, nullable=False),
    Column("pid", Integer, nullable=False),
    Column("since_wall", Float, nullable=False),
    Column("clean", Integer, nullable=False),
)
