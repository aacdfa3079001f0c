"""`atoll init` as a person runs it: the real command line over real folders."""

import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., "subprocess.CompletedProcess[str]"]
WEB = {
    "web/package.json": '{"scripts": {"start": "node server.js"}, "dependencies": {"express": "4"}}',
    "web/server.js": "app.get('/healthz', ok); app.listen(process.env.PORT)",
}
API = {"api/requirements.txt": "fastapi\nuvicorn\n", "api/main.py": "app = FastAPI()\n"}


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    for name, text in {**WEB, **API}.items():
        (tmp_path / "shop" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "shop" / name).write_text(text)
    return tmp_path / "shop"


@pytest.fixture
def atoll(shop: Path) -> Run:
    def call(*args: str, stdin: int = subprocess.DEVNULL, cwd: Path = shop) -> "subprocess.CompletedProcess[str]":
        kept = {name: value for name, value in os.environ.items() if not name.startswith("ATOLL")}
        env = {**kept, "PYTHONPATH": str(Path(__file__).parents[2] / "src"), "NO_COLOR": "1"}
        command = [sys.executable, "-m", "atoll.app", *args]
        return subprocess.run(
            command, cwd=cwd, env=env, stdin=stdin, capture_output=True, text=True, timeout=90, check=False
        )

    return call


def test_a_repository_becomes_a_workspace_that_passes_check(atoll: Run, shop: Path) -> None:
    done = atoll("init")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "wrote atoll.toml",
        "wrote api/service.toml",
        "wrote web/service.toml",
        "",
        "next: `atoll up` builds and starts everything; `atoll status` shows it",
    ]
    assert atoll("check").stdout == "shop: 2 services fine for 'local'\n"
    assert (shop / "web" / "service.toml").read_text() == (
        'run = "node server.js"\nhealth = "/healthz"  # found in server.js\nroute = "/"  # a guess: one service answers here\n'
    )


def test_a_workspace_with_other_repositories_takes_one_more_service(atoll: Run, shop: Path) -> None:
    (shop / "atoll.toml").write_text('roots = ["../billing"]\n')
    (shop / "web" / "service.toml").write_text('run = "node server.js"\ncalls.billing = "BILLING_URL"\n')
    (shop.parent / "billing").mkdir()
    (shop.parent / "billing" / "service.toml").write_text('run = "./billing"\n')
    done = atoll("init")
    assert done.stdout.splitlines()[:3] == [
        "wrote api/service.toml",
        "kept  atoll.toml: it exists, and is not changed",
        "kept  web/service.toml: it exists, and is not changed",
    ]
    told, note = atoll("check").stdout.splitlines()
    assert told == "shop: 3 services fine for 'local'"
    assert "nothing keeps a process from calling what it does not declare" in note
    assert json.loads(atoll("check", "--json").stdout)["notes"] == [note.strip().removeprefix("note: ")]


@pytest.mark.parametrize("option", ["--plan", "--dry-run"])
def test_a_plan_shows_the_files_and_writes_none(atoll: Run, shop: Path, option: str) -> None:
    done = atoll("init", option)
    assert done.returncode == 0
    assert '--- web/service.toml\nrun = "node server.js"\n' in done.stdout
    assert not list(shop.rglob("*.toml"))


def test_a_file_that_is_there_is_kept_and_ends_with_2(atoll: Run, shop: Path) -> None:
    (shop / "web" / "service.toml").write_text('run = "mine"\n')
    done = atoll("init", "--yes")
    assert done.returncode == 2
    assert "kept  web/service.toml: it exists, and is not changed" in done.stdout
    assert "wrote api/service.toml" in done.stdout
    assert (shop / "web" / "service.toml").read_text() == 'run = "mine"\n'


def test_with_nothing_to_write_it_ends_with_0(atoll: Run) -> None:
    assert atoll("init").returncode == 0
    done = atoll("init")
    assert done.returncode == 0
    assert "nothing to write: every file is there" in done.stdout


def test_files_that_would_not_fit_those_that_are_there_are_not_written(atoll: Run, shop: Path) -> None:
    (shop / "atoll.toml").write_text('name = "shop"\ngateway = "nowhere"\n')
    done = atoll("init")
    assert done.returncode == 2
    assert "error[invalid-files]: the files would have 1 problem: nothing was written" in done.stderr
    assert "atoll.toml:2: gateway" in done.stderr
    assert not (shop / "web" / "service.toml").exists()


def test_as_json_it_says_all_in_one_document(atoll: Run, shop: Path) -> None:
    (shop / "compose.yaml").write_text(
        "services:\n  web: {build: ./web, ports: ['80:3000'], user: me}\n  db: {image: postgres}\n"
    )
    done = atoll("init", "--json", "--plan")
    answer = json.loads(done.stdout)
    assert done.returncode == 0
    assert sorted(answer["files"]) == ["atoll.toml", "web/service.toml"]
    assert [(each["service"], each["what"]) for each in answer["left"]] == [
        ("web", "user is not carried over"),
        ("db", "image postgres is a store that Atoll does not run"),
    ]
    assert answer["left"][0]["places"] == [{"file": "compose.yaml", "line": 2, "key": "services.web.user"}]
    without = json.loads(atoll("init", "--json", "--plan", "--no-compose").stdout)
    assert "api/service.toml" in without["files"]


def test_what_is_left_is_told_with_its_place_and_what_is_not_needed_apart(atoll: Run, shop: Path) -> None:
    (shop / "compose.yaml").write_text(
        "services:\n  web:\n    build: ./web\n    ports: ['80:3000']\n    user: me\n    restart: always\n"
    )
    done = atoll("init", "--plan")
    assert done.stdout.split("left to you", 1)[1].splitlines() == [
        " (1 line):",
        "  web: user is not carried over",
        "    at:  compose.yaml:5 services.web.user",
        "    fix: as root Atoll runs each service under a user of its own",
        "",
        "not needed here (1 line):",
        "  restart: what ends is started again, with back-off (web)",
        "",
        "next: atoll init writes these",
    ]


def test_compose_files_are_laid_one_over_the_other(atoll: Run, shop: Path) -> None:
    (shop / "compose.yaml").write_text("services: {web: {build: ./web, ports: ['80:3000']}}\n")
    (shop / "compose.override.yaml").write_text("services: {web: {environment: {COLOUR: red}}}\n")
    (shop / "more.yaml").write_text("services: {web: {environment: {COLOUR: blue}}}\n")
    by_itself = json.loads(atoll("init", "--json", "--plan").stdout)
    assert 'COLOUR = "red"' in by_itself["files"]["web/service.toml"]
    named = json.loads(atoll("init", "--json", "--plan", "--from", "compose.yaml", "--from", "more.yaml").stdout)
    assert 'COLOUR = "blue"' in named["files"]["web/service.toml"]


def test_a_compose_file_elsewhere_is_named_with_from(atoll: Run, shop: Path) -> None:
    (shop / "deploy").mkdir()
    (shop / "deploy" / "shop.yaml").write_text("services: {front: {build: ../web, ports: ['80:3000']}}\n")
    done = atoll("init", "--from", "deploy/shop.yaml")
    assert done.returncode == 0, done.stderr
    assert (shop / "web" / "service.toml").read_text().startswith('name = "front"\n')
    assert not (shop / "api" / "service.toml").exists()
    assert "error[nothing-to-adopt]: there is no file nowhere.yaml" in atoll("init", "--from", "nowhere.yaml").stderr


@pytest.mark.parametrize(
    ("file", "text", "what"),
    [
        ("compose.yaml", "services: [", "compose.yaml cannot be read"),
        ("compose.yaml", "version: 3\n", "compose.yaml has no services"),
        ("web/package.json", "{", "web/package.json cannot be read"),
    ],
)
def test_a_broken_file_is_three_lines(atoll: Run, shop: Path, file: str, text: str, what: str) -> None:
    (shop / file).write_text(text)
    done = atoll("init")
    assert done.returncode == 2
    assert done.stderr.splitlines()[0].endswith(f"]: {what}")
    assert "  fix: " in done.stderr
    assert "Traceback" not in done.stderr


def test_a_folder_without_services_or_within_a_workspace_is_refused(atoll: Run, shop: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert "error[nothing-to-adopt]: no service was found in" in atoll("init", str(tmp_path / "empty")).stderr
    (shop / "atoll.toml").write_text("")
    done = atoll("init", "web")
    assert done.returncode == 2
    assert f"lies in a workspace already\n  why: {shop} has an atoll.toml" in done.stderr


def test_on_a_terminal_it_asks_what_only_a_person_knows(atoll: Run, shop: Path) -> None:
    (shop / "Procfile").write_text("web: node web/server.js $PORT\nclock: node clock.js\n")
    ours, theirs = pty.openpty()
    try:
        os.write(ours, b"api\nyes\n")
        done = atoll("init", stdin=theirs)
    finally:
        os.close(ours)
        os.close(theirs)
    assert 'which one gets "/" at the gateway? (web, api, web-2, none)' in done.stderr
    assert "clock looks like a scheduler: may two releases of it run at the same time" in done.stderr
    assert "overlap" not in (shop / "services" / "clock" / "service.toml").read_text()
    assert 'route = "/"\n' in (shop / "api" / "service.toml").read_text()
    assert "\nroute =" not in (shop / "web" / "service.toml").read_text()
