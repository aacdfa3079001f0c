"""What a task printed, folded as the CI system that shows it does."""

import re
from collections.abc import Mapping
from typing import Literal

System = Literal["github", "gitlab", "other", ""]


def system(environ: Mapping[str, str]) -> System:
    """The CI system that runs this; "" outside of one. Gitea and Forgejo speak as GitHub does, and say that they are it."""
    if environ.get("GITHUB_ACTIONS") == "true":
        return "github"
    if environ.get("GITLAB_CI") == "true":
        return "gitlab"
    return "other" if environ.get("CI", "").lower() in {"true", "1"} or environ.get("JENKINS_URL") else ""


def folded(title: str, output: str, on: System, *, wall: float, token: str) -> str:
    """`output` under `title`; a single text that ends with a line end.

    Args:
        title: one line.
        output: what a program printed.
        on: the system; those that fold nothing get the title as a line above.
        wall: now, in seconds since the epoch: GitLab wants to know.
        token: nobody can guess it: what a test prints must not be taken for a command to GitHub's runner.
    """
    text = output if output.endswith("\n") or not output else f"{output}\n"
    if on == "github":
        return f"::group::{title}\n::stop-commands::{token}\n{text}::{token}::\n::endgroup::\n"
    if on == "gitlab":
        name, at = re.sub(r"[^a-z0-9]+", "_", title.lower()).strip("_"), int(wall)
        begin = f"\x1b[0Ksection_start:{at}:{name}[collapsed=true]\r\x1b[0K{title}\n"
        return f"{begin}{text}\x1b[0Ksection_end:{at}:{name}\r\x1b[0K\n"
    return f"{title}\n{text}"
