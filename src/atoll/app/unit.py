"""The systemd unit of a served environment, as text. Why each setting is so stands in ADR 0039."""

from collections.abc import Mapping, Sequence
from hashlib import blake2s

from atoll.eject.units import word
from atoll.workspace.places import served_name, unit_name

START_S = 90  # `serve --wait` gives up before, with the reason
STOP_S = 150  # `serve --stop` ends what does not end by itself before
_LONGEST_USER = 31  # utmp(5) has no room for more, and systemd-sysusers refuses it
_NEVER = (  # what nobody in an environment has to do with: not the keeper as root, not what it starts
    *(
        "CAP_SYS_MODULE",
        "CAP_SYS_BOOT",
        "CAP_SYS_TIME",
        "CAP_SYS_RAWIO",
        "CAP_SYSLOG",
        "CAP_WAKE_ALARM",
        "CAP_SYS_PACCT",
    ),
    *("CAP_MAC_ADMIN", "CAP_MAC_OVERRIDE", "CAP_LINUX_IMMUTABLE", "CAP_AUDIT_CONTROL", "CAP_SYS_TTY_CONFIG"),
)


def proxy_user(workspace: str, environment: str) -> str:
    """The account that its proxy runs as: the unit's name, or as much of it as fits and the rest's digest."""
    name = unit_name(workspace, environment)
    if len(name) <= _LONGEST_USER:
        return name
    digest = blake2s(name.encode(), digest_size=4).hexdigest()
    return f"{name[: _LONGEST_USER - len(digest) - 1]}-{digest}"


def accounts(workspace: str, environment: str) -> str:
    """The account, as sysusers.d(5) has it: of the system, without a password, a home or a shell."""
    return f'u {proxy_user(workspace, environment)} - "Atoll, proxy of {environment} of {served_name(workspace)}"\n'


def variables_file(workspace: str, environment: str) -> str:
    """Where the machine's administrator keeps variables for `inherit`, and for the daemon."""
    return f"/etc/atoll/{served_name(workspace)}.{environment}.env"


def unit(workspace: str, environment: str, python: str, variables: Mapping[str, str]) -> str:
    """The unit. `python` is the interpreter with Atoll; `variables` are those that say where things lie."""
    serve = [python, "-P", "-m", "atoll.app.serve", workspace, environment]
    lines = [
        "# Written by `atoll install`, which writes it anew; your own settings go in a drop-in: `systemctl edit`.",
        "[Unit]",
        f"Description=Atoll: {environment} of {workspace}",
        "Wants=network-online.target",
        "After=network-online.target docker.service",
        "StartLimitIntervalSec=0",  # an environment is never given up
        "",
        "[Service]",
        "Type=exec",
        f"ExecStart={_command([*serve, '--isolate'])}",
        f"ExecStartPost={_command([*serve, '--wait'])}",
        f"ExecReload={_command([*serve, '--reload'])}",
        f"ExecStop={_command([*serve, '--stop'])}",
        *(f"Environment={word(f'{name}={text}', dollars=False)}" for name, text in variables.items()),
        f"EnvironmentFile=-{variables_file(workspace, environment)}",
        "SyslogIdentifier=atoll",
        "KillMode=process",
        "Restart=always",
        "RestartSec=1",
        f"TimeoutStartSec={START_S}",
        f"TimeoutStopSec={STOP_S}",
        f"Slice={unit_name(workspace, environment)}.slice",
        "Delegate=yes",
        "OOMPolicy=continue",
        "TasksMax=infinity",
        "LimitNOFILE=1024:524288",
        "UMask=0077",
        f"CapabilityBoundingSet=~{' '.join(_NEVER)}",
        "",
        "[Install]",
        "WantedBy=multi-user.target",
    ]
    return "\n".join(lines) + "\n"


def _command(argv: Sequence[str]) -> str:
    return " ".join(word(each) for each in argv)
