"""Frozen data that every layer speaks: desired (`spec`, `environment`), observed (`state`), plans (`actions`), `traffic`, errors.

Nothing here does anything: no I/O, no clock, no randomness. Everybody may import it; it imports only msgspec.
"""
