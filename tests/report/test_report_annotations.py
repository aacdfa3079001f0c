"""Places of failures in what real tools print, and what is no place."""

from collections.abc import Iterator

import pytest

from atoll.model.records import TaskResult, ci_result
from atoll.pipeline.report.annotations import MOST, Annotation, Resolve, annotations, github, resolver

COPY = "/var/lib/atoll/shop-1a2b/artifacts/0123456789abcdef0123456789abcdef01234567"
FILES = {
    "services/orders/main.go", "services/orders/main_test.go", "services/orders/app.py", "services/orders/tests/test_app.py",
    "services/orders/src/a.ts",
    "services/orders/src/[id].ts", "services/orders/src/main/java/Main.java", "services/orders/src/main.rs",
    "services/orders/server.js", "services/orders/test/server.test.js", "libs/money/money.py",
}  # fmt: skip

TOOLS = {
    "go build": ("# shop/orders\n./main.go:12:5: undefined: pirce\n", [("main.go", 12, 5, "undefined: pirce")]),
    "go vet": ("# shop\nvet: ./main.go:7:2: fmt.Printf format %d\n", [("main.go", 7, 2, "fmt.Printf format %d")]),
    "go test": (
        "--- FAIL: TestTotal (0.00s)\n    main_test.go:14: got 3, want 2\nFAIL\n",
        [("main_test.go", 14, 0, "got 3, want 2")],
    ),
    "a traceback": (
        ('Traceback (most recent call last):\n  File "/usr/lib/python3.11/runpy.py", line 196, in run\n    x\n'
        f'  File "{COPY}/app.py", line 4, in total\n    return a + b\n'
        '  File "/usr/lib/python3.11/decimal.py", line 99, in add\n    y\nTypeError: unsupported: int and str\n'),
        [("app.py", 4, 0, "TypeError: unsupported: int and str")],
    ),
    "unittest": (
        ('FAIL: test_total (tests.test_app.T)\nTraceback (most recent call last):\n  File "tests/test_app.py", line 9, in t\n'
        "    self.assertEqual(2, 3)\nAssertionError: 2 != 3\n"),
        [("tests/test_app.py", 9, 0, "AssertionError: 2 != 3")],
    ),
    "pytest": (
        ("    def test_total():\n>       assert total() == 2\nE       assert 3 == 2\nE        +  where 3 = total()\n\n"
        "tests/test_app.py:9: AssertionError\n===== short test summary info =====\n"
        "FAILED tests/test_app.py::test_total - assert 3 == 2\n"),
        [("tests/test_app.py", 9, 0, "assert 3 == 2")],
    ),
    "tsc": ("src/a.ts(3,5): error TS2322: Type 'string' is not 'number'.\n",
            [("src/a.ts", 3, 5, "TS2322: Type 'string' is not 'number'.")]),
    "tsc, of a route with a parameter": ("src/[id].ts:1:2 - error TS1: x\n", [("src/[id].ts", 1, 2, "TS1: x")]),
    "tsc, pretty": (
        "\x1b[96msrc/a.ts\x1b[0m:\x1b[93m3\x1b[0m:\x1b[93m5\x1b[0m - \x1b[91merror\x1b[0m\x1b[90m TS2322: \x1b[0mType x\n",
        [("src/a.ts", 3, 5, "TS2322: Type x")],
    ),
    "javac": ("src/main/java/Main.java:8: error: ';' expected\n    int x\n         ^\n1 error\n",
              [("src/main/java/Main.java", 8, 0, "';' expected")]),
    "Maven": (f"[ERROR] {COPY}/src/main/java/Main.java:[8,10] ';' expected\n",
              [("src/main/java/Main.java", 8, 10, "';' expected")]),
    "rustc": (
        ("error[E0308]: mismatched types\n  --> src/main.rs:5:18\n   |\n5  | let x: i32 = \"\";\n\n"
        "error: aborting due to 1 previous error\n"),
        [("src/main.rs", 5, 18, "mismatched types")],
    ),
    "cargo test": (
        "thread 'tests::adds' panicked at src/main.rs:9:5:\nassertion `left == right` failed\n",
        [("src/main.rs", 9, 5, "panicked")],
    ),
    "node": (
        (f"{COPY}/server.js:3\nthrow new Error('x')\n^\n\nError: no database\n    at start ({COPY}/server.js:3:7)\n"
        f"    at Object.<anonymous> ({COPY}/server.js:9:1)\n    at node:internal/main:1:1\n"),
        [("server.js", 3, 7, "Error: no database")],
    ),
    "node --test": (
        ("  AssertionError [ERR_ASSERTION]: 3 == 2\n      at TestContext.<anonymous> "
        f"(file://{COPY}/test/server.test.js:6:10)\n      at Test.run (node:internal/test_runner:1:1)\n"),
        [("test/server.test.js", 6, 10, "AssertionError [ERR_ASSERTION]: 3 == 2")],
    ),
    "ruff": ("app.py:1:8: F401 `os` imported but unused\n", [("app.py", 1, 8, "F401 `os` imported but unused")]),
    "mypy": ("app.py:4: error: Incompatible return  [return-value]\napp.py:4: note: see\n",
             [("app.py", 4, 0, "Incompatible return  [return-value]")]),
}  # fmt: skip


@pytest.fixture
def resolve() -> Resolve:
    return resolver(lambda service: (f"services/{service}", "libs", "."), FILES.__contains__)


def failed(output: str, task: str = "orders.test") -> TaskResult:
    return TaskResult(task=task, outcome="failed", reason="exit code 1", output=output)


@pytest.mark.parametrize("tool", TOOLS)
def test_the_place_of_a_failure_is_found(tool: str, resolve: Resolve) -> None:
    output, places = TOOLS[tool]
    expected = [Annotation("orders.test", f"services/orders/{file}", *rest) for file, *rest in places]
    assert annotations(ci_result((failed(output),)), resolve) == expected


@pytest.mark.parametrize(
    "output",
    [
        "",
        "listening on 127.0.0.1:8080: Error",
        "12:30:05: error: late",
        "gone.go:3:5: undefined: x",
        "../../../etc/passwd.conf:3: error: x",
        "/etc/hosts.conf:3: error: x",
        "app.py:4: warning: deprecated",
        'File "app.py", line 4, and no error after it',
        "Error: no database\n    at start (node:internal/main:1:1)\n",
        "--> src/main.rs:5:18",
    ],
)
def test_where_no_place_is_sure_only_the_task_is_told(output: str, resolve: Resolve) -> None:
    assert annotations(ci_result((failed(output),)), resolve) == [Annotation("orders.test", "", 0, 0, "exit code 1")]


def test_of_many_the_first_of_each_task_comes_first_and_passed_ones_say_nothing(resolve: Resolve) -> None:
    many = failed("".join(f"app.py:{n}: error: no {n}\n" for n in range(1, 20)))
    fine = TaskResult(task="orders.lint", outcome="flaky", output="app.py:1: error: x")
    found = annotations(ci_result((many, fine, failed("money/money.py:2: error: y", "orders.e2e"))), resolve)
    assert len(found) == MOST
    assert [(each.task, each.file, each.line) for each in found[:3]] == [
        ("orders.test", "services/orders/app.py", 1),
        ("orders.e2e", "libs/money/money.py", 2),
        ("orders.test", "services/orders/app.py", 2),
    ]


def test_github_gets_commands_in_which_nothing_can_be_hidden() -> None:
    place = Annotation("orders.test", "a,b:c.py", 3, 5, "50 %\n::set-env::x")
    assert github([place, Annotation("orders.lint", "", 0, 0, "exit code 2")]) == [
        "::error file=a%2Cb%3Ac.py,line=3,col=5,title=orders.test failed::50 %25%0A::set-env::x",
        "::error title=orders.lint failed::exit code 2",
    ]


def test_a_long_output_takes_no_time(resolve: Resolve) -> None:
    def lines() -> Iterator[str]:
        for n in range(2000):
            yield "a" * 500 + "/" * 200 + f".{n}"
            yield "at (" * 200

    assert annotations(ci_result((failed("\n".join(lines())),)), resolve)[0].file == ""
