"""Which environment variables a service's code cannot do without: read by name, and given no value when they are not set.

`repository` asks for each service that no Compose file told of. By patterns, not by parsing, and a name too many is worse
than one too few: a name counts when it is read by the usual call of its language and nothing in the service shows that it
may be missing (a default, a question whether it is set, a comparison, an assignment).
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Literal, NamedTuple

from atoll.adopt.found import Found, Left, Place, Read, below, join, slug
from atoll.adopt.sources import MAX_SOURCES
from atoll.adopt.tree import Tree

MAX_READS = 40  # of one service; a person reads all of them
_ENDINGS = {
    "python": (".py",),
    "node": (".js", ".mjs", ".cjs", ".ts", ".mts", ".cts", ".jsx", ".tsx"),
    "go": (".go",),
    "rust": (".rs",),
    "maven": (".java", ".kt"),
    "gradle": (".java", ".kt"),
}
_NAME = r"([A-Z][A-Z0-9_]+)"
_QUOTED = rf"""["'`]{_NAME}["'`]"""
_READS = {
    "python": re.compile(rf"(?<![\w.])(?:os\.)?(?:environ\[\s*{_QUOTED}\s*\]|(?:environ\.get|getenv)\(\s*{_QUOTED}\s*\))"),
    "node": re.compile(rf"(?<![\w.])process\.env(?:\.{_NAME}(?!\w)|\[\s*{_QUOTED}\s*\])"),
    "go": re.compile(rf"(?<![\w.])os\.Getenv\(\s*{_QUOTED}\s*\)"),
    "rust": re.compile(rf"(?<![\w.])env::var\(\s*{_QUOTED}\s*\)"),
    "maven": re.compile(rf"(?<![\w.])System\.getenv\(\s*{_QUOTED}\s*\)"),
}  # fmt: skip
_READS["gradle"] = _READS["maven"]
# Calls that set a variable, take a default beside its name, or ask whether it is there.
_CHOICE = re.compile(
    rf"(?:setdefault|pop|LookupEnv|[Ss]etenv|putenv|getOrDefault|containsKey|var_os|set_var|option_env!)\(\s*{_QUOTED}"
    rf"|(?i:\w*env\w*|environ\.get)\(\s*{_QUOTED}\s*,|{_QUOTED}\s+(?:not\s+)?in\s+(?:os\.environ|environ|process\.env)\b"
)
_ASKED_BEFORE = re.compile(
    r"(?:\b(?:if|elif|while|switch|match|case)\b[\s(]*(?:\w+\s*:=\s*|let\b[^=\n]*=\s*)?|&&\s*|\|\|\s*|\b(?:or|and)\s+|!!|\btypeof\s+"
    r"|\bdelete\s+|\b[Bb]ool(?:ean)?\(\s*|\b\w*(?:ofNullable|Or(?![a-z])|Else|[dD]efault|[cC]oalesce|[fF]allback|NonEmpty)\w*\(\s*)$"
)
_MISSED_BEFORE = re.compile(r"(?:(?<!!)!|\bnot\s+)\s*\(?$")
_PRINTED = re.compile(r"\b(?:console\.\w+|print(?:f|ln|ln!)?|log\w*\.\w+|[Ll]og(?:ger)?\.\w+)\([^()\n]*$")
_MISSED_AFTER = re.compile(
    r"""[)\s]*(?:[=!]==?\s*(?:undefined|null|nil|None)|===?\s*(?:""|'')|is\s+None)|[ \t)]*is\s+None"""
)
_ASKED_AFTER = re.compile(r"[)\s!]*(?:\|\||&&|\?|[=!]==?|=(?!=))|[ \t)]*(?:or|and|if|is|in|not)\b")
_INSISTS = re.compile(r"\s*(?:\?|\.(?:unwrap\(\)|expect\(|context\(|with_context\(|map_err\())")
_ASSIGNED = re.compile(r"(?:^|[\s;({,])([A-Za-z_]\w*)(?:\s*:\s*[\w.|<>\[\] ]+?)?\s*:?=\s*$")
_REFUSES = re.compile(r"\b(?:raise|throw|panic|fatal|Fatal\w*|die|abort|[eE]xit)\b|\breturn\b[^\n]*[eE]rr")
_COMMENTS = {
    "python": re.compile(r'("""[\s\S]*?"""|\'\'\'[\s\S]*?\'\'\'|#[^\n]*)|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\''),
    "": re.compile(r"(//[^\n]*|/\*[\s\S]*?\*/)|\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])*'"),
}
# Tests, tools and what is read while it is built: none of it runs in the service.
_ASIDE = re.compile(
    r"(?:^|/)(?:tests?|__tests__|specs?|e2e|examples?|docs?|scripts?|tools?|migrations?|fixtures?|mocks?|bench(?:marks?)?|hack)/"
    r"|(?:^|/)(?:test_[^/]*|[^/]*_test\.\w+|conftest\.py|[^/]*\.(?:test|spec|config|d|min|stories)\.\w+|setup\.py|noxfile\.py"
    r"|(?:gulp|grunt)file\.\w+|[^/]*(?:Tests?|IT)\.(?:java|kt)|build\.rs)$",
    re.IGNORECASE,
)
# Set by the system, by Atoll, or while it is built.
_GIVEN = re.compile(
    r"PATH|HOME|USER|LOGNAME|SHELL|PWD|TMP|TEMP|TMPDIR|LANG|TZ|TERM|HOST|HOSTNAME|PORT|CI|DEBUG|NODE_ENV|VERCEL|EDITOR|DISPLAY"
    r"|(?:LC|XDG|PYTHON|NPM|NEXT_PUBLIC|VITE|REACT_APP|CARGO|JAVA|GITHUB|AWS_LAMBDA|ATOLL)_\w+"
    r"|GO(?:PATH|ROOT|MAXPROCS)|VIRTUAL_ENV|PYTHONPATH|NODE_OPTIONS|APPDATA|KUBERNETES_\w+"
)
_ADDRESS = re.compile(
    r"(?P<callee>\w+?)(?:_(?:SERVICE|SVC|API|BASE|SERVER|GRPC))*_(?P<part>URL|URI|ENDPOINT|ADDR|ADDRESS|HOST|PORT)"
)
_TEMPLATES = {"ADDR": "{address}", "ADDRESS": "{address}", "HOST": "{host}", "PORT": "{port}"}


class _Source(NamedTuple):
    path: str
    text: str  # without comments, with as many lines
    language: str


def learn(tree: Tree, services: Sequence[Found]) -> Iterator[Left]:
    """Write into each service what its code reads and nothing sets; a line for each that has any."""
    for found in services:
        sources = list(_sources(tree, found, services))
        known = _known(found)
        names = {name: place for name, place in _needed(sources).items() if name not in known}
        names = {name: names[name] for name in sorted(names)[:MAX_READS] if not _GIVEN.fullmatch(name)}
        found.reads = {name: _read(name, place, found, services) for name, place in names.items()}
        if names:
            file = join(found.folder, "service.toml")
            yield Left(
                service=found.name,
                what=f"its code reads {_listed(list(names))}, and nothing sets {'it' if len(names) == 1 else 'them'}",
                fix=f"{file} has {'it' if len(names) == 1 else 'each'} as a comment: say what it is there, before the first `atoll up`",
                places=tuple(names.values()),
            )


def _listed(names: Sequence[str]) -> str:
    shown = [*names[:6], f"{len(names) - 6} more"] if len(names) > 7 else names
    return " and ".join([", ".join(shown[:-1]), shown[-1]] if len(shown) > 1 else shown)


def _known(found: Found) -> set[str]:
    """What the service is given already, and what its command sets or names."""
    given = {
        found.port_env,
        *found.env,
        *found.secrets,
        *found.inherit,
        *(each for _, each in found.more_ports.values()),
    }
    given |= {variable for call in found.calls.values() for variable in call.env}
    given |= {variable for store in found.stores.values() for variable in store.env}
    run = found.run if isinstance(found.run, str) else " ".join(found.run)
    return given | set(re.findall(r"[A-Z][A-Z0-9_]+", run))


def _sources(tree: Tree, found: Found, services: Sequence[Found]) -> Iterator[_Source]:
    """Its own code, a bounded number of files: below what it is built from when nobody shares that, else its folder."""
    home = join(found.folder, found.context)
    shares = [each for each in services if each is not found and join(each.folder, each.context) == home]
    area = found.folder if shares and not found.source.endswith("Procfile") else home
    others = [each.folder for each in services if each not in (found, *shares) and below(each.folder, area)]
    others += [each.folder for each in shares if each.folder != area]
    languages = [found.language] if found.language in _ENDINGS else list(_ENDINGS)[:-1]
    seen = 0
    for path in tree.below(area):
        language = next((each for each in languages if path.endswith(_ENDINGS[each])), "")
        inside = below(path, area) or ""
        if not language or _ASIDE.search(inside) or any(below(path, other) is not None for other in others):
            continue
        seen += 1
        if seen > MAX_SOURCES:
            return
        text = tree.text(path)
        if "env" in text:
            yield _Source(path, _code(text, language), language)


def _code(text: str, language: str) -> str:
    """The text with comments (and what documents a Python function) blank, and a Rust file's own tests cut off."""

    def blank(found: re.Match[str]) -> str:
        return re.sub(r"[^\n]", " ", found[0]) if found[1] else found[0]

    text = _COMMENTS["python" if language == "python" else ""].sub(blank, text)
    return text.partition("#[cfg(test)]")[0] if language == "rust" else text


def _needed(sources: Sequence[_Source]) -> Mapping[str, Place]:
    """Name -> where it is first read, of those that nothing shows to be optional."""
    needed: dict[str, Place] = {}
    optional: set[str] = set()
    for source in sources:
        optional |= {next(filter(None, match.groups())) for match in _CHOICE.finditer(source.text)}
        for match in _READS[source.language].finditer(source.text):
            name = next(filter(None, match.groups()))
            answer = _judge(source, match, sources)
            if answer == "optional":
                optional.add(name)
            elif answer == "needed":
                line = source.text.count("\n", 0, match.start()) + 1
                needed.setdefault(name, Place(file=source.path, line=line, key=name))
    return {name: place for name, place in needed.items() if name not in optional}


def _judge(
    source: _Source, read: re.Match[str], sources: Iterable[_Source]
) -> Literal["needed", "optional", "neither"]:
    """What one place that reads a variable shows; `neither` where it only looks whether it is missing, or prints it."""
    text = source.text
    before, after = text[max(0, read.start() - 120) : read.start()], text[read.end() : read.end() + 80]
    if source.language == "rust":
        return (
            "needed" if _INSISTS.match(after) and not _ASKED_BEFORE.search(before.removesuffix("std::")) else "optional"
        )
    if (
        _PRINTED.search(before)
        or _MISSED_BEFORE.search(before)
        or ((missed := _MISSED_AFTER.match(after)) and "!" not in missed[0])
    ):
        return "neither"
    if _ASKED_BEFORE.search(before) or _ASKED_AFTER.match(after):
        return "optional"
    if variable := _ASSIGNED.search(before):
        rest = [text[read.end() :], *(each.text for each in sources if variable[1].isupper() and each is not source)]
        if any(_leaves_open(variable[1], each) for each in rest):
            return "optional"
    return "needed"


def _leaves_open(variable: str, text: str) -> bool:
    """Whether code looks at a variable as if it might be empty, and goes on then."""
    asks = rf"\b(?:if|elif|while|unless)\b[^\n]*?\b{variable}\b|\b{variable}\s*(?:\|\||&&|\?|\bor\b|\band\b)"
    return any(not _REFUSES.search(text, found.end(), found.end() + 160) for found in re.finditer(asks, text))


def _read(name: str, place: Place, found: Found, services: Sequence[Found]) -> Read:
    """With the service that it looks to be the address of, where one is called so."""
    if address := _ADDRESS.fullmatch(name):
        callee = slug(address["callee"])
        others = {each.name: each for each in services if each is not found and each.protocol != "none"}
        for other in (others[each] for each in (callee, f"{callee}-service", f"{callee}-api") if each in others):
            whole = "{url}" if other.protocol == "http" else "{address}"
            return Read(place=place, callee=other.name, template=_TEMPLATES.get(address["part"], whole))
    return Read(place=place)
