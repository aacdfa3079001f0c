"""A service in its own folder: what runs, and what of the developer's environment it gets."""

from pathlib import Path

from atoll.model.environment import Dev
from atoll.model.spec import Command, ServiceSpec
from atoll.pipeline.in_place import in_place


def test_it_runs_the_developers_command_where_the_files_are_with_nothing_secret_of_the_terminal() -> None:
    spec = ServiceSpec(name="web", folder="apps/web", run=Command(shell="node dist/server.js"), workdir="dist")
    outer = {
        "PATH": "/usr/bin",
        "HOME": "/home/ada",
        "NVM_DIR": "/n",
        "NPM_TOKEN": "secret",
        "AWS_SECRET_KEY": "secret",
    }
    draft = in_place(spec, Dev(run=Command(shell="npm run dev")), Path("/ws"), outer)
    assert (draft.spec.run, draft.spec.workdir) == (Command(shell="npm run dev"), ".")
    assert (draft.artifact.path, draft.artifact.in_place) == ("/ws/apps/web", True)
    assert draft.artifact.command_env == {"PATH": "/usr/bin", "HOME": "/home/ada", "NVM_DIR": "/n"}


def test_what_files_the_service_has_is_no_question() -> None:
    spec = ServiceSpec(name="web", run=Command(shell="x"))
    draft = in_place(spec, Dev(run=Command(shell="y")), Path("/ws"), {})
    assert draft.artifact.path == "/ws"
