"""What `atoll ci` leaves behind: on the terminal, in files, at the CI system. The texts are `pipeline.report`'s."""

from __future__ import annotations

import os
import posixpath
from pathlib import Path
from typing import TYPE_CHECKING

import click

from atoll.cli.failed import Failed
from atoll.cli.output import print_json

if TYPE_CHECKING:
    from atoll.cli.session import Session
    from atoll.model.environment import WorkspaceSpec
    from atoll.model.records import CiResult

TASK_FAILED = 3


class Reports:
    """The reports of one run. `junit` and `summary` are files to write, or None."""

    def __init__(self, session: Session, junit: str | None, summary: str | None, *, annotate: bool) -> None:
        from atoll.pipeline.report.folding import system

        self._session, self._junit, self._summary, self._annotate = session, junit, summary, annotate
        self._on = system(os.environ)

    def deliver(self, result: CiResult) -> int:
        """Show and write all that was asked for, without the secrets that tasks were given; returns the exit code."""
        from atoll.cli.tasks_shown import show_result

        failed = any(task.output or task.reason for task in result.tasks)
        workspace = self._session.load() if failed else None  # a run in which all is cached need not read the files
        if workspace is not None:
            from atoll.pipeline.report.mask import masked, masker, secret_values

            result = masked(result, masker(secret_values(workspace, os.environ)))
        if self._session.json:
            print_json(result)
        else:
            show_result(result, self._on)
        self._files(result)
        if workspace is not None and self._on == "github" and self._annotate:
            self._annotations(workspace, result)
        return 0 if result.ok and not any(task.undeclared for task in result.tasks) else TASK_FAILED

    def _files(self, result: CiResult) -> None:
        if self._junit:
            from atoll.pipeline.report.junit import junit

            _write(self._junit, junit(result))
        page = os.environ.get("GITHUB_STEP_SUMMARY", "") if self._on == "github" else ""
        if self._summary or page:
            from atoll.pipeline.report.summary import summary

            text = summary(result)
            if self._summary:
                _write(self._summary, text)
            if page:
                try:
                    with Path(page).open("a", encoding="utf-8") as file:
                        file.write(text)
                except OSError as exc:  # the run itself went as it went
                    self._session.warn(f"the summary could not be added to the job's page: {exc}")

    def _annotations(self, workspace: WorkspaceSpec, result: CiResult) -> None:
        """Where failures lie. GitHub reads them from either stream."""
        from atoll.pipeline.report.annotations import annotations, github, resolver

        top = Path(os.environ.get("GITHUB_WORKSPACE") or workspace.root).resolve()
        here = os.path.relpath(workspace.root, top).replace(os.sep, "/")
        if here.startswith(".."):
            top, here = Path(workspace.root), "."

        def folders(service: str) -> list[str]:
            spec = workspace.worked_on[service]
            own = posixpath.join(here, spec.folder)
            return list(dict.fromkeys((posixpath.join(own, spec.build.context), own, here)))

        found = annotations(result, resolver(folders, lambda path: (top / path).is_file()))
        for line in github(found):
            click.echo(line, err=self._session.json)


def _write(name: str, text: str) -> None:
    path = Path(name)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as exc:
        raise Failed(
            f"{name} cannot be written",
            exc.strerror or str(exc),
            "name a file in a folder that you may write",
            id="cannot-write",
        ) from exc
