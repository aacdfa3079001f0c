"""One command a file; `cli.group.COMMANDS` lists them. Each module's `command` is a click command.

To add one: write the file, add its line to COMMANDS, run `python -m atoll.cli.reference > docs/cli.md`.
"""
