"""Which store a service means in one environment, and what its variables get. Called by the loader. Pure."""

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from msgspec.structs import replace

from atoll.model.catalogue.ids import ErrorId
from atoll.model.environment import WorkspaceSpec
from atoll.model.spec import STORE_POLICY, Call, EnvValue, Plain, SecretRef, Server, Store
from atoll.model.store_url import (
    RUN_TYPES,
    STORE_PLACEHOLDERS,
    parse,
    password_of,
    server_database,
    server_user,
    server_values,
)
from atoll.model.suggest import did_you_mean, nearest
from atoll.model.templates import partly, placeholders
from atoll.workspace.fields_stores import USUAL_URL
from atoll.workspace.kinds import Mistake

_IDENTITY = ("service", "release")  # known when a replica starts
# The fields of a store that Atoll runs, by attribute, as the file has them.
_OF_SERVER = {name: name for name in ("image", "version", "user", "database", "server")} | {"memory_bytes": "memory"}
_UNKNOWN_OF_IMAGE = {
    "url": "say its `type`, which is what its URL begins with; or use {address}",
    "password": 'name it in its variables: server.env = { MYSQL_ROOT_PASSWORD = "{password}" }',
    "user": "say `user`",
    "database": "say `database`",
}


class Stores:
    """What a file's `[stores]` says, for one environment of `environments`. `mistakes` grow while it is asked.

    `unread` are stores whose URL has a mistake that was told already: nothing is said that only follows from it.
    """

    def __init__(self, environment: str, environments: Collection[str], unread: Collection[str] = ()) -> None:
        self.environment, self.environments, self.unread = environment, environments, unread
        self.mistakes: list[Mistake] = []

    def shared(self, given: Mapping[str, Mapping[str, Any]]) -> dict[str, Store]:
        """Those of atoll.toml."""
        found = {name: self._declared(name, fields) for name, fields in given.items()}
        return {name: store for name, store in found.items() if store is not None}

    def of_service(
        self, given: Mapping[str, Mapping[str, Any]], shared: Mapping[str, Store], env: Collection[str]
    ) -> tuple[Store, ...]:
        """Those of a service.toml; `shared` are the ones of atoll.toml, `env` the variables that `[env]` sets."""
        found: list[Store] = []
        for name, fields in given.items():
            named = "url" not in fields and (name in shared or name in self.unread)
            store = self._named(name, fields, shared) if named else self._declared(name, fields, list(shared))
            if store is not None:
                self.mistakes += _wrong_templates(store)
                found.append(store)
        self.mistakes += _wrong_variables(found, env)
        return tuple(found)

    def _declared(self, name: str, fields: Mapping[str, Any], shared: Collection[str] = ()) -> Store | None:
        """One that has a URL here, or that Atoll runs; `shared` are names that it may have been meant to be."""
        plain = {key: value for key, value in fields.items() if key not in _OF_SERVER}
        if "url" in fields and not (self._elsewhere(fields["url"]) and fields.keys() & {"type", "image"}):
            for key in sorted(fields.keys() & _OF_SERVER.keys()) if not isinstance(fields["url"], Mapping) else ():
                what = "is for a store that Atoll runs, and one with a `url` is somebody else's"
                self._wrong(what, "take one of the two out", name, _OF_SERVER[key], id="fields-contradict")
            url = self._url(name, fields["url"])
            return None if url is None else _typed(Store(name=name, **{**plain, "url": url}))
        if "url" in fields:
            self._environments(name, fields["url"])
        server = self._server(name, fields, shared)
        return None if server is None else Store(name=name, **{**plain, "url": Plain(""), "server": server})

    def _server(self, name: str, fields: Mapping[str, Any], shared: Collection[str]) -> Server | None:
        """What Atoll would run."""
        type, told = fields.get("type", ""), fields.get("server")
        own = {key: fields[key] for key in _OF_SERVER if key in fields and key != "server"}
        if type in RUN_TYPES:
            if told is not None:
                what = f"is for an image whose type is not known: Atoll knows how {type} is run"
                self._wrong(what, "take it out, or `type`", name, "server", id="fields-contradict")
            if type != "postgres":
                for key in sorted(own.keys() & {"database", *(() if type == "nats" else ("user",))}):
                    self._wrong(f"has no meaning for {type}", "take it out", name, key, id="fields-contradict")
            user, database = server_user(name, type), server_database(name, type)
            return Server(**{"user": user, "database": database, **own})
        if "image" in fields and told is not None:
            if "version" in own:
                what = "is for the types that Atoll knows"
                self._wrong(what, "it is part of the image's name", name, "version", id="fields-contradict")
            whole: Server = replace(told, **own)
            return whole
        if "image" in fields:
            fix = f'say what it is: type = "postgres"; or what must be told of it: server = {{ port = 3306, data = "/var/lib/{type or name}" }}'
            self._wrong("has an image and neither a type that Atoll knows nor `server`", fix, name)
        elif type:
            what = f"has a type but no `url`, and Atoll cannot run {type} by its name alone"
            fix = f'say where it is: url = "{type}://127.0.0.1/{name}" or {{ secret = "{name}" }}; or what to run: image = "{type}", and `server`'
            self._wrong(what, fix, name)
        elif near := nearest(name, shared):
            what, fix = "has no `url`, and atoll.toml has no store of this name", f"did you mean '{near}'?"
            self._wrong(what, fix, name)
        else:
            what = "has neither a `url` nor a `type`, and atoll.toml has no store of this name"
            fix = f'let Atoll run it: type = "postgres"; or say where it is: url = "postgres://db:5432/{name}"; or, for several services, in atoll.toml: [stores.{name}]'
            self._wrong(what, fix, name)
        return None

    def _wrong(self, what: str, fix: str, *at: str, id: ErrorId = "wrong-value") -> None:
        self.mistakes.append(Mistake(what, fix, ("stores", *at), id=id))

    def _named(self, name: str, fields: Mapping[str, Any], shared: Mapping[str, Store]) -> Store | None:
        """A store of atoll.toml."""
        if name not in shared:
            return None
        for key in sorted(fields.keys() - {"env", "type"}):
            field = _OF_SERVER.get(key, key)
            what = f"is also said by atoll.toml, which has [stores.{name}] for all services"
            self._wrong(what, "take it out here, or the store out there", name, field, id="fields-contradict")
        return replace(shared[name], **{key: fields[key] for key in ("env", "type") if key in fields})

    def _elsewhere(self, url: EnvValue | Mapping[str, EnvValue]) -> bool:
        """Whether a table of URLs leaves this environment out."""
        return isinstance(url, Mapping) and self.environment not in url

    def _environments(self, name: str, url: Mapping[str, EnvValue]) -> None:
        for unknown in [each for each in url if each not in self.environments]:
            fix = did_you_mean(unknown, self.environments)
            self._wrong("is no environment of atoll.toml", fix, name, "url", unknown, id="unknown-environment")

    def _url(self, name: str, url: EnvValue | Mapping[str, EnvValue]) -> EnvValue | None:
        """The one of this environment."""
        if not isinstance(url, Mapping):
            return url
        self._environments(name, url)
        if self.environment in url:
            return url[self.environment]
        fix = f'add {self.environment} = "..." or {{ secret = "{name}" }}; or a `type`, and Atoll runs it there'
        self._wrong(f"says nothing for the environment '{self.environment}'", fix, name, "url")
        return None


def servers(workspace: WorkspaceSpec) -> WorkspaceSpec:
    """With the stores that Atoll runs beside the services, whose releases are none the wiser when one gets more memory."""
    own = (store for spec in workspace.services.values() for store in spec.stores)
    found = {store.name: store for store in (*own, *workspace.stores.values()) if store.server is not None}
    if not found:
        return workspace
    services = {
        name: replace(spec, stores=tuple(replace(one, server=one.server and Server()) for one in spec.stores))
        for name, spec in workspace.services.items()
    }
    return replace(workspace, services=services, servers=found)


def calls(stores: Collection[Store]) -> tuple[Call, ...]:
    """The edges through which a service reaches those that Atoll runs."""
    mine = (store for store in stores if store.server is not None)
    return tuple(Call(callee=store.name, protocol="tcp", store=True, policy=STORE_POLICY) for store in mine)


def variables(stores: Collection[Store]) -> dict[str, EnvValue]:
    """What the stores add to a service's `env`; a part of a secret is a secret, too."""
    found: dict[str, EnvValue] = {}
    for store in stores:
        for name, template in store.env.items():
            if store.server is not None:
                found[name] = _told(store, template)
            elif isinstance(store.url, SecretRef):
                found[name] = SecretRef(store.url.name, part="" if template == USUAL_URL else template)
            else:
                found[name] = Plain(partly(template, _values(store)))
    return found


def _told(store: Store, template: str) -> EnvValue:
    """Of one that Atoll runs: the caller's edge to it, and its password."""
    text = partly(template, _values(store))
    if "password" in placeholders(text):
        return SecretRef(password_of(store.name), part=text, password=True)
    return Plain(text)


def _typed(store: Store) -> Store:
    if store.type or isinstance(store.url, SecretRef):
        return store
    return replace(store, type=parse(store.url.value).type)


def _values(store: Store) -> Mapping[str, str]:
    if (server := store.server) is not None:
        named = any(
            "password" in placeholders(value.value) for value in server.env.values() if isinstance(value, Plain)
        )
        password = named or store.type in RUN_TYPES
        return server_values(store.name, store.type, server.user, server.database, password=password)
    assert isinstance(store.url, Plain)
    return parse(store.url.value, store.type).values(store.url.value)


def _wrong_templates(store: Store) -> Iterator[Mistake]:
    known = (*STORE_PLACEHOLDERS, *_IDENTITY)
    has = known if isinstance(store.url, SecretRef) else (*_values(store), *_IDENTITY)
    for variable, template in store.env.items():
        at = ("stores", store.name, "env", variable)
        for name in placeholders(template):
            if name not in known:
                yield Mistake(
                    f"has an unknown placeholder {{{name}}}", did_you_mean(name, known), at, id="unknown-placeholder"
                )
            elif name not in has and store.server is not None:
                what = f"wants {{{name}}}, which is not known of this image"
                yield Mistake(what, _UNKNOWN_OF_IMAGE.get(name, ""), at, id="unknown-placeholder")
            elif name not in has:
                yield Mistake(f"wants {{{name}}}, which the store's URL does not have", "write it into the URL", at)


def _wrong_variables(stores: Collection[Store], env: Collection[str]) -> Iterator[Mistake]:
    taken = {name: f"env.{name}" for name in env}
    for store in stores:
        for variable in store.env:
            if variable in taken:
                what, fix = f"is also set by {taken[variable]}", "give each a variable of its own"
                yield Mistake(what, fix, ("stores", store.name, "env", variable), id="variable-twice")
            taken[variable] = f"stores.{store.name}.env.{variable}"


def unread(raw: Mapping[str, Any], given: Mapping[str, Any]) -> set[str]:
    """The stores of a file that say something of a URL which could not be read. `raw` is the file, `given` what was read."""
    written = raw.get("stores")
    if not isinstance(written, dict):
        return set()
    good = given.get("stores", {})
    return {
        name
        for name, fields in written.items()
        if name not in good or (isinstance(fields, dict) and "url" in fields and "url" not in good[name])
    }
