"""What the image of a Java service is made of: a JDK, with Maven or Gradle where the project brings none, and then a JRE."""

from collections.abc import Sequence

from atoll.builders.java.jdk import CLASSES, LIB
from atoll.model.building import ImageParts, Step
from atoll.model.command import Command
from atoll.model.spec import ServiceSpec

USUAL = "21"  # the images' tags are of majors


def parts(
    spec: ServiceSpec,
    version: str,
    base: str = "eclipse-temurin:{jdk}-jdk",
    manifests: Sequence[str] = (),
    fetch: str = "",
) -> ImageParts:
    """Fetching early is a help and no must: what a plugin does not say beforehand comes with the build.

    Args:
        spec: the service.
        version: see `Builder.image`.
        base: where it is built; `{jdk}` is the JDK's version.
        manifests: see `ImageParts`.
        fetch: a shell line that fetches dependencies.
    """
    jdk = version.split(".", maxsplit=1)[0] or USUAL
    top = "{folder}" if spec.workdir == "." else f"{{folder}}/{spec.workdir}"
    line = Command(shell=f"{fetch} || true")  # noqa: S604 (a value, not a call)
    early = (Step(command=line, label="fetch dependencies"),) if fetch and not spec.build.steps else ()
    return ImageParts(
        base=base.format(jdk=jdk),
        run_base=f"eclipse-temurin:{jdk}-jre",
        manifests=tuple(manifests) if early else (),
        early=early,
        env={"CLASSPATH": f"{top}/{CLASSES}:{top}/*:{top}/{LIB}/*"},
    )
