"""Whatever stands in the files, the loader returns a workspace or the list of what is wrong, never another exception."""

import tempfile
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from atoll.model.errors import InvalidWorkspace
from atoll.workspace.fields_service import SERVICE
from atoll.workspace.fields_workspace import WORKSPACE
from atoll.workspace.loader import load
from atoll.workspace.tables import Table

CALM = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # on a busy machine, too

GOOD = """
name = "orders"
run = ["./orders", "{port}"]
health = { ready = { http = "/ready", port = "admin" }, start_budget = "2m" }
route = ["/orders", { path = "/b", host = "*.example.com", strip = true }]
build = ["make", ["a", "b"]]
ports = { http = "http", admin = { protocol = "http", env = "ADMIN" } }
[calls.catalog]
env = { A = "{address}" }
retry_budget = "20%"
[env]
A = 1
B = { secret = "x" }
[env.production]
B = true
[limits]
memory = "256MiB"
"""
TOP = """
services = ["*"]
gateway = "127.0.0.1:80"
ports = [20000, 29999]
[env]
X = "1"
[environments.production]
env = { X = "2" }
"""


def judged(top: bytes, service: bytes) -> None:
    """Reads them; problems must be fit to be shown."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "s").mkdir()
        (root / "atoll.toml").write_bytes(top)
        (root / "s" / "service.toml").write_bytes(service)
        try:
            assert len(load(root).services) <= 1
        except InvalidWorkspace as exc:
            texts = {"atoll.toml": top, "s/service.toml": service}
            for problem in exc.problems:
                assert problem.what
                assert problem.file in texts
                assert problem.line is None or 1 <= problem.line <= texts[problem.file].count(b"\n") + 2


@CALM
@given(st.binary(max_size=200))
def test_any_bytes(data: bytes) -> None:
    judged(data, data)


@CALM
@given(st.text(alphabet="abcrun=[]{}\"'\\#., \n\t01é", max_size=120))
def test_any_text(text: str) -> None:
    judged(text.encode(), b'run = "x"\n' + text.encode())


@st.composite
def mutations(draw: st.DrawFn, text: str) -> bytes:
    """The text with a few pieces cut out, doubled, or replaced."""
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(text)))
        end = min(len(text), at + draw(st.integers(0, 12)))
        piece = draw(
            st.sampled_from(["", text[at:end] * 2, "\n", "=", '"', "[[", "]", "{", "}", "1", "true", ".", "{x}"])
        )
        text = text[:at] + piece + text[end:]
    return text.encode()


@CALM
@given(mutations(TOP), mutations(GOOD))
def test_good_files_with_a_few_slips(top: bytes, service: bytes) -> None:
    judged(top, service)


KEYS = st.text(alphabet='ab {}"\\.é\0', max_size=6)
VALUES = st.recursive(
    st.one_of(
        st.booleans(),
        st.integers(),
        st.floats(),
        st.text(max_size=8),
        st.dates(),
        st.times(),
        st.datetimes(),
        st.sampled_from(
            ["1s", "1MiB", "/x", "tcp", "http", "{port}", "{prot}", "20%", "127.0.0.1:1", "a-b", "A_B", "SIGTERM"]
        ),
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=4,
)


def tables_like(table: Table) -> st.SearchStrategy[dict[str, object]]:
    """Tables with known names, one level down as well, and any values."""
    names = sorted({field.key for field in table.fields})
    inner = sorted(
        {"ready", "live", "memory", "steps", "inputs", "env", "timeout", "port", "http", "signal", "a", "path"}
    )
    value = VALUES | st.dictionaries(
        st.sampled_from(inner), VALUES | st.dictionaries(KEYS, VALUES, max_size=2), max_size=3
    )
    return st.dictionaries(st.sampled_from(names) | KEYS, value, max_size=5)


def toml(value: object) -> str:
    """Any such value as inline TOML."""
    match value:
        case bool():
            return str(value).lower()
        case str():
            return '"' + "".join(f"\\U{ord(char):08x}" if not char.isalnum() else char for char in value) + '"'
        case list():
            return "[" + ", ".join(map(toml, value)) + "]"
        case dict():
            return "{" + ", ".join(f"{toml(key)} = {toml(item)}" for key, item in value.items()) + "}"
        case int() | float():
            return str(value)
    return str(value)


@CALM
@given(tables_like(WORKSPACE), tables_like(SERVICE))
def test_known_fields_with_any_values(top: dict[str, object], service: dict[str, object]) -> None:
    texts = ["\n".join(f"{toml(key)} = {toml(item)}" for key, item in each.items()) for each in (top, service)]
    judged(texts[0].encode(), texts[1].encode())
