"""Who may believe what a run found out: its namespace, told from the variables of the CI system that it runs in.

A run reads what is trusted and what is its own, and writes only its own (`readable`). So what the code of a pull
request made, or said about itself, never reaches the branch that it asks to be merged into (CVE-2025-36852). Called by
whoever opens the cache or the records. This is a default for the honest: a job that holds the credentials of the
trusted part can write there whatever it calls itself, so in a remote cache the namespace is a prefix that the storage's
own policies guard.
"""

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

TRUSTED = "trusted"
VARIABLE = "ATOLL_NAMESPACE"
_NAME = re.compile(r"[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?")
_QUEUES = "merge_group", "merge_train"  # only what was approved gets in, and it is what will be merged
_MAX_EVENT_BYTES = 16 << 20  # GitHub's own limit of a payload is 25 MB, and ours hold no lists of commits that long

# Of other systems: the variable that holds the number of the pull request, or something else when there is none.
_NUMBERS = (
    "CI_MERGE_REQUEST_IID",  # GitLab
    "CI_EXTERNAL_PULL_REQUEST_IID",  # GitLab, for a repository on GitHub
    "BITBUCKET_PR_ID",
    "BUILDKITE_PULL_REQUEST",
    "CHANGE_ID",  # Jenkins
    "CIRCLE_PR_NUMBER",
    "CI_COMMIT_PULL_REQUEST",  # Woodpecker
    "DRONE_PULL_REQUEST",
    "SYSTEM_PULLREQUEST_PULLREQUESTID",  # Azure
    "TRAVIS_PULL_REQUEST",
)


def namespace(environ: Mapping[str, str], asked: str = "") -> str:
    """The namespace of a run: "trusted", or that of a pull request ("pr-123") or an unguarded branch ("branch-try-it").

    What a person said (`asked`, else ATOLL_NAMESPACE) counts before what the CI system says. Outside of CI a run is
    trusted: where its results may go is a matter of the credentials that it holds. In CI, what runs for a branch is
    trusted when that is the default branch or a protected one: anybody's push to another one was reviewed by nobody.

    Args:
        environ: the variables of the run. GITHUB_EVENT_PATH names a file, which is read.
        asked: a namespace that was given by hand; "" is none.

    Raises:
        UserError: a namespace by hand that cannot be one.
    """
    if chosen := asked or environ.get(VARIABLE, ""):
        if _NAME.fullmatch(chosen):
            return chosen
        from atoll.model.errors import UserError  # `atoll affected` comes through here

        raise UserError(
            f"'{chosen}' cannot be a namespace",
            "it is the name of a folder in caches: at most 63 lower-case letters, digits, dots and hyphens",
            f"such as {VARIABLE}=pr-123, or --namespace trusted",
            id="usage",
        )
    if environ.get("GITHUB_ACTIONS") == "true":
        return _github(environ)
    if environ.get("CI_MERGE_REQUEST_EVENT_TYPE") in _QUEUES:
        return TRUSTED
    number = next((environ[name] for name in _NUMBERS if environ.get(name, "").isdecimal()), "")
    if number:
        return f"pr-{number}"
    branch = environ.get("CI_COMMIT_REF_NAME", "")
    if environ.get("GITLAB_CI") != "true" or environ.get("CI_COMMIT_REF_PROTECTED") == "true":
        return TRUSTED
    return TRUSTED if branch == environ.get("CI_DEFAULT_BRANCH") else _named("branch", branch)


def readable(own: str) -> tuple[str, ...]:
    """The namespaces that a run of the namespace `own` believes: what is trusted first, then its own."""
    return tuple(dict.fromkeys((TRUSTED, own)))


def _github(environ: Mapping[str, str]) -> str:
    """GitHub Actions, and those who speak like it. What caused the run is told best by the event's own document.

    The name of the event is not enough: `pull_request_target`, `issue_comment` and `workflow_run` run for the default
    branch, and exist to do something with a pull request.
    """
    name, ref = environ.get("GITHUB_EVENT_NAME", ""), environ.get("GITHUB_REF", "")
    event = _event(environ.get("GITHUB_EVENT_PATH", ""))
    default = _at(event, "repository", "default_branch")
    if name == "workflow_run":
        branch, commit = _at(event, "workflow_run", "head_branch"), _at(event, "workflow_run", "head_sha")
        same = _at(event, "workflow_run", "head_repository", "full_name") == _at(event, "repository", "full_name")
        if same and branch == default and _at(event, "workflow_run", "event") in {"push", "schedule"}:
            return TRUSTED
        return _named("pr", str(commit)[:12])
    if name.startswith("pull_request") or ref.startswith("refs/pull/") or _at(event, "issue", "pull_request"):
        of_ref = re.match(r"refs/pull/(\d+)/", ref)
        number = _at(event, "pull_request", "number") or _at(event, "issue", "number") or (of_ref[1] if of_ref else "")
        return _named("pr", str(number or environ.get("GITHUB_SHA", "")[:12]))
    guarded = environ.get("GITHUB_REF_PROTECTED") == "true" or name in _QUEUES
    if guarded or (default and ref == f"refs/heads/{default}"):
        return TRUSTED
    return _named("branch", environ.get("GITHUB_REF_NAME", "") or ref)


def _event(path: str) -> Any:
    """GitHub's document of what happened; None when there is none that can be read."""
    import json

    try:
        with Path(path).open("rb") as file:
            return json.loads(file.read(_MAX_EVENT_BYTES))
    except (OSError, ValueError):
        return None


def _at(document: Any, *steps: str) -> Any:
    for step in steps:
        document = document.get(step) if isinstance(document, dict) else None
    return document


def _named(kind: str, text: str) -> str:
    """A namespace after a text that others choose; two texts never share one."""
    slug = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:40]
    if slug != text:  # no slug has a dot in it
        slug = f"{slug or 'x'}.{hashlib.sha256(text.encode()).hexdigest()[:8]}"
    return f"{kind}-{slug}"
