"""Rust services, built by cargo into one program named like the service, at the artifact's top.

Cargo.lock is followed where there is one. Crates are kept in the user's own CARGO_HOME, so a second build of a lock needs no
network. A toolchain is never downloaded. Sources and `target` do not stay.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from atoll.builders import workspaces
from atoll.builders.rust import image
from atoll.builders.switchers import pins, places
from atoll.builders.workspaces import member_of, placed
from atoll.model.building import ImageParts, Scope, Step, Tool, Toolchain
from atoll.model.errors import UserError
from atoll.model.spec import Command, ServiceSpec

TARGET = ".atoll-built"  # a folder of ours, whatever the user's own cargo configuration says
_FIX = "install Rust (https://rustup.rs)"
_CARGO = Tool(name="cargo", fix=_FIX, version=("cargo", "--version"))
_RUSTC = Tool(name="rustc", fix=_FIX, version=("rustc", "--version", "--verbose"))
_LINKER = Tool(name="cc", fix="install a C compiler: Rust links with it", optional=True)
_ENV: Mapping[str, str] = {"CARGO_TARGET_DIR": TARGET, "CARGO_INCREMENTAL": "0", "CARGO_TERM_COLOR": "never"}

# The lock of one member may still say what others asked of a package (its features), which `--locked` would refuse. Cargo
# takes that away by itself; that it adds nothing is seen to here.
_FOLLOWED = Step(
    command=Command(  # noqa: S604 (a value, not a call)
        shell="cp Cargo.lock .atoll-lock && cargo metadata --format-version 1 > .atoll-metadata"
        " && if grep -E '^(checksum|source) ' Cargo.lock | grep -Fxvf .atoll-lock"
        "; then echo 'Cargo.lock lacks these: run cargo build, and commit it' >&2; exit 1; fi"
        " && rm .atoll-lock .atoll-metadata"
    ),
    env=_ENV,
    label="follow Cargo.lock",
)


class Program(NamedTuple):
    """What cargo can build: a binary target and its package."""

    package: str
    name: str
    default: bool = False


class RustBuilder:
    """Compiles the one binary of a package or workspace, or the one that is called like the service."""

    name = "rust"
    recipe = 1
    marks = frozenset({"Cargo.toml"})
    relocatable = True  # a path gets in by `env!` only, and is found there
    toolchain: Toolchain | None = Toolchain(
        name="rust",
        program="rustc",
        places=(
            "$RUSTUP_HOME/toolchains/*",
            "~/.rustup/toolchains/*",
            *places("rust"),
            "/usr/lib/rust-*",
            "/opt/rust*",
        ),
        fix="rustup toolchain install {version}",
        env={"RUSTUP_AUTO_INSTALL": "0"},
        pins=(  # rust-toolchain.toml is rustup's own: it follows channels, components and targets in it
            *pins("rust"),
        ),
    )

    def detect(self, files: frozenset[str]) -> bool:
        """A Cargo.toml."""
        return bool(files & self.marks)

    def tools(self, spec: ServiceSpec, files: frozenset[str], folder: Path) -> Sequence[Tool]:
        """Cargo and rustc, and the C compiler that links."""
        return (_CARGO, _RUSTC, _LINKER)

    def scope(self, spec: ServiceSpec, files: frozenset[str], folder: Path) -> Scope | None:
        """The packages that the service's own reaches by path."""
        from atoll.builders.rust.workspace import tell

        return workspaces.scope(spec, member_of(spec, files, "Cargo.toml"), files, folder, tell)

    def steps(self, spec: ServiceSpec, files: frozenset[str], folder: Path) -> Sequence[Step]:
        """Compile, then keep the program. Raises UserError for a broken Cargo.toml or an unclear choice."""
        program = _program(spec, files, folder)
        member = member_of(spec, files, "Cargo.toml")
        top = "" if "Cargo.toml" in files else f"{member}/"  # of the package's own, where no workspace holds it
        manifest = ("--manifest-path", f"{top}Cargo.toml") if top else ()
        locked = ("--locked",) if f"{top}Cargo.lock" in files else ()
        argv = ("cargo", "build", "--release", *manifest, *locked, "--package", program.package, "--bin", program.name)
        return (
            *([_FOLLOWED] if locked and not top and member != "." else []),
            Step(command=Command(argv=argv), env=_ENV, label="compile"),
            Step(
                command=Command(  # noqa: S604 (a value, not a call)
                    shell=f"cp {TARGET}/release/{program.name} {TARGET}.program && rm -rf {TARGET} target vendor"
                    " && find . -type f '(' -name '*.rs' -o -name Cargo.toml -o -name Cargo.lock ')' -delete"
                    " && find . -mindepth 1 -type d -empty -delete"
                    f" && {placed(spec, f'{TARGET}.program', spec.name)}"
                ),
                label="keep the program",
            ),
        )

    def command_env(self, spec: ServiceSpec, files: frozenset[str], folder: Path) -> Mapping[str, str]:
        """Nothing: the program stands alone."""
        return {}

    def image(self, spec: ServiceSpec, files: frozenset[str], folder: Path, version: str) -> ImageParts:
        """The compiler's image, and a small one of the same Debian."""
        return image.parts(files, version, ours=not spec.build.steps)


def _program(spec: ServiceSpec, files: frozenset[str], folder: Path) -> Program:
    """The binary that is the service: the one of its name, the default one, the only one."""
    own = {f"{member_of(spec, files, 'Cargo.toml')}/Cargo.toml"} & files
    found = sorted({each for path in own for each in _programs(spec, path, files, folder)}) or sorted(
        {each for path in files if _is_manifest(path) for each in _programs(spec, path, files, folder)}
    )
    for fitting in (
        [each for each in found if each.name == spec.name],
        [each for each in found if each.package == spec.name],
        [each for each in found if each.default],
        found,
    ):
        if len(fitting) == 1:
            return fitting[0]
    if not found:
        raise UserError(
            f"{spec.name} has no program",
            f"no package in {spec.folder} has a src/main.rs, a src/bin or a [[bin]]",
            "add one, or name another [build] builder",
            id="program-unclear",
        )
    raise UserError(
        f"{spec.name} has {len(found)} programs",
        f"{', '.join(each.name for each in found)}, and none is called {spec.name}",
        f'set `default-run = "{found[0].name}"` in Cargo.toml, or give one the name {spec.name}',
        id="program-unclear",
    )


def _is_manifest(path: str) -> bool:
    parts = PurePosixPath(path).parts
    return parts[-1] == "Cargo.toml" and not {"target", "vendor"}.intersection(parts)


def _programs(spec: ServiceSpec, manifest: str, files: frozenset[str], folder: Path) -> Iterator[Program]:
    content = _toml(spec, manifest, folder)
    package = content.get("package")
    if not isinstance(package, dict) or not isinstance(package.get("name"), str):
        return
    name, default = package["name"], package.get("default-run")
    at = PurePosixPath(manifest).parent
    names = {name} if str(at / "src/main.rs") in files else set()
    sources = at / "src/bin"
    for path in files:
        file = PurePosixPath(path)
        if file.parent == sources and file.suffix == ".rs":
            names.add(file.stem)
        elif file.parent.parent == sources and file.name == "main.rs":
            names.add(file.parent.name)
    bins = content.get("bin")
    for each in bins if isinstance(bins, list) else ():
        if isinstance(each, dict) and isinstance(each.get("name"), str):
            if each.get("path", "src/main.rs") == "src/main.rs":
                names.discard(name)
            names.add(each["name"])
    for each in sorted(names):
        yield Program(name, each, each == default)


def _toml(spec: ServiceSpec, manifest: str, folder: Path) -> Mapping[str, Any]:
    import tomllib

    try:
        return tomllib.loads((folder / manifest).read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        where = f"{spec.folder}/{manifest}"
        raise UserError(f"{where} cannot be read", str(exc), "correct the file", id="file-not-understood") from exc
