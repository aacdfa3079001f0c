"""The environment of a build: what was declared, and the little that tools need to work at all on this machine.

Called by `build` and `tools`. Everything else of the caller's environment is kept away from builds, so that an artifact
does not depend on whose terminal it was made in. The values here are not part of the key: they say where things are
fetched from and through, not what is made.
"""

from collections.abc import Iterable, Mapping

USUAL_PATH = "/usr/local/bin:/usr/bin:/bin"  # of a caller that has none

# Why each may pass. A * at one end stands for anything there; matched exactly otherwise.
PASSED: Mapping[str, str] = {
    "PATH": "where tools are; which ones are found is in the key",
    "HOME": "configuration and caches of package managers (~/.npmrc, ~/.netrc, ~/.cache, ~/.m2)",
    "XDG_CACHE_HOME": "the same, where it was moved",
    "XDG_CONFIG_HOME": "the same",
    "XDG_DATA_HOME": "the same",
    "PIP_*": "indexes, mirrors and certificates of pip",
    "UV_*": "indexes, mirrors and the cache of uv",
    "NPM_CONFIG_*": "registry, cache and certificates of npm",
    "npm_config_registry": "npm reads this spelling, too",
    "npm_config_cache": "the same",
    "NPM_TOKEN": "what an .npmrc usually names for a private registry",
    "NODE_AUTH_TOKEN": "the same, in GitHub Actions",
    "NODE_EXTRA_CA_CERTS": "a company's own certificate authority",
    "SSL_CERT_*": "the same",
    "REQUESTS_CA_BUNDLE": "the same",
    "CURL_CA_BUNDLE": "the same",
    "GIT_SSL_CAINFO": "the same",
    "*_PROXY": "the way out of a company's network",
    "*_proxy": "the same, as curl spells it",
    "SSH_AUTH_SOCK": "dependencies from private git repositories",
    "GIT_SSH_COMMAND": "the same",
    "GOPROXY": "the module mirror of Go",
    "GOPRIVATE": "the same",
    "GONOPROXY": "the same",
    "GOSUMDB": "the same",
    "GONOSUMDB": "the same",
    "GOINSECURE": "the same",
    "GOPATH": "where Go's caches were put",
    "GOMODCACHE": "the same",
    "GOCACHE": "the same",
    "CARGO_HOME": "where Rust's tools and cache were put",
    "RUSTUP_HOME": "the same",
    "CARGO_NET_*": "whether and how cargo uses the network",
    "CARGO_HTTP_*": "the same",
    "CARGO_REGISTRIES_*": "mirrors and private registries of cargo",
    "CARGO_SOURCE_*": "the same",
    "JAVA_HOME": "where Java was put",
    "MAVEN_ARGS": "mirrors, settings and the repository of Maven",
    "MAVEN_OPTS": "the same",
    "GRADLE_USER_HOME": "where Gradle's cache was put",
    "YARN_*": "registry and cache of yarn",
    "NVM_DIR": "where nvm keeps what it stands for",
    "FNM_DIR": "the same for fnm",
    "N_PREFIX": "the same for n",
    "SDKMAN_DIR": "where SDKMAN! keeps JDKs",
    "GOENV_ROOT": "where goenv keeps what its commands on the PATH stand for",
    "PYENV_*": "where version switchers keep what their commands on the PATH stand for",
    "VOLTA_HOME": "the same",
    "ASDF_*": "the same",
    "MISE_*": "the same",
}

# The date that tools write into what they make, so that two builds are equal (reproducible-builds.org). Zip archives, and
# so jars and wheels, know none before 1980.
EPOCH = "315532800"

# Say where results go, which is the builder's business; they would lead a build out of its folder.
KEPT_AWAY = (
    "UV_PROJECT*",
    "UV_WORKING*",
    "UV_SYSTEM_PYTHON",
    "PIP_TARGET",
    "PIP_PREFIX",
    "PIP_USER",
    "NPM_CONFIG_PREFIX",
)


def build_environment(outer: Mapping[str, str], declared: Mapping[str, str], temporary: str) -> dict[str, str]:
    """What a step's process gets, less the step's own variables.

    Args:
        outer: the environment of the caller.
        declared: `build.env`; wins over what is passed.
        temporary: a private folder for temporary files.
    """
    env = {name: value for name, value in outer.items() if passes(name)}
    env.setdefault("PATH", USUAL_PATH)
    return {**env, "LANG": "C.UTF-8", "SOURCE_DATE_EPOCH": EPOCH, "TMPDIR": temporary, **declared}


def passes(name: str) -> bool:
    """Whether a variable of the caller's environment reaches builds."""
    return _fits(name, PASSED) and not _fits(name, KEPT_AWAY)


def _fits(name: str, patterns: Iterable[str]) -> bool:
    """Whether a pattern means it. By hand: fnmatch would compile fifty of them in each call of the command line."""
    return any(
        name == each
        or (each.endswith("*") and name.startswith(each[:-1]))
        or (each.startswith("*") and name.endswith(each[1:]))
        for each in patterns
    )
