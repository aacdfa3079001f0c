"""Which command runs a service that a Compose file builds: its own, its image's, or what its build files tell."""

import re
import shlex
from collections.abc import Mapping
from typing import Any

from atoll.adopt.compose_told import Told
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


def program(raw: Mapping[str, Any], image: Image | None) -> str:
    """The name of the program that is run, without its folder; "" when nothing says so."""
    for value in (raw.get("entrypoint"), raw.get("command"), *((image.entrypoint, image.cmd) if image else ())):
        argv, _ = _unwrapped(_argv(value), "/")
        if argv:
            return argv[0].rpartition("/")[2]
    return ""


def choose(found: Found, raw: Mapping[str, Any], image: Image | None, learns: Port, told: Told) -> None:
    """Set `found.run`. `learns`: how the sources say that the port is learnt. `told` hears of the rest."""
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
        told.left(
            f"the entrypoint {script} is not run",
            "what it prepares (waiting, migrations) is done otherwise, or put it into `run`",
            "entrypoint",
        )
    argv = _without_watching(argv)
    line: str | list[str] = shell or _joined(argv)
    if shell and not found.run:
        _of_image(shell, told)
    if not shell and (not argv or argv[0] not in _KNOWN):
        if argv and found.run:
            _with_arguments(found, argv, own=own is not None)
        elif argv:
            found.run = literal(_joined(argv))
            told.left(f"`{argv[0]}` comes from its image", "build it with [build] steps, or install it here", "command")
        return
    if found.run and re.fullmatch(r"(?:npm|yarn|pnpm)(?: run)? start", str(line)):
        return  # what the script runs is known, and hears signals without npm between
    line = with_port(str(line), found.listens)
    hears = "{port}" in line or "{address}" in line or learns.variable or learns.address or found.port_env
    if found.run and not hears and re.search(r"\{(?:port|address|url)\}", str(found.run)) and not _WORKER.search(line):
        found.notes["run"] = f"its image ran `{line}`, which takes no port"
        return
    if line.startswith("python "):
        line = f"python3 {line.removeprefix('python ')}"  # which every virtual environment and machine has
    found.run, found.notes["run"] = line, ""


def _without_watching(argv: list[str]) -> list[str]:
    """Without a debugger's port, and without a watcher that restarts on edits: `atoll deploy` takes edits over."""
    if not argv or argv[0] not in {"node", "nodemon"}:
        return argv
    return ["node", *(part for part in argv[1:] if not re.match(r"--(?:inspect|debug)(?:-brk)?(?:=|$)", part))]


def _of_image(shell: str, told: Told) -> None:
    """A line for the shell whose program only its image has."""
    first = next((word for word in shell.split() if "=" not in word), "")
    if "/" in first and not first.endswith((".sh", ".py", ".js")):
        told.left(f"`{first}` comes from its image", "build it with [build] steps, or install it here", "command")


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
