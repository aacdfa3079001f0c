"""Which store a service means in one environment, and what its variables get. Called by the loader. Pure."""

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from msgspec.structs import replace

from atoll.model.spec import EnvValue, Plain, SecretRef, Store
from atoll.model.store_url import STORE_PLACEHOLDERS, parse
from atoll.model.suggest import did_you_mean, nearest
from atoll.model.templates import partly, placeholders
from atoll.workspace.fields_stores import USUAL_URL
from atoll.workspace.kinds import Mistake

_IDENTITY = ("service", "release")  # known when a replica starts


class Stores:
    """What a file's `[stores]` says, for one environment of `environments`. `mistakes` grow while it is asked.

    `unread` are stores whose URL has a mistake that was told already: nothing is said that only follows from it.
    """

    def __init__(self, environment: str, environments: Collection[str], unread: Collection[str] = ()) -> None:
        self.environment, self.environments, self.unread = environment, environments, unread
        self.mistakes: list[Mistake] = []

    def shared(self, given: Mapping[str, Mapping[str, Any]]) -> dict[str, Store]:
        """Those of atoll.toml."""
        found: dict[str, Store] = {}
        for name, fields in given.items():
            url = self._url(name, fields["url"]) if "url" in fields else None
            if url is not None:
                found[name] = _typed(Store(name=name, **{**fields, "url": url}))
        return found

    def of_service(
        self, given: Mapping[str, Mapping[str, Any]], shared: Mapping[str, Store], env: Collection[str]
    ) -> tuple[Store, ...]:
        """Those of a service.toml; `shared` are the ones of atoll.toml, `env` the variables that `[env]` sets."""
        found: list[Store] = []
        for name, fields in given.items():
            store = self._declared(name, fields) if "url" in fields else self._named(name, fields, shared)
            if store is not None:
                self.mistakes += _wrong_templates(store)
                found.append(store)
        self.mistakes += _wrong_variables(found, env)
        return tuple(found)

    def _declared(self, name: str, fields: Mapping[str, Any]) -> Store | None:
        url = self._url(name, fields["url"])
        return None if url is None else _typed(Store(name=name, **{**fields, "url": url}))

    def _named(self, name: str, fields: Mapping[str, Any], shared: Mapping[str, Store]) -> Store | None:
        """A store of atoll.toml; one of a type alone would be Atoll's to start, which no engine does yet."""
        if name in shared:
            return replace(shared[name], **fields)
        if name in self.unread:
            return None
        at = ("stores", name)
        if type := fields.get("type"):
            what = f"has a type but no `url`: Atoll tells a service where its {type} is, and does not start one"
            fix = (
                f'start it yourself, and say where it is: url = "{type}://127.0.0.1/{name}" or {{ secret = "{name}" }}'
            )
        elif near := nearest(name, list(shared)):
            what, fix = "has no `url`, and atoll.toml has no store of this name", f"did you mean '{near}'?"
        else:
            what = "has no `url`, and atoll.toml has no store of this name"
            fix = f'say where it is: url = "postgres://db:5432/{name}"; or, for several services, in atoll.toml: [stores.{name}]'
        self.mistakes.append(Mistake(what, fix, at))
        return None

    def _url(self, name: str, url: EnvValue | Mapping[str, EnvValue]) -> EnvValue | None:
        """The one of this environment."""
        if not isinstance(url, Mapping):
            return url
        at = ("stores", name, "url")
        for unknown in [each for each in url if each not in self.environments]:
            fix = did_you_mean(unknown, self.environments)
            self.mistakes.append(
                Mistake("is no environment of atoll.toml", fix, (*at, unknown), id="unknown-environment")
            )
        if self.environment in url:
            return url[self.environment]
        fix = f'add {self.environment} = "..." or {{ secret = "{name}" }}'
        self.mistakes.append(Mistake(f"says nothing for the environment '{self.environment}'", fix, at))
        return None


def variables(stores: Collection[Store]) -> dict[str, EnvValue]:
    """What the stores add to a service's `env`; a part of a secret is a secret, too."""
    found: dict[str, EnvValue] = {}
    for store in stores:
        for name, template in store.env.items():
            if isinstance(store.url, SecretRef):
                found[name] = SecretRef(store.url.name, part="" if template == USUAL_URL else template)
            else:
                found[name] = Plain(partly(template, _values(store)))
    return found


def _typed(store: Store) -> Store:
    if store.type or isinstance(store.url, SecretRef):
        return store
    return replace(store, type=parse(store.url.value).type)


def _values(store: Store) -> Mapping[str, str]:
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
