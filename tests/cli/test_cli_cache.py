"""`atoll cache`, over hooks of pretend, and over the real ones with an empty cache."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest


def test_it_shows_what_is_there_and_what_it_was_good_for(atoll) -> None:
    text = atoll("cache", "--namespace", "pr-9").stdout
    lines = {line.partition(" ")[0]: line for line in text.splitlines()}
    assert lines["results"].split(maxsplit=1)[1] == "3 (1 pr-7, 2 trusted)"
    assert "20 MiB in 40 contents of 5 MiB" in text
    assert lines["remote"].split() == ["remote", "s3://builds/shop"]
    assert lines["namespace"].split() == ["namespace", "pr-9"]
    assert lines["hits"].split(maxsplit=1)[1] == "75 % of 4 questions in 30 days, 1 from the remote; 90.0 s saved"


@pytest.mark.parametrize(("plan", "word"), [((), "removed"), (("--plan",), "would be removed")])
def test_a_collection_tells_what_went_and_what_is_left(atoll, plan: tuple[str, ...], word: str) -> None:
    done = atoll("cache", "gc", *plan)
    assert done.returncode == 0
    assert done.stderr.splitlines() == [f"{word}: 2 results, 3 MiB", "left: 1 result, 2 MiB"]


def test_a_check_that_found_damage_ends_with_1(atoll) -> None:
    done = atoll("cache", "verify")
    assert done.returncode == 1
    assert done.stderr.splitlines() == ["dropped: /cache/ab: a content has changed", "sound: 1 result, 9 contents"]
    assert atoll("cache", "verify", "--plan").stderr.startswith("damaged: ")


def real(folder: Path, *argv: str, **environ: str) -> "subprocess.CompletedProcess[str]":
    env = {name: value for name, value in os.environ.items() if not name.startswith(("ATOLL_", "GITHUB_", "CI_"))}
    command = [sys.executable, "-m", "atoll.app", "-w", str(folder), *argv]
    with tempfile.TemporaryDirectory(prefix="atl-", dir="/tmp") as run:  # short: sockets have long names else
        env |= {"ATOLL_HOME": str(folder / "home"), "ATOLL_RUN": run, **environ}
        return subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)


def test_an_empty_cache_is_shown_collected_and_checked(tmp_path: Path) -> None:
    (tmp_path / "atoll.toml").write_text('cache = { remote = "s3://acme/x?region=eu-central-1", max_size = "1GiB" }\n')
    seen = json.loads(real(tmp_path, "cache", "--json").stdout)
    assert (seen["results"], seen["max_bytes"], seen["namespace"]) == (0, 1 << 30, "trusted")
    assert seen["remote"] == "s3://acme/x?region=eu-central-1"
    request = {"ATOLL_CACHE": "off", "GITLAB_CI": "true", "CI_MERGE_REQUEST_IID": "4"}
    seen = json.loads(real(tmp_path, "cache", "--json", **request).stdout)
    assert (seen["remote"], seen["namespace"]) == ("", "pr-4")
    assert real(tmp_path, "cache", "gc").returncode == 0
    assert real(tmp_path, "cache", "verify").returncode == 0


def test_a_password_in_an_address_is_refused_and_not_shown(tmp_path: Path) -> None:
    (tmp_path / "atoll.toml").write_text('cache = "s3://ada:hunter2@acme"\n')
    for done in (real(tmp_path, "cache"), real(tmp_path, "cache", ATOLL_CACHE="https://ada:hunter2@x")):
        assert done.returncode == 2
        assert "hunter2" not in done.stdout + done.stderr
        assert "neither user nor password" in done.stderr
