"""The first tables: state, leases, ledger, leader."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create everything."""
    _state()
    _history()


def _state() -> None:
    op.create_table(
        "releases",
        sa.Column("service", sa.String, primary_key=True),
        sa.Column("n", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("created_wall", sa.Float, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
    )
    op.create_table(
        "intents",
        sa.Column("service", sa.String, primary_key=True),
        sa.Column("generation", sa.Integer, nullable=False),
        sa.Column("target", sa.Integer),
        sa.Column("body", sa.Text, nullable=False),
    )
    op.create_table(
        "rollouts",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("service", sa.String, nullable=False),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("candidate", sa.Integer, nullable=False),
        sa.Column("stable", sa.Integer),
        sa.Column("phase", sa.String, nullable=False),
        sa.Column("started_wall", sa.Float, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
    )
    op.create_table(
        "replicas",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("service", sa.String, nullable=False),
        sa.Column("release", sa.Integer, nullable=False),
        sa.Column("slot", sa.Integer, nullable=False),
        sa.Column("phase", sa.String, nullable=False),
        sa.Column("created_wall", sa.Float, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
    )
    op.create_table(
        "receipts",
        sa.Column("rollout", sa.String, primary_key=True),
        sa.Column("service", sa.String, nullable=False),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("release", sa.Integer, nullable=False),
        sa.Column("outcome", sa.String, nullable=False),
        sa.Column("wall", sa.Float, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
    )
    op.create_table(
        "leases",
        sa.Column("port", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("holder", sa.String, nullable=False),
    )


def _history() -> None:
    op.create_table(
        "ledger",
        sa.Column("seq", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("wall", sa.Float, nullable=False),
        sa.Column("service", sa.String, nullable=False),
        sa.Column("release", sa.Integer),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("message", sa.Text, nullable=False),
        sa.Column("actor", sa.String, nullable=False),
        sa.Column("commit", sa.String, nullable=False),
        sa.Column("commit_wall", sa.Float),
        sa.Column("dirty", sa.Integer, nullable=False),
        sa.Column("data", sa.Text, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("ledger_by_service", "ledger", ["service", "seq"])
    op.execute(
        "CREATE TRIGGER ledger_append_only BEFORE UPDATE ON ledger "
        "BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END"
    )
    op.create_table(
        "leader",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("epoch", sa.Integer, nullable=False),
        sa.Column("pid", sa.Integer, nullable=False),
        sa.Column("since_wall", sa.Float, nullable=False),
        sa.Column("clean", sa.Integer, nullable=False),
    )
    op.execute("INSERT INTO leader (id, epoch, pid, since_wall, clean) VALUES (1, 0, 0, 0, 1)")
