"""How artifacts are made, as values: what a `ports.Builder` returns, and the pipeline runs."""

from collections.abc import Mapping

import msgspec

from atoll.model.command import Command


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One command of a build, as a value: what, where, with what environment."""

    command: Command
    env: Mapping[str, str] = {}
    label: str = ""


class Tool(msgspec.Struct, frozen=True, kw_only=True):
    """A program that a build needs and how to get it."""

    name: str
    fix: str
    version: tuple[str, ...] = ()  # argv whose output goes into the key; () is: the program's file itself (size, time)
    optional: bool = False  # its absence fails nothing; its presence goes into the key


class Pin(msgspec.Struct, frozen=True, kw_only=True):
    """A file of a project that names a version for other tools. `pattern`'s first group is the version, line by line."""

    file: str
    pattern: str
    least: bool = False  # any newer one fits, too
    must: bool = False  # the build fails with another one, so that it need not be tried


class Wheel(msgspec.Struct, frozen=True, kw_only=True):
    """A distribution of the Python package index that holds a toolchain for this machine."""

    distribution: str
    home: str  # its folder that has `bin`
    links: Mapping[str, str] = {}  # in `home`: link -> target; a wheel holds copies in their place, which do not work
    maker: str  # whom one trusts with it


class Toolchain(msgspec.Struct, frozen=True, kw_only=True):
    """A language's compiler or interpreter, of which a machine may have several: where they lie, how to get one.

    `places` are globs of home folders (`~` and `$NAME` are filled in; one whose variable is unset is passed over). Each
    has `program` in its `bin`. The version is what `version_file` says, else the folder's name, else the program.
    Of `pins` in one folder the first counts.
    """

    name: str  # as in `tool = "go@1.24"`
    program: str  # a name, or a glob of names: "python3*"
    places: tuple[str, ...]
    fix: str  # how to get one; "{version}" is what was asked for
    version: tuple[str, ...] = ("--version",)  # arguments that make the program say it
    version_file: str = ""  # relative to the home folder
    env: Mapping[str, str] = {}  # for every build in this language
    chosen_env: Mapping[str, str] = {}  # for a build with a chosen one; "{home}" and "{program}" are filled in
    at_run: bool = False  # whether the finished service needs it, too
    pins: tuple[Pin, ...] = ()
    wheel: Wheel | None = None  # None: no package registry has it


class Scope(msgspec.Struct, frozen=True, kw_only=True):
    """What a service reaches of a context that holds others, too, by what the workspace's own files declare.

    Paths are POSIX and relative to the context. A scope holds while the context has files of the same names, and those
    in `reads` the same content: nothing else was looked at.
    """

    folders: tuple[str, ...] = ()  # all that is below them goes in; "." is everything
    files: tuple[str, ...] = ()  # further single files
    rewritten: Mapping[str, str] = {}  # manifests and lockfiles, cut to what goes in: path -> the text in their place
    why: Mapping[str, str] = {}  # folder or file -> what asks for it; "." -> why everything goes in
    reads: tuple[str, ...] = ()


class ImageParts(msgspec.Struct, frozen=True, kw_only=True):
    """What of a generated Dockerfile is a technology's own: where it starts, and what is done before the sources come.

    Both builders of Docker must understand what is made of it, so there is no mount of a cache: what `early` fetches is kept as
    a layer, which stands until one of the `manifests` changes.
    """

    base: str  # the usual image to build in
    run_base: str  # the usual one to run in
    setup: tuple[Step, ...] = ()  # what the base may lack
    manifests: tuple[str, ...] = ()  # files that say what is fetched; () fetches nothing early
    early: tuple[Step, ...] = ()  # what can be done with these alone
    done: int = 0  # how many of the first steps of the build these are themselves
    copies: tuple[str, ...] = ()  # absolute folders of the base that the finished service needs, too
    path: tuple[str, ...] = ()  # folders of programs, relative to the artifact
    env: Mapping[str, str] = {}  # of the finished service; `{folder}` is the artifact's
    mirrors: tuple[
        str, ...
    ] = ()  # variables of the caller that say where packages come from; their values do not count
