"""What `atoll ci` would do, as the job matrix of a CI system: a job for each service that is affected."""

import json
from collections.abc import Sequence
from typing import NamedTuple

from atoll.model.records import CiPlan

GITHUB_MOST = 256  # jobs of a matrix (GitHub's limit)
GITLAB_MOST = 500  # jobs of a pipeline (GitLab's for the free tier of its own service; others allow more)
INCLUDED = ".gitlab/atoll.yml"  # `.atoll` in it says on what the jobs of the child pipeline run


class Job(NamedTuple):
    """One job: services, and what of their tasks runs."""

    services: tuple[str, ...]
    tasks: tuple[str, ...]
    seconds: float  # as long as its tasks took before


def jobs(plan: CiPlan, most: int) -> list[Job]:
    """One for each service with a task that is not cached, by name; services share jobs when there would be too many."""
    by_service: dict[str, list[tuple[str, float]]] = {}
    for task in plan.tasks:
        if task.runs:
            service, _, name = task.task.partition(".")
            by_service.setdefault(service, []).append((name, task.expected_s))
    single = [
        Job((service,), tuple(sorted(name for name, _ in tasks)), sum(seconds for _, seconds in tasks))
        for service, tasks in sorted(by_service.items())
    ]
    return single if len(single) <= most else _shared(single, most)


def _shared(single: Sequence[Job], most: int) -> list[Job]:
    """The longest first, each into the job that has least to do."""
    made: list[list[Job]] = [[] for _ in range(most)]
    for job in sorted(single, key=lambda each: (-each.seconds, each.services)):
        min(made, key=lambda mine: (sum(each.seconds for each in mine), len(mine))).append(job)
    return [
        Job(
            tuple(sorted(name for job in mine for name in job.services)),
            tuple(sorted({name for job in mine for name in job.tasks})),
            sum(job.seconds for job in mine),
        )
        for mine in made
    ]


def github(plan: CiPlan) -> str:
    """Two lines for `$GITHUB_OUTPUT`: `matrix`, and `any`, since GitHub fails a job whose matrix is empty."""
    found = jobs(plan, GITHUB_MOST)
    include = [{"service": " ".join(job.services), "tasks": " ".join(job.tasks)} for job in found]
    return f"matrix={json.dumps({'include': include}, separators=(',', ':'))}\nany={json.dumps(bool(found))}\n"


def gitlab(plan: CiPlan) -> str:
    """A child pipeline. One without a job is an error to GitLab, so that nothing to do is a job that says so."""
    found = jobs(plan, GITLAB_MOST)
    lines = [
        "# Written by `atoll ci --plan --format gitlab`: a job for each service that is affected.",
        "include:",
        f"  - local: /{INCLUDED}",
        "stages: [test]",
    ]
    for job in found:
        lines += [
            f"{json.dumps(_title(job))}:",
            "  extends: .atoll",
            "  stage: test",
            "  script:",
            f'    - atoll ci {" ".join(job.services)} --junit "$CI_PROJECT_DIR/.atoll/junit.xml"',
        ]
    if not found:
        lines += ["nothing-affected:", "  stage: test", "  script:", "    - echo nothing is affected"]
    return "\n".join(lines) + "\n"


def _title(job: Job) -> str:
    """A job's name, of at most 255 characters (GitLab's limit), and none of the words that are no job to it (`image`)."""
    name = f"atoll {' '.join(job.services)}"
    return name if len(name) <= 255 else f"{name[:240]} and others"
