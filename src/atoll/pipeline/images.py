"""The task `image`: what goes into it and what it runs, by the service's own Dockerfile, a generated one, or none.

Called by `order`. A result is a folder with the Dockerfile and what Docker says of the image (`image_in`); the image itself
is dockerd's. The steps say nothing of this machine: where dockerd is, and which builder works there, is `docker`'s.
"""

import hashlib
import os
import posixpath
import shlex
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from atoll.model.building import ImageParts, Step
from atoll.model.errors import UserError
from atoll.model.records import TRUSTED
from atoll.model.spec import Command, ImageSpec, ServiceSpec
from atoll.model.state import Image
from atoll.pipeline.detect import COMMAND, TOOLCHAINS, Plan, choose, plan
from atoll.pipeline.dockerfile import arguments, bases, dockerfile
from atoll.pipeline.globs import matcher
from atoll.pipeline.inputs import Entry
from atoll.pipeline.toolchains import asked_language
from atoll.pipeline.wishes import wishes

RECIPE = 1  # raised when the same steps come to mean something else
RESULT = ".atoll"  # never among the inputs, so that nothing of a service is there
SAID, DOCKERFILE = f"{RESULT}/image.json", f"{RESULT}/Dockerfile"
OUTPUTS = (SAID, DOCKERFILE)
NEEDS = f"{RESULT}/needs"  # in the context: the results of what the image needs
PREBUILT = "prebuilt"  # in a manifest, as the builder
KEY_LABEL, SERVICE_LABEL = "dev.atoll.key", "dev.atoll.image"
IGNORE = ".dockerignore"
KEY, TAG = "ATOLL_KEY", "ATOLL_TAG"  # variables of the steps: a step that had them written out could not be in the key
_WORK = "$TMPDIR"  # beside the context: what lies there gets into no image
_CONFIG = ("Env", "WorkingDir", "User", "Entrypoint", "Cmd", "Labels")
# What `docker image inspect` shall say: nothing that differs between two moments, or two machines that have the image.
FORMAT = (
    '{"id":{{json .Id}},"bytes":{{json .Size}},"config":{'
    + ",".join(f'"{each}":{{{{json .Config.{each}}}}}' for each in _CONFIG)
    + '},"layers":{{json .RootFS.Layers}}}'
)


class _Config(msgspec.Struct, rename={"env": "Env", "folder": "WorkingDir", "user": "User", "labels": "Labels"}):
    env: list[str] | None = None
    folder: str | None = None
    user: str | None = None
    labels: dict[str, str] | None = None


class _Said(msgspec.Struct):
    id: str
    config: _Config
    layers: list[str]
    bytes: int = 0


class Built(NamedTuple):
    """What a result says of its image."""

    image: Image
    digest: str  # of its layers and settings: the same for what differs in its date and in its key only
    size_bytes: int
    path: str  # the PATH that it sets; "" is none
    key: str  # the key that it was made for; "" is another's image


# --- what goes in -------------------------------------------------------------------------------------------------


def dockerfile_in(spec: ServiceSpec, image: ImageSpec, files: Iterable[str]) -> str:
    """The service's own Dockerfile among the files of its context; "" when one is generated, or none is needed.

    Raises UserError for one that is not there.
    """
    if image.ref or image.generated:
        return ""
    usual = posixpath.normpath(posixpath.join(spec.inside, image.dockerfile or "Dockerfile"))
    if usual in files:
        return usual
    if image.dockerfile:
        raise UserError(
            f"{spec.name} has no {image.dockerfile}",
            f"there is no file {usual} in {posixpath.normpath(posixpath.join(spec.folder, spec.build.context))}, or git ignores it",
            "correct [image] dockerfile, or its `context`",
            id="no-such-file",
        )
    return ""


def ignored(entries: Sequence[Entry], dockerfile: str, folder: Path) -> list[Entry]:
    """The entries without those that `.dockerignore` excludes; the Dockerfile stays, for Docker needs it all the same.

    The file itself is not among them: what it excludes is not there, so that nothing else of it counts.
    """
    names = {entry.path for entry in entries}
    own = f"{dockerfile}{IGNORE}"  # BuildKit's: that of one Dockerfile comes first
    file = own if dockerfile and own in names else IGNORE
    excluded = _excludes(folder / file) if file in names else None
    return [
        entry
        for entry in entries
        if entry.path == dockerfile
        or not (entry.path in {IGNORE, own} or (excluded is not None and excluded(entry.path)))
    ]


def _excludes(file: Path) -> Callable[[str], bool]:
    try:
        text = file.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:  # since it was listed; the next look does not list it
        text = ""
    return matcher(tuple(patterns(text)))


def patterns(text: str) -> Iterator[str]:
    """The patterns of a `.dockerignore`, as our globs write them.

    Docker's are the same: anchored at the top, the last one that fits decides, one that fits a folder fits all below it.
    """
    for line in text.removeprefix("\ufeff").splitlines():
        if line.startswith("#"):
            continue
        taken_back = line.strip().startswith("!")
        pattern = line.strip().removeprefix("!").strip()
        pattern = posixpath.normpath(pattern).lstrip("/") if pattern else "."
        if pattern != ".":
            yield f"!{pattern}" if taken_back else pattern


# --- what is run --------------------------------------------------------------------------------------------------


def plan_image(
    spec: ServiceSpec, image: ImageSpec, files: frozenset[str], folder: Path, *, needs: Sequence[str], root: Path
) -> Plan:
    """What makes the image, in a clean copy of the context; its last step writes the result.

    The builder is that of the code inside, as far as that can be told: some start slowly, and are judged later.

    Args:
        spec: the service; its context is the image's.
        image: how.
        files: what is in the context.
        folder: where they lie.
        needs: what its results are called that the image needs.
        root: the workspace's folder: files that pin a version may lie above the context.

    Raises:
        UserError: it cannot be told what to do.
    """
    if image.ref:
        return Plan(builder=COMMAND, steps=_prebuilt_steps(image.ref), tools=())
    if own := dockerfile_in(spec, image, files):
        try:
            builder = choose(spec, files)
        except UserError:
            builder = COMMAND
        return Plan(builder=builder, steps=_own_steps(spec, image, own, needs), tools=())
    inside = plan(spec, files, folder)
    toolchain = asked_language(spec, TOOLCHAINS) or inside.builder.toolchain
    wish = next(wishes(spec, toolchain, root), None) if toolchain else None
    parts = inside.builder.image(spec, files, folder, wish.version if wish else "")
    return Plan(builder=inside.builder, steps=_generated_steps(spec, image, inside, parts, needs), tools=())


def _own_steps(spec: ServiceSpec, image: ImageSpec, dockerfile: str, needs: Sequence[str]) -> tuple[Step, ...]:
    """By the service's own Dockerfile, which is `dockerfile` in the context."""
    flags = [f"--target {shlex.quote(image.target)}"] if image.target else []
    flags += [f"--build-arg {shlex.quote(f'{name}={text}')}" for name, text in sorted(image.args.items())]
    flags += [f"--build-arg {name}" for name in (*spec.build.inherit, *spec.build.passed)]  # no step holds the value
    taken = f'mv {shlex.quote(dockerfile)} "{_WORK}/Dockerfile"{_needed(needs)}'
    return (_step("take the Dockerfile", taken), _build(spec, flags), noted(f'"$(cat "{_WORK}/image")"'))


def _generated_steps(
    spec: ServiceSpec, image: ImageSpec, inside: Plan, parts: ImageParts | None, needs: Sequence[str]
) -> tuple[Step, ...]:
    """By a generated Dockerfile: what the build does, in the images that its technology usually has, or the service names.

    Raises UserError when nobody says where it starts.
    """
    if parts is None and not image.base:
        raise UserError(
            f"{spec.name} has no Dockerfile, and nobody says what its image starts from",
            "a usual image is known for Python, Node, Go, Java and Rust",
            '[image] base = "IMAGE" with one that has what it needs, or write a Dockerfile in its folder',
            id="no-base-image",
        )
    parts = parts or ImageParts(base=image.base, run_base=image.base)
    names = [inside.builder.name, *([inside.builder.toolchain.name] if inside.builder.toolchain else [])]
    text = dockerfile(spec, parts, inside.steps, needs, bases(image, parts, names))
    written = f'printf %s {shlex.quote(text)} > "{_WORK}/Dockerfile"{_needed(needs)}'
    flags = list(arguments(spec, parts))
    return (_step("write the Dockerfile", written), _build(spec, flags), noted(f'"$(cat "{_WORK}/image")"'))


def _prebuilt_steps(ref: str) -> tuple[Step, ...]:
    """What takes one that others made."""
    name = shlex.quote(ref)
    return (
        _step("pull", f"docker image inspect {name} > /dev/null 2>&1 || docker pull {name}"),
        _step("name it", f'docker tag {name} "${TAG}" && echo FROM {name} > "{_WORK}/Dockerfile"'),
        noted(f'"${TAG}"'),
    )


def _needed(needs: Iterable[str]) -> str:
    """Copy the results of needs into the context: Docker sees nothing else."""
    copies = [f' && cp -R "{{needs.{need}}}/." {NEEDS}/{need}' for need in needs]
    folders = " ".join(f"{NEEDS}/{need}" for need in needs)
    return f" && mkdir -p {folders}{''.join(copies)}" if copies else ""


def _build(spec: ServiceSpec, flags: Sequence[str]) -> Step:
    """Both of Docker's builders take it. `--force-rm`: the classic one leaves the container of a failed step."""
    labels = f'--label {SERVICE_LABEL}={spec.name} --label "{KEY_LABEL}=${KEY}"'
    written = f'--file "{_WORK}/Dockerfile" --iidfile "{_WORK}/image" --tag "${TAG}" --force-rm'
    return _step("build the image", " ".join(["docker build", written, labels, *flags, "."]))


def noted(image: str) -> Step:
    """The step that writes the result: what Docker says of `image`, a word of the shell."""
    return _step(
        "keep what Docker says of it",
        f'rm -rf {RESULT} && mkdir {RESULT} && cp "{_WORK}/Dockerfile" {DOCKERFILE}'
        f" && docker image inspect --format {shlex.quote(FORMAT)} {image} > {SAID}",
    )


def _step(label: str, shell: str) -> Step:
    return Step(command=Command(shell=shell), label=label)


def platform() -> str:
    """`linux-x86_64`: an image brings its own C library."""
    return f"{os.uname().sysname.lower()}-{os.uname().machine}"


# --- what came out ------------------------------------------------------------------------------------------------


def tag_of(service: str, key: str, artifacts: Path) -> str:
    """The name under which dockerd keeps an image of an artifacts folder, until it is collected there.

    Other folders have other names for the same image: what one of them does not need any more, another one may.
    """
    return f"atoll/{service}:{key}-{hashlib.sha256(os.fsencode(artifacts)).hexdigest()[:8]}"


def shared_tag(registry: str, service: str, key: str, namespace: str) -> str:
    """The name under which a registry has it for other machines; results of pull requests have names of their own."""
    whose = "" if namespace == TRUSTED else f"{hashlib.sha256(namespace.encode()).hexdigest()[:16]}-"
    return f"{registry}/{service}:{whose}{key}"


def keep(folder: Path, dockerfile: str, said: str) -> None:
    """Write into `folder` what the last step of `steps` does. Raises OSError."""
    (folder / RESULT).mkdir()
    (folder / DOCKERFILE).write_text(dockerfile, encoding="utf-8")
    (folder / SAID).write_text(said, encoding="utf-8")


def image_in(folder: Path) -> Built:
    """What a result says. Raises UserError for one that is none."""
    try:
        return built((folder / SAID).read_bytes())
    except (OSError, msgspec.MsgspecError) as exc:
        raise UserError(
            f"what Docker said of the image in {folder} cannot be read",
            str(exc),
            "remove that folder: it is made again",
            id="image-unavailable",
        ) from exc


def built(said: bytes) -> Built:
    """What Docker said by `FORMAT`. Raises msgspec.MsgspecError."""
    told, raw = msgspec.json.decode(said, type=_Said), msgspec.json.decode(said)
    labels = told.config.labels or {}
    path = next((each.removeprefix("PATH=") for each in told.config.env or () if each.startswith("PATH=")), "")
    raw["config"]["Labels"] = {name: text for name, text in labels.items() if name != KEY_LABEL}
    same = msgspec.json.encode((raw["config"], told.layers), order="deterministic")
    return Built(
        image=Image(id=told.id, folder=told.config.folder or "/", user=told.config.user or ""),
        digest=hashlib.sha256(same).hexdigest(),
        size_bytes=told.bytes,
        path=path,
        key=labels.get(KEY_LABEL, ""),
    )
