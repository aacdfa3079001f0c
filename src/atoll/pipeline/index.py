"""Which Python package index the user configured, for uv: uv's own settings, else pip's.

Called by `provide`. Builds of Python services are uv's business alone; here pip's settings count, too, since a company
that mirrors PyPI usually says so to pip.
"""

import configparser
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

_UV = ("UV_DEFAULT_INDEX", "UV_INDEX_URL", "UV_INDEX", "UV_EXTRA_INDEX_URL")


def index_environment(env: Mapping[str, str], root: Path, etc: str = "/etc") -> dict[str, str]:
    """What to add to uv's environment. Nothing where uv is configured itself: by variables, or by files around `root`.

    Args:
        env: the environment of the call.
        root: the folder that uv will run in.
        etc: where the machine's own settings are.
    """
    if any(env.get(name) for name in _UV) or any(_names_an_index(file) for file in _uv_files(env, root, etc)):
        return {}
    said = _pip_settings(env, etc)
    found = {
        "UV_DEFAULT_INDEX": env.get("PIP_INDEX_URL") or said.get("index-url"),
        "UV_INDEX": env.get("PIP_EXTRA_INDEX_URL") or said.get("extra-index-url"),
        "UV_INSECURE_HOST": env.get("PIP_TRUSTED_HOST") or said.get("trusted-host"),
        "SSL_CERT_FILE": env.get("SSL_CERT_FILE") or env.get("PIP_CERT") or said.get("cert"),
    }
    return {name: " ".join(text.split()) for name, text in found.items() if text}


def _uv_files(env: Mapping[str, str], root: Path, etc: str) -> Iterator[Path]:
    yield from (folder / name for folder in (root, *root.parents) for name in ("uv.toml", "pyproject.toml"))
    home = env.get("XDG_CONFIG_HOME") or f"{env.get('HOME', '')}/.config"
    yield from (Path(home, "uv/uv.toml"), Path(etc, "uv/uv.toml"))


def _names_an_index(file: Path) -> bool:
    try:
        text = file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    return "index-url" in text or "[[index]]" in text or "[[tool.uv.index]]" in text


def _pip_settings(env: Mapping[str, str], etc: str) -> dict[str, str]:
    """Pip's files, in pip's order: a later one counts more, and `[install]` more than `[global]`."""
    config, home = env.get("PIP_CONFIG_FILE", ""), env.get("HOME", "")
    files = [
        *(f"{etc}/xdg/pip/pip.conf", f"{etc}/pip.conf", f"{home}/.pip/pip.conf"),
        f"{env.get('XDG_CONFIG_HOME') or f'{home}/.config'}/pip/pip.conf",
        f"{sys.prefix}/pip.conf",
        config,
    ]
    settings: dict[str, str] = {}
    for file in files if config != os.devnull else ():
        parser = configparser.RawConfigParser()
        try:
            parser.read([file] if file else [], encoding="utf-8")
        except (configparser.Error, UnicodeDecodeError):
            continue  # pip itself would say so
        for section in ("global", "install"):
            if parser.has_section(section):
                settings |= {name.replace("_", "-"): text for name, text in parser.items(section)}
    return settings
