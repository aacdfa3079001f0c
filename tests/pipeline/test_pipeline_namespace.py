"""Whose results a run may believe: from the variables that CI systems set, as their manuals give them."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.model.errors import UserError
from atoll.pipeline.namespace import TRUSTED, namespace, readable

GITHUB = {"GITHUB_ACTIONS": "true", "GITHUB_SHA": "0123456789abcdef0123"}
GITLAB = {"GITLAB_CI": "true", "CI_DEFAULT_BRANCH": "main"}
REPOSITORY = {"default_branch": "main", "full_name": "acme/shop"}


def github(tmp_path: Path, name: str, ref: str, event: dict[str, Any], **more: str) -> str:
    path = tmp_path / "event.json"
    path.write_text(json.dumps({"repository": REPOSITORY, **event}))
    variables = {"GITHUB_EVENT_NAME": name, "GITHUB_REF": ref, "GITHUB_EVENT_PATH": str(path)}
    return namespace({**GITHUB, **variables, "GITHUB_REF_NAME": ref.removeprefix("refs/heads/"), **more})


def test_outside_of_ci_a_run_is_trusted() -> None:
    assert namespace({}) == TRUSTED
    assert namespace({"CI": "true"}) == TRUSTED


def test_what_a_person_says_counts_first(tmp_path: Path) -> None:
    assert namespace({"ATOLL_NAMESPACE": "pr-9"}) == "pr-9"
    assert namespace({"ATOLL_NAMESPACE": "pr-9"}, "team.a") == "team.a"
    assert namespace({**GITLAB, "CI_MERGE_REQUEST_IID": "4", "ATOLL_NAMESPACE": "trusted"}) == TRUSTED


@pytest.mark.parametrize("name", ["../up", "a/b", "A", ".", "-x", "x" * 64, "pr 1", "a\n"])
def test_a_namespace_that_would_not_be_one_folder_is_refused(name: str) -> None:
    with pytest.raises(UserError, match="namespace"):
        namespace({"ATOLL_NAMESPACE": name})


def test_github_trusts_the_default_branch_and_protected_ones(tmp_path: Path) -> None:
    assert github(tmp_path, "push", "refs/heads/main", {}) == TRUSTED
    assert github(tmp_path, "schedule", "refs/heads/main", {}) == TRUSTED
    assert github(tmp_path, "push", "refs/heads/release/2", {}, GITHUB_REF_PROTECTED="true") == TRUSTED
    assert github(tmp_path, "merge_group", "refs/heads/gh-readonly-queue/main/pr-1-ab", {}) == TRUSTED


def test_a_push_that_nobody_reviewed_is_its_branchs_own(tmp_path: Path) -> None:
    assert github(tmp_path, "push", "refs/heads/try-it", {}, GITHUB_REF_PROTECTED="false") == "branch-try-it"
    slash = github(tmp_path, "push", "refs/heads/try/it", {})
    assert slash.startswith("branch-try-it.")
    assert slash != github(tmp_path, "push", "refs/heads/try.it", {})


@pytest.mark.parametrize("name", ["pull_request", "pull_request_review"])
def test_a_pull_request_has_its_own_by_the_document_or_by_the_ref(tmp_path: Path, name: str) -> None:
    assert github(tmp_path, name, "refs/pull/12/merge", {"pull_request": {"number": 12}}) == "pr-12"
    assert namespace({**GITHUB, "GITHUB_EVENT_NAME": name, "GITHUB_REF": "refs/pull/12/merge"}) == "pr-12"


def test_events_that_run_for_the_default_branch_and_touch_a_pull_request_are_its_own(tmp_path: Path) -> None:
    main = "refs/heads/main"
    assert github(tmp_path, "pull_request_target", main, {"pull_request": {"number": 7}}) == "pr-7"
    assert github(tmp_path, "issue_comment", main, {"issue": {"number": 8, "pull_request": {"url": "u"}}}) == "pr-8"
    assert github(tmp_path, "issue_comment", main, {"issue": {"number": 8}}) == TRUSTED
    unread = {**GITHUB, "GITHUB_EVENT_NAME": "pull_request_target", "GITHUB_REF": main, "GITHUB_REF_PROTECTED": "true"}
    assert namespace(unread) == "pr-0123456789ab", "without the document it is still not trusted"


def test_a_workflow_after_another_is_trusted_only_after_a_push_to_the_default_branch(tmp_path: Path) -> None:
    run = {"head_branch": "main", "head_sha": "fedcba9876543210", "event": "push", "head_repository": REPOSITORY}
    assert github(tmp_path, "workflow_run", "refs/heads/main", {"workflow_run": run}) == TRUSTED
    for other in (
        {"event": "pull_request"},
        {"head_branch": "try"},
        {"head_repository": {"full_name": "mallory/shop"}},
    ):
        assert github(tmp_path, "workflow_run", "refs/heads/main", {"workflow_run": {**run, **other}}) == (
            "pr-fedcba987654"
        )


def test_gitlab_merge_requests_have_their_own_and_protected_branches_are_trusted() -> None:
    assert namespace({**GITLAB, "CI_COMMIT_REF_NAME": "main"}) == TRUSTED
    assert namespace({**GITLAB, "CI_COMMIT_REF_NAME": "v1", "CI_COMMIT_REF_PROTECTED": "true"}) == TRUSTED
    assert namespace({**GITLAB, "CI_COMMIT_REF_NAME": "try", "CI_COMMIT_REF_PROTECTED": "false"}) == "branch-try"
    request = {**GITLAB, "CI_MERGE_REQUEST_IID": "5", "CI_COMMIT_REF_PROTECTED": "true"}
    assert namespace(request) == "pr-5"
    assert namespace({**request, "CI_MERGE_REQUEST_EVENT_TYPE": "merge_train"}) == TRUSTED
    assert namespace({**GITLAB, "CI_EXTERNAL_PULL_REQUEST_IID": "6"}) == "pr-6"


def test_other_systems_number_their_pull_requests() -> None:
    assert namespace({"BITBUCKET_PR_ID": "3"}) == "pr-3"
    assert namespace({"BUILDKITE_PULL_REQUEST": "false"}) == TRUSTED
    assert namespace({"TRAVIS_PULL_REQUEST": "44"}) == "pr-44"


def test_a_run_reads_what_is_trusted_and_its_own() -> None:
    assert readable(TRUSTED) == (TRUSTED,)
    assert readable("pr-1") == (TRUSTED, "pr-1")


@given(st.text(min_size=1), st.text(min_size=1))
def test_two_branches_never_share_a_namespace_and_each_could_be_said_by_hand(one: str, other: str) -> None:
    def of(branch: str) -> str:
        return namespace({**GITLAB, "CI_COMMIT_REF_NAME": branch})

    assert (of(one) == of(other)) == (one == other)
    assert namespace({}, of(one)) == of(one) != TRUSTED
