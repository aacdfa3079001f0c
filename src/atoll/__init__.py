"""Atoll: build, deploy, scale, protect and observe each service on its own, and prove it.

The map of the packages is ARCHITECTURE.md; this module holds the version and nothing else.
"""

__version__ = "0.1.0"
