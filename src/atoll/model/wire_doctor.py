"""What `atoll doctor` says of the machine and of the environment."""

import msgspec


class ToolchainHome(msgspec.Struct, frozen=True, kw_only=True):
    """One toolchain."""

    language: str
    version: str
    home: str  # its folder, which has `bin`; "" in a plan that would fetch it
    fetched: bool = False  # by Atoll, for this workspace


class ToolchainWish(msgspec.Struct, frozen=True, kw_only=True):
    """What one service asks for."""

    service: str
    version: str  # "1.24", "1.24 or newer"; "" is any
    by: str  # "[build] tool", ".nvmrc", "go.mod"; "" is only that it is of the language
    met: bool | None  # null: not by what is there, and the build goes on with another or fetches it
    home: str = ""  # of the one that a build takes; "" is none, or whatever a version switcher on the PATH says


class ToolchainView(msgspec.Struct, frozen=True, kw_only=True):
    """One language: what is there, who asks for what, how to get another."""

    language: str
    there: tuple[ToolchainHome, ...] = ()
    asked: tuple[ToolchainWish, ...] = ()
    fix: str = ""


class DoctorView(msgspec.Struct, frozen=True, kw_only=True):
    """One check of the machine or the environment. `ok` None: worth knowing, stops nothing."""

    check: str
    ok: bool | None
    text: str = ""
    fix: str = ""
    toolchain: ToolchainView | None = None  # of a language's check
