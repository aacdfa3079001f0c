"""Services without a Dockerfile, made by a real dockerd and run there: read-only, by nobody in particular, without their sources."""

import os
from pathlib import Path

import msgspec
import pytest
from tests.pipeline.conftest import Yard

from atoll.model.spec import Build, Command, ServiceSpec

UUID = (
    "github.com/google/uuid v1.6.0 h1:NIvaJDMOsjHA8n1jAhLSgzrAzy1Hgr+hNrb57e+94F0=\n"
    "github.com/google/uuid v1.6.0/go.mod h1:TIyPZe4MgqvfeYDBFedMoGGpEw/LqOeaOT+nhxU+yHo=\n"
)
FILES: dict[str, dict[str, str]] = {
    "python": {"requirements.txt": "itsdangerous==2.2.0\n", "app.py": "import itsdangerous; print('it works')\n"},
    "node": {
        "package.json": '{"name": "svc", "dependencies": {"ms": "2.1.3"}, "scripts": {"build": "echo works > out"}}',
        "app.js": "require('ms'); console.log('it', require('fs').readFileSync('out', 'utf8').trim())\n",
    },
    "go": {
        "go.mod": "module svc\n\ngo 1.22\n\nrequire github.com/google/uuid v1.6.0\n",
        "go.sum": UUID,
        "main.go": 'package main\n\nimport "github.com/google/uuid"\n\n'
        'func main() {\n\tif len(uuid.NewString()) == 36 {\n\t\tprintln("it works")\n\t}\n}\n',
    },
    "java": {
        "src/shop/Main.java": "package shop; public class Main"
        ' { public static void main(String[] given) { System.out.println("it works"); } }\n'
    },
    "rust": {
        "Cargo.toml": '[package]\nname = "svc"\nversion = "0.1.0"\nedition = "2021"\n',
        "Cargo.lock": 'version = 3\n\n[[package]]\nname = "svc"\nversion = "0.1.0"\n',
        "src/main.rs": 'fn main() { println!("it works"); }\n',
    },
}
RUN = {"python": "python3 app.py", "node": "node app.js", "go": "./svc 2>&1", "java": "java shop.Main", "rust": "./svc"}
BASES = {  # one for both stages, or one to build in and one to run in
    "python": ("python", ""),
    "node": ("node", "node-run"),
    "go": ("go", "runtime"),
    "java": ("java", "java-run"),
    "rust": ("rust", "runtime"),
}


def service(yard: Yard, technology: str) -> ServiceSpec:
    for path, text in FILES[technology].items():
        yard.write(f"svc/{path}", text)
    build, run = BASES[technology]
    bases = {technology: yard.daemon.base(build), **({f"{technology}-run": yard.daemon.base(run)} if run else {})}
    return yard.image("svc", bases=bases)


@pytest.mark.parametrize("technology", FILES)
def test_a_service_becomes_a_small_image_by_its_builder(yard: Yard, technology: str) -> None:
    made = yard.one(service(yard, technology))
    assert made.image is not None
    assert (made.image.folder, made.image.user, made.builder) == ("/service", "65532:65532", technology)
    assert yard.run(made, "sh", "-c", f"{RUN[technology]}; id -u") == "it works\n65532"
    if technology in {"go", "rust", "java"}:
        left = yard.run(made, "find", ".", "-type", "f").split()
        assert left == (["./classes/shop/Main.class"] if technology == "java" else ["./svc"])
    if technology in {"python", "node"}:
        assert yard.run(made, "find", ".", "-perm", "/022", "!", "-type", "l") == ""


def test_buildkit_takes_what_is_generated(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"/usr/bin:{os.environ['PATH']}")
    monkeypatch.setenv("DOCKER_BUILDKIT", "1")
    made = yard.one(service(yard, "go"))
    assert yard.run(made, "sh", "-c", RUN["go"]) == "it works"


def test_dependencies_are_not_fetched_again_for_an_edit_of_the_sources(
    yard: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_BUILDKIT", "0")  # whose words are looked at
    spec = service(yard, "python")
    first = yard.one(spec)
    yard.write("svc/app.py", "print('edited')\n")
    second = yard.one(spec)
    log = next((yard.artifacts / ".logs").glob(f"svc.image-{second.key[:12]}*")).read_text()
    fetched = log[log.rindex("uv pip install") :]
    assert fetched.index("Using cache") < fetched.index("COPY . .")
    assert second.key != first.key
    assert yard.run(second, "python3", "app.py") == "edited"


def test_what_leads_to_the_same_layers_is_the_same_result(yard: Yard) -> None:
    runtime = yard.daemon.base("runtime")
    yard.write("svc/app.sh", "echo one")
    spec = yard.image("svc", f"FROM {runtime}\nCOPY app.sh /\n")
    first = yard.one(spec)
    yard.write("svc/Dockerfile", f"# said in other words\nFROM {runtime}\nCOPY app.sh /\n")
    second = yard.one(spec)
    assert second.key != first.key
    assert second.digest == first.digest


def test_outputs_variables_and_needs_mean_what_they_mean_for_a_build(
    yard: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime = yard.daemon.base("runtime")
    for path in ("keep/deep/a.txt", "keep/b.md", "drop/c.txt", "d.bin", "has space/e.txt"):
        yard.write(f"svc/{path}", path)
    monkeypatch.setenv("ATOLL_TEST_VERSION", "1.2")
    build = Build(
        steps=(Command(shell="mkdir -p out && cat <<END > out/it\n$GREETING $ATOLL_TEST_VERSION \\$x\nEND\n"),),
        outputs=("out/**", "keep/**", "!**/*.md", "?.bin", "has space"),
        env={"GREETING": 'a "b" $HOME \\'},
        inherit=("ATOLL_TEST_VERSION",),
    )
    spec = msgspec.structs.replace(yard.image("svc", base=runtime), build=build)
    made = yard.one(spec)
    found = yard.run(made, "sh", "-c", "find . -type f | sort").split("\n")
    assert found == ["./d.bin", "./has space/e.txt", "./keep/deep/a.txt", "./out/it"]
    assert yard.run(made, "cat", "out/it") == 'a "b" $HOME \\ 1.2 $x'


def test_a_technology_without_a_usual_image_asks_for_a_base(yard: Yard) -> None:
    yard.write("svc/app.sh", "echo it works")
    failed = yard.failure(yard.image("svc"))
    assert failed.id == "no-base-image"
    made = yard.one(yard.image("svc", base=yard.daemon.base("runtime")))
    assert yard.run(made, "sh", "app.sh") == "it works"
    assert Path(made.path, ".atoll", "Dockerfile").read_text().count("\nFROM ") == 2
