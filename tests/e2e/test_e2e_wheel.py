"""The wheel alone is enough: in an empty environment, with none of the sources near, everything that a newcomer does works."""

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from bench.newcomer import Newcomer, install
from bench.site import temporary

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

NO_NETWORK = re.compile(
    r"NewConnectionError|ConnectTimeout|Temporary failure in name resolution|Network is unreachable"
)


@pytest.fixture(scope="module")
def newcomer() -> Iterator[Newcomer]:
    with temporary() as folder:
        one = Newcomer(folder)
        try:
            install(one)
        except RuntimeError as exc:
            if NO_NETWORK.search(str(exc)):
                pytest.skip("no package index can be reached")
            raise
        try:
            yield one
        finally:
            subprocess.run(["atoll", "down"], cwd=one.root, env=one.env, capture_output=True, timeout=120, check=False)


def test_it_is_the_installed_one(newcomer: Newcomer) -> None:
    place = newcomer.types("python -c 'import atoll; print(atoll.__file__)'").strip()
    assert Path(place).is_relative_to(newcomer.folder / "venv")
    assert (newcomer.folder / "venv/share/man/man1/atoll.1").is_file()
    assert newcomer.types("pip check").startswith("No broken requirements")


def test_a_newcomer_gets_from_two_programs_to_a_deploy_and_back_to_nothing(newcomer: Newcomer) -> None:
    assert "wrote front/service.toml" in newcomer.types("atoll init")
    newcomer.own_port()
    assert "greeter r1 live" in newcomer.types("atoll up")
    assert newcomer.get("/") == "hello from front"
    newcomer.write("front", "good morning")
    assert "front r2 is live" in newcomer.types("atoll deploy front")
    assert newcomer.get("/") == "good morning from front"
    newcomer.types("atoll rollback front")
    assert newcomer.get("/") == "hello from front"
    assert json.loads(newcomer.types("atoll why front --json"))["state"] == "up"
    newcomer.types("printf 1 | atoll secret set key && atoll secret list && atoll releases front && atoll logs")
    newcomer.types("atoll schema && atoll schema workspace && atoll schema --output status && atoll completion bash")
    newcomer.types("atoll eject --to ../ejected && atoll check && atoll events")
    newcomer.types("atoll down")
    assert "is not running" in newcomer.types("atoll status 2>&1 || true")


def test_help_is_there_for_every_command(newcomer: Newcomer) -> None:
    commands = re.findall(r"^  ([a-z]+)  ", newcomer.types("atoll --help"), re.MULTILINE)
    assert len(commands) >= 15
    for command in commands:
        assert f"atoll {command}" in newcomer.types(f"atoll {command} --help")
