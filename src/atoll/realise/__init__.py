"""Turns a Host, the Traffic and the records into an Engine, the same way for processes and containers.

The daemon calls `HostEngine`; a `Cell` per service asks `decide.reconcile` what to do and does it. Nothing here decides
which release runs or how much traffic it gets (that is `decide.compose`), and nothing here knows Envoy or a process.
"""
