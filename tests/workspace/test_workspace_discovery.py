"""Where services lie, what cannot be read there, and where the root is."""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from written import Write

from atoll.model.errors import InvalidWorkspace, UserError
from atoll.workspace.loader import find_root, load


def folders(root: Path) -> dict[str, str]:
    return {name: spec.folder for name, spec in load(root).services.items()}


def test_services_lie_at_the_top_one_level_down_or_in_services(write: Write) -> None:
    run = 'run = "x"'
    places = ["service.toml", "a/service.toml", "services/b/service.toml", "x/y/service.toml", ".c/service.toml"]
    root = write(dict.fromkeys(places, run))
    assert folders(root) == {"ws": ".", "a": "a", "b": "services/b"}


def test_globs_say_where_services_lie(write: Write) -> None:
    run = 'run = "x"'
    places = [
        "apps/a/service.toml",
        "apps/deep/er/b/service.toml",
        "c/service.toml",
        "apps/node_modules/d/service.toml",
    ]
    root = write({"atoll.toml": 'services = ["apps/**"]', **dict.fromkeys(places, run)})
    assert folders(root) == {"a": "apps/a", "b": "apps/deep/er/b"}
    (root / "atoll.toml").write_text('services = ["./c/", "c", "apps/[a]"]')
    assert folders(root) == {"c": "c", "a": "apps/a"}


def test_circles_of_links_and_second_names_of_a_folder_are_no_services(write: Write) -> None:
    root = write({"a/service.toml": 'run = "x"'})
    (root / "0-again").symlink_to("a")
    (root / "self").symlink_to("self")
    (root / "up").symlink_to(".")
    (root / "gone").symlink_to("nowhere")
    (root / "a" / "loop").symlink_to("..")
    assert folders(root) == {"a": "a"}
    (root / "atoll.toml").write_text('services = ["**"]')
    assert folders(root) == {"a": "a"}


def test_a_folder_that_holds_nothing_for_its_pattern_is_told(write: Write) -> None:
    root = write({"atoll.toml": 'services = [\n"apps/*",\n]', "apps/x": ""})
    (warning,) = [each for each in load(root).warnings if each.field.startswith("services")]
    assert (warning.line, warning.what) == (2, 'services: no folder with a service.toml at "apps/*"')
    (root / "atoll.toml").write_text('services = ["appz/a"]')
    with pytest.raises(InvalidWorkspace) as caught:
        load(root)
    assert caught.value.problems[0].fix == "add a service.toml there, or take the entry out"


@contextlib.contextmanager
def ordinary_user() -> Iterator[None]:
    """Root may read everything; for a while this process is nobody."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_folders_and_files_that_must_not_be_read_are_told() -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        root.chmod(0o755)
        (root / "atoll.toml").write_text("")
        for name in ("a", "b"):
            (root / name).mkdir()
            (root / name / "service.toml").write_text('run = "x"')
        (root / "a").chmod(0)
        (root / "b" / "service.toml").chmod(0)
        try:
            with pytest.raises(InvalidWorkspace) as caught, ordinary_user():
                load(root)
        finally:
            (root / "a").chmod(0o700)
    assert [
        (problem.file, problem.what, problem.fix) for problem in caught.value.problems if problem.level == "error"
    ] == [
        (
            "a",
            "cannot be looked into: Permission denied",
            "allow it to your user, or leave the folder out of `services` in atoll.toml",
        ),
        ("b/service.toml", "cannot be read: Permission denied", "make it readable for your user"),
    ]


def test_the_root_is_found_upward_through_links(write: Write, tmp_path: Path) -> None:
    root = write({"a/b/c/file": ""})
    (tmp_path / "link").symlink_to(root / "a" / "b")
    assert find_root(root / "a" / "b" / "c") == root
    assert find_root(root) == root
    assert find_root(tmp_path / "link") == root


def test_no_root_is_told_with_the_fix(tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        find_root(tmp_path)
    assert caught.value.what == f"no atoll.toml in {tmp_path} or above"
    assert caught.value.fix == "go to your workspace's folder, or make an empty atoll.toml at its top"
    with pytest.raises(UserError):
        find_root(tmp_path / "nowhere")
    (tmp_path / "self").symlink_to("self")
    with pytest.raises(UserError):
        find_root(tmp_path / "self")
