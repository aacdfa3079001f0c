"""What changes a key and what does not; and that a warm look never differs from a cold one, whatever happened in between."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from keyring import Keyring

from atoll.pipeline import tree

STEPS = "cat *.txt > sum"
TASK = '[tasks.test]\nrun = "true"\nneeds = ["build"]\ninputs = ["t/**", "!t/*.md"]\n'
NAMES = st.sampled_from(
    ["a.txt", "b.log", "c", "d/e.txt", "d/f/g.log", "build/x", "t/one", "t/two.md", ".gitignore", "d/.gitignore"]
)
SERVICES = st.sampled_from(["orders", "services/web", "lib", "ignored/mail"])
RULES = st.sampled_from(["", "*.log\n", "build/\n", "d\n!d/e.txt\n", "/c\n", "*\n!.gitignore\n", "ignored\n"])
TEXTS = st.sampled_from(["", "x", "y", "module\n", "\r\n"])


@contextmanager
def ring() -> Iterator[Keyring]:
    """A workspace with a service of its own folder, one that shares a context, and one in a folder that may be ignored."""
    with tempfile.TemporaryDirectory() as top:
        made = Keyring(Path(top) / "work", Path(top) / "home")
        made.write("atoll.toml", 'services = ["orders", "services/*", "ignored/*"]\n')
        made.service("orders", f'build = {{ steps = "{STEPS}" }}\n{TASK}', a_txt="a", t__one="1")
        build = '[build]\nsteps = "true"\ncontext = "../.."\ninputs = ["services/web/**", "lib/**/*.txt", "c"]\nneeds = ["orders.build"]\n'
        made.service("services/web", build, a_txt="a")
        made.service("ignored/mail", f'build = {{ steps = "{STEPS}", inherit = ["LEVEL"] }}\n', a_txt="a")
        made.write("lib/a.txt", "a")
        made.write(".gitignore", "*.log\n")
        yield made


def _write(made: Keyring, service: str, name: str, text: str) -> None:
    file = made.root / service / name
    if any(parent.is_file() or parent.is_symlink() for parent in file.parents) or file.is_dir() or file.is_symlink():
        return
    made.write(f"{service}/{name}", text)


def _remove(made: Keyring, service: str, name: str) -> None:
    file = made.root / service / name
    if file.is_dir() and not file.is_symlink():
        shutil.rmtree(file)
    elif os.path.lexists(file):
        file.unlink()


def _rename(made: Keyring, service: str, name: str, to: str) -> None:
    file, other = made.root / service / name, made.root / service / to
    if file.is_file() and not os.path.lexists(other) and other.parent.is_dir():
        file.rename(other)


def _chmod(made: Keyring, service: str, name: str) -> None:
    file = made.root / service / name
    if file.is_file():
        file.chmod(file.stat().st_mode ^ 0o111)


def _link(made: Keyring, service: str, name: str, target: str) -> None:
    file = made.root / service / name
    if not os.path.lexists(file) and file.parent.is_dir():
        file.symlink_to(target)


def _touch(made: Keyring, service: str, name: str) -> None:
    file = made.root / service / name
    if file.is_file():
        os.utime(file, ns=(0, 10**18))


EDIT: st.SearchStrategy[tuple[Callable[..., None], tuple[object, ...]]] = st.one_of(
    st.tuples(st.just(_write), st.tuples(SERVICES, NAMES, TEXTS)),
    st.tuples(st.just(_write), st.tuples(SERVICES, st.sampled_from([".gitignore", "d/.gitignore"]), RULES)),
    st.tuples(st.just(lambda made, rules: made.write(".gitignore", rules)), st.tuples(RULES)),
    st.tuples(st.just(_remove), st.tuples(SERVICES, st.one_of(NAMES, st.sampled_from(["d", "d/f", "t"])))),
    st.tuples(st.just(_rename), st.tuples(SERVICES, NAMES, NAMES)),
    st.tuples(st.just(_chmod), st.tuples(SERVICES, NAMES)),
    st.tuples(st.just(_link), st.tuples(SERVICES, NAMES, st.sampled_from(["a.txt", "d", "../a.txt", "/etc/passwd", "nowhere"]))),
    st.tuples(st.just(_touch), st.tuples(SERVICES, NAMES)),
    st.tuples(st.just(lambda made: made.git("init")), st.tuples()),
    st.tuples(st.just(lambda made, at: made.git("init", at=at)), st.tuples(st.sampled_from(["orders", "services/web", "lib"]))),
    st.tuples(st.just(lambda made, value: made.env.update(LEVEL=value)), st.tuples(st.sampled_from("12"))),
)  # fmt: skip


@pytest.mark.slow
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    rounds=st.lists(st.lists(EDIT, min_size=1, max_size=4), min_size=1, max_size=5),
    settled=st.booleans(),
    scouts=st.sampled_from([0, 1, 3]),
    passed=st.booleans(),
)
def test_the_snapshot_always_agrees_with_a_look_from_scratch_and_with_a_run(
    rounds: list[list[tuple[Callable[..., None], tuple[object, ...]]]],
    settled: bool,
    scouts: int,
    passed: bool,
) -> None:
    with ring() as made, pytest.MonkeyPatch.context() as patch:
        patch.setattr(tree, "scouts_for", lambda _: scouts)
        made.ahead_ns = 10**10 if settled else 0
        made.agreed()
        if passed:
            made.passes()
        for edits in rounds:
            made.tick()
            for edit, arguments in edits:
                edit(made, *arguments)
            made.agreed()


CHANGES: dict[str, tuple[set[str], Callable[[Keyring], object]]] = {
    "a content": ({"orders.build"}, lambda made: made.write("orders/a.txt", "b")),
    "a content of the same size and time": ({"orders.build"}, lambda made: _same_time(made.root / "orders/a.txt")),
    "a new file": ({"orders.build"}, lambda made: made.write("orders/new", "")),
    "a removed file": ({"orders.build"}, lambda made: (made.root / "orders/b.txt").unlink()),
    "a name": ({"orders.build"}, lambda made: (made.root / "orders/b.txt").rename(made.root / "orders/c.txt")),
    "a mode": ({"orders.build"}, lambda made: (made.root / "orders/a.txt").chmod(0o755)),
    "a link's target": ({"orders.build"}, lambda made: _relink(made.root / "orders/link")),
    "a test": ({"orders.build", "orders.test"}, lambda made: made.write("orders/t/one", "2")),
    "a shared file": ({"web.build"}, lambda made: made.write("lib/a.txt", "b")),
    "a rule": ({"orders.build"}, lambda made: made.write("orders/.gitignore", "b.txt\n")),
    "a rule above": ({"orders.build"}, lambda made: made.write(".gitignore", "*.log\nb.txt\n")),
    "the steps": ({"orders.build"}, lambda made: _replace(made, STEPS, "cat *.txt > sum2")),
    "the outputs": ({"orders.build"}, lambda made: _replace(made, "steps =", 'outputs = ["sum"], steps =')),
    "a build variable": ({"orders.build"}, lambda made: _replace(made, "steps =", 'env = { A = "1" }, steps =')),
    "a task's command": ({"orders.test"}, lambda made: _replace(made, 'run = "true"\nneeds', 'run = "date"\nneeds')),
    "a need": ({"orders.test"}, lambda made: _replace(made, 'needs = ["build"]\n', "")),
    "a variable that is taken over": ({"mail.build"}, lambda made: made.env.update(LEVEL="9")),
}
NEEDING = {"orders.build": {"orders.test", "web.build"}}
NOTHING: dict[str, Callable[[Keyring], object]] = {
    "times": lambda made: [os.utime(file, ns=(1, 1)) for file in made.root.rglob("*") if not file.is_symlink()],
    "an ignored file": lambda made: made.write("orders/x.log", "x"),
    "an ignored file that changes": lambda made: made.write("orders/old.log", "y"),
    "tools' folders": lambda made: made.write("orders/node_modules/x/index.js", "x"),
    "a file beside the services": lambda made: made.write("README.md", "x"),
    "a shared file of another kind": lambda made: made.write("lib/b.md", "x"),
    "the run command": lambda made: _replace(made, 'run = "true"\nport', 'run = "false"\nport'),
    "the environment": lambda made: made.write("atoll.toml", (made.root / "atoll.toml").read_text() + '[env]\nA = "1"\n'),
    "a variable that nobody takes over": lambda made: made.env.update(OTHER="9"),
    "an owner": lambda made: (made.root / "orders/a.txt").chmod(0o600),
    "a commit": lambda made: [made.git("init"), made.git("add", "-A"), made.git("commit", "-m", "x")],
}  # fmt: skip


@pytest.mark.parametrize("what", CHANGES)
def test_what_goes_in_changes_the_key(what: str) -> None:
    concerned, change = CHANGES[what]
    with _rich() as made:
        before = made.keys()
        made.passes()
        made.tick()
        change(made)
        after = made.agreed()
        expected = concerned | {each for id in concerned for each in NEEDING.get(id, ())}
        assert {id for id in after if before[id] != after[id]} == expected


@pytest.mark.parametrize("what", NOTHING)
def test_what_does_not_go_in_does_not(what: str) -> None:
    with _rich() as made:
        before = made.keys()
        made.passes()
        made.tick()
        NOTHING[what](made)
        assert made.agreed() == before


@contextmanager
def _rich() -> Iterator[Keyring]:
    with ring() as made:
        made.write("orders/b.txt", "b")
        made.write("orders/old.log", "x")
        (made.root / "orders/link").symlink_to("a.txt")
        yield made


def _same_time(file: Path) -> None:
    status = file.stat()
    file.write_text("z")
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))


def _relink(link: Path) -> None:
    link.unlink()
    link.symlink_to("b.txt")


def _replace(made: Keyring, old: str, new: str) -> None:
    file = made.root / "orders/service.toml"
    assert old in file.read_text()
    file.write_text(file.read_text().replace(old, new))
