"""What each command's help and the manual say beside its own text: exit codes, variables, related commands. Data, and light."""

from collections.abc import Iterator, Mapping, Sequence

EXIT_CODES: Mapping[int, str] = {
    0: "done",
    1: "a bug, with its traceback; `doctor`: a check is bad; `scale`: replicas were not ready in time; `fault`: the proxy did "
    "not acknowledge it in time; `cache`: `verify` found something damaged; `install`: systemd says no",
    2: "a mistake in the command or in a file",
    3: "the deploy failed and was undone; the stable release was never touched; `ci`: a task failed, or --audit found something",
    4: "refused at admission, before anything was touched",
    5: "a conflict with what is going on",
    6: "a build failed",
    7: "the daemon does not answer",
    8: "a job failed, or was stopped",
    9: "undecided: what was measured does not say whether it may go on; it waits for a person",
    130: "Ctrl-C; a deploy or a job that was started goes on",
    143: "SIGTERM; the same",
}
VARIABLES: Mapping[str, str] = {
    "ATOLL_WORKSPACE": "the workspace's folder, as --workspace",
    "ATOLL_ENV": "the environment, as --env",
    "ATOLL_HOST": "where that environment's daemon is, as --host",
    "ATOLL_HOME": "where artifacts, releases, logs and secrets lie; default /var/lib/atoll for root, else "
    "$XDG_DATA_HOME/atoll or ~/.local/share/atoll",
    "ATOLL_RUN": "where the sockets lie; default /run/atoll for root, else /tmp/atoll-UID",
    "ATOLL_CACHE": "the remote cache, before `[cache]` of atoll.toml; `off` is none",
    "ATOLL_NAMESPACE": "whose the results of this run are, instead of what the CI system's variables say",
    "ATOLL_SSH": "the command to use for ssh, with its own options",
    "NO_COLOR": "no colours, whatever else is said",
    "FORCE_COLOR, CLICOLOR_FORCE": "colours in a pipe, too",
    "TERM": "`dumb`: neither colours nor lines that are drawn anew",
    "COLUMNS": "the width to use instead of the terminal's",
}
_OFFLINE = (0, 1, 2)
_CHANGES = (0, 1, 2, 4, 5, 7)
_ROLLS = (0, 1, 2, 3, 4, 5, 7, 130, 143)
_BUILDS = (0, 1, 2, 3, 4, 5, 6, 7, 130, 143)
_LOOKS = (0, 1, 2, 7)
_CODES: Mapping[str, Sequence[int]] = {
    **dict.fromkeys(
        ("init", "check", "graph", "schema", "completion", "version", "help", "eject", "explain", "affected"), _OFFLINE
    ),
    **dict.fromkeys(("up", "deploy"), _BUILDS),
    "dev": (0, 1, 2, 4, 6, 7, 130, 143),
    **dict.fromkeys(("rollback", "restart"), _ROLLS),
    **dict.fromkeys(("scale", "down", "fault"), _CHANGES),
    "store": _ROLLS,
    "run": (0, 1, 2, 4, 5, 7, 8, 130, 143),
    **dict.fromkeys(("logs", "events", "status", "top"), (*_LOOKS, 130, 143)),
    "doctor": _OFFLINE,
    "ci": (0, 1, 2, 3, 130, 143),
    "cache": (0, 1, 2, 5),
    "access": _CHANGES,
    "install": (0, 1, 2),
    "uninstall": (0, 1, 2, 4),
    "backup": (0, 1, 2, 5, 7, 130, 143),
    "restore": (0, 1, 2, 4, 5, 130, 143),
}
_SEE_ALSO: Mapping[str, Sequence[str]] = {
    "init": ("check", "up", "eject"),
    "check": ("schema", "doctor"),
    "ci": ("check", "deploy", "dev"),
    "up": ("dev", "deploy", "status", "down"),
    "dev": ("up", "ci", "deploy", "logs", "down"),
    "deploy": ("rollback", "releases", "why", "logs"),
    "rollback": ("releases", "deploy", "why"),
    "restart": ("scale", "secret"),
    "scale": ("status", "restart"),
    "down": ("up",),
    "run": ("jobs", "logs", "exec"),
    "jobs": ("run", "logs", "why"),
    "status": ("top", "why", "logs", "events"),
    "top": ("status", "why"),
    "logs": ("events", "why"),
    "events": ("logs", "releases"),
    "releases": ("rollback", "why"),
    "affected": ("why", "graph", "deploy"),
    "why": ("explain", "logs", "releases", "doctor"),
    "explain": ("why", "doctor"),
    "doctor": ("check", "status"),
    "graph": ("check", "why"),
    "exec": ("logs", "secret"),
    "secret": ("restart", "exec"),
    "access": ("events", "doctor"),
    "backup": ("restore", "status", "doctor"),
    "restore": ("backup", "up"),
    "store": ("up", "logs", "down", "secret"),
    "records": ("deploy", "events"),
    "eject": ("init",),
    "install": ("uninstall", "doctor", "deploy"),
    "uninstall": ("install", "down"),
    "schema": ("check",),
    "cache": ("toolchain", "deploy"),
}


def exits(command: str) -> Iterator[tuple[str, str]]:
    """The exit codes that a command may end with; those of a new one are the usual ones."""
    for code in _CODES.get(command, _LOOKS):
        text = EXIT_CODES[code]
        if own := text.partition(f"`{command}`: ")[2].partition("; `")[0]:
            text = own if code != 1 else f"{text.partition('; `')[0]}; {own}"
        else:  # what concerns other commands is left out
            text = text.partition("; `")[0]
        yield str(code), text


def related(command: str) -> Sequence[str]:
    """Names of other commands."""
    return _SEE_ALSO.get(command, ())
