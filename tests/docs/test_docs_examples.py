"""What pages show is what there is: their files are read by the real loader, their commands held against the real ones."""

import ast
import re
import shlex
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import click
import pytest
from tests.docs.pages import ROOT, Block, blocks, inline, names

import atoll
from atoll.cli.main import cli
from atoll.model.catalogue.pages import PAGES
from atoll.workspace.fields_service import SERVICE
from atoll.workspace.fields_workspace import WORKSPACE
from atoll.workspace.loader import load

BY_HAND = [name for name in names() if not name.startswith(("docs/adr/", "CHANGELOG"))]
ROOT_COMMAND = click.Context(cli, info_name="atoll")

# --- service.toml and atoll.toml ---------------------------------------------------------------------------------------

_NAMED = re.compile(r"#\s*(?:\S*/)?([\w.-]+\.toml)\b")


def ours(block: Block) -> bool:
    """Whether a block is one of the two files: another one (`# pyproject.toml`) is named by a comment in its first line."""
    named = _NAMED.match(block.text)
    return block.language == "toml" and (named is None or named[1] in {"service.toml", "atoll.toml"})


FILES = [block for name in BY_HAND if name != "docs/reference.md" for block in blocks(name) if ours(block)]


def of_a_workspace(table: dict[str, object]) -> bool:
    """Whether these fields are atoll.toml's. What may stand in both files (`env`, `stores`) is tried in a service's."""
    own = {field.key for field in WORKSPACE.fields}
    return set(table) <= own and not set(table) <= {field.key for field in SERVICE.fields}


def around(folder: Path, block: Block) -> None:
    """The workspace that a block of a page is a part of: whom it calls is there, and the environments that it names."""
    table = tomllib.loads(block.text)
    if of_a_workspace(table):
        (folder / "ws").mkdir()
        (folder / "ws" / "atoll.toml").write_text(block.text)
        for root in table.get("roots", ()):
            path = root["path"] if isinstance(root, dict) else root
            (folder / "ws" / path.replace("~", str(folder))).mkdir(parents=True, exist_ok=True)
        return
    environments = {
        name for name, value in table.get("env", {}).items() if isinstance(value, dict) and "secret" not in value
    }
    for store in table.get("stores", {}).values():
        if isinstance(store, dict) and isinstance(url := store.get("url"), dict) and "secret" not in url:
            environments |= set(url)
    declared = "".join(f"[environments.{name}]\n" for name in sorted(environments - {"local"}))
    (folder / "atoll.toml").write_text(declared)
    for callee, call in table.get("calls", {}).items():
        if isinstance(call, dict) and ("url" in call or "optional" in call):
            continue
        (folder / callee).mkdir()
        (folder / callee / "service.toml").write_text('run = "x"\n')
    (folder / "shown").mkdir()
    run = "" if "run" in table else 'run = "x"\n'
    files = '\n[files]\n"config.yaml" = ""\n' if "{files}" in block.text and "files" not in table else ""
    (folder / "shown" / "service.toml").write_text(run + block.text + files)
    for file in table.get("files", {}).values():
        if isinstance(file, dict):
            (folder / "shown" / file["template"]).parent.mkdir(parents=True, exist_ok=True)
            (folder / "shown" / file["template"]).write_text("{port}\n")
    for topic in (*table.get("publishes", ()), *table.get("consumes", ())):
        if isinstance(topic, dict) and "contract" in topic:
            (folder / "shown" / topic["contract"]).write_text("")


@pytest.mark.parametrize("block", FILES, ids=lambda block: block.name)
def test_a_file_that_is_shown_is_valid(block: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    around(tmp_path, block)
    load(tmp_path / "ws" if (tmp_path / "ws").is_dir() else tmp_path)


def test_a_wrong_file_would_be_found(tmp_path: Path) -> None:
    around(tmp_path, Block("page.md", 1, "toml", 'helth = "/healthz"\n'))
    with pytest.raises(atoll.model.errors.InvalidWorkspace, match="helth is not a field"):
        load(tmp_path)


def test_a_file_of_another_tool_is_left_alone() -> None:
    assert not ours(Block("page.md", 1, "toml", '# pyproject.toml\n[project]\nname = "orders"\n'))
    assert ours(Block("page.md", 1, "toml", '# shop/atoll.toml\nname = "shop"\n'))
    assert ours(Block("page.md", 1, "toml", 'run = "x"  # see pyproject.toml\n'))


# --- commands ----------------------------------------------------------------------------------------------------------


def wrong(line: str) -> str:
    """What is wrong with a line that begins with `atoll`, or ''. A word in capitals stands for anything."""
    try:
        words = shlex.split(line, comments=True)
    except ValueError:
        words = line.split()
    for end in ("|", ">", ">>", "<", "&&", "||", ";", "&"):
        words = words[: words.index(end)] if end in words else words
    command, ctx, given = cli, ROOT_COMMAND, 0
    rest = iter(words[1:])
    for word in rest:
        if word == "--":
            break
        word = word.rstrip(";,")
        if word.startswith("-") and len(word) > 1:
            option = _option(command, word.partition("=")[0])
            if option is None:
                return f"{ctx.command_path} has no option {word}"
            if not option.is_flag and "=" not in word:
                next(rest, None)
        elif isinstance(command, click.Group) and word.isupper():
            return ""
        elif isinstance(command, click.Group):
            child = command.get_command(ctx, word)
            if child is None:
                return f"there is no command {ctx.command_path} {word}"
            command, ctx = child, click.Context(child, info_name=word, parent=ctx)
        else:
            given += 1
    takes = [param for param in command.params if isinstance(param, click.Argument)]
    if given > len(takes) and all(param.nargs != -1 for param in takes):
        return f"{ctx.command_path} takes {len(takes)} arguments"
    return ""


def _option(command: click.Command, name: str) -> click.Option | None:
    for param in (*command.params, *cli.params):
        if isinstance(param, click.Option) and name in {*param.opts, *param.secondary_opts}:
            return param
    help_option = command.get_help_option(ROOT_COMMAND)
    return help_option if name in {"-h", "--help"} else None


_PROMPT = re.compile(r"^(?:[$#] )?((?:[A-Z_]+=\S+ )*)(?:\S+/)?(atoll .*)$")


def lines_of(block: Block) -> Iterator[str]:
    """The commands of a block: in a console what follows a prompt, with the lines that a backslash joins."""
    text = re.sub(r"\\\n\s*", "", block.text)
    for line in text.splitlines():
        for part in re.split(r"&&|\| |\$\(", line):
            part = part.strip()
            if block.language == "console" and part == line.strip() and not line.startswith(("$ ", "# ")):
                continue
            if found := _PROMPT.match(part):
                yield found[2]


def shown() -> Iterator[tuple[str, str]]:
    """Each (place, command) in blocks and in running text of the pages, in the catalogue, and in messages of the code."""
    for name in BY_HAND:
        for block in blocks(name):
            if block.language in {"sh", "console", "bash", "toml"}:
                yield from ((block.name, line) for line in lines_of(block))
        for line, token in inline(name):
            if token.type == "code_inline" and re.match(r"atoll [a-z-]", token.content):
                yield f"{name}:{line}", token.content
    for id, page in PAGES.items():
        for text in (page.means, *page.fixes):
            yield from ((f"atoll explain {id}", command) for command in re.findall(r"`(atoll [a-z-][^`]*)`", text))
    for path in sorted(Path(atoll.__file__).parent.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if text := _text(node):
                where = f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 0)}"
                yield from ((where, command) for command in re.findall(r"`(atoll [a-z-][^`\n]*)`", text))


def _text(node: ast.AST) -> str:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else "NAME" for part in node.values)
    return ""


def test_every_command_that_is_shown_exists_with_its_options() -> None:
    found = [(place, command) for place, command in shown() if not re.search(r"[…{]|\.\.\.", command)]
    assert len(found) > 200
    assert [f"{place}: {command}: {what}" for place, command in found if (what := wrong(command))] == []


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("atoll deplyo orders", "there is no command atoll deplyo"),
        ("atoll secret sett x", "there is no command atoll secret sett"),
        ("atoll deploy orders --forse", "atoll deploy has no option --forse"),
        ("atoll rollback orders r7 r8", "atoll rollback takes 1 arguments"),
        ("atoll --env production deploy orders --markdown >> file", ""),
        ("atoll exec orders -- ls -la", ""),
        ("atoll logs orders -f   # until Ctrl-C", ""),
    ],
)
def test_a_command_that_does_not_exist_is_found(line: str, what: str) -> None:
    assert wrong(line) == what


# --- nothing is left out ----------------------------------------------------------------------------------------------


@cache
def everything() -> list[tuple[str, click.Command]]:
    def below(ctx: click.Context) -> Iterator[tuple[str, click.Command]]:
        yield ctx.command_path, ctx.command
        if isinstance(ctx.command, click.Group):
            for name in ctx.command.list_commands(ctx):
                child = ctx.command.get_command(ctx, name)
                assert child is not None
                yield from below(click.Context(child, info_name=name, parent=ctx))

    return list(below(ROOT_COMMAND))


@pytest.mark.parametrize(("path", "command"), everything(), ids=[path for path, _ in everything()])
def test_every_command_and_option_stands_in_the_page_of_commands(path: str, command: click.Command) -> None:
    page = (ROOT / "docs" / "cli.md").read_text()
    if path != "atoll":
        assert f"# {path}\n" in page
    options = [param for param in command.params if isinstance(param, click.Option) and not param.hidden]
    assert [option.opts for option in options if not any(f"{name}" in page for name in option.opts)] == []
