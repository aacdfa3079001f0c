"""What each technology says of the image that is generated for it, and the Dockerfile that comes of it."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from atoll.model.building import ImageParts
from atoll.model.command import Command
from atoll.model.errors import UserError
from atoll.model.spec import Build, ImageSpec, ServiceSpec
from atoll.pipeline.detect import BUILDERS, choose
from atoll.pipeline.dockerfile import bases, dockerfile


def parts_of(place: Path, files: Mapping[str, str], version: str = "", **spec: object) -> ImageParts:
    for path, text in files.items():
        (place / path).parent.mkdir(parents=True, exist_ok=True)
        (place / path).write_text(text)
    service = ServiceSpec(name="orders", **{"folder": "orders", **spec})
    names = frozenset(files)
    found = choose(service, names).image(service, names, place, version)
    assert found is not None
    return found


def early(parts: ImageParts) -> list[str]:
    return [step.command.text for step in parts.early]


GO = {"go.mod": "module x\n", "go.sum": "", "main.go": "package main\n"}


def test_the_dockerfile_of_a_go_service_to_the_letter(tmp_path: Path) -> None:
    parts = parts_of(tmp_path, GO, "1.22")
    spec = ServiceSpec(name="orders", folder="orders", build=Build(env={"CGO_ENABLED": "0"}, passed=("TOKEN",)))
    steps = BUILDERS["go"].steps(spec, frozenset(GO), tmp_path)
    assert dockerfile(spec, parts, steps, (), bases(ImageSpec(), parts, ["go"])) == (
        "# Written by Atoll. To have it your own way: a Dockerfile in the service's folder.\n"
        "FROM golang:1.22-bookworm AS build\n"
        "WORKDIR /service\n"
        "ARG TOKEN\n"
        "ARG GOPROXY\n"
        "ARG GOPRIVATE\n"
        "ARG GONOPROXY\n"
        "ARG GOSUMDB\n"
        "ARG GONOSUMDB\n"
        "ARG GOINSECURE\n"
        'ENV LANG="C.UTF-8"\n'
        'ENV SOURCE_DATE_EPOCH="315532800"\n'
        'ENV CGO_ENABLED="0"\n'
        'COPY ["go.mod", "go.sum", "./"]\n'
        "RUN GOTOOLCHAIN=local GOWORK=off GOFLAGS=-mod=readonly go mod download\n"
        "COPY . .\n"
        "RUN GOTOOLCHAIN=local GOWORK=off GOFLAGS=-mod=readonly"
        " go build -trimpath -buildvcs=false -o .atoll-built/orders .\n"
        "RUN find . -type f -name '*.go' -delete && rm -rf vendor go.mod go.sum go.work go.work.sum"
        " && find . -mindepth 1 -type d -empty -delete && mv -T .atoll-built/orders orders && rmdir .atoll-built\n"
        "RUN mkdir -p /etc/ssl/certs && rm -rf .atoll && chmod -R a+rX,go-w .\n"
        "\n"
        "FROM debian:bookworm-slim\n"
        "WORKDIR /service\n"
        "COPY --from=build /etc/ssl/certs /etc/ssl/certs\n"
        "COPY --from=build /service /service\n"
        "USER 65532:65532\n"
    )


def test_steps_of_ones_own_run_in_the_usual_image_with_nothing_before_them(tmp_path: Path) -> None:
    build = Build(steps=(Command(shell="make -C {needs.proto}\nmake"), Command(argv=("strip", "a b"))))
    parts = parts_of(tmp_path, GO, build=build)
    spec = ServiceSpec(name="orders", folder="orders", build=build)
    steps = BUILDERS["command"].steps(spec, frozenset(GO), tmp_path)
    text = dockerfile(spec, parts, steps, ("proto",), ("a", "b"))
    assert parts.early == ()
    assert 'RUN ["/bin/sh", "-c", "make -C /service/.atoll/needs/proto\\nmake"]\nRUN strip \'a b\'\n' in text


@pytest.mark.parametrize(
    ("requires", "version", "base"),
    [
        ("", "", "python:3.12-slim"),
        (">=3.10", "", "python:3.12-slim"),
        (">=3.13", "", "python:3.13-slim"),
        (">=3.10,<3.12", "", "python:3.10-slim"),
        ("==3.11.*", "", "python:3.11-slim"),
        (">=3.10", "3.11.9", "python:3.11.9-slim"),
    ],
)
def test_the_python_is_the_pinned_one_or_one_that_the_project_takes(
    tmp_path: Path, requires: str, version: str, base: str
) -> None:
    project = f'[project]\nname = "orders"\nversion = "1"\nrequires-python = "{requires}"\n'
    parts = parts_of(tmp_path, {"pyproject.toml": project}, version)
    assert (parts.base, parts.run_base) == (base, base)


PROJECT = '[project]\nname = "orders"\nversion = "1"\n'
WORKSPACE = {
    "pyproject.toml": '[tool.uv.workspace]\nmembers = ["orders", "lib"]\n',
    "uv.lock": 'source = { editable = "lib" }\n',
    "orders/pyproject.toml": PROJECT,
    "orders/app.py": "",
    "lib/pyproject.toml": PROJECT.replace("orders", "lib"),
}
SYNC = "uv sync --no-dev --no-editable --frozen"


@pytest.mark.parametrize(
    ("files", "spec", "manifests", "commands"),
    [
        ({"pyproject.toml": PROJECT, "uv.lock": "", ".python-version": "3.11", "app.py": ""}, {},
         ("pyproject.toml", "uv.lock", ".python-version"), [f"{SYNC} --no-install-project"]),
        ({"pyproject.toml": PROJECT, "uv.lock": 'source = { directory = "../lib" }', "app.py": ""}, {}, (), []),
        (WORKSPACE, {"build": Build(context="..")},
         ("lib/pyproject.toml", "orders/pyproject.toml", "pyproject.toml", "uv.lock"),
         [f"{SYNC} --package orders --no-install-workspace"]),
        ({"requirements.txt": "flask==3.0.3\n"}, {}, ("requirements.txt",),
         ["uv venv --no-project .venv", "uv pip install --python .venv -r requirements.txt"]),
        ({"requirements.txt": "-r more.txt\n", "more.txt": ""}, {}, (), []),
        ({"requirements.txt": "lib @ file:./lib\n"}, {}, (), []),
        ({"pyproject.toml": PROJECT, "poetry.lock": "", "app.py": ""}, {}, ("pyproject.toml",),
         ["cat >> .poetry-lock.txt <<'END'\nEND", "uv venv --no-project .venv",
          "uv pip install --python .venv --constraint .poetry-lock.txt -r pyproject.toml"]),
        ({"app.py": ""}, {}, (), []),
    ],
)  # fmt: skip
def test_python_installs_before_the_sources_what_needs_none(
    tmp_path: Path, files: dict[str, str], spec: dict[str, object], manifests: tuple[str, ...], commands: list[str]
) -> None:
    parts = parts_of(tmp_path, files, **spec)
    assert (parts.manifests, early(parts)) == (manifests, commands)
    assert bool(parts.path) == any(name != "app.py" for name in files)


@pytest.mark.parametrize(
    ("files", "manifests", "commands", "setup"),
    [
        ({"package.json": '{"dependencies": {"ms": "2"}}', "package-lock.json": "{}", ".npmrc": "", "app.js": ""},
         (".npmrc", "package-lock.json", "package.json"),
         ["npm ci --omit=dev --no-audit --no-fund --no-update-notifier"], []),
        ({"package.json": '{"dependencies": {"ms": "2"}, "scripts": {"prepare": "node x"}}', "x": ""}, (), [], []),
        ({"package.json": '{"dependencies": {"lib": "file:lib"}}', "lib/package.json": "{}"}, (), [], []),
        ({"package.json": '{"dependencies": {"ms": "2"}, "packageManager": "pnpm@9.15.4"}', "pnpm-lock.yaml": "",
          "patches/ms.patch": ""},
         ("package.json", "patches/ms.patch", "pnpm-lock.yaml"),
         ["pnpm install --frozen-lockfile --prod --package-import-method=copy"],
         ["command -v pnpm > /dev/null || npm install --global --no-fund --no-audit pnpm@9.15.4"]),
        ({"package.json": '{"dependencies": {"ms": "2"}, "packageManager": "yarn@4.5.0"}', "yarn.lock": "__metadata:"},
         ("package.json", "yarn.lock"), ["yarn workspaces focus --all --production"], ["corepack enable"]),
        ({"app.js": ""}, (), [], []),
    ],
)  # fmt: skip
def test_node_installs_before_the_sources_unless_a_package_wants_them(
    tmp_path: Path, files: dict[str, str], manifests: tuple[str, ...], commands: list[str], setup: list[str]
) -> None:
    parts = parts_of(tmp_path, files, "20")
    assert (parts.base, parts.manifests, early(parts)) == ("node:20-slim", manifests, commands)
    assert [step.command.text for step in parts.setup] == setup


def test_go_fetches_what_is_not_vendored(tmp_path: Path) -> None:
    below = {f"svc/{name}": text for name, text in GO.items()}
    assert early(parts_of(tmp_path, below, folder="svc", build=Build(context=".."))) == ["go -C svc mod download"]
    assert early(parts_of(tmp_path, {**GO, "vendor/modules.txt": ""})) == []


def test_rust_fetches_by_its_lock_while_targets_are_there_for_a_moment(tmp_path: Path) -> None:
    files = {"Cargo.toml": '[package]\nname = "orders"\n', "Cargo.lock": "", "src/main.rs": ""}
    parts = parts_of(tmp_path, files, "1.75")
    assert parts.base == "rust:1.75-slim-bookworm"
    assert early(parts) == [
        (
            'for each in ./src; do mkdir -p "$each" && touch "$each/lib.rs" "$each/main.rs"; done'
            " && cargo fetch --locked && find . -name '*.rs' -delete"
        )
    ]


@pytest.mark.parametrize(
    ("files", "base", "commands"),
    [
        ({"pom.xml": "<project/>"}, "maven:3-eclipse-temurin-17",
         ["mvn --batch-mode --no-transfer-progress dependency:go-offline || true"]),
        ({"pom.xml": "", "a/pom.xml": ""}, "maven:3-eclipse-temurin-17", []),
        ({"pom.xml": "", "mvnw": "", ".mvn/wrapper/maven-wrapper.properties": ""}, "eclipse-temurin:17-jdk",
         ["sh ./mvnw --batch-mode --no-transfer-progress dependency:go-offline || true"]),
        ({"build.gradle": ""}, "gradle:8-jdk17", ["gradle --no-daemon --console=plain --quiet dependencies || true"]),
        ({"Main.java": ""}, "eclipse-temurin:17-jdk", []),
    ],
)  # fmt: skip
def test_java_builds_with_a_jdk_and_runs_with_a_jre(
    tmp_path: Path, files: dict[str, str], base: str, commands: list[str]
) -> None:
    parts = parts_of(tmp_path, files, "17.0.9")
    assert (parts.base, parts.run_base, early(parts)) == (base, "eclipse-temurin:17-jre", commands)
    assert parts.env == {"CLASSPATH": "{folder}/classes:{folder}/*:{folder}/lib/*"}


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (ImageSpec(), ("jdk", "jre")),
        (ImageSpec(bases={"java": "mine"}), ("mine", "jre")),
        (ImageSpec(bases={"java": "mine", "maven": "nearer", "java-run": "run"}), ("nearer", "run")),
        (ImageSpec(base="own", bases={"java": "mine", "java-run": "run"}), ("own", "run")),
        (ImageSpec(base="own", run_base="tiny", bases={"java-run": "run"}), ("own", "tiny")),
    ],
)
def test_the_nearest_word_on_a_base_counts(image: ImageSpec, expected: tuple[str, str]) -> None:
    assert bases(image, ImageParts(base="jdk", run_base="jre"), ["maven", "java"]) == expected


def test_one_base_for_both_stages_is_replaced_in_both() -> None:
    one = ImageParts(base="python", run_base="python")
    assert bases(ImageSpec(bases={"python": "mine"}), one, ["python"]) == ("mine", "mine")


def test_outputs_that_find_cannot_understand_are_refused(tmp_path: Path) -> None:
    spec = ServiceSpec(name="orders", build=Build(outputs=("[ab]/**",)))
    with pytest.raises(UserError, match="no generated Dockerfile can keep"):
        dockerfile(spec, ImageParts(base="a", run_base="a"), (), (), ("a", "a"))
