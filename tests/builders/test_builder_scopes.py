"""What goes into a service of a monorepo: what it reaches, and nothing else, and the same for a look-up as for a build."""

import shutil
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atoll.model.spec import Build, Command, ServiceSpec
from atoll.pipeline import inputs
from atoll.pipeline.detect import plan
from atoll.pipeline.globs import matcher
from atoll.pipeline.inputs import Input
from atoll.pipeline.scope import Scoped, scoped

MONOREPOS = Path(__file__).with_name("monorepos")  # orders and payments need money, payments needs mail


class Monorepo(NamedTuple):
    """What `services/orders` is to be built of."""

    holds: str  # globs of its slice
    rewritten: str = ""
    bumped: tuple[str, str, str] | None = None  # in a lock: what payments alone reaches, before and after


TABLE = {
    "cargo": Monorepo(
        holds="Cargo.* libs/money services/orders shared/rates/eur.txt",
        rewritten="Cargo.toml Cargo.lock",
        bumped=("Cargo.lock", 'name = "itoa"\nversion = "1.0.15"', 'name = "itoa"\nversion = "1.0.16"'),
    ),
    "go-module": Monorepo(
        holds="go.mod internal/money internal/testing services/orders",
    ),
    "go-replace": Monorepo(
        holds="libs/money services/orders",
    ),
    "go-work": Monorepo(
        holds="go.work libs/money !libs/money/usd services/orders",
        rewritten="go.work",
        bumped=("libs/mail/go.mod", "v0.9.1", "v0.9.0"),
    ),
    "maven": Monorepo(
        holds="pom.xml config libs/pom.xml libs/money services/orders",
        rewritten="pom.xml libs/pom.xml",
    ),
    "npm": Monorepo(
        holds="package*.json tsconfig.base.json packages/money services/orders config/money.json scripts",
        rewritten="package.json package-lock.json",
        bumped=("package-lock.json", '"version": "2.0.4"', '"version": "2.0.5"'),
    ),
    "pnpm": Monorepo(
        holds="package.json pnpm-*.yaml tsconfig.base.json packages/money services/orders config/money.json scripts",
        rewritten="pnpm-lock.yaml pnpm-workspace.yaml",
        bumped=("pnpm-lock.yaml", "inherits@2.0.4", "inherits@2.0.5"),
    ),
    "uv": Monorepo(
        holds="pyproject.toml uv.lock libs/money services/orders",
        rewritten="pyproject.toml uv.lock",
        bumped=("uv.lock", 'name = "iniconfig"\nversion = "2.1.0"', 'name = "iniconfig"\nversion = "2.1.1"'),
    ),
}
MANIFESTS = (".toml", ".lock", ".json", ".yaml", ".mod", ".work", ".xml")
ECOSYSTEMS = sorted(TABLE)


def files_of(name: str) -> dict[str, str]:
    root = MONOREPOS / name
    return {str(path.relative_to(root)): path.read_text() for path in sorted(root.rglob("*")) if path.is_file()}


def held(name: str) -> set[str]:
    return set(filter(matcher(TABLE[name].holds.split()), files_of(name)))


def spec(folder: str = "services/orders", **build: object) -> ServiceSpec:
    name = folder.rpartition("/")[2]
    context = build.pop("context", "../..")
    return ServiceSpec(name=name, folder=folder, run=Command(argv=("x",)), build=Build(context=str(context), **build))


def write(root: Path, files: Mapping[str, str]) -> None:
    for path, text in files.items():
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)


@contextmanager
def folder_of(files: Mapping[str, str]) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as made:
        root = Path(made) / "repository"
        write(root, files)
        yield root


def sliced(service: ServiceSpec, root: Path) -> Scoped:
    return scoped(service, inputs.select(root, ("**",), root=root), root)


def taken(service: ServiceSpec, root: Path, to: Path | None = None) -> tuple[Input, ...]:
    """The inputs of a build, by its copy; a look-up must see the same."""
    cut = sliced(service, root)
    with tempfile.TemporaryDirectory() as made:
        copied = inputs.copy(root, cut.entries, to or Path(made) / "copy", threading.Event(), cut.rewritten)
        memory = Path(made) / "memory"
        assert inputs.fingerprint(root, cut.entries, memory, threading.Event(), cut.rewritten) == copied
    return copied


def paths(cut: Scoped) -> set[str]:
    return {entry.path for entry in cut.entries}


@pytest.mark.parametrize("name", ECOSYSTEMS)
def test_a_service_is_built_of_what_it_reaches(tmp_path: Path, name: str) -> None:
    repository, files = TABLE[name], files_of(name)
    write(tmp_path, files)
    cut = sliced(spec(), tmp_path)
    assert cut.scope is not None
    assert cut.scope.why.get(".") is None
    assert paths(cut) == held(name)
    assert set(cut.rewritten) == set(repository.rewritten.split())
    assert set(cut.scope.reads) <= files.keys()


@pytest.mark.parametrize("name", ECOSYSTEMS)
@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_an_edit_counts_where_it_is_reached_and_nowhere_else(name: str, data: st.DataObject) -> None:
    repository, files = TABLE[name], files_of(name)
    path = data.draw(st.sampled_from(sorted(files.keys() - set(repository.rewritten.split()))))
    with folder_of(files) as root:
        before = taken(spec(), root)
        (root / path).write_text(files[path] + data.draw(st.sampled_from(["\n", "\n\n"])))
        after = taken(spec(), root)
        assert (before != after) == (path in held(name))


@pytest.mark.parametrize("name", [name for name in ECOSYSTEMS if TABLE[name].bumped])
def test_a_bump_that_a_service_does_not_reach_is_none_of_its_business(tmp_path: Path, name: str) -> None:
    repository, files = TABLE[name], files_of(name)
    assert repository.bumped is not None
    path, old, new = repository.bumped
    assert old in files[path]
    write(tmp_path, files)
    before = {each: taken(spec(f"services/{each}"), tmp_path) for each in ("orders", "payments")}
    (tmp_path / path).write_text(files[path].replace(old, new))
    after = {each: taken(spec(f"services/{each}"), tmp_path) for each in ("orders", "payments")}
    assert [each for each in before if before[each] != after[each]] == ["payments"]


@pytest.mark.parametrize("name", ECOSYSTEMS)
def test_a_slice_of_a_slice_is_the_same(tmp_path: Path, name: str) -> None:
    write(tmp_path / "all", files_of(name))
    once = taken(spec(), tmp_path / "all", tmp_path / "once")
    assert taken(spec(), tmp_path / "once") == once


@pytest.mark.parametrize("name", ECOSYSTEMS)
@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_a_file_that_nobody_understands_is_no_reason_to_take_too_little(name: str, data: st.DataObject) -> None:
    """Garbage in a manifest or lock: everything goes in, or what went in before and perhaps more."""
    files = files_of(name)
    with folder_of(files) as root:
        read = sliced(spec(), root).scope
        assert read is not None
        path = data.draw(st.sampled_from([each for each in read.reads if each.endswith(MANIFESTS)]))
        garbage = data.draw(
            st.sampled_from(["", "[", "{}", "[]", "null", '{"packages": 3}', "package = 3", "\0", "a:\n- b: ["])
        )
        (root / path).write_text(garbage)
        cut = sliced(spec(), root)
        everything = cut.scope is None or "." in cut.scope.folders
        assert everything or paths(cut) >= {each for each in held(name) if each.startswith("services/orders/")}


@pytest.mark.parametrize("name", ECOSYSTEMS)
def test_what_is_written_by_hand_is_not_cut(tmp_path: Path, name: str) -> None:
    files = files_of(name)
    write(tmp_path, files)
    for build in ({"steps": (Command(shell="make"),)}, {"inputs": ("**", "!README.md")}, {"builder": "command"}):
        assert sliced(spec(**build), tmp_path).scope is None
    everything = sliced(spec(shared=("**",)), tmp_path)
    assert paths(everything) == files.keys()
    assert not everything.rewritten


def test_what_is_shared_goes_in_besides(tmp_path: Path) -> None:
    write(tmp_path, files_of("cargo"))
    assert paths(sliced(spec(shared=("shared", "*.md")), tmp_path)) == held("cargo") | {
        "shared/rates/usd.txt",
        "README.md",
    }


def test_what_a_link_leads_to_goes_in_with_it(tmp_path: Path) -> None:
    write(tmp_path, files_of("cargo"))
    (tmp_path / "services/orders/rates").symlink_to("../../shared/rates")
    assert paths(sliced(spec(), tmp_path)) == held("cargo") | {"services/orders/rates", "shared/rates/usd.txt"}


def test_a_service_that_is_its_own_context_has_no_scope(tmp_path: Path) -> None:
    write(tmp_path, files_of("cargo"))
    for each in (spec(context="."), spec(folder=".", context=".")):
        assert each.inside == "."
        assert sliced(each, tmp_path).scope is None
    shutil.rmtree(tmp_path / "services")
    assert sliced(spec(), tmp_path).scope is None, "no member: nothing tells"


STEPS = {
    "cargo": [
        "follow Cargo.lock",
        "cargo build --release --locked --package orders --bin orders",
        "keep the program",
    ],
    "go-module": ["go build -trimpath -buildvcs=false -o .atoll-built/orders ./services/orders", "keep the program"],
    "go-replace": [
        "go build -C services/orders -trimpath -buildvcs=false -o ../../.atoll-built/orders .",
        "keep the program",
    ],
    "go-work": ["go build -trimpath -buildvcs=false -o .atoll-built/orders ./services/orders", "keep the program"],
    "maven": [
        (
            "mvn --batch-mode --no-transfer-progress --errors -Dmaven.test.skip=true"
            " -Dproject.build.outputTimestamp=1980-01-01T00:00:02Z package"
            " org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies -DincludeScope=runtime"
            " -DoutputDirectory=${session.executionRootDirectory}/lib --projects services/orders --also-make"
        ),
        "keep the jar",
    ],
    "npm": [
        "npm ci --include=dev --no-audit --no-fund --no-update-notifier",
        "npm run build --workspace packages/money",
        "npm run build --workspace services/orders",
        "npm prune --omit=dev --no-audit --no-fund --no-update-notifier",
    ],
    "pnpm": [
        "pnpm install --frozen-lockfile --prod=false --package-import-method=copy",
        "pnpm --dir packages/money run build",
        "pnpm --dir services/orders run build",
        "pnpm install --frozen-lockfile --prod --ignore-scripts --package-import-method=copy",
    ],
    "uv": ["uv sync --no-dev --no-editable --frozen --package orders", "compile to byte code"],
}


@pytest.mark.parametrize("name", ECOSYSTEMS)
def test_the_same_steps_build_the_slice_and_the_whole(tmp_path: Path, name: str) -> None:
    write(tmp_path / "all", files_of(name))
    taken(spec(), tmp_path / "all", tmp_path / "cut")
    for root in ("all", "cut"):
        files = frozenset(entry.path for entry in inputs.select(tmp_path / root, ("**",), root=tmp_path))
        steps = plan(spec(), files, tmp_path / root).steps
        assert [" ".join(step.command.argv) or step.label for step in steps] == STEPS[name]


def test_what_is_not_cut_says_why(tmp_path: Path) -> None:
    for files, why in (
        ({"settings.gradle": "", "services/orders/build.gradle": ""}, "what Gradle's settings say is a program"),
        (
            {"package.json": '{"workspaces": ["services/*"]}', "yarn.lock": "", "services/orders/package.json": "{}"},
            "Yarn's lock is not cut",
        ),
    ):
        shutil.rmtree(tmp_path / "r", ignore_errors=True)
        write(tmp_path / "r", files)
        cut = sliced(spec(), tmp_path / "r")
        assert cut.scope is not None
        assert cut.scope.why == {".": why}
        assert paths(cut) == files.keys()


def test_a_service_below_a_member_is_of_that_member(tmp_path: Path) -> None:
    """Two services of one package: the second lies in a folder of its own, as `atoll init` puts it."""
    write(tmp_path, files_of("npm"))
    cut = sliced(spec("services/orders/services/worker", context="../../../.."), tmp_path)
    assert paths(cut) == held("npm")


def test_a_file_between_a_member_and_the_member_around_it_goes_in(tmp_path: Path) -> None:
    files = files_of("npm")
    files["services/package.json"] = "{}"
    files["services/rates.json"] = "{}"
    files["services/orders/build.js"] += '\nrequire("../rates");\n'
    write(tmp_path, files)
    assert "services/rates.json" in paths(sliced(spec(), tmp_path))


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("husky && patch-package", None),
        ("make everything", "package.json runs `make everything` at an install, which may read anything"),
    ],
)
def test_what_an_install_of_npm_runs_at_the_top_is_understood_or_everything_goes_in(
    tmp_path: Path, script: str, why: str | None
) -> None:
    files = {**files_of("npm"), "patches/isarray+2.0.5.patch": ""}
    files["package.json"] = files["package.json"].replace("husky || true", script)
    write(tmp_path, files)
    cut = sliced(spec(), tmp_path)
    assert cut.scope is not None
    assert cut.scope.why.get(".") == why
    assert "patches/isarray+2.0.5.patch" in paths(cut)
    vouched = sliced(spec(shared=("README.md",)), tmp_path)
    assert "packages/mail/index.js" not in paths(vouched), "somebody has said what else is read"


def test_projects_and_archives_beside_a_uv_workspace_go_in_and_stay_beside_it(tmp_path: Path) -> None:
    files = files_of("uv")
    package = '[[package]]\nname = "{0}"\nversion = "1"\nsource = {{ {1} }}\n\n'
    files["uv.lock"] = files["uv.lock"].replace(
        '{ name = "money" },\n]\n\n[package.metadata]\nrequires-dist = [{ name = "money"',
        '{ name = "money" },\n    { name = "side" },\n    { name = "wheel" },\n]\n\n[package.metadata]\nrequires-dist = [{ name = "money"',
    ).replace('[[package]]\nname = "six"', package.format("side", 'directory = "other/side"')
              + package.format("wheel", 'path = "wheels/wheel.whl"') + '[[package]]\nname = "six"')  # fmt: skip
    files |= {"other/side/pyproject.toml": "", "wheels/wheel.whl": "", "wheels/else.whl": ""}
    write(tmp_path, files)
    cut = sliced(spec(), tmp_path)
    assert paths(cut) == held("uv") | {"other/side/pyproject.toml", "wheels/wheel.whl"}
    assert 'members = ["libs/money", "services/orders"]' in cut.rewritten["pyproject.toml"]


# --- what is particular to a language ------------------------------------------------------------------------------

GO = {
    "go.mod": "module shop\n\ngo 1.21\n",
    "services/orders/main.go": 'package main\n\nimport "shop/a"\n\nfunc main() {}\n',
}
A = "package a\n\n{}\n"


@pytest.mark.parametrize(
    ("source", "others", "held"),
    [
        ('import "shop/b"', {"b/b.go": "package b\n", "c/c.go": "package c\n"}, {"b/b.go"}),
        ('import (\n\t_ "fmt" // (see\n\tx `shop/b`\n)', {"b/b.go": "package b\n"}, {"b/b.go"}),
        ('/* import (\n*/ import "shop/b"', {"b/b.go": "package b\n"}, {"b/b.go"}),
        ("", {"a/b/b.go": "package b\n", "a/b/x.txt": "", "a/pages/x.html": ""}, {"a/pages/x.html"}),
        ("//go:embed b\nvar x embed.FS", {"a/b/b.go": "package b\n", "a/b/x.txt": ""}, {"a/b/b.go", "a/b/x.txt"}),
        (
            "//go:embed all:b/*.txt\nvar x embed.FS",
            {"a/b/b.go": "package b\n", "a/b/x.txt": ""},
            {"a/b/b.go", "a/b/x.txt"},
        ),
        ('var x = "config/a.json"', {"config/a.json": "", "config/b.json": ""}, {"config/a.json"}),
        ('var x = glob("./pages/*.html")', {"pages/a.html": "", "page/b.html": ""}, {"pages/a.html"}),
        ('var x = []string{"web", "b"}', {"web/package.json": "", "web/a.js": "", "b/b.go": "package b\n"}, set()),
        ('import "C"', {"a/c/c.h": "", "a/c/c.go": "package c\n"}, {"a/c/c.h", "a/c/c.go"}),
        (
            'import "example.org/x"',
            {"vendor/example.org/x/x.go": "package x\n", "vendor/example.org/y/y.go": "package y\n"},
            {"vendor/example.org/x/x.go"},
        ),
    ],
)
def test_go_follows_imports_and_embeddings(tmp_path: Path, source: str, others: dict[str, str], held: set[str]) -> None:
    write(tmp_path, {**GO, "a/a.go": A.format(source), **others, "README.md": ""})
    assert paths(sliced(spec(), tmp_path)) == {*GO, "a/a.go", *held}


@pytest.mark.parametrize(
    ("files", "why"),
    [
        ({"a/a.go": A.format('// #include "../c/c.h"\nimport "C"')}, "a/a.go uses cgo and leads out of its folder"),
        ({"go.work": "go 1.21\n\nuse ./other\n", "other/go.mod": "module other\n"}, "go.work does not use ."),
        ({"services/orders/main.go": "\0\xff"}, "services/orders/main.go cannot be read"),
    ],
)
def test_go_takes_everything_where_it_cannot_tell(tmp_path: Path, files: dict[str, str], why: str) -> None:
    write(tmp_path, {**GO, "a/a.go": A.format(""), "other/x.go": "package x\n"})
    for path, text in files.items():
        (tmp_path / path).write_bytes(text.encode("latin-1"))
    cut = sliced(spec(), tmp_path)
    assert cut.scope is not None
    assert cut.scope.why["."].startswith(why)
    assert "other/x.go" in paths(cut)
