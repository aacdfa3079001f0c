"""What a service's code reads and nothing sets: told, with a row for a person to fill in; nothing is said where there is a choice."""

import re
from pathlib import Path

import pytest

from atoll.adopt.found import Found
from atoll.adopt.reads import learn
from atoll.adopt.tree import Tree
from atoll.workspace.loader import load


def told(files: dict[str, str], **fields: object) -> list[str]:
    """The names that a service of these files is told to read, with the place of each."""
    found = Found(name="orders", folder="orders", source="", **fields)
    tree = Tree((f"orders/{path}" for path in files), lambda path: files[path.removeprefix("orders/")].encode())
    return [str(place) for left in learn(tree, [found]) for place in left.places]


@pytest.mark.parametrize(
    ("language", "file", "code"),
    [
        ("python", "app.py", 'db = connect(os.environ["DB_DSN"])'),
        ("python", "app.py", "dsn = os.getenv('DB_DSN')\nconnect(dsn)"),
        ("python", "app.py", "dsn = os.environ.get('DB_DSN')\nif not dsn:\n    raise SystemExit('DB_DSN is not set')"),
        ("python", "app.py", 'if not os.getenv("DB_DSN"):\n    sys.exit(1)\nconnect(environ["DB_DSN"])'),
        ("node", "src/app.ts", "connect(process.env.DB_DSN!)"),
        ("node", "app.js", "const a = `${process.env['DB_DSN']}/x`"),
        ("node", "app.js", "if (!process.env.DB_DSN) throw new Error('DB_DSN')\nconnect(process.env.DB_DSN)"),
        ("go", "main.go", 'dsn := os.Getenv("DB_DSN")\nif dsn == "" {\n\tlog.Fatal("DB_DSN is not set")\n}'),
        ("go", "main.go", 'open(os.Getenv("DB_DSN"))'),
        ("maven", "src/main/java/A.java", 'String dsn = System.getenv("DB_DSN");'),
        ("rust", "src/main.rs", 'let a = std::env::var("DB_DSN").expect("DB_DSN");'),
        ("rust", "src/main.rs", 'let a = env::var("DB_DSN")?;'),
        ("", "app.py", 'os.environ["DB_DSN"]'),
    ],
)
def test_a_read_without_a_default_is_told_with_its_place(language: str, file: str, code: str) -> None:
    (place,) = told({file: "\n\n" + code}, language=language)
    assert re.fullmatch(rf"orders/{re.escape(file)}:[34] DB_DSN|orders/{re.escape(file)}:5 DB_DSN", place)


@pytest.mark.parametrize(
    ("language", "file", "code"),
    [
        ("python", "app.py", 'os.getenv("DB_DSN", "sqlite://")'),
        ("python", "app.py", 'os.environ.get("DB_DSN", None)'),
        ("python", "app.py", 'os.getenv("DB_DSN") or "sqlite://"'),
        ("python", "app.py", 'if os.getenv("DB_DSN"):\n    connect(os.environ["DB_DSN"])'),
        ("python", "app.py", 'connect(os.environ["DB_DSN"]) if "DB_DSN" in os.environ else None'),
        ("python", "app.py", 'os.environ["DB_DSN"] = "x"\nconnect(os.environ["DB_DSN"])'),
        ("python", "app.py", 'os.environ.setdefault("DB_DSN", "x")\nconnect(os.environ["DB_DSN"])'),
        ("python", "app.py", 'dsn = os.getenv("DB_DSN")\nif dsn:\n    connect(dsn)'),
        ("python", "app.py", '# os.environ["DB_DSN"]\n"""needs os.environ["DB_DSN"]"""'),
        ("python", "app.py", 'print(os.environ["DB_DSN"])'),
        ("python", "app.py", 'os.environ[f"{name}_DSN"], os.getenv(name), os.environ["lower"]'),
        ("python", "tests/test_app.py", 'os.environ["DB_DSN"]'),
        ("node", "app.js", "process.env.DB_DSN || 'x'"),
        ("node", "app.js", "process.env.DB_DSN ?? 'x'"),
        ("node", "app.js", "process.env.DB_DSN\n  ? a\n  : b"),
        ("node", "app.js", "Number(process.env.DB_DSN) || 3"),
        ("node", "app.js", "process.env.DB_DSN === 'yes'"),
        ("node", "app.js", "if (process.env.DB_DSN) connect(process.env.DB_DSN)"),
        ("node", "app.js", "const dsn = process.env.DB_DSN\nif (dsn) connect(dsn)"),
        ("node", "app.js", "// connect(process.env.DB_DSN)\n/* process.env.DB_DSN */"),
        ("node", "app.test.js", "process.env.DB_DSN"),
        ("node", "vite.config.ts", "process.env.DB_DSN"),
        ("node", "app.js", "process.env.NODE_ENV + process.env.PORT + process.env.NEXT_PUBLIC_X"),
        ("go", "main.go", 'dsn := os.Getenv("DB_DSN")\nif dsn == "" {\n\tdsn = "sqlite://"\n}'),
        ("go", "main.go", 'if dsn := os.Getenv("DB_DSN"); dsn != "" {\n\topen(dsn)\n}'),
        ("go", "main.go", 'cmp.Or(os.Getenv("DB_DSN"), "x")'),
        ("go", "main.go", 'dsn, ok := os.LookupEnv("DB_DSN")\nopen(os.Getenv("DB_DSN"))'),
        ("go", "main.go", 'envOr("DB_DSN", "x")\nopen(os.Getenv("DB_DSN"))'),
        ("maven", "src/main/java/A.java", 'Optional.ofNullable(System.getenv("DB_DSN")).orElse("x")'),
        ("maven", "src/main/java/A.java", 'a = System.getenv("DB_DSN") != null ? b : c'),
        ("maven", "src/test/java/A.java", 'System.getenv("DB_DSN")'),
        ("rust", "src/main.rs", 'env::var("DB_DSN").unwrap_or("x".into())'),
        ("rust", "src/main.rs", 'if let Ok(a) = std::env::var("DB_DSN") {}'),
        ("rust", "src/main.rs", '#[cfg(test)]\nmod t { fn a() { env::var("DB_DSN").unwrap(); } }'),
        ("go", "tool.py", 'os.environ["DB_DSN"]'),
    ],
)
def test_where_the_code_leaves_a_choice_nothing_is_said(language: str, file: str, code: str) -> None:
    assert told({file: code}, language=language) == []


def test_what_the_service_is_given_already_is_not_told() -> None:
    code = 'a(os.environ["A_DSN"], os.environ["B_DSN"], os.environ["C_DSN"], os.environ["D_DSN"])'
    fields = {"port_env": "A_DSN", "env": {"B_DSN": ""}, "inherit": ["C_DSN"], "run": "D_DSN=x python app.py"}
    assert told({"app.py": code}, language="python", **fields) == []


def test_each_name_has_a_row_that_is_valid_once_its_marks_are_taken_away(adopt, tmp_path: Path) -> None:
    server = "require('http').createServer().listen(process.env.PORT)\nuse("
    server += ", ".join(
        f"process.env.{name}" for name in ("API_URL", "STRIPE_TOKEN", "REGION", "REDIS_URL", "DATABASE_URL")
    )
    package = '{"scripts": {"start": "node server.js"}, "dependencies": {"express": "4"}}'
    api = "from flask import Flask\nimport os\napp = Flask(__name__)\nMAIL = os.environ['MAIL_FROM']\n"
    adopted = adopt(
        {
            "web/package.json": package,
            "web/server.js": server + ")\n",
            "api/requirements.txt": "flask\n",
            "api/app.py": api,
        }
    )
    written = adopted.service("web")
    block = written[written.index("# Read by its code") :].splitlines()
    assert block == [
        "# Read by its code, set by nobody: fill in what it needs, and take the marks away.",
        "# [env]",
        '# REGION = ""  # web/server.js:2',
        '# STRIPE_TOKEN = { secret = "stripe-token" }  # web/server.js:2',
        "# [calls.api]",
        '# env = "API_URL"',
        "# [stores.web-db]",
        '# url = { secret = "web-db" }',
        '# env = "DATABASE_URL"',
        "# [stores.web-redis]",
        '# type = "redis"  # which Atoll runs; one that runs elsewhere has a url, too',
        '# env = "REDIS_URL"',
    ]
    assert adopted.left[-1].startswith(
        "web: its code reads API_URL, DATABASE_URL, REDIS_URL, REGION and STRIPE_TOKEN, and nothing sets them"
        " -> web/service.toml has each as a comment"
    )
    unmarked = {
        path: re.sub(r"(?m)^# (?=\[|\w+ = )", "", text) for path, text in adopted.files.items() if path != "atoll.toml"
    }
    for path, text in unmarked.items():
        (tmp_path / "repo" / path).write_text(text)
    spec = load(tmp_path / "repo").services["web"]
    assert [call.callee for call in spec.calls] == ["api", "web-redis"]
    assert sorted(store.name for store in spec.stores) == ["web-db", "web-redis"]
    assert {"REGION", "STRIPE_TOKEN", "REDIS_URL", "DATABASE_URL"} <= set(spec.env)


def test_services_of_one_build_are_told_of_their_own_folder_and_processes_of_a_procfile_of_the_whole(
    adopt,
) -> None:
    main = 'package main\n\nimport ("net/http"; "os")\n\nfunc main() {{ http.ListenAndServe(":"+os.Getenv("PORT"), f(os.Getenv("{}"))) }}\n'
    shared = 'package config\n\nvar Both = os.Getenv("BOTH_KEY")\n'
    files = {"go.mod": "module acme\n", "config/c.go": shared}
    files |= {f"cmd/{name}/main.go": main.format(f"{name.upper()}_KEY") for name in ("one", "two")}
    assert [line.partition(",")[0] for line in adopt(files).left] == [
        "one: its code reads ONE_KEY",
        "two: its code reads TWO_KEY",
    ]
    procfile = {
        "Procfile": "web: python app.py $PORT\nworker: python work.py\n",
        "app.py": "",
        "lib.py": 'os.environ["BOTH_KEY"]',
    }
    assert [line.partition(",")[0] for line in adopt(procfile, name="other").left] == [
        "web: its code reads BOTH_KEY",
        "worker: its code reads BOTH_KEY",
    ]
