"""The Dockerfile of a service that has none: its builder's steps in an image with a compiler, what they leave in a small one.

Called by `images`. Pure. Both builders of Docker take it: no syntax line, no mount. The last stage runs nothing, so that an
image without a shell will do there.
"""

import json
import posixpath
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence

from atoll.model.building import ImageParts, Step
from atoll.model.errors import UserError
from atoll.model.spec import ImageSpec, ServiceSpec
from atoll.pipeline.environment import EPOCH
from atoll.pipeline.globs import EVERYTHING

FOLDER = "/service"  # in both stages: a virtual environment names its own place
USER = "65532:65532"  # nobody in particular, by number: no user has to be made. The one of distroless images
_ENV: Mapping[str, str] = {"LANG": "C.UTF-8", "SOURCE_DATE_EPOCH": EPOCH}  # as every build of ours has


def bases(image: ImageSpec, parts: ImageParts, names: Sequence[str]) -> tuple[str, str]:
    """Where it is built and where it runs: as the service says, the environment (by `names`, the first that it knows), else usual.

    Where both usually are one image, the one that takes its place does for both.
    """
    built = image.base or next((image.bases[name] for name in names if name in image.bases), "")
    run = image.run_base or next((image.bases[f"{name}-run"] for name in names if f"{name}-run" in image.bases), "")
    one = parts.base == parts.run_base
    return built or parts.base, run or (built if one else "") or parts.run_base


def dockerfile(
    spec: ServiceSpec, parts: ImageParts, steps: Sequence[Step], needs: Sequence[str], froms: tuple[str, str]
) -> str:
    """The text.

    Args:
        spec: the service; its build says which variables the steps have, and what is kept.
        parts: what its technology says.
        steps: what makes the artifact.
        needs: what results are called that lie in the context.
        froms: the images of `bases`.

    Raises:
        UserError: what is to be kept cannot be said to `find`.
    """
    built, run = froms
    lines = [
        "# Written by Atoll. To have it your own way: a Dockerfile in the service's folder.",
        f"FROM {built} AS build",
        f"WORKDIR {FOLDER}",
        *(f"ARG {name}" for name in _arguments(spec, parts)),
        *(f"ENV {name}={_quoted(text)}" for name, text in {**_ENV, **spec.build.env}.items()),
        *(_run(step) for step in parts.setup),
        *_copies(parts.manifests),
        *(_run(step) for step in parts.early),
        "COPY . .",
        *(_run(_with_needs(step, needs)) for step in steps[parts.done :]),
        f"RUN {_kept(spec, parts)}",
        "",
        f"FROM {run}",
        f"WORKDIR {FOLDER}",
        *(f"COPY --from=build {each} {each}" for each in parts.copies),
        f"COPY --from=build {FOLDER} {FOLDER}",
        *(f"ENV {name}={text}" for name, text in _env(parts).items()),
        f"USER {USER}",
    ]
    return "\n".join(lines) + "\n"


def arguments(spec: ServiceSpec, parts: ImageParts) -> Iterator[str]:
    """The flags of `docker build` that give the steps the variables of the caller; a step holds no value."""
    return (f"--build-arg {name}" for name in _arguments(spec, parts))


def _arguments(spec: ServiceSpec, parts: ImageParts) -> list[str]:
    return list(dict.fromkeys([*spec.build.inherit, *spec.build.passed, *parts.mirrors]))


def _env(parts: ImageParts) -> dict[str, str]:
    env = {name: _quoted(text.replace("{folder}", FOLDER)) for name, text in parts.env.items()}
    if parts.path:
        places = [posixpath.normpath(f"{FOLDER}/{each}") for each in parts.path]
        env["PATH"] = f'"{":".join(places)}:$PATH"'
    return env


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False).replace("$", "\\$")


def _copies(manifests: Sequence[str]) -> Iterator[str]:
    """One instruction for each folder, in the form that takes any name."""
    folders: dict[str, list[str]] = {}
    for path in manifests:
        folders.setdefault(posixpath.dirname(path), []).append(path)
    for folder, paths in folders.items():
        # What is in brackets would be a pattern.
        words = [*(re.sub(r"([\[*?])", r"[\1]", path) for path in paths), f"{folder or '.'}/"]
        yield f"COPY {json.dumps(words, ensure_ascii=False)}"


def _with_needs(step: Step, needs: Sequence[str]) -> Step:
    """Where results of needs lie while the image is built."""
    command = step.command
    argv, shell = command.argv, command.shell
    for need in needs:
        name, there = f"{{needs.{need}}}", f"{FOLDER}/.atoll/needs/{need}"
        argv = tuple(word.replace(name, there) for word in argv)
        shell = shell.replace(name, there) if shell is not None else None
    return Step(command=type(command)(argv=argv, shell=shell), env=step.env, label=step.label)


def _run(step: Step) -> str:
    """As a person would write it, where the shell form can hold it, else as JSON."""
    set_first = " ".join(f"{name}={shlex.quote(text)}" for name, text in step.env.items())
    if step.command.shell is None:
        line = f"{set_first} {shlex.join(step.command.argv)}".strip()
    else:
        line = f"export {set_first}; {step.command.shell}" if set_first else step.command.shell
    # The shell form ends with its line, `<<` begins a document in BuildKit, and a flag or JSON is read as such.
    if re.search(r"\n|<<|\\$", line) or line.startswith(("[", "--", "#")):
        return f"RUN {json.dumps(['/bin/sh', '-c', line], ensure_ascii=False)}"
    return f"RUN {line}"


def _kept(spec: ServiceSpec, parts: ImageParts) -> str:
    """What stays, readable for the user who runs it; folders that the last stage takes are there in any case."""
    line = "rm -rf .atoll"
    if spec.build.outputs != EVERYTHING:
        meant = _meant(spec, spec.build.outputs)
        line += (
            rf" && find . -regextype posix-extended \( -type f -o -type l \) ! {meant} -delete"
            " && find . -mindepth 1 -type d -empty -delete"
        )
    made = f"mkdir -p {' '.join(parts.copies)} && " if parts.copies else ""
    return f"{made}{line} && chmod -R a+rX,go-w ."


def _meant(spec: ServiceSpec, patterns: Sequence[str]) -> str:
    """An expression of `find` for what `globs.matcher` says: the last pattern that fits decides."""
    meant = r"-false"
    for pattern in patterns:
        regex = shlex.quote(_regex(spec, pattern.removeprefix("!")))
        meant = rf"\( {meant} ! -regex {regex} \)" if pattern.startswith("!") else rf"\( {meant} -o -regex {regex} \)"
    return meant


def _regex(spec: ServiceSpec, pattern: str) -> str:
    """A glob as a regular expression of POSIX, for paths as `find .` writes them. Raises UserError for brackets."""
    if set("[\\") & set(pattern):
        raise UserError(
            f"{spec.name}: [build] outputs has {pattern!r}, which no generated Dockerfile can keep",
            "brackets and backslashes are no part of what `find` understands alike",
            "write the names out, or write a Dockerfile",
            id="wrong-value",
        )
    parts = [part for part in pattern.removeprefix("./").strip("/").split("/") if part not in {"", "."}] or ["**"]
    text = ""
    for index, part in enumerate(parts):
        last = index == len(parts) - 1
        if part == "**":
            text += ".*" if last else "([^/]+/)*"
        else:
            text += "".join(_LETTERS.get(char, re.escape(char)) for char in part) + ("" if last else "/")
    return rf"\./{text}(/.*)?"


_LETTERS = {"*": "[^/]*", "?": "[^/]"}
