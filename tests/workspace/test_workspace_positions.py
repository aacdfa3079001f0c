"""Lines of keys: tables of awkward TOML, and documents made up by Hypothesis whose lines are known."""

import tomllib

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from atoll.workspace.positions import field_text, key_lines, line_of

CALM = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # on a busy machine, too

# fmt: off
CASES = {
    "plain keys": ('a = 1\n\n# c = 3\nb = "x" # a = 2\n', {"a": 1, "b": 4}),
    "dotted keys": ("a.b.c = 1\na.b.d = 2\n", {"a": 1, "a.b": 1, "a.b.c": 1, "a.b.d": 2}),
    "spaces around dots": ("a . 'b c' = 1\n", {"a": 1, 'a."b c"': 1}),
    "tables": ("[a]\nx = 1\n[a.b]\ny = 2\n", {"a": 1, "a.x": 2, "a.b": 3, "a.b.y": 4}),
    "a table's supertable": ("[a.b]\nx = 1\n", {"a": 1, "a.b": 1, "a.b.x": 2}),
    "arrays of tables": (
        "[[r]]\npath = 1\n\n[[r]]\npath = 2\n[r.sub]\nz = 1\n",
        {"r": 1, "r[0]": 1, "r[0].path": 2, "r[1]": 4, "r[1].path": 5, "r[1].sub": 6, "r[1].sub.z": 7},
    ),
    "nested arrays of tables": (
        "[[a]]\n[[a.b]]\nx = 1\n[[a.b]]\n[[a]]\n[[a.b]]\ny = 1\n",
        {
            "a": 1,
            "a[0]": 1,
            "a[0].b": 2,
            "a[0].b[0]": 2,
            "a[0].b[0].x": 3,
            "a[0].b[1]": 4,
            "a[1]": 5,
            "a[1].b": 6,
            "a[1].b[0]": 6,
            "a[1].b[0].y": 7,
        },
    ),
    "multi-line strings": ('a = """\nb = 1\n[c]\n"""\nd = 1\n', {"a": 1, "d": 5}),
    "multi-line strings that end with quotes": ('a = """x""""\nb = """"y"""""\nc = 1\n', {"a": 1, "b": 2, "c": 3}),
    "multi-line strings with escapes": ('a = """x\\"""\n\\\\"""\nb = 1\n', {"a": 1, "b": 3}),
    "multi-line literals": ("a = '''\n\\'\n''''\nb = 1\n", {"a": 1, "b": 4}),
    "strings with signs": ('a = "x = 1 # ] } \\" y"\nb = \'] }\'\nc = 1\n', {"a": 1, "b": 2, "c": 3}),
    "lists over lines": (
        'a = [ # one\n  1, # ]\n  [2,\n   3],\n  "]",\n]\nb = 1\n',
        {"a": 1, "a[0]": 2, "a[1]": 3, "a[1][0]": 3, "a[1][1]": 4, "a[2]": 5, "b": 7},
    ),
    "inline tables": (
        "a = { b = 1, c.d = [{ e = 2 }], 'f g' = {} }\nh = 1\n",
        {"a": 1, "a.b": 1, "a.c": 1, "a.c.d": 1, "a.c.d[0]": 1, "a.c.d[0].e": 1, 'a."f g"': 1, "h": 2},
    ),
    "a list of inline tables": (
        "a = [\n  { b = 1 },\n  { b = 2 },\n]\n",
        {"a": 1, "a[0]": 2, "a[0].b": 2, "a[1]": 3, "a[1].b": 3},
    ),
    "quoted keys": ('"a.b" = 1\n"c\\u0041\\"" = 2\n', {'"a.b"': 1, '"cA\\""': 2}),
    "dates, floats, signs": (
        "a = 1979-05-27 07:32:00\nb = -1e3\nc = +inf # x\nd = 0xf_f\n",
        {"a": 1, "b": 2, "c": 3, "d": 4},
    ),
    "carriage returns": ("a = 1\r\n[b]\r\nc = 2\r\n", {"a": 1, "b": 2, "b.c": 3}),
    "no end of line": ("a = 1", {"a": 1}),
    "nothing": ("# nothing\n", {}),
}
# fmt: on


@pytest.mark.parametrize(("text", "lines"), CASES.values(), ids=CASES.keys())
def test_each_key_has_its_line(text: str, lines: dict[str, int]) -> None:
    tomllib.loads(text)
    assert key_lines(text) == lines


def test_a_field_that_is_absent_has_the_line_of_what_it_would_stand_in() -> None:
    lines = key_lines("a = 1\n[calls.b]\nx = 1\n")
    assert line_of("calls.b.env.VARIABLE", lines) == 2
    assert line_of("calls.c", lines) == 2
    assert line_of("a[3].path", lines) == 1
    assert line_of("nothing", lines) is None
    assert line_of("", lines) is None


KEYS = st.sampled_from(["a", "b-1", "long_name", "x y", 'q"uote', "ü", "a.b", "#", "", "[", "]]", "\\"])
LEAVES = st.one_of(
    st.sampled_from(
        [
            "1", "true", "-2.5e3", "1979-05-27T07:32:00Z", '"text"', "'li # teral'", '"# ] } = \\" \\\\"', "'\\'",
            '"""\nmany\n= lines\n"""', "'''\n] } # '\n'''", '""""q"""""', "[]", "{}", "[\n# x ]\n]", '"\\u00e9"',
        ]
    ),
)  # fmt: skip


def quoted(key: str) -> str:
    return '"' + key.replace("\\", "\\\\").replace('"', '\\"') + '"'


@st.composite
def documents(draw: st.DrawFn) -> tuple[str, dict[str, int]]:
    """A document, and the line of each key that is written in it."""
    text, lines, used = "", {}, set()
    prefix: tuple[str | int, ...] = ()
    counts: dict[str, int] = {}
    for _ in range(draw(st.integers(0, 12))):
        text += draw(st.sampled_from(["", "\n", "# comment = 1\n", "  ", "\t# [x]\n"]))
        line = text.count("\n") + 1
        key = draw(KEYS)
        kind = draw(st.sampled_from(["pair", "pair", "pair", "table", "tables", "list", "inline"]))
        if kind in {"table", "tables"}:
            if key in used and not (kind == "tables" and key in counts):
                continue
            used.add(key)
            text += f"[{quoted(key)}]\n" if kind == "table" else f"[[ {quoted(key)} ]] # x\n"
            prefix = (key,)
            if kind == "tables":
                counts[key] = counts.get(key, 0) + 1
                prefix = (key, counts[key] - 1)
                lines.setdefault(field_text((key,)), line)
            lines[field_text(prefix)] = line
            continue
        path = (*prefix, key)
        name = field_text(path)
        if name in lines or (not prefix and key in used):
            continue
        lines[name] = line
        if not prefix:
            used.add(key)
        value = draw(LEAVES)
        if kind == "pair":
            text += f"{quoted(key)} = {value}\n"
        elif kind == "list":
            text += f"{quoted(key)} = [ # ]\n\n{value},\n 2]\n"
            lines[field_text((*path, 0))] = line + 2
            lines[field_text((*path, 1))] = line + 3 + value.count("\n")
        else:
            text += f"{quoted(key)} = {{ x.y = {value}, 'z' = 1 }}\n"
            lines[field_text((*path, "x"))] = lines[field_text((*path, "x", "y"))] = line
            lines[field_text((*path, "z"))] = line + value.count("\n")
    return text, lines


@CALM
@given(documents())
def test_lines_of_any_document_are_those_where_it_was_written(made: tuple[str, dict[str, int]]) -> None:
    text, lines = made
    tomllib.loads(text)
    assert key_lines(text) == lines


@CALM
@given(st.text(alphabet="ab.=[]{}\"'\\#, \n1", max_size=200))
def test_no_text_stops_the_scanner(text: str) -> None:
    key_lines(text)
