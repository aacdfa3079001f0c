"""The command line: one command a file in `commands/`, loaded when it is called.

It speaks to the daemon through its HTTP API and to everything else through `hooks.Hooks`, which `app` hands to
`main.run`. It must not import the daemon, an engine, a store or a proxy. Starting fast is a feature: what a command does
not need it does not import (rich, msgspec, tomllib, threads).
"""
