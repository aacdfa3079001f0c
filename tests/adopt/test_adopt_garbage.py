"""Whatever stands in the files of a repository: services and a list, or one clear error; never a traceback."""

import json
import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from atoll.adopt import compose, repository
from atoll.adopt.choices import questions, settle
from atoll.adopt.compose_values import Values
from atoll.adopt.dockerfile import parse
from atoll.adopt.found import Findings, join, slug
from atoll.adopt.text import service_text, workspace_text
from atoll.adopt.tree import Tree, of_disk
from atoll.model.errors import InvalidWorkspace, Problem, UserError
from atoll.model.templates import fill, literal
from atoll.workspace.fields_values import SERVICE_NAME
from atoll.workspace.loader import load

# Without shrinking: a failing repository is small enough to read, and minutes are worth more.
FEW = settings(
    max_examples=40, deadline=None, suppress_health_check=list(HealthCheck), phases=(Phase.reuse, Phase.generate)
)
TEXT = st.text(max_size=40)
LEAF = TEXT | st.sampled_from(
    [
        "web:80",
        "http://web:8080/x",
        "db",
        "5432",
        "80:80",
        "./x:/y",
        "a:/data",
        "{port}",
        "${X:-y}",
        "service_healthy",
        "true",
        "1m",
        "512m",
        "/",
        "..",
        "NONE",
    ]
)
VALUE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | LEAF,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(LEAF, inner, max_size=4),
    max_leaves=12,
)
FIELDS = (
    *(
        "build",
        "command",
        "entrypoint",
        "ports",
        "environment",
        "env_file",
        "depends_on",
        "healthcheck",
        "volumes",
        "deploy",
    ),
    *("image", "extends", "profiles", "expose", "scale", "stop_signal", "ulimits", "links", "working_dir", "restart"),
)
SERVICE = st.fixed_dictionaries({"build": st.just(".") | VALUE}, optional=dict.fromkeys(FIELDS[1:], VALUE))
SOURCES = {
    "app.py": "from flask import Flask\napp = Flask(__name__)\n",
    "requirements.txt": "flask\n",
    "go/main.go": "package main\nfunc main() {}\n",
}


def tree(files: dict[str, str | bytes]) -> Tree:
    data = {
        name: text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text for name, text in files.items()
    }
    return Tree(data, data.__getitem__, "shop")


def adopted(files: dict[str, str | bytes]) -> None:
    """Adopts the files; what comes of it is valid, or the loader says what is not."""
    findings, error = looked(tree(files))
    if error is not None:
        assert error.what
        assert error.fix
        return
    settle(findings, {})
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        (root / "atoll.toml").write_text(
            workspace_text("shop", [each.folder for each in findings.services], findings.stores)
        )
        for found in findings.services:
            (root / found.folder).mkdir(parents=True, exist_ok=True)
            (root / found.folder / "service.toml").write_text(service_text(found))
        problems: tuple[Problem, ...] = ()
        try:
            load(root)
        except InvalidWorkspace as exc:  # said before anything is written; but it is TOML, always
            problems = exc.problems
        assert not [problem for problem in problems if "TOML" in problem.what], problems


def looked(there: Tree) -> tuple[Findings, UserError | None]:
    """What is found, or the one error."""
    try:
        files = repository.compose_files(there)
        return compose.read(there, files) if files else repository.discover(there), None
    except UserError as exc:
        return Findings(), exc


@FEW
@given(
    services=st.dictionaries(st.sampled_from(["web", "db", "Job_1"]) | TEXT, SERVICE | VALUE, max_size=3),
    more=st.dictionaries(TEXT, VALUE, max_size=2),
)
def test_any_compose_file_is_adopted_or_refused(services, more) -> None:
    adopted({"compose.yaml": json.dumps({**more, "services": services}), **SOURCES})


@FEW
@given(
    text=TEXT
    | st.binary(max_size=60)
    | VALUE.map(json.dumps)
    | st.text(alphabet="{}[]:,&*!|>-'\"\n <abc:%@`", max_size=60)
)
@pytest.mark.parametrize(
    "name",
    [
        "compose.yaml",
        "package.json",
        "pyproject.toml",
        "Cargo.toml",
        "pnpm-workspace.yaml",
        "composer.json",
        "Pipfile",
        "go.mod",
        "pom.xml",
        "build.gradle",
        "settings.gradle",
        "Gemfile",
        "Procfile",
        "Dockerfile",
        "x.csproj",
        "requirements.txt",
    ],
)
def test_garbage_in_any_file_is_one_clear_error_or_none(name: str, text: str | bytes) -> None:
    beside: dict[str, str | bytes] = {
        "package.json": '{"dependencies": {"express": "4"}, "main": "index.js"}',
        "index.js": "app.listen(1)",
        "src/main.rs": "",
        **SOURCES,
    }
    adopted({**beside, name: text})


@FEW
@given(
    package=st.fixed_dictionaries(
        {}, optional=dict.fromkeys(("name", "scripts", "dependencies", "workspaces", "main"), VALUE)
    )
)
def test_any_package_is_adopted_or_refused(package) -> None:
    adopted(
        {
            "package.json": json.dumps(package),
            "index.js": "app.listen(process.env.PORT)",
            "a/package.json": json.dumps(package),
            "a/index.js": "x.listen()",
        }
    )


@pytest.mark.parametrize(
    "text",
    [
        "a: &a [*a]\nservices: *a\n",
        "services: {x: {build: ., environment: [&l [1, *l]]}}\n",
        "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c]\nservices: {e: [*d,*d,*d,*d,*d,*d,*d,*d,*d]}\nf: [*d,*d,*d,*d,*d]\n",
        "[" * 5000,
        "services:\n  x: !!python/object/apply:os.system ['true']\n",
        "? [a]\n: b\n",
        "services: [a, b]\n",
        "services:\n  a: {extends: b}\n",
        "\x00",
        "",
    ],
)
def test_hostile_yaml_is_one_clear_error_or_a_line_of_what_is_left(text: str) -> None:
    findings, error = looked(tree({"compose.yaml": text}))
    assert findings.services == []
    assert findings.left if error is None else error.fix


def test_services_that_extend_each_other_in_a_circle_end() -> None:
    text = "services:\n  a: {extends: {service: b}, build: .}\n  b: {extends: {service: a}}\n"
    assert [each.name for each in compose.read(tree({"compose.yaml": text, **SOURCES}), "compose.yaml").services]


@given(TEXT | st.from_regex(r"[{}$a-z.]{0,12}"))
def test_a_foreign_text_never_holds_a_placeholder(text: str) -> None:
    assert fill(literal(text), {}) == text


@given(TEXT)
def test_any_text_makes_a_name(text: str) -> None:
    assert SERVICE_NAME.read(slug(text)) == slug(text)


@given(TEXT)
def test_a_dockerfile_of_any_text_is_read(text: str) -> None:
    parse(text)
    parse(f"FROM x AS y\nCMD {text}\nENV {text}\nEXPOSE {text}\nHEALTHCHECK {text}\nENTRYPOINT [{text}")


@given(TEXT)
def test_variables_are_filled_in_whatever_they_are(text: str) -> None:
    assert isinstance(Values({"X": "${X}"}).text(text + "${X:-${Y:-z}}$X$$"), str)


@pytest.mark.parametrize(
    ("parts", "path"), [(("a", "../b"), "b"), (("a", "../.."), ".."), ((".", "./x/"), "x"), (("a/b", "../c/."), "a/c")]
)
def test_paths_are_joined_without_the_disk(parts: tuple[str, ...], path: str) -> None:
    assert join(*parts) == path


def test_nothing_found_asks_nothing() -> None:
    assert questions(Findings()) == []


MERGES = "x: &x {k: v}\n" + "".join(
    f"x{n}: &x{n} {{<<: [{', '.join(['*x' + str(n - 1 if n > 1 else '')] * 9)}]}}\n" for n in range(1, 12)
)


@pytest.mark.timeout(60)
def test_merges_that_multiply_do_not_hang() -> None:
    findings, error = looked(tree({"compose.yaml": f"{MERGES}services: {{a: *x11}}\n"}))
    assert findings.services == []
    assert error is None or error.fix


def test_what_is_no_plain_file_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "web").mkdir()
    (tmp_path / "web" / "package.json").write_text('{"dependencies": {"express": "4"}, "scripts": {"start": "node ."}}')
    os.mkfifo(tmp_path / "compose.yaml")
    os.mkfifo(tmp_path / "Procfile")
    (tmp_path / "web" / "up").symlink_to(tmp_path)
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "etc").symlink_to("/etc")
    with (tmp_path / "pom.xml").open("wb") as file:
        file.truncate(5 << 30)
    (tmp_path / "go.mod").write_bytes(b"module \xff\xfe\n")
    there = of_disk(tmp_path)
    assert repository.compose_files(there) == []
    assert [found.name for found in repository.discover(there).services] == ["web"]


VALID = {
    "compose.yaml": "services:\n  web:\n    build: .\n    ports: ['80:8000']\n    environment: {A: b}\n    healthcheck: {test: curl localhost:8000/x}\n",
    "Procfile": "web: python3 app.py --port $PORT\nworker: python3 worker.py\nrelease: ./migrate\n",
    "package.json": '{"name": "x", "scripts": {"start": "node ."}, "workspaces": ["a/*"], "dependencies": {"express": "4"}}',
    "pom.xml": "<project><artifactId>x</artifactId><version>1</version><modules><module>a</module></modules></project>",
    "go.mod": "module example.com/x\n\ngo 1.22\n\nreplace example.com/y => ../y\n",
    "pyproject.toml": '[project]\nname = "x"\ndependencies = ["flask"]\n[tool.uv.workspace]\nmembers = ["a"]\n',
    "Dockerfile": 'FROM python:3.12 AS a\nENV A=b\nFROM a\nEXPOSE 80\nHEALTHCHECK CMD curl localhost\nCMD ["x"]\n',
    "x.csproj": '<Project Sdk="Microsoft.NET.Sdk.Web"><ProjectReference Include="..\\x.csproj" /></Project>',
}


@FEW
@given(st.data())
@pytest.mark.parametrize("name", VALID)
def test_a_valid_file_that_was_damaged_is_one_clear_error_or_none(name: str, data: st.DataObject) -> None:
    text = VALID[name].encode()
    for _ in range(data.draw(st.integers(1, 3))):
        at, to = sorted(data.draw(st.tuples(st.integers(0, len(text)), st.integers(0, len(text)))))
        junk = data.draw(st.binary(max_size=6) | st.sampled_from([text[at:to] * 3, b"\n", b"\t", b"{{", b"*a", b"&a "]))
        text = text[:at] + junk + text[to:]
    adopted({**SOURCES, "index.js": "app.listen(1)", name: text})
