"""Records of tasks that were imported."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """One table more."""
    op.create_table(
        "task_records",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("task", sa.String, nullable=False),
        sa.Column("key", sa.String, nullable=False),
        sa.Column("outcome", sa.String, nullable=False),
        sa.Column("wall", sa.Float, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
    )
