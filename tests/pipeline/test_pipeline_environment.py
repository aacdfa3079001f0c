"""What of the caller's environment reaches a build: what was declared, and the little that `PASSED` gives a reason for."""

import fnmatch
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.pipeline.artifacts import Artifacts
from atoll.pipeline.environment import KEPT_AWAY, PASSED, build_environment

OURS = {"PATH", "LANG", "TMPDIR", "SOURCE_DATE_EPOCH"}
# Names as people and CI systems have them: near to those that pass, beside any others.
NAMES = st.one_of(
    st.sampled_from(
        [
            *(name.replace("*", "X") for name in (*PASSED, *KEPT_AWAY)),
            "LD_PRELOAD",
            "BASH_ENV",
            "PYTHONPATH",
            "NODE_ENV",
        ]
    ),
    st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,12}", fullmatch=True),
)
VALUES = st.text(st.characters(blacklist_characters="\0", blacklist_categories=["Cs"]), max_size=8)
ENVIRONMENTS = st.dictionaries(NAMES, VALUES, max_size=12)


def passes(name: str) -> bool:
    """Said once more, so that the list is what is tested and not how it is applied."""
    return any(fnmatch.fnmatchcase(name, each) for each in PASSED) and not any(
        fnmatch.fnmatchcase(name, each) for each in KEPT_AWAY
    )


@given(outer=ENVIRONMENTS, declared=ENVIRONMENTS)
def test_nothing_undeclared_reaches_a_build(outer: dict[str, str], declared: dict[str, str]) -> None:
    env = build_environment(outer, declared, "/private")
    for name, value in env.items():
        if name in declared:
            assert value == declared[name]
        elif name not in OURS:
            assert passes(name), f"{name} came through"
            assert value == outer[name]
    assert declared.items() <= env.items()


@given(outer=ENVIRONMENTS, declared=ENVIRONMENTS, more=ENVIRONMENTS)
def test_other_variables_of_the_caller_make_no_difference(
    outer: dict[str, str], declared: dict[str, str], more: dict[str, str]
) -> None:
    """The same artifact, in whosever terminal it is made."""
    stray = {name: value for name, value in more.items() if name not in outer and not passes(name) and name != "PATH"}
    assert build_environment({**outer, **stray}, declared, "/t") == build_environment(outer, declared, "/t")


POISON = {
    **dict.fromkeys(
        ("DEPLOY_ENV", "NODE_ENV", "CFLAGS", "GOFLAGS", "RUSTFLAGS", "MAKEFLAGS", "CI", "EDITOR"), "poison"
    ),
    **dict.fromkeys(("AWS_SECRET_ACCESS_KEY", "GITHUB_TOKEN", "DATABASE_URL", "OTEL_SERVICE_NAME"), "poison"),
    **dict.fromkeys(
        ("GIT_DIR", "GIT_WORK_TREE", "VIRTUAL_ENV", "UV_PROJECT", "PIP_TARGET", "npm_config_poison"), "poison"
    ),
}


def test_archives_carry_no_date_of_the_build(workshop) -> None:
    """What many tools take from SOURCE_DATE_EPOCH: here Python's byte code, which else holds its source's time."""
    step = "python3 -c \"import py_compile; py_compile.compile('a.py', 'a.pyc')\""
    spec = workshop.spec("orders", step)
    file = workshop.write("orders/a.py", "x = 1\n")
    first = workshop.one(spec)
    Artifacts(workshop.artifacts).remove(first.key)
    os.utime(file, (1, 1))
    assert workshop.one(spec).digest == first.digest


def test_a_real_build_sees_none_of_it(workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in POISON.items():
        monkeypatch.setenv(name, value)
    spec = workshop.spec("orders", "env > seen", env={"APP_VERSION": "7"})
    workshop.write("orders/a.txt", "x")
    seen = Path(workshop.one(spec).path, "seen").read_text()
    assert "poison" not in seen
    assert "APP_VERSION=7" in seen.splitlines()
