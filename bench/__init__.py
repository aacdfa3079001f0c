"""Benchmarks: each module here is one, and its docstring says what is compared, how, and what the floor or the peer is.

`python -m bench [NAME...] [--quick] [--write]` runs them. What counts is a ratio or a count from one interleaved run:
absolute times are those of one machine. Nothing here is a test, and no test asserts a time.

A benchmark module has a docstring and `run(quick: bool) -> Result`. It stops what it started, is bounded in time, talks
to loopback only (peers that are fetched from a package registry aside), and leaves out, visibly, a peer that is missing.
"""
