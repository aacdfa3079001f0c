"""Maven projects: `mvn package` without tests, with the project's wrapper where it has one.

A jar that holds everything (Spring Boot, shade, assembly) stays alone; else its libraries come into `lib`.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from atoll.builders import workspaces
from atoll.builders.java import image
from atoll.builders.java.jdk import JAVAC, JDK, LIB, class_path, keep_jar
from atoll.builders.workspaces import member_of
from atoll.model.building import ImageParts, Scope, Step, Tool, Toolchain
from atoll.model.errors import UserError
from atoll.model.spec import Command, ServiceSpec

# Dates in jars are fixed (the first that a jar can carry): two builds are equal to the byte where the plugins allow it.
_FLAGS = (
    *("--batch-mode", "--no-transfer-progress", "--errors"),
    *("-Dmaven.test.skip=true", "-Dproject.build.outputTimestamp=1980-01-01T00:00:02Z"),
)
_LIBRARIES = (
    "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies",  # named: the newest would change
    "-DincludeScope=runtime",
)
_FAT = ("spring-boot-maven-plugin", "maven-shade-plugin", "maven-assembly-plugin", "onejar-maven-plugin")
_MVN = Tool(name="mvn", fix="install Maven (apt-get install maven, or https://maven.apache.org)", version=("mvn", "-v"))
_DROP = "target */target src */src .mvn mvnw mvnw.cmd pom.xml */pom.xml"
_DROP_MODULES = "find . -name pom.xml -printf '%h\\0' | xargs -0 -I @ rm -rf @/target @/src @/pom.xml"
_WRAPPER = ".mvn/wrapper/maven-wrapper.properties"


class MavenBuilder:
    """Packages the service and copies what it needs at run time."""

    name = "maven"
    recipe = 1
    marks = frozenset({"pom.xml"})
    relocatable = True  # the same
    toolchain: Toolchain | None = JDK

    def detect(self, files: frozenset[str]) -> bool:
        """A pom.xml."""
        return bool(files & self.marks)

    def tools(self, spec: ServiceSpec, files: frozenset[str], folder: Path) -> Sequence[Tool]:
        """The JDK, and Maven where the project brings none."""
        return (JAVAC,) if _wrapped(files) else (JAVAC, _MVN)

    def scope(self, spec: ServiceSpec, files: frozenset[str], folder: Path) -> Scope | None:
        """The modules that the service's own names, and their parents."""
        from atoll.builders.java.modules import tell

        return workspaces.scope(spec, member_of(spec, files, "pom.xml"), files, folder, tell)

    def steps(self, spec: ServiceSpec, files: frozenset[str], folder: Path) -> Sequence[Step]:
        """Package, then keep the jar and its libraries. Raises UserError for a pom.xml that is no text."""
        module = member_of(spec, files, "pom.xml") if "pom.xml" in files else "."
        modules = (
            _needed(module, files, folder)
            if module != "."
            else sorted(path for path in files if path.endswith("/pom.xml"))
        )
        try:
            poms = [(folder / path).read_text(encoding="utf-8") for path in ("pom.xml", *modules)]
        except (FileNotFoundError, UnicodeDecodeError) as exc:
            raise UserError(
                f"{spec.folder}/pom.xml cannot be read", str(exc), "correct the file", id="file-not-understood"
            ) from exc
        maven = ("sh", "./mvnw") if _wrapped(files) else ("mvn",)
        goals = ["package"]
        whole = "\n".join(poms)
        if "<dependencies>" in whole and not any(plugin in whole for plugin in _FAT):
            # One folder for all modules: a relative one would be each module's own.
            goals += [*_LIBRARIES, f"-DoutputDirectory=${{session.executionRootDirectory}}/{_libraries(spec)}"]
        if module != ".":
            goals += ["--projects", module, "--also-make"]
            keep = keep_jar(spec, f"{module}/target", drop=".mvn mvnw mvnw.cmd", then=_DROP_MODULES)
        else:
            keep = keep_jar(spec, "target", drop=_DROP)
        return (
            Step(command=Command(argv=(*maven, *_FLAGS, *goals)), label="package"),
            Step(command=Command(shell=keep), label="keep the jar"),
        )

    def command_env(self, spec: ServiceSpec, files: frozenset[str], folder: Path) -> Mapping[str, str]:
        """The class path."""
        return class_path(folder / spec.workdir)

    def image(self, spec: ServiceSpec, files: frozenset[str], folder: Path, version: str) -> ImageParts:
        """Dependencies of a lone module come before the sources; those of several depend on each other."""
        poms = sorted(path for path in files if path.endswith("pom.xml"))
        wrapper = sorted(path for path in files if path == "mvnw" or path.startswith(".mvn/"))
        maven = "sh ./mvnw" if _wrapped(files) else "mvn"
        fetch = f"{maven} --batch-mode --no-transfer-progress dependency:go-offline" if poms == ["pom.xml"] else ""
        base = "eclipse-temurin:{jdk}-jdk" if _wrapped(files) else "maven:3-eclipse-temurin-{jdk}"
        return image.parts(spec, version, base, [*poms, *wrapper], fetch)


def _libraries(spec: ServiceSpec) -> str:
    return LIB if spec.workdir == "." else f"{spec.workdir}/{LIB}"


def _needed(module: str, files: frozenset[str], folder: Path) -> list[str]:
    """The pom.xml of each module that the service's is built of; its own alone where that cannot be told."""
    from atoll.builders.java.modules import Reactor

    try:
        reached = Reactor(workspaces.Context(files, folder)).reached(module).members
    except workspaces.Unclear:
        return [f"{module}/pom.xml"]
    return sorted(f"{each}/pom.xml" for each in reached if each != ".")


def _wrapped(files: frozenset[str]) -> bool:
    return "mvnw" in files and _WRAPPER in files
