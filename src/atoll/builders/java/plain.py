"""Plain Java sources: javac into `classes`, with the jars of `lib`. No other tool, no dependency to fetch."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from atoll.builders.java import image
from atoll.builders.java.jdk import CLASSES, JAVAC, JDK, LIB, class_path
from atoll.model.building import ImageParts, Scope, Step, Tool, Toolchain
from atoll.model.errors import UserError
from atoll.model.spec import Command, ServiceSpec

_PROJECTS = frozenset(
    {
        *("pom.xml", "build.gradle", "build.gradle.kts", "settings.gradle", "settings.gradle.kts", "build.xml"),
        *("package.json", "pyproject.toml", "requirements.txt", "setup.py", "go.mod", "Cargo.toml"),
    }
)
_TESTS = re.compile(r"(^|/)tests?/")


class JavaBuilder:
    """Compiles every source that is no test: those outside of folders called `test` or `tests`."""

    name = "java"
    recipe = 1
    marks = frozenset[str]()
    relocatable = True  # the same
    toolchain: Toolchain | None = JDK

    def detect(self, files: frozenset[str]) -> bool:
        """Java sources at the top or in `src`, and no project file of anything."""
        return not files & _PROJECTS and any(
            path.endswith(".java") and (len(PurePosixPath(path).parts) == 1 or path.startswith("src/"))
            for path in files
        )

    def tools(self, spec: ServiceSpec, files: frozenset[str], folder: Path) -> Sequence[Tool]:
        """The compiler."""
        return (JAVAC,)

    def scope(self, spec: ServiceSpec, files: frozenset[str], folder: Path) -> Scope | None:
        """All of the context."""
        return None

    def steps(self, spec: ServiceSpec, files: frozenset[str], folder: Path) -> Sequence[Step]:
        """Compile, then drop the sources. Raises UserError when there is nothing to compile."""
        sources = sorted(path for path in files if path.endswith(".java") and not _TESTS.search(path))
        if not sources:
            raise UserError(
                f"{spec.name} has no Java sources",
                f"no .java file in {spec.folder} outside of tests",
                "add one, or name another [build] builder",
                id="program-unclear",
            )
        jars = any(path.startswith(f"{LIB}/") and path.endswith(".jar") for path in files)
        path = ("-cp", f"{LIB}/*") if jars else ("-cp", CLASSES)
        argv = ("javac", "-encoding", "UTF-8", "-g", *path, "-d", CLASSES, *sources)
        return (
            Step(command=Command(argv=argv), label="compile"),
            Step(
                command=Command(  # noqa: S604 (a value, not a call)
                    shell="find . -type f -name '*.java' -delete && find . -mindepth 1 -type d -empty -delete"
                ),
                label="keep the classes",
            ),
        )

    def command_env(self, spec: ServiceSpec, files: frozenset[str], folder: Path) -> Mapping[str, str]:
        """The class path."""
        return class_path(folder)

    def image(self, spec: ServiceSpec, files: frozenset[str], folder: Path, version: str) -> ImageParts:
        """A JDK, and then a JRE."""
        return image.parts(spec, version)
