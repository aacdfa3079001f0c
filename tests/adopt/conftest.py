"""Repositories of pretend, shaped like well-known public ones, and what `atoll init` makes of them."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

from atoll.adopt import compose, repository
from atoll.adopt.choices import settle
from atoll.adopt.text import service_text, workspace_text
from atoll.adopt.tree import of_disk
from atoll.model.environment import WorkspaceSpec
from atoll.workspace.loader import load


class Adopted(NamedTuple):
    """The files by path, what is left to do, the workspace as it is loaded; where what is left stands; what is not needed."""

    files: dict[str, str]
    left: list[str]
    workspace: WorkspaceSpec
    places: list[str]
    unneeded: list[str]

    def service(self, name: str) -> str:
        """The service.toml of a service, by name."""
        folder = self.workspace.services[name].folder
        return self.files["service.toml" if folder == "." else f"{folder}/service.toml"]


Adopt = Callable[..., Adopted]


def write(root: Path, files: Mapping[str, str]) -> Path:
    """These files, below `root`."""
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


@pytest.fixture
def adopt(tmp_path: Path) -> Adopt:
    """Adopt a repository of these files, as `atoll init --yes` does, and load what was written."""

    def adopted(
        files: Mapping[str, str],
        profiles: Sequence[str] = (),
        answers: Mapping[str, str] | None = None,
        name: str = "repo",
    ) -> Adopted:
        root = write(tmp_path / name, files)
        tree = of_disk(root)
        found = repository.compose_files(tree)
        findings = compose.read(tree, found, profiles) if found else repository.discover(tree)
        settle(findings, answers or {})
        made = {"atoll.toml": workspace_text(name, [each.folder for each in findings.services], findings.stores)}
        for found in findings.services:
            made["service.toml" if found.folder == "." else f"{found.folder}/service.toml"] = service_text(found)
        write(root, made)
        left = [f"{each.service}: {each.what}" + (f" -> {each.fix}" if each.fix else "") for each in findings.left]
        places = [", ".join(map(str, each.places)) for each in findings.left]
        unneeded = [f"{each.service}: {each.what}" for each in findings.unneeded]
        return Adopted(made, left, load(root), places, unneeded)

    return adopted
