"""Alembic's scripts for `state.db`. `store.database` runs them, inside one transaction; nobody else does.

A new one: `versions/r0002_what.py` with `revision = "0002"`, and `schema.HEAD` raised to it. Changes are additive;
there is no way down, since a database that a newer Atoll wrote is refused.
"""
