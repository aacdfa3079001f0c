"""What a Dockerfile says of running: the last stage's command, ports, variables and folder. Nothing of how it builds."""

import json
import re
import shlex

import msgspec

_INSTRUCTION = re.compile(r"^\s*([A-Za-z]+)\s+(.*)$", re.DOTALL)


class Image(msgspec.Struct, kw_only=True):
    """The run-time side of an image. `cmd` and `entrypoint` are argv, or a shell line as text."""

    base: str = ""  # the image that its first stage is made from
    cmd: list[str] | str = []
    entrypoint: list[str] | str = []
    ports: list[int] = []
    env: dict[str, str] = {}
    workdir: str = "/"
    health: list[str] | str = []


def parse(text: str, target: str = "") -> Image:
    """The last stage, or the one named `target`. What cannot be understood is passed over."""
    stages: dict[str, Image] = {}
    image = Image()
    for line in _logical(text):
        found = _INSTRUCTION.match(line)
        if found is None:
            continue
        word, rest = found[1].upper(), found[2].strip()
        if word == "FROM":
            parts = [part for part in rest.split() if not part.startswith("--")]
            base = stages.get(parts[0].lower()) if parts else None
            image = msgspec.structs.replace(base) if base else Image(base=parts[0] if parts else "")
            image.ports, image.env = list(image.ports), dict(image.env)
            if len(parts) == 3 and parts[1].upper() == "AS":
                stages[parts[2].lower()] = image
        else:
            _take(image, word, rest)
    return stages.get(target.lower(), image) if target else image


def _take(image: Image, word: str, rest: str) -> None:
    match word:
        case "CMD":
            image.cmd = _command(rest)
        case "ENTRYPOINT":
            image.entrypoint, image.cmd = _command(rest), []
        case "EXPOSE":
            image.ports += [int(each) for each in re.findall(r"\b(\d{1,5})\b(?!/udp)", rest) if 0 < int(each) < 65_536]
        case "ENV":
            image.env |= _variables(rest)
        case "WORKDIR":
            image.workdir = (
                rest.strip("\"'") if rest.startswith(("/", '"', "'")) else f"{image.workdir.rstrip('/')}/{rest}"
            )
        case "HEALTHCHECK":
            options, _, command = rest.partition("CMD")
            image.health = _command(command.strip()) if command and not options.strip("- \n").startswith("NONE") else []


def _logical(text: str) -> list[str]:
    """Lines with their continuations, without comments and here-documents' bodies."""
    lines: list[str] = []
    current = ""
    for line in text.splitlines():
        if line.lstrip().startswith("#"):
            continue
        if line.rstrip().endswith("\\"):
            current += line.rstrip()[:-1] + " "
            continue
        lines.append(current + line)
        current = ""
    return [*lines, current]


def _command(rest: str) -> list[str] | str:
    if rest.startswith("["):
        try:
            argv = json.loads(rest)
        except (ValueError, RecursionError):
            return rest  # Docker, too, takes a broken list for a shell line
        if isinstance(argv, list) and all(isinstance(part, str) for part in argv):
            return argv
    return rest


def _variables(rest: str) -> dict[str, str]:
    try:
        parts = shlex.split(rest)
    except ValueError:
        parts = rest.split()
    if parts and "=" not in parts[0]:
        return {parts[0]: " ".join(parts[1:])}
    return dict(part.split("=", 1) for part in parts if "=" in part)
