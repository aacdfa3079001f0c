"""Which command runs a service that a Compose file builds: its own, its image's, or what its build files tell."""

import re
import shlex
from collections.abc import Mapping
from typing import Any

from atoll.adopt.dockerfile import Image
from atoll.adopt.found import Found
from atoll.adopt.sources import Port
from atoll.model.templates import literal

# Programs that a service's build or a machine has under the same name. A compiled program lies elsewhere than in its image.
_KNOWN = frozenset(
    {"python", "python3", "node", "npm", "npx", "yarn", "pnpm", "bun", "deno", "gunicorn", "uvicorn", "flask", "celery"}
    | {
        "hypercorn",
        "daphne",
        "waitress-serve",
        "rq",
        "dramatiq",
        "arq",
        "alembic",
        "bundle",
        "ruby",
        "rails",
        "puma",
        "sidekiq",
    }
    | {
        "php",
        "sh",
        "bash",
        "env",
        "nodemon",
        "tsx",
        "ts-node",
        "next",
        "nest",
        "vite",
        "streamlit",
        "jupyter",
        "fastapi",
        "poetry",
    }
    | {"uv", "make", "rackup", "pm2-runtime", "pipenv", "exec"}
)
_WRAPPERS = ("tini", "dumb-init", "--", "-g", "gosu", "su-exec", "docker-entrypoint.sh")
_WORKER = re.compile(
    r"celery|worker|sidekiq|consumer|\brq\b|dramatiq|\bcron|clock|scheduler|\bbeat\b|queue", re.IGNORECASE
)


def choose(found: Found, raw: Mapping[str, Any], image: Image | None, told: Port, left: Any) -> None:
    """Set `found.run`. `told`: how the sources say that the port is learnt. `left(what, fix)` hears of the rest."""
    own = raw.get("command")
    entry: Any = raw.get("entrypoint")
    if entry is None and image:
        entry = image.entrypoint
    command = own if own is not None else (image.cmd if image and not raw.get("entrypoint") else [])
    argv = [*_argv(entry), *_argv(command)]
    shell = _shell(entry, command)
    if not argv and not shell:
        return
    argv, scripts = _unwrapped(argv, (raw.get("working_dir") or (image.workdir if image else "/")))
    for script in scripts:
        left(
            f"the entrypoint {script} is not run",
            "what it prepares (waiting, migrations) is done otherwise, or put it into `run`",
        )
    line: str | list[str] = shell or _joined(argv)
    if not shell and (not argv or argv[0] not in _KNOWN):
        if argv and found.run:
            _with_arguments(found, argv, own=own is not None)
        elif argv:
            found.run = literal(_joined(argv))
            left(f"`{argv[0]}` comes from its image", "build it with [build] steps, or install it here")
        return
    if found.run and re.fullmatch(r"(?:npm|yarn|pnpm)(?: run)? start", str(line)):
        return  # what the script runs is known, and hears signals without npm between
    line = with_port(str(line), found.listens)
    learns = "{port}" in line or "{address}" in line or told.variable or told.address or found.port_env
    if found.run and not learns and re.search(r"\{(?:port|address|url)\}", str(found.run)) and not _WORKER.search(line):
        found.notes["run"] = f"its image ran `{line}`, which takes no port"
        return
    if line.startswith("python "):
        line = f"python3 {line.removeprefix('python ')}"  # which every virtual environment and machine has
    found.run, found.notes["run"] = line, ""


def is_worker(name: str, found: Found) -> bool:
    """Whether name and command look like something that nobody calls."""
    return bool(
        _WORKER.search(name) or _WORKER.search(found.run if isinstance(found.run, str) else " ".join(found.run))
    )


def with_port(line: str, port: int) -> str:
    """The line with Atoll's port in place of the image's, on the loopback address."""
    line = re.sub(r"\$\{PORT(?::-\d+)?\}|\$PORT\b", "{port}", literal(line))
    if port:
        line = (
            re.sub(rf"(?:0\.0\.0\.0|\[::\])?:{port}(?!\d)", "{address}", line)
            if re.search(rf"(?<![\w/.]):{port}(?!\d)|0\.0\.0\.0:{port}|\[::\]:{port}", line)
            else line
        )
        line = re.sub(rf"(?<![\d.:\w]){port}(?![\d.\w])", "{port}", line)
    if "{port}" in line:
        line = re.sub(r"0\.0\.0\.0:\{port\}", "{address}", line)
        line = re.sub(r"\b0\.0\.0\.0\b", "{host}", line)
    return line


def _with_arguments(found: Found, argv: list[str], *, own: bool) -> None:
    """A compiled program: run ours, with the arguments that the Compose file gave."""
    rest = argv[1:]
    if argv[0] in {"java", "dotnet"}:
        jar = next((at for at, part in enumerate(rest) if part.endswith((".jar", ".dll"))), None)
        rest = rest[jar + 1 :] if jar is not None else []
    if own and rest and isinstance(found.run, str):
        found.run = f"{found.run} {with_port(_joined(rest), found.listens)}"


def _argv(value: object) -> list[str]:
    if isinstance(value, list):
        return [part for part in value if isinstance(part, str)]
    if not isinstance(value, str) or re.search(r"[&|;<>`$]|\bexec\b", value):
        return []
    try:
        return shlex.split(value)
    except ValueError:
        return value.split()


def _shell(entry: object, command: object) -> str:
    """A line that needs a shell; "" when an argument vector says it all."""
    for value in (command, entry):
        if isinstance(value, str) and value.strip() and not _argv(value):
            return " ".join(value.split()).removeprefix("exec ")
    argv = [*_argv(entry), *_argv(command)]
    for at, part in enumerate(argv[:-1]):
        if part == "-c" and at and argv[at - 1].rpartition("/")[2] in {"sh", "bash"} and at == len(argv) - 2:
            return " ".join(argv[-1].split())
    return ""


def _unwrapped(argv: list[str], workdir: object) -> tuple[list[str], list[str]]:
    """The command without init wrappers and entrypoint scripts, with paths relative to the image's folder."""
    scripts: list[str] = []
    home = f"{workdir}".rstrip("/") + "/"
    while argv and (argv[0].rpartition("/")[2] in _WRAPPERS or argv[0].endswith(".sh")):
        if argv[0].endswith(".sh") and argv[0].rpartition("/")[2] != "docker-entrypoint.sh":
            if len(argv) == 1:
                break
            scripts.append(argv[0])
        argv = argv[1:]
    plain: list[str] = []
    for at, part in enumerate(argv):
        text = part.removeprefix(home) if home != "/" and part.startswith(home) else part
        if at == 0 and text.startswith(
            ("/usr/bin/", "/usr/local/bin/", "/bin/", "/opt/venv/bin/", ".venv/bin/", "/app/.venv/bin/")
        ):
            text = text.rpartition("/")[2]
        plain.append(text)
    if plain and plain[0].endswith(".sh"):
        plain = ["sh", *plain]
    return plain, scripts


def _joined(argv: list[str]) -> str:
    return " ".join(part if re.fullmatch(r"[\w@%+=:,./{}*-]+", part) else shlex.quote(part) for part in argv)
