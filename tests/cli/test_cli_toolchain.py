"""`atoll toolchain`, over hooks of pretend."""

import pytest


def test_the_list_tells_who_takes_what_and_how_to_get_what_is_missing(atoll) -> None:
    lines = atoll("toolchain", "list").stdout.splitlines()
    assert [line.split()[:2] for line in lines[1:]] == [["go", "1.24.1"], ["go", "missing"], ["rust", "none"]]
    assert "payments (1.99 or newer, go.mod)" in lines[2]
    assert "install Go" in lines[2]


def test_install_tells_where_it_is(atoll) -> None:
    done = atoll("toolchain", "install", "go@1.24")
    assert done.stderr.splitlines() == ["fetching go@1.24", "go@1.24: 1.24.1 in /toolchains/go"]
    assert done.stdout == ""
    assert atoll("toolchain", "install", "go@1.24", "--plan").stderr == "go@1.24: would be fetched\n"


@pytest.mark.parametrize(
    ("argv", "code", "said"),
    [
        (("go@1.24",), 0, "removed: go 1.24.1 in /toolchains/go"),
        (("go@1.24", "--plan"), 0, "would be removed: go 1.24.1 in /toolchains/go"),
        (("--unused",), 0, "nothing to remove"),
        ((), 2, "name a toolchain, or say --unused"),
        (("go@1.24", "--unused"), 2, "name a toolchain, or say --unused"),
    ],
)
def test_remove_takes_a_name_or_all_that_is_unused(atoll, argv: tuple[str, ...], code: int, said: str) -> None:
    done = atoll("toolchain", "remove", *argv)
    assert done.returncode == code
    assert said in done.stderr
