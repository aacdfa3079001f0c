"""What every Java build shares: the JDK, what is kept of a build, and the class path of the result."""

from collections.abc import Mapping
from pathlib import Path

from atoll.builders.switchers import places
from atoll.builders.workspaces import placed
from atoll.model.building import Pin, Tool, Toolchain
from atoll.model.spec import ServiceSpec

CLASSES, LIB = "classes", "lib"

JAVAC = Tool(
    name="javac",
    fix="install a JDK (apt-get install openjdk-17-jdk-headless, or https://adoptium.net)",
    version=("javac", "-version"),
)
JDK = Toolchain(
    name="java",
    program="javac",
    places=(
        "$JAVA_HOME",
        "/usr/lib/jvm/*",
        "/opt/java/*",
        "/opt/jdk*",
        "~/.jdks/*",
        "$SDKMAN_DIR/candidates/java/*",
        "~/.sdkman/candidates/java/*",
        *places("java"),
    ),
    version=("-version",),
    version_file="release",
    fix="install a JDK {version} (apt-get install openjdk-{version}-jdk-headless, or https://adoptium.net)",
    chosen_env={"JAVA_HOME": "{home}"},
    at_run=True,
    pins=(
        Pin(file=".java-version", pattern=r"^(?:[a-z]+-?(?:64-)?)?(\d[\d.]*)\s*$"),
        Pin(file=".sdkmanrc", pattern=r"^java=(\d[\d.]*)"),
        Pin(file=".tool-versions", pattern=r"^java\s+(?:[a-z]+-)*(\d[\d.]*)"),
        Pin(file="mise.toml", pattern=r'^java\s*=\s*"(?:[a-z]+-)*(\d[\d.]*)'),
    ),
)

# A jar with everything in it is known by its name, where there are two; these are never meant.
_EVERYTHING = r"-(jar-with-dependencies|runner|shaded|fat|uber|all|exec)\.jar$"
_NEVER = r"(-sources|-javadoc|-tests|-plain)\.jar$|/original-[^/]*$"


def keep_jar(spec: ServiceSpec, folder: str, drop: str, then: str = "") -> str:
    """A shell line: of the jars in folders called `folder`, the service's becomes `SERVICE.jar`; then sources go.

    `drop` are paths to remove, `then` a command that removes more. With several, the one with everything in it, or the one that begins with the service's name; else it fails and
    names them.
    """
    service = spec.name
    return (
        f"jars=$(find . -path '*/{folder}/*.jar' -not -path '*/{folder}/*/*' | grep -Ev -e '{_NEVER}' | sort)"
        f"; full=$(echo \"$jars\" | grep -E -e '{_EVERYTHING}'); own=$(echo \"$jars\" | grep -E -e '/{service}[^/]*$')"
        '; for jar in "$jars" "$full" "$own"; do [ -f "$jar" ] && break; done'
        '; if [ ! -f "$jar" ]; then echo "which of these is the service? $jars'
        f' (call it {service}.jar, or say [build] steps)" >&2; exit 1; fi'
        f'; mv "$jar" .atoll-built.jar && rm -rf {drop}{then and f" && {then}"} && find . -type f -name "*.java" -delete'
        f" && find . -mindepth 1 -type d -empty -delete && {placed(spec, '.atoll-built.jar', f'{service}.jar')}"
    )


def class_path(folder: Path) -> Mapping[str, str]:
    """CLASSPATH: compiled sources, the jar at the top and the libraries, as far as they are there."""
    parts = [str(folder / CLASSES)] if (folder / CLASSES).is_dir() else []
    parts += sorted(str(jar) for jar in folder.glob("*.jar"))
    parts += [f"{folder / LIB}/*"] if (folder / LIB).is_dir() else []
    return {"CLASSPATH": ":".join(parts)} if parts else {}
