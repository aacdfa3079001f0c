"""Where somebody has to look, found in what compilers and programs really print."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest

from atoll.cli.dev.mover import Edit
from atoll.cli.dev.told import DevEvent, Teller, failure
from atoll.cli.dev.where import where
from atoll.cli.failed import Failed
from atoll.model.spec import ServiceSpec

if TYPE_CHECKING:
    from atoll.cli.session import Session

COPY = "/home/ada/.local/share/atoll/shop-1a2b3c4d/artifacts/" + "5" * 40
FILES = {"orders.py", "main.go", "src/main.rs", "server.js", "src/pages/home.ts", "src/main/java/Pay.java", "outbox.py"}

PYTHON = f"""Traceback (most recent call last):
  File "{COPY}/orders.py", line 19, in <module>
    import outbox
  File "{COPY}/outbox.py", line 3, in <module>
    import jsn
ModuleNotFoundError: No module named 'jsn'"""
LIBRARY = f"""Traceback (most recent call last):
  File "{COPY}/orders.py", line 40, in <module>
    json.loads("")
  File "/usr/lib/python3.11/json/__init__.py", line 346, in loads
    return _default_decoder.decode(s)
json.decoder.JSONDecodeError: Expecting value: line 1 column 1 (char 0)"""
SYNTAX = f"""  File "{COPY}/orders.py", line 7
    def f(:
          ^
SyntaxError: invalid syntax"""
GO = """$ go build -o .atoll-built/payments .
# shop/payments
./main.go:82:17: undefined: undefinedThing
./main.go:90:2: declared and not used: x"""
RUST = """   Compiling orders v0.1.0
error[E0425]: cannot find value `x` in this scope
 --> src/main.rs:3:5
  |
error: could not compile `orders` (bin "orders") due to 1 previous error"""
NODE = f"""node:internal/modules/cjs/loader:1228
  throw err;
  ^

Error: Cannot find module './shp'
Require stack:
- {COPY}/server.js
    at Function._load (node:internal/modules/cjs/loader:1031:27)
    at Object.<anonymous> ({COPY}/server.js:4:14)
Node.js v20.1.0"""
NODE_SYNTAX = f"""{COPY}/server.js:12
const x = ;
          ^

SyntaxError: Unexpected token ';'
    at wrapSafe (node:internal/modules/cjs/loader:1378:20)"""
TSC = "src/pages/home.ts(12,3): error TS2304: Cannot find name 'foo'."
JAVAC = """src/main/java/Pay.java:7: error: cannot find symbol
        int x = y;"""
MAVEN = f"[ERROR] {COPY}/src/main/java/Pay.java:[7,17] cannot find symbol"


@pytest.mark.parametrize(
    ("output", "place", "text"),
    [
        (PYTHON, "outbox.py:3", "ModuleNotFoundError: No module named 'jsn'"),
        (LIBRARY, "orders.py:40", "json.decoder.JSONDecodeError: Expecting value: line 1 column 1 (char 0)"),
        (SYNTAX, "orders.py:7", "SyntaxError: invalid syntax"),
        (GO, "main.go:82", "undefined: undefinedThing"),
        (RUST, "src/main.rs:3", "error[E0425]: cannot find value `x` in this scope"),
        (NODE, "server.js:4", "Error: Cannot find module './shp'"),
        (NODE_SYNTAX, "server.js:12", "SyntaxError: Unexpected token ';'"),
        (TSC, "src/pages/home.ts:12", "error TS2304: Cannot find name 'foo'."),
        (JAVAC, "src/main/java/Pay.java:7", "error: cannot find symbol"),
        (MAVEN, "src/main/java/Pay.java:7", "cannot find symbol"),
        ("at 12:30:05 see http://127.0.0.1:8080/x.html:3\nboom: no configuration", "", "boom: no configuration"),
        ("", "", ""),
    ],
    ids=[
        "python",
        "library",
        "syntax",
        "go",
        "rust",
        "node",
        "node-syntax",
        "tsc",
        "javac",
        "maven",
        "none",
        "nothing",
    ],
)
def test_the_place_is_the_services_own_file_and_line(output: str, place: str, text: str) -> None:
    assert where(output, "/ws/orders", FILES.__contains__) == (place, text)


def test_a_service_that_runs_in_its_own_folder_names_it_by_its_whole_path() -> None:
    output = PYTHON.replace(COPY, "/ws/orders")
    assert where(output, "/ws/orders", FILES.__contains__).place == "outbox.py:3"


def test_a_file_of_the_machine_is_no_place_of_a_service(tmp_path: Path) -> None:
    spec = ServiceSpec(name="orders", folder="orders")
    failed = Failed("orders: step 1 ended with exit code 1", id="build-step-failed")
    output = f'  File "{json.__file__}", line 3, in loads\nValueError: no wheel'
    told = failure(failed, spec, tmp_path, output)
    assert (told["place"], told["text"]) == ("", "ValueError: no wheel")


@pytest.mark.parametrize(("beside", "again", "said"), [(True, False, False), (True, True, True), (False, False, True)])
def test_an_edit_beside_a_service_that_makes_no_difference_to_it_is_not_told(
    beside: bool, again: bool, said: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    session = cast("Session", SimpleNamespace(json=False, quiet=False))
    event = DevEvent(
        event="unchanged", service="orders", release="r1", files=("cart/a.py",), beside=beside, again=again
    )
    Teller(session, ["orders"], logs=False).tell(event)
    assert ("orders r1 goes on: nothing differs" in capsys.readouterr().out) is said


def test_edits_in_a_row_are_beside_a_service_when_all_of_them_are() -> None:
    edit = Edit(spec=ServiceSpec(name="orders", folder="orders"), files=("cart/a.py",), at_s=0.0, beside=True)
    assert edit.then(edit).beside
    assert not edit.then(edit._replace(beside=False)).beside
    assert not edit._replace(beside=False).then(edit).beside
