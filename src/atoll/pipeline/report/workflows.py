"""The files by which a CI system runs Atoll, as `atoll init --ci` writes them once: a person's own from then on.

One job does all that is affected, in parallel and from one cache; `matrix` is for repositories that one machine cannot
carry. The deploy job runs on a machine of the environment itself.
"""

import json
from collections.abc import Callable, Mapping
from typing import Literal, NamedTuple

from atoll.pipeline.report.matrix import INCLUDED


class Setting(NamedTuple):
    """What differs from repository to repository."""

    branch: str = "main"  # what is deployed; everything else is a proposal
    environment: str = ""  # where it is deployed; "" is nowhere
    folder: str = "."  # of the workspace, within the repository


def files(system: Literal["github", "gitlab"], setting: Setting) -> Mapping[str, str]:
    """Path in the repository -> its text."""
    make: Mapping[str, Callable[[Setting], Mapping[str, str]]] = {"github": _github, "gitlab": _gitlab}
    return make[system](setting)


_GITHUB = """\
# Written by `atoll init --ci github`, and yours from now on.
# It needs the variable ATOLL_PACKAGE (Settings, Secrets and variables, Actions, Variables): what `pip install` takes.
name: atoll
on:
  push:
    branches: [BRANCH]
  pull_request:
  merge_group:
permissions:
  contents: read
concurrency:
  group: atoll-${{ github.ref }}
  cancel-in-progress: ${{ github.event_name == 'pull_request' }}
DEFAULTS
jobs:
  ci:
    runs-on: ubuntu-latest
    timeout-minutes: 60
    env:
      ATOLL_HOME: /tmp/atoll
    steps:
      - uses: actions/checkout@v4
      - uses: actions/setup-python@v5
        with:
          python-version: "3.12"
      - name: Install Atoll
        env:
          ATOLL_PACKAGE: ${{ vars.ATOLL_PACKAGE }}
        run: pip install "${ATOLL_PACKAGE:?is not set, see the top of this file}"
      # What a pull request writes, GitHub gives to that pull request only; Atoll keeps them apart as well.
      - uses: actions/cache@v4
        with:
          path: |
            /tmp/atoll/*/cache
            /tmp/atoll/*/records.db
          key: atoll-${{ runner.os }}-${{ github.ref_name }}-${{ github.run_id }}-${{ github.run_attempt }}
          restore-keys: |
            atoll-${{ runner.os }}-${{ github.ref_name }}-
            atoll-${{ runner.os }}-
      - name: Build and test what is affected
        run: atoll ci --junit "$RUNNER_TEMP/atoll/junit.xml"
      - name: Export the records
        if: ${{ !cancelled() }}
        run: mkdir -p "$RUNNER_TEMP/atoll" && atoll records export > "$RUNNER_TEMP/atoll/records.jsonl"
      - uses: actions/upload-artifact@v4
        if: ${{ !cancelled() }}
        with:
          name: atoll
          path: ${{ runner.temp }}/atoll
          retention-days: 14
"""
_GITHUB_DEPLOY = """\
  deploy:
    needs: ci
    if: github.event_name == 'push' && github.ref == REF
    # The machine that ENVIRONMENT runs on, as a runner of yours with this label, and Atoll installed.
    runs-on: [self-hosted, ENVIRONMENT]
    environment: ENVIRONMENT
    concurrency:
      group: atoll-ENVIRONMENT
      cancel-in-progress: false
    steps:
      - uses: actions/checkout@v4
      - uses: actions/download-artifact@v4
        with:
          name: atoll
          path: ${{ runner.temp }}/atoll
      - name: Hand over what passed
        run: atoll records import "$RUNNER_TEMP/atoll/records.jsonl" --env ENVIRONMENT
      - name: Deploy what changed
        run: atoll deploy --affected --env ENVIRONMENT --markdown >> "$GITHUB_STEP_SUMMARY"
"""


def _github(setting: Setting) -> Mapping[str, str]:
    defaults = (
        "" if setting.folder == "." else f"defaults:\n  run:\n    working-directory: {json.dumps(setting.folder)}\n"
    )
    text = _GITHUB + (_GITHUB_DEPLOY if setting.environment else "")
    reference = f"'refs/heads/{setting.branch.replace(chr(39), chr(39) * 2)}'"
    text = (
        text.replace("DEFAULTS\n", defaults)
        .replace("BRANCH", json.dumps(setting.branch), 1)
        .replace("REF", reference, 1)
    )
    return {".github/workflows/atoll.yml": text.replace("ENVIRONMENT", setting.environment)}


_GITLAB = """\
# Written by `atoll init --ci gitlab`, and yours from now on.
include:
  - local: /INCLUDED
stages: [test, deploy]
workflow:
  rules:
    - if: $CI_PIPELINE_SOURCE == "merge_request_event"
    - if: $CI_COMMIT_BRANCH == $CI_DEFAULT_BRANCH

atoll:
  extends: .atoll
  stage: test
  script:
    - atoll ci --junit "$CI_PROJECT_DIR/.atoll/junit.xml"
"""
_GITLAB_DEPLOY = """\

ENVIRONMENT:
  stage: deploy
  # The machine that ENVIRONMENT runs on, as a runner of yours with this tag, and Atoll installed.
  tags: [ENVIRONMENT]
  rules:
    - if: $CI_COMMIT_BRANCH == $CI_DEFAULT_BRANCH
  environment: ENVIRONMENT
  resource_group: ENVIRONMENT
  script:
    - atoll records import "$CI_PROJECT_DIR/.atoll/records.jsonl" --env ENVIRONMENT
    - atoll deploy --affected --env ENVIRONMENT
"""
_GITLAB_INCLUDED = """\
# Written by `atoll init --ci gitlab`, and yours from now on: on what Atoll's jobs run.
# It needs the variable ATOLL_PACKAGE (Settings, CI/CD, Variables): what `pip install` takes.
.atoll:
  image: python:3.12
  variables:
    ATOLL_HOME: /tmp/atoll
  # GitLab keeps the caches of protected branches apart from all others; Atoll keeps them apart as well. It keeps folders
  # of the project only, where a build must not lie: tools would find the project's own files above it.
  cache:
    key: atoll
    paths: [.atoll/kept]
    when: always
  before_script:
    - pip install --quiet "${ATOLL_PACKAGE:?is not set, see the top of this file}"
    - mkdir -p .atoll/kept /tmp/atoll && echo '*' > .atoll/.gitignore
    - cp -a .atoll/kept/. /tmp/atoll/
  after_script:
    - (cd /tmp/atoll && cp -a --parents */cache */records.db "$CI_PROJECT_DIR/.atoll/kept/") || true
    - atoll records export > "$CI_PROJECT_DIR/.atoll/records.jsonl"
  artifacts:
    when: always
    expire_in: 14 days
    paths: [.atoll/records.jsonl, .atoll/.gitignore]
    reports:
      junit: .atoll/junit.xml
"""


def _gitlab(setting: Setting) -> Mapping[str, str]:
    text = _GITLAB + (_GITLAB_DEPLOY if setting.environment else "")
    inside = _GITLAB_INCLUDED
    if setting.folder != ".":
        go = f"    - cd {json.dumps(setting.folder)}\n"
        text = text.replace("  script:\n", f"  script:\n{go}")
        inside = inside.replace("    - atoll records export", f"{go}    - atoll records export")
    text = text.replace("INCLUDED", INCLUDED).replace("ENVIRONMENT", setting.environment)
    return {".gitlab-ci.yml": text, INCLUDED: inside}
