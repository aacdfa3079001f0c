"""Gradle projects, by the project's wrapper where it has one: `bootJar`, `installDist` or `jar`, as its plugins say."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from atoll.builders.java import image
from atoll.builders.java.jdk import JAVAC, JDK, LIB, class_path, keep_jar
from atoll.builders.workspaces import whole
from atoll.model.building import ImageParts, Scope, Step, Tool, Toolchain
from atoll.model.spec import Command, ServiceSpec

_SCRIPTS = ("build.gradle.kts", "build.gradle")
_GRADLE = Tool(name="gradle", fix="add the wrapper (`gradle wrapper`), or install Gradle", version=("gradle", "-v"))
_FLAGS = ("--no-daemon", "--console=plain", "--quiet")
_SETTINGS = frozenset({"gradlew", "gradle.properties"})
_DROP = "build .gradle gradle src gradlew gradlew.bat gradle.properties build.gradle* settings.gradle*"


class GradleBuilder:
    """Makes a jar; with the `application` plugin also its libraries, else they have to be in it."""

    name = "gradle"
    recipe = 1
    marks = frozenset({"build.gradle", "build.gradle.kts", "settings.gradle", "settings.gradle.kts"})
    relocatable = True  # archives; the class path is told anew
    toolchain: Toolchain | None = JDK

    def detect(self, files: frozenset[str]) -> bool:
        """A build script or settings of Gradle."""
        return bool(files & self.marks)

    def tools(self, spec: ServiceSpec, files: frozenset[str], folder: Path) -> Sequence[Tool]:
        """The JDK, and Gradle where the project brings none."""
        return (JAVAC,) if "gradlew" in files else (JAVAC, _GRADLE)

    def scope(self, spec: ServiceSpec, files: frozenset[str], folder: Path) -> Scope | None:
        """All of the context, with the reason."""
        return None if spec.inside == "." else whole("what Gradle's settings say is a program")

    def steps(self, spec: ServiceSpec, files: frozenset[str], folder: Path) -> Sequence[Step]:
        """The task that makes something to run, then keep that."""
        texts = [(folder / name).read_text(encoding="utf-8", errors="replace") for name in _SCRIPTS if name in files]
        script = "\n".join(texts)
        gradle = ("sh", "./gradlew") if "gradlew" in files else ("gradle",)
        spring = "org.springframework.boot" in script
        installed = not spring and any(
            word in script for word in ("application\n", "id 'application'", '"application"')
        )
        task = "bootJar" if spring else "installDist" if installed else "jar"
        if installed:
            keep = f"mv build/install/*/lib .atoll-built && rm -rf {_DROP} && mv -T .atoll-built {LIB}"
        else:
            keep = keep_jar(spec, "build/libs", drop=_DROP)
        return (
            Step(command=Command(argv=(*gradle, *_FLAGS, task)), label=task),
            Step(command=Command(shell=keep), label="keep the jars"),
        )

    def command_env(self, spec: ServiceSpec, files: frozenset[str], folder: Path) -> Mapping[str, str]:
        """The class path."""
        return class_path(folder)

    def image(self, spec: ServiceSpec, files: frozenset[str], folder: Path, version: str) -> ImageParts:
        """Gradle itself and the dependencies come before the sources."""
        wrapped = "gradlew" in files
        ours = sorted(p for p in files if p in self.marks or p in _SETTINGS or p.startswith("gradle/"))
        gradle = "sh ./gradlew" if wrapped else "gradle"
        base = "eclipse-temurin:{jdk}-jdk" if wrapped else "gradle:8-jdk{jdk}"
        return image.parts(spec, version, base, ours, f"{gradle} {' '.join(_FLAGS)} dependencies")
