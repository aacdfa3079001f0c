"""What Alembic runs: the migrations, on the connection and in the transaction that `store.database` opened."""

from alembic import context

from atoll.store.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transactional_ddl=True,  # SQLite can, and a daemon killed half-way then finds the old schema
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
