"""Keys as the files are now: the same by the snapshot, from scratch, and as a run reckons them."""

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from keyring import SUMS, Keyring, many

from atoll.pipeline import evident
from atoll.pipeline.keys import Keyed, Look, keyed

EXAMPLES = Path(__file__).parents[2] / "examples"
MONOREPOS = Path(__file__).parents[1] / "builders" / "monorepos"


def test_all_ways_agree_on_a_service_of_every_builder(ring: Keyring) -> None:
    ring.service("python", pyproject_toml='[project]\nname = "a"\nversion = "1"\n', a_py="x = 1\n")
    ring.service("uv", pyproject_toml='[project]\nname = "a"\nversion = "1"\n', uv_lock="version = 1\n", a_py="")
    ring.service("node", package_json='{"scripts": {"build": "node b.js"}}', b_js="1")
    ring.service("pnpm", package_json='{"dependencies": {"x": "1"}}', b_js="1")
    ring.write("pnpm/pnpm-lock.yaml", "lockfileVersion: 9\n")
    ring.service("bun", package_json='{"dependencies": {"x": "1"}}')
    ring.write("bun/bun.lock", "")
    ring.service("go", go_mod="module a\n\ngo 1.20\n", main_go="package main\n\nfunc main() {}\n")
    ring.service("rust", Cargo_toml='[package]\nname = "rust"\nversion = "1.0.0"\n', src__main_rs="fn main() {}\n")
    ring.service("maven", pom_xml="<project/>")
    ring.service("gradle", build_gradle="plugins { id 'application' }\n")
    ring.service("java", Main_java="class Main {}\n")
    ring.service("plain", a_txt="a")
    ring.service("steps", SUMS, a_txt="a")
    ring.service("both", package_json="{}", go_mod="module a\n")
    ring.service("wish", 'build = { tool = "node@99.9", steps = "node a.js" }\n', a_js="1")
    ring.service("old", build_gradle="", a_txt="")
    ring.write("old/.java-version", "17\n")
    found = ring.agreed()
    assert len(found) == 15
    assert found["both.build"] == "both looks like node and go at once"
    assert {len(found[f"{name}.build"]) for name in ("plain", "steps")} == {40}
    assert ring.keys() == found


def test_all_ways_agree_on_the_shop(ring: Keyring, tmp_path: Path) -> None:
    shutil.copytree(EXAMPLES / "shop", tmp_path / "shop", symlinks=True)
    shop = Keyring(tmp_path / "work", tmp_path / "home")
    shop.root = tmp_path / "shop"
    found = shop.agreed()
    assert "orders.build" in found
    assert shop.keys() == found


@pytest.mark.parametrize("language", ["cargo", "go-work", "maven", "npm", "uv"])
def test_all_ways_agree_on_services_that_are_cut_out_of_a_context(ring: Keyring, language: str) -> None:
    shutil.copytree(MONOREPOS / language, ring.root, symlinks=True, dirs_exist_ok=True)
    for folder in (ring.root / "services").iterdir():
        ring.service(f"services/{folder.name}", 'build = { context = "../.." }\n')
    before = ring.agreed()
    assert len(before) == 2
    ring.passes()
    ring.tick()
    ring.write("extra/notes.txt", "of nobody")
    assert ring.agreed() == before
    for file in sorted(ring.root.rglob("*.*")):
        if file.is_file() and file.suffix in {".go", ".rs", ".js", ".py", ".java", ".toml", ".mod"}:
            ring.tick()
            with file.open("a") as text:
                text.write("\n")
            after = ring.agreed()
            if "payments" in file.parts:
                assert {id for id in after if after[id] != before[id]} <= {"payments.build"}
            before = after


@pytest.mark.parametrize("language", ["cargo", "go-work", "maven", "npm", "uv"])
def test_a_link_out_of_a_context_that_services_share_stops_its_own_service_only(ring: Keyring, language: str) -> None:
    shutil.copytree(MONOREPOS / language, ring.root, symlinks=True, dirs_exist_ok=True)
    for name in ("orders", "payments"):
        ring.service(f"services/{name}", 'build = { context = "../.." }\n')
    before = ring.agreed()
    (ring.root / "services/payments/link").symlink_to("/etc/hostname")
    after = ring.agreed()
    assert after["orders.build"] == before["orders.build"]
    assert "services/payments/link is a symbolic link out" in after["payments.build"]
    (ring.root / "services/payments/link").unlink()
    assert ring.agreed() == before


def test_a_task_has_the_keys_of_what_it_needs(ring: Keyring) -> None:
    ring.service("a", SUMS + '[tasks.test]\nrun = "grep x {needs.build}/sum"\nneeds = ["build"]\n', a_txt="a")
    ring.service(
        "b", '[build]\nsteps = "cp {needs.a.build}/sum ."\nneeds = ["a.build"]\ninputs = ["b.txt"]\n', b_txt="b"
    )
    before = ring.agreed()
    ring.tick()
    ring.write("a/a.txt", "b")
    after = ring.agreed()
    assert {id for id in before if before[id] != after[id]} == {"a.build", "a.test", "b.build"}
    keyed = ring.look()["b.build"]
    assert isinstance(keyed, Keyed)
    assert keyed.needs == {"a.build": after["a.build"]}
    assert keyed.manifest.needs == keyed.needs


def test_a_need_without_a_key_leaves_none_to_those_who_need_it(ring: Keyring) -> None:
    ring.service("a", '[build]\nneeds = ["b.build"]\n', a_txt="a")
    ring.service("b", package_json="{}", go_mod="module a\n")
    assert ring.keys() == {
        "a.build": "it needs b.build, which cannot be told",
        "b.build": "b looks like node and go at once",
    }
    (ring.root / "b/go.mod").unlink()
    assert ring.keys() == ring.cold()
    assert len(ring.keys()["a.build"]) == 40


def test_an_edit_of_what_passed_is_affected_without_a_key(ring: Keyring) -> None:
    ring.service("a", SUMS, a_txt="a")
    ring.service("b", SUMS, a_txt="b")
    before = ring.keys()
    ring.passes()
    remembered = (ring.home / "snapshot").stat().st_mtime_ns
    shutil.rmtree(ring.home / "artifacts")  # a builder would need it
    for text in ("x", "y"):  # the second is compared with what passed, too
        ring.tick()
        ring.write("a/a.txt", text)
        assert ring.affected() == {"a.build"}
    assert not (ring.home / "artifacts").exists()
    assert (ring.home / "snapshot").stat().st_mtime_ns == remembered
    assert not (ring.home / "snapshot.edits").exists()
    after = ring.keys()
    assert {id for id in after if before[id] != after[id]} == {"a.build"}
    assert ring.affected() == {"a.build"}
    ring.tick()
    ring.write("a/a.txt", "a")
    assert ring.affected() == set()
    assert ring.keys() == before


def test_whom_an_edited_task_is_needed_by_has_a_key_reckoned(ring: Keyring) -> None:
    ring.service(
        "a", SUMS + '[tasks.test]\nrun = "true"\nneeds = ["build"]\ninputs = ["t/**"]\n', a_txt="a", t__one="1"
    )
    ring.agreed()
    ring.passes()
    ring.tick()
    ring.write("a/a.txt", "b")
    assert ring.affected() == {"a.build", "a.test"}
    ring.agreed()


@pytest.mark.parametrize("large", [False, True])
def test_what_is_no_longer_a_plain_file_is_no_evidence(
    ring: Keyring, large: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if large:
        monkeypatch.setattr(evident, "MOST_BYTES", 0)
    file = ring.write("a.txt", "b")
    wanted = {"s.build": {"a.txt": str(file), "gone": str(ring.root / "gone"), "folder": str(ring.root)}}
    for name in ("a.txt", "gone", "folder"):
        passed = evident.Passed({"s.build": ("k", 1.0)}, _had(name))
        assert evident.evidently_other(wanted, passed) is (name == "a.txt" and not large)


def _had(name: str) -> Callable[[object], Mapping[str, Mapping[str, str]]]:
    return lambda _: {"k": {name: "0"}}


def test_without_what_passed_nothing_is_evident(ring: Keyring) -> None:
    wanted = {"s.build": {"a.txt": str(ring.write("a.txt", "b"))}}
    assert not evident.evidently_other(wanted, evident.Passed({}, lambda _: {"k": {"a.txt": "0"}}))
    assert not evident.evidently_other(wanted, evident.Passed({"s.build": ("k", 1.0)}, lambda _: {}))
    many = dict.fromkeys((f"{number}" for number in range(evident.MOST_TASKS + 1)), wanted["s.build"])
    green = dict.fromkeys(many, ("k", 1.0))
    assert not evident.evidently_other(many, evident.Passed(green, lambda _: {"k": {"a.txt": "0"}}))


def test_a_look_may_begin_long_before_it_is_asked_for(ring: Keyring) -> None:
    many(ring)
    for path, text in (("s1/a.txt", "b"), ("s1/new/b.txt", "b"), ("s2/.gitignore", "a.txt\n")):
        begun = Look(ring.premises())
        ring.tick()
        ring.write(path, text)
        found = keyed(ring.premises(), begun)
        assert set(found) == set(ring.keys())  # as it was or as it is; the next one sees it in any case
        assert ring.keys() == ring.cold()


def test_a_look_at_another_workspace_is_not_gone_on_with(ring: Keyring) -> None:
    other = Keyring(ring.root.parent / "other", ring.root.parent / "other-home")
    other.service("x", SUMS, a_txt="x")
    other.keys()
    ring.service("a", SUMS, a_txt="a")
    assert set(keyed(ring.premises(), Look(other.premises()))) == {"a.build"}


def test_a_folder_comes_and_goes(ring: Keyring) -> None:
    many(ring)
    ring.write("s1/more/b.txt", "b")
    before = ring.agreed()
    shutil.move(ring.root / "s1/more", ring.home / "more")
    gone = ring.agreed()
    assert gone["s1.build"] != before["s1.build"]
    shutil.move(ring.home / "more", ring.root / "s1/more")
    assert ring.agreed() == before


def test_what_service_toml_says_of_running_does_not_count(ring: Keyring) -> None:
    ring.service("a", SUMS, a_txt="a")
    before = ring.keys()
    ring.service("a", SUMS + 'owner = "us"\n[env]\nX = "1"\n')
    assert ring.keys() == before
    assert ring.loads == 2


def test_services_come_and_go(ring: Keyring) -> None:
    ring.service("a", SUMS, a_txt="a")
    assert set(ring.keys()) == {"a.build"}
    ring.service("services/b", SUMS, a_txt="a")
    assert set(ring.agreed()) == {"a.build", "b.build"}
    ring.service("services/c", SUMS, a_txt="a")
    assert set(ring.agreed()) == {"a.build", "b.build", "c.build"}
    shutil.rmtree(ring.root / "a")
    assert set(ring.agreed()) == {"b.build", "c.build"}
    (ring.root / "services/c/service.toml").unlink()
    assert set(ring.agreed()) == {"b.build"}


def test_a_service_in_another_repository(ring: Keyring, tmp_path: Path) -> None:
    ring.write("atoll.toml", 'roots = ["../other"]\n')
    other = Keyring(tmp_path / "other", tmp_path / "unused")
    (tmp_path / "other/atoll.toml").unlink()
    other.service("b", SUMS, a_txt="a")
    other.write(".gitignore", "*.log\n")
    other.git("init")
    other.write("b/x.log", "")
    before = ring.agreed()
    other.write("b/y.log", "")
    assert ring.agreed() == before
    ring.tick()
    other.write(".gitignore", "*.tmp\n")
    assert ring.agreed() != before


def test_tools_variables_and_pins_count(ring: Keyring, tmp_path: Path) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    program = tools / "frob"
    program.write_text("#!/bin/sh\necho 1\n")
    program.chmod(0o755)
    ring.env["PATH"] = f"{tools}:{ring.env['PATH']}"
    ring.service("a", '[build]\nsteps = "frob"\ninherit = ["LEVEL"]\npass = ["TOKEN"]\n', a_txt="a")
    seen = [ring.agreed()]
    program.write_text("#!/bin/sh\necho 2.0\n")
    seen.append(ring.agreed())
    ring.env["LEVEL"] = "1"
    seen.append(ring.agreed())
    ring.env["LEVEL"] = "2"
    seen.append(ring.agreed())
    first = tmp_path / "first"
    first.mkdir()
    ring.env["PATH"] = f"{first}:{ring.env['PATH']}"
    assert ring.agreed() == seen[-1]
    shutil.copy(program, first)  # now it is another one that is found
    seen.append(ring.agreed())
    assert len({each["a.build"] for each in seen}) == len(seen)
    ring.env |= {"TOKEN": "x", "EDITOR": "vi", "NPM_TOKEN": "y"}
    assert ring.agreed() == seen[-1]


def test_a_version_that_a_file_above_asks_for_counts(ring: Keyring, tmp_path: Path) -> None:
    for version in ("18.0.0", "19.0.0"):
        program = tmp_path / f".nvm/versions/node/v{version}/bin/node"
        program.parent.mkdir(parents=True)
        program.write_text(f"#!/bin/sh\necho v{version}\n")
        program.chmod(0o755)
    ring.env["HOME"] = str(tmp_path)
    ring.service("a", 'build = { steps = "node a.js" }\n', package_json="{}", a_js="1")
    seen = [ring.agreed()]
    for version in ("18", "19"):
        ring.tick()
        ring.write(".nvmrc", f"{version}\n")
        seen.append(ring.agreed())
    assert len({each["a.build"] for each in seen}) == 3


# --- images -------------------------------------------------------------------------------------------------------

DOCKER = """
[environments.production]
engine = "docker"

[environments.production.docker.bases]
python = "mine:1"

[environments.staging]
engine = "docker"
"""


def test_environments_of_containers_have_tasks_and_keys_of_their_own(ring: Keyring) -> None:
    ring.write("atoll.toml", DOCKER)
    ring.service("orders", app_py="print(1)", requirements_txt="")
    local = ring.agreed()
    assert set(local) == {"orders.build"}
    keys = {}
    for ring.environment in ("production", "staging", "local", "production"):
        keys[ring.environment] = ring.agreed()
    assert keys["local"] == local
    assert set(keys["production"]) == {"orders.build", "orders.image"}
    assert keys["production"]["orders.build"] == local["orders.build"]
    assert keys["production"]["orders.image"] != keys["staging"]["orders.image"]
    ring.loads = 0
    for ring.environment in ("production", "staging", "local"):
        ring.keys()
    assert ring.loads == 0


def test_all_ways_agree_on_images(ring: Keyring) -> None:
    ring.write("atoll.toml", f'services = ["services/*"]\n{DOCKER}')
    ring.environment = "staging"
    ring.write("go.work", "go 1.22\nuse ./services/orders\nuse ./services/other\nuse ./lib\n")
    for name in ("services/orders", "services/other", "lib"):
        ring.write(f"{name}/go.mod", f"module shop/{name}\n\ngo 1.22\n")
        ring.write(f"{name}/main.go", "package main\n")
    ring.service("services/orders", 'build.context = "../.."\n', notes_md="")
    ring.service("services/own", 'image.context = "../.."\n', Dockerfile="FROM x\n")
    before = ring.agreed()
    for path, text, moved in (
        ("services/other/main.go", "package main // edited\n", {"services/own"}),
        ("services/orders/notes.md", "edited", {"services/orders", "services/own"}),
        (".dockerignore", "**/*.md\nservices/other\n", {"services/orders", "services/own"}),
        ("services/orders/notes.md", "edited again", set()),
        ("services/other/main.go", "package main\n", set()),
        (".dockerignore", "# in other words\n**/*.md\nservices/other/\n", set()),
        ("services/own/Dockerfile", "FROM y\n", {"services/own"}),
    ):
        ring.tick()
        ring.write(path, text)
        after = ring.agreed()
        assert {id for id in after if after[id] != before[id] and id.endswith(".image")} == {
            f"{each.rpartition('/')[2]}.image" for each in moved
        }, path
        before = after
    assert len(before) == 4
