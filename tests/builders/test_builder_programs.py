"""What the builders of compiled languages would run, exactly, and which program they take for the service."""

import subprocess
from pathlib import Path

import pytest

from atoll.builders.go import GoBuilder
from atoll.builders.java import GradleBuilder, JavaBuilder, MavenBuilder
from atoll.builders.java.jdk import keep_jar
from atoll.builders.rust import RustBuilder
from atoll.model.errors import UserError
from atoll.model.spec import Build, Command, ServiceSpec

GO, RUST, JAVA, MAVEN, GRADLE = GoBuilder(), RustBuilder(), JavaBuilder(), MavenBuilder(), GradleBuilder()
MAIN = "package main\n"
ORDERS = ServiceSpec(name="orders", folder="orders", run=Command(argv=("x",)), build=Build())


def write(folder: Path, files: dict[str, str]) -> frozenset[str]:
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    return frozenset(files)


@pytest.mark.parametrize(
    ("files", "package"),
    [
        ({"main.go": MAIN}, "."),
        ({"main.go": MAIN, "cmd/tool/main.go": MAIN}, "."),
        ({"lib.go": "package orders\n", "cmd/server/main.go": f"// Server.\n{MAIN}"}, "./cmd/server"),
        ({"cmd/orders/main.go": MAIN, "cmd/migrate/main.go": MAIN}, "./cmd/orders"),
        ({"main.go": MAIN, "cmd/x/x_test.go": MAIN, "vendor/y/main.go": MAIN}, "."),
        ({"gen.go": f"//go:build ignore\n\n{MAIN}", "app/main.go": MAIN}, "./app"),
    ],
)
def test_go_compiles_the_main_package_that_is_the_service(tmp_path: Path, files: dict[str, str], package: str) -> None:
    names = write(tmp_path, {"go.mod": "module x\n", **files})
    step = GO.steps(ORDERS, names, tmp_path)[0]
    assert step.command.argv == ("go", "build", "-trimpath", "-buildvcs=false", "-o", ".atoll-built/orders", package)
    assert step.env == {"GOFLAGS": "-mod=readonly", "GOTOOLCHAIN": "local", "GOWORK": "off"}


def test_go_takes_vendored_modules_where_they_are(tmp_path: Path) -> None:
    names = write(tmp_path, {"go.mod": "module x\n", "main.go": MAIN, "vendor/modules.txt": ""})
    assert GO.steps(ORDERS, names, tmp_path)[0].env["GOFLAGS"] == "-mod=vendor"


@pytest.mark.parametrize(
    ("files", "what", "fix"),
    [
        ({"a.go": "package a\n"}, "orders has no main package", "add one"),
        (
            {"cmd/a/a.go": MAIN, "cmd/b/b.go": MAIN},
            "orders has 2 main packages",
            '[build] steps = "go build -o orders ./cmd/a"',
        ),
    ],
)
def test_go_asks_where_the_service_is_not_clear(tmp_path: Path, files: dict[str, str], what: str, fix: str) -> None:
    names = write(tmp_path, {"go.mod": "module x\n", **files})
    with pytest.raises(UserError) as caught:
        GO.steps(ORDERS, names, tmp_path)
    assert caught.value.what == what
    assert fix in caught.value.fix


def package(name: str, more: str = "") -> str:
    return f'[package]\nname = "{name}"\nversion = "1.0.0"\n{more}'


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"Cargo.toml": package("server"), "src/main.rs": ""}, ("server", "server")),
        ({"Cargo.toml": package("server"), "src/main.rs": "", "src/bin/orders.rs": ""}, ("server", "orders")),
        (
            {"Cargo.toml": package("server", 'default-run = "b"\n'), "src/bin/a.rs": "", "src/bin/b/main.rs": ""},
            ("server", "b"),
        ),
        ({"Cargo.toml": package("server", '[[bin]]\nname = "api"\n'), "src/main.rs": ""}, ("server", "api")),
        (
            {
                "Cargo.toml": '[workspace]\nmembers = ["a", "b"]\n',
                "a/Cargo.toml": package("orders"),
                "a/src/main.rs": "",
                "b/Cargo.toml": package("b"),
                "b/src/main.rs": "",
            },
            ("orders", "orders"),
        ),
    ],
)
def test_rust_compiles_the_program_that_is_the_service(
    tmp_path: Path, files: dict[str, str], expected: tuple[str, str]
) -> None:
    step = RUST.steps(ORDERS, write(tmp_path, files), tmp_path)[0]
    assert step.command.argv == ("cargo", "build", "--release", "--package", expected[0], "--bin", expected[1])


def test_rust_follows_its_lock(tmp_path: Path) -> None:
    names = write(tmp_path, {"Cargo.toml": package("orders"), "Cargo.lock": "", "src/main.rs": ""})
    assert "--locked" in RUST.steps(ORDERS, names, tmp_path)[0].command.argv


@pytest.mark.parametrize(
    ("files", "what"),
    [
        ({"Cargo.toml": package("orders"), "src/lib.rs": ""}, "orders has no program"),
        ({"Cargo.toml": package("x"), "src/bin/a.rs": "", "src/bin/b.rs": ""}, "orders has 2 programs"),
        ({"Cargo.toml": "[package\n"}, "orders/Cargo.toml cannot be read"),
    ],
)
def test_rust_asks_where_the_service_is_not_clear(tmp_path: Path, files: dict[str, str], what: str) -> None:
    with pytest.raises(UserError) as caught:
        RUST.steps(ORDERS, write(tmp_path, files), tmp_path)
    assert caught.value.what == what
    assert caught.value.fix


def test_java_compiles_all_sources_but_tests(tmp_path: Path) -> None:
    names = frozenset({"Main.java", "shop/Order.java", "test/MainTest.java", "lib/json.jar", "page.html"})
    step = JAVA.steps(ORDERS, names, tmp_path)[0]
    flags = ("-encoding", "UTF-8", "-g", "-cp", "lib/*", "-d", "classes")
    assert step.command.argv == ("javac", *flags, "Main.java", "shop/Order.java")


def test_java_without_sources_is_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="orders has no Java sources"):
        JAVA.steps(ORDERS, frozenset({"test/MainTest.java"}), tmp_path)


@pytest.mark.parametrize(
    ("pom", "wrapper", "begins", "copies"),
    [
        ("<project/>", False, ("mvn",), False),
        ("<project><dependencies/><dependencies></dependencies></project>", False, ("mvn",), True),
        ("<project><dependencies></dependencies>spring-boot-maven-plugin</project>", False, ("mvn",), False),
        ("<project/>", True, ("sh", "./mvnw"), False),
    ],
)
def test_maven_packages_and_copies_libraries_that_the_jar_does_not_hold(
    tmp_path: Path, pom: str, wrapper: bool, begins: tuple[str, ...], copies: bool
) -> None:
    files = {"pom.xml": pom} | ({"mvnw": "", ".mvn/wrapper/maven-wrapper.properties": ""} if wrapper else {})
    names = write(tmp_path, files)
    argv = MAVEN.steps(ORDERS, names, tmp_path)[0].command.argv
    assert argv[: len(begins)] == begins
    assert "package" in argv
    assert ("-DoutputDirectory=${session.executionRootDirectory}/lib" in argv) is copies
    assert [tool.name for tool in MAVEN.tools(ORDERS, names, tmp_path)] == (["javac"] if wrapper else ["javac", "mvn"])


def test_maven_copies_what_a_module_depends_on(tmp_path: Path) -> None:
    names = write(
        tmp_path, {"pom.xml": "<project/>", "orders/pom.xml": "<project><dependencies></dependencies></project>"}
    )
    assert "-DincludeScope=runtime" in MAVEN.steps(ORDERS, names, tmp_path)[0].command.argv


def test_gradle_takes_the_wrapper_where_there_is_one(tmp_path: Path) -> None:
    names = write(tmp_path, {"build.gradle": ""})
    assert GRADLE.steps(ORDERS, names, tmp_path)[0].command.argv[0] == "gradle"
    names = write(tmp_path, {"build.gradle": "", "gradlew": ""})
    assert GRADLE.steps(ORDERS, names, tmp_path)[0].command.argv[:2] == ("sh", "./gradlew")


def test_the_class_path_holds_what_the_artifact_has(tmp_path: Path) -> None:
    assert JAVA.command_env(ORDERS, frozenset(), tmp_path) == {}
    write(tmp_path, {"orders.jar": "", "lib/a.jar": "", "classes/A.class": ""})
    assert JAVA.command_env(ORDERS, frozenset(), tmp_path) == {
        "CLASSPATH": f"{tmp_path}/classes:{tmp_path}/orders.jar:{tmp_path}/lib/*"
    }


@pytest.mark.parametrize(
    ("jars", "kept"),
    [
        (["orders-1.0.jar"], "orders-1.0.jar"),
        (["app-1.0.jar", "app-1.0-sources.jar", "app-1.0-tests.jar", "original-app-1.0.jar"], "app-1.0.jar"),
        (["app-1.0.jar", "app-1.0-jar-with-dependencies.jar"], "app-1.0-jar-with-dependencies.jar"),
        (["orders-1.0.jar", "tool-1.0.jar"], "orders-1.0.jar"),
        (["a b.jar"], "a b.jar"),
        (["one.jar", "two.jar"], None),
        ([], None),
    ],
)
def test_the_jar_that_is_the_service_is_kept_under_its_name(tmp_path: Path, jars: list[str], kept: str | None) -> None:
    write(
        tmp_path, {f"target/{name}": name for name in jars} | {"target/lib/x.jar": "", "src/A.java": "", "p.html": ""}
    )
    line = keep_jar(ORDERS, "target", drop="target src")
    done = subprocess.run(["sh", "-c", line], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    if kept is None:
        assert done.returncode == 1
        assert "[build] steps" in done.stderr
        return
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["orders.jar", "p.html"]
    assert (tmp_path / "orders.jar").read_text() == kept
