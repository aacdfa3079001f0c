"""Python services: Django, FastAPI and its kind, Flask, gRPC, Celery, and programs of their own."""

import re
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase

from atoll.adopt.found import Found, below, join, slug, up
from atoll.adopt.sources import any_has, health_path, port_of, texts
from atoll.adopt.tree import Tree, table, words

MARKERS = ("pyproject.toml", "requirements.txt", "manage.py", "setup.py", "Pipfile")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_PROGRAMS = ("main.py", "app.py", "server.py", "run.py", "__main__.py", "worker.py", "consumer.py")
_NOT_SERVED = re.compile(
    r"(?:^|/)(?:tests?|docs?|examples?|scripts?|migrations|alembic)/|(?:^|/)(?:test_[^/]*|conftest|setup)\.py$"
)
_LISTENS = r"http\.server|HTTPServer|socketserver|aiohttp|\.listen\(|start_server\(|\.bind\(|uvicorn\.run|hypercorn|waitress|tornado"


def read(tree: Tree, folder: str, nested: Sequence[str]) -> Iterator[Found]:
    """The services of a Python project in `folder`; `nested` are folders below that are projects of their own.

    A member of a uv workspace that needs another member, or is locked with it, is built from the top of the workspace.
    """
    top = _workspace(tree, folder)
    for found in _programs(tree, folder, nested):
        if top is not None:
            found.context = up(found.folder, top)
            found.workdir = below(folder, top) or "."
        yield found


def _workspace(tree: Tree, folder: str) -> str | None:
    """The folder of the uv workspace that a member belongs to, when it needs others of it or the lock is there."""
    sources = table(table(table(tree.toml(join(folder, "pyproject.toml")).get("tool")).get("uv")).get("sources"))
    needs = any(table(source).get("workspace") is True for source in sources.values())
    for top in tree.folders():
        path = below(folder, top)
        if path and path != "." and tree.has(top, "pyproject.toml"):
            uv = table(table(tree.toml(join(top, "pyproject.toml")).get("tool")).get("uv"))
            members = words(table(uv.get("workspace")).get("members"))
            meant = any(fnmatchcase(path, pattern.removeprefix("./").rstrip("/")) for pattern in members)
            if meant and (needs or tree.has(top, "uv.lock")):
                return top
    return None


def _programs(tree: Tree, folder: str, nested: Sequence[str]) -> Iterator[Found]:
    source = next(name for name in MARKERS if tree.has(folder, name))
    prefix = "" if folder == "." else f"{folder}/"
    paths = [
        path
        for path in tree.below(folder)
        if path.endswith(".py") and not _NOT_SERVED.search(path[len(prefix) :])
        and not any(path.startswith(f"{other}/") for other in nested)
    ]  # fmt: skip
    files = [(path[len(prefix) :], text) for path, text in texts(tree, paths)]
    needs = _needs(tree, prefix)
    name = slug(tree.base(folder))
    main = _main(
        Found(name=name, folder=folder, source=f"{prefix}{source}"), files, needs, tree.has(folder, "manage.py")
    )
    celery = _celery(files) if "celery" in needs else ""
    if main is None and celery:  # nothing but workers
        main = Found(
            name=name, folder=folder, source=f"{prefix}{source}", run=f"celery -A {celery} worker", protocol="none"
        )
    elif celery and main is not None:
        yield main
        main = Found(
            name=f"{name}-worker",
            folder=f"{prefix}services/worker",
            source=f"{prefix}{source}",
            run=f"celery -A {celery} worker",
            context="../..",
            protocol="none",
        )
    if main is not None:
        yield main
    if celery and ("django-celery-beat" in needs or any_has(files, r"beat_schedule|CELERY_BEAT_SCHEDULE|crontab\(")):
        yield Found(
            name=f"{name}-beat",
            folder=f"{prefix}services/beat",
            source=f"{prefix}{source}",
            run=f"celery -A {celery} beat",
            context="../..",
            protocol="none",
        )


def _main(found: Found, files: Sequence[tuple[str, str]], needs: frozenset[str], django: bool) -> Found | None:
    """The service that answers requests, or the program; None when there is nothing to run."""
    run = ""
    if django:
        run, note = _django(files, needs)
        found.notes["run"] = note
    elif made := _assigned(files, r"(?:FastAPI|Starlette|Litestar)"):
        run = f"uvicorn {made[0]}:{made[1]} --host {{host}} --port {{port}}"
        found.notes["run"] = "" if {"uvicorn", "fastapi[standard]"} & needs else "add uvicorn to the dependencies"
    elif any_has(files, r"grpc(?:\.aio)?\.server\("):
        path = any_has(files, r"grpc(?:\.aio)?\.server\(")
        started = any_has([each for each in files if each[0] == path], "__main__") or _program(files) or path
        run, found.protocol = f"python3 {started}", "grpc"
        found.health = "grpc" if any_has(files, r"grpc_health|health_pb2_grpc") else "tcp"
        _told(found, files)
        return _with(found, run)
    elif (made := _assigned(files, "(?:Flask|Quart|Sanic)")) or any_has(files, r"\bFlask\("):
        run, note = _flask(files, made, needs)
        found.notes["run"] = note
    if run:
        found.health, where = health_path(files)
        if where:
            found.notes["health"] = f"found in {where}"
        if run.startswith("python3 ") and "manage.py" not in run:
            _told(found, files)
        return _with(found, run)
    program = _program(files)
    if not program:
        return None
    if any_has(files, _LISTENS) or port_of(files).variable:
        found.health, where = health_path(files)
        found.notes["health"] = f"found in {where}" if where else ""
        _told(found, files)
    else:
        found.protocol = "none"
    return _with(found, f"python3 {program}")


def _with(found: Found, run: str) -> Found:
    found.run = run
    return found


def _told(found: Found, files: Sequence[tuple[str, str]]) -> None:
    """How a program of its own learns its port."""
    port = port_of(files)
    if port.address:
        found.env[port.address] = "{address}"
    elif port.variable:
        found.port_env = "" if port.variable == "PORT" else port.variable
    else:
        found.notes["port"] = "no sign that it reads PORT: it must listen there, or take {port} in `run`"


def _django(files: Sequence[tuple[str, str]], needs: frozenset[str]) -> tuple[str, str]:
    module = {
        path.rpartition("/")[2]: path[:-3].replace("/", ".")
        for path, _ in files
        if path.endswith(("/wsgi.py", "/asgi.py"))
    }
    if "gunicorn" in needs and "wsgi.py" in module:
        return f"gunicorn {module['wsgi.py']} --bind {{address}}", ""
    if "uvicorn" in needs and "asgi.py" in module:
        return f"uvicorn {module['asgi.py']}:application --host {{host}} --port {{port}}", ""
    if "daphne" in needs and "asgi.py" in module:
        return f"daphne -b {{host}} -p {{port}} {module['asgi.py']}:application", ""
    return "python3 manage.py runserver --noreload {address}", "Django's development server: add gunicorn for more"


def _flask(files: Sequence[tuple[str, str]], made: tuple[str, str] | None, needs: frozenset[str]) -> tuple[str, str]:
    if made is None or any_has(files, r"def create_app\("):
        path = any_has(files, r"def create_app\(") or any_has(files, r"\bFlask\(")
        made = (_module(path), "create_app()")
    target = f"{made[0]}:{made[1]}"
    if "gunicorn" in needs:
        return f"gunicorn {_quoted(target)} --bind {{address}}", ""
    if "waitress" in needs and "(" not in target:
        return f"waitress-serve --listen={{address}} {target}", ""
    return (
        f"flask --app {_quoted(target)} run --host {{host}} --port {{port}}",
        "Flask's development server: add gunicorn for more",
    )


def _quoted(target: str) -> str:
    return f"'{target}'" if "(" in target else target


def _assigned(files: Sequence[tuple[str, str]], made: str) -> tuple[str, str] | None:
    """Module and variable of the first `app = FastAPI(...)`; shallow files first."""
    pattern = re.compile(rf"^(\w+)\s*(?::[^=\n]+)?=\s*(?:\w+\.)?{made}\(", re.MULTILINE)
    for path, text in sorted(files, key=lambda each: (each[0].count("/"), each[0])):
        if found := pattern.search(text):
            return _module(path), found[1]
    return None


def _module(path: str) -> str:
    module = path.removesuffix(".py").removesuffix("/__init__").removeprefix("src/")
    return module.replace("/", ".")


def _program(files: Sequence[tuple[str, str]]) -> str:
    """The file that is run: one of the usual names at the top, or the only one at the top that has a `__main__`."""
    top = {path: text for path, text in files if "/" not in path}
    for name in _PROGRAMS:
        if name in top:
            return name
    runnable = [path for path, text in top.items() if "__main__" in text]
    return runnable[0] if len(runnable) == 1 else ""


def _celery(files: Sequence[tuple[str, str]]) -> str:
    """The module of the Celery application."""
    path = any_has(files, r"=\s*(?:\w+\.)?Celery\(")
    module = _module(path)
    return module.removesuffix(".celery") if path.endswith("celery.py") and "/" in path else module


def _needs(tree: Tree, prefix: str) -> frozenset[str]:
    """What the project depends on, by name in lower case; extras are kept beside: `fastapi[standard]`."""
    lines: list[str] = []
    for file in ("requirements.txt", "requirements/base.txt", "requirements/production.txt", "requirements.in"):
        lines += tree.text(prefix + file).splitlines()
    content = tree.toml(f"{prefix}pyproject.toml")
    project = table(content.get("project"))
    lines += words(project.get("dependencies"))
    lines += table(table(table(content.get("tool")).get("poetry")).get("dependencies"))
    lines += table(tree.toml(f"{prefix}Pipfile").get("packages"))
    needs: set[str] = set()
    for line in lines:
        text = line.strip().lower()
        if found := _NAME.match(text):
            needs.add(found[0].replace("_", "-"))
            if text[found.end() :].startswith("["):
                needs.add(f"{found[0]}{text[found.end() :].partition(']')[0]}]")
    return frozenset(needs)
