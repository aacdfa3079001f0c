"""Real compilers: a smallest service and one with a dependency for each, two releases, a second build without network."""

from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

GO_MAIN = """package main

import (
	"fmt"

	"github.com/google/uuid"
)

func main() { fmt.Println(uuid.Nil, "release 1") }
"""
GO_FILES = {
    "go.mod": "module shop/orders\n\ngo 1.21\n\nrequire github.com/google/uuid v1.6.0\n",
    "go.sum": "github.com/google/uuid v1.6.0 h1:NIvaJDMOsjHA8n1jAhLSgzrAzy1Hgr+hNrb57e+94F0=\n"
    "github.com/google/uuid v1.6.0/go.mod h1:TIyPZe4MgqvfeYDBFedMoGGpEw/LqOeaOT+nhxU+yHo=\n",
    "cmd/orders/main.go": GO_MAIN,
    "internal/prices/prices_test.go": "package prices\n",
    "pages/index.html": "<h1>orders</h1>\n",
}


def test_a_smallest_go_service_becomes_one_program(yard, needs) -> None:
    needs("go", "version")
    yard.write(
        "hello",
        {"go.mod": "module hello\n\ngo 1.21\n", "main.go": 'package main\n\nfunc main() { println("hello") }\n'},
    )
    artifact = yard.build("hello")
    assert artifact.builder == "go"
    assert yard.kept(artifact) == ["hello"]
    yard.out(artifact, "./hello")


def test_a_go_service_with_a_module_is_released_again_without_network(yard, needs, monkeypatch) -> None:
    needs("go", "version")
    yard.write("orders", GO_FILES)
    first = yard.build("orders")
    assert yard.kept(first) == ["orders", "pages/index.html"]
    monkeypatch.setenv("GOPROXY", "off")
    yard.write("orders", {"cmd/orders/main.go": GO_MAIN.replace("release 1", "release 2")})
    second = yard.build("orders", fetches=False)
    zero = "00000000-0000-0000-0000-000000000000"
    assert yard.out(first, "./orders") == f"{zero} release 1"
    assert yard.out(second, "./orders") == f"{zero} release 2"


def test_two_go_builds_are_equal_to_the_byte(yard, needs) -> None:
    needs("go", "version")
    yard.write("hello", {"go.mod": "module hello\n\ngo 1.21\n", "main.go": "package main\n\nfunc main() {}\n"})
    first = yard.build("hello")
    yard.artifacts.rename(yard.root / "old")
    assert yard.build("hello").digest == first.digest


RUST_MAIN = 'fn main() { println!("{} release 1", itoa::Buffer::new().format(42)); }\n'
RUST_FILES = {
    "Cargo.toml": '[package]\nname = "orders"\nversion = "1.0.0"\nedition = "2021"\n\n[dependencies]\nitoa = "=1.0.11"\n',
    "Cargo.lock": 'version = 3\n\n[[package]]\nname = "itoa"\nversion = "1.0.11"\n'
    'source = "registry+https://github.com/rust-lang/crates.io-index"\n'
    'checksum = "49f1f14873335454500d59611f1cf4a4b0f786f9ac11f4312a78e4cf2566695b"\n\n'
    '[[package]]\nname = "orders"\nversion = "1.0.0"\ndependencies = [\n "itoa",\n]\n',
    "src/main.rs": RUST_MAIN,
    "pages/index.html": "<h1>orders</h1>\n",
}


def test_a_smallest_rust_service_becomes_one_program(yard, needs) -> None:
    needs("cargo", "--version")
    needs("cc", "--version")
    yard.write(
        "hello",
        {
            "Cargo.toml": '[package]\nname = "greeter"\nversion = "1.0.0"\n',
            "src/main.rs": 'fn main() { println!("hi") }',
        },
    )
    artifact = yard.build("hello")
    assert artifact.builder == "rust"
    assert yard.kept(artifact) == ["hello"]
    assert yard.out(artifact, "./hello") == "hi"


def test_a_rust_service_with_a_crate_is_released_again_without_network(yard, needs, monkeypatch) -> None:
    needs("cargo", "--version")
    needs("cc", "--version")
    yard.write("orders", RUST_FILES)
    first = yard.build("orders")
    assert yard.kept(first) == ["orders", "pages/index.html"]
    monkeypatch.setenv("CARGO_NET_OFFLINE", "true")
    yard.write("orders", {"src/main.rs": RUST_MAIN.replace("release 1", "release 2")})
    second = yard.build("orders", fetches=False)
    assert yard.out(first, "./orders") == "42 release 1"
    assert yard.out(second, "./orders") == "42 release 2"


def java_main(release: str) -> str:
    return (
        "package shop;\n\nimport org.apache.commons.codec.binary.Hex;\n\npublic class Main {\n"
        "    public static void main(String[] args) {\n"
        f'        System.out.println(Hex.encodeHexString(new byte[] {{42}}) + " {release}");\n    }}\n}}\n'
    )


POM = """<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>shop</groupId>
  <artifactId>orders-service</artifactId>
  <version>1.0</version>
  <properties>
    <maven.compiler.source>11</maven.compiler.source>
    <maven.compiler.target>11</maven.compiler.target>
    <project.build.sourceEncoding>UTF-8</project.build.sourceEncoding>
  </properties>
  <dependencies>
    <dependency><groupId>commons-codec</groupId><artifactId>commons-codec</artifactId><version>1.17.1</version></dependency>
  </dependencies>
</project>
"""


def test_plain_java_sources_need_a_jdk_only(yard, needs) -> None:
    needs("javac", "-version")
    hello = 'package shop;\n\npublic class Hello {\n    public static void main(String[] a) { System.out.println("%s"); }\n}\n'
    yard.write("hello", {"shop/Hello.java": hello % 1, "Top.java": "class Top {}\n", "test/HelloTest.java": "broken"})
    first = yard.build("hello")
    assert first.builder == "java"
    assert yard.kept(first) == ["classes/Top.class", "classes/shop/Hello.class"]
    yard.write("hello", {"shop/Hello.java": hello % 2})
    second = yard.build("hello")
    assert [yard.out(each, "java", "shop.Hello") for each in (first, second)] == ["1", "2"]


def test_a_maven_service_with_a_library_is_released_again_without_network(yard, needs) -> None:
    needs("javac", "-version")
    needs("mvn", "--version")
    yard.write("orders", {"pom.xml": POM, "src/main/java/shop/Main.java": java_main("release 1"), "pages/i.html": "i"})
    first = yard.build("orders")
    assert yard.kept(first) == ["lib/commons-codec-1.17.1.jar", "orders.jar", "pages/i.html"]
    yard.write("orders", {"src/main/java/shop/Main.java": java_main("release 2"), ".mvn/maven.config": "--offline\n"})
    second = yard.build("orders", fetches=False)
    assert yard.out(first, "java", "shop.Main") == "2a release 1"
    assert yard.out(second, "java", "shop.Main") == "2a release 2"


# Gradle itself comes from no package registry, so a stand-in for the wrapper does what its tasks would.
WRAPPER = """#!/bin/sh
for task; do :; done
mkdir -p build/classes build/libs build/install/orders/lib
javac -d build/classes src/main/java/shop/Main.java
jar --create --file build/libs/orders-1.0.jar -C build/classes .
cp build/libs/orders-1.0.jar build/libs/orders-1.0-plain.jar
cp build/libs/orders-1.0.jar build/install/orders/lib/
echo "$task" > task
"""


@pytest.mark.parametrize(
    ("script", "task", "kept"),
    [
        ("plugins { id 'application' }", "installDist", ["lib/orders-1.0.jar", "task"]),
        ('plugins { id("org.springframework.boot") version "3.3.0" }', "bootJar", ["orders.jar", "task"]),
        ("plugins { id 'java' }", "jar", ["orders.jar", "task"]),
    ],
)
def test_a_gradle_project_is_built_by_its_wrapper(yard, needs, script: str, task: str, kept: list[str]) -> None:
    needs("javac", "-version")
    main = 'package shop;\npublic class Main { public static void main(String[] a) { System.out.println("here"); } }\n'
    yard.write("orders", {"build.gradle": script, "gradlew": WRAPPER, "src/main/java/shop/Main.java": main})
    artifact = yard.build("orders")
    assert yard.kept(artifact) == kept
    assert Path(artifact.path, "task").read_text().strip() == task
    assert yard.out(artifact, "java", "shop.Main") == "here"
