"""What is done with a service's files besides running them: its build, and the tasks that its file declares.

Tasks are no part of a release: a changed test redeploys nothing. `workspace.loader` reads them, `pipeline` runs them;
what became of them is a `TaskRecord` (`model.records`).
"""

from collections.abc import Mapping

import msgspec

from atoll.model.command import Command

BUILD = "build"  # every service has this one, by its `[build]`; it makes and seals the artifact
IMAGE = "image"  # in an environment of containers every service has this one, too; what it makes is deployed there


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """A test, a lint, generated code: commands that run in a clean copy of the inputs and end with 0 when all is well."""

    name: str
    steps: tuple[Command, ...] = ()
    needs: tuple[
        str, ...
    ] = ()  # "build", "catalog.build": they pass first, and `{needs.build}` is where their results lie
    inputs: tuple[str, ...] = ("**",)  # globs relative to the build's `context`, .gitignore respected
    outputs: tuple[str, ...] = ()  # what of the copy is kept, for those who need it; a test keeps nothing
    env: Mapping[str, str] = {}
    inherit: tuple[str, ...] = ()  # variables of the caller's environment; their values count
    passed: tuple[str, ...] = ()  # the same, and their values do not count: tokens, addresses of mirrors
    timeout_s: float = 900.0  # the build's
    retries: int = 0  # more than 0 declares it flaky: one that passes at a later attempt is shown as such
    cache: bool = True  # False: it runs each time, since what it asks lies outside (a test against a live system)
    in_place: bool = False  # runs in the work tree itself: quick where dependencies are installed, and not hermetic


def task_id(service: str, task: str) -> str:
    """`orders.test`: how a task is called across the workspace."""
    return f"{service}.{task}"
