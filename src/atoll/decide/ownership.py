"""Who owns which data: stores that several services use, topics that nobody publishes. Pure; `validate` calls it.

That two services write one database is what most often makes them impossible to change, or to deploy, alone.
"""

from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet

from atoll.model.catalogue.ids import ErrorId
from atoll.model.environment import WorkspaceSpec
from atoll.model.errors import Problem
from atoll.model.spec import Plain, SecretRef, ServiceSpec, Store, service_file
from atoll.model.store_url import BROKERS, parse
from atoll.model.suggest import nearest
from atoll.model.templates import placeholders

_LOCAL = "local"  # there a password in a file guards nothing


def shared_data(workspace: WorkspaceSpec) -> Iterator[Problem]:
    """Every finding about stores and topics; what is only doubtful is a warning."""
    yield from _shared_stores(workspace)
    yield from _names(workspace)
    published = {topic.name for each in workspace.services.values() for topic in each.publishes}
    for spec in workspace.services.values():
        for store in spec.stores:
            if (
                workspace.environment.name != _LOCAL
                and store.server is None
                and isinstance(store.url, Plain)
                and parse(store.url.value).password
            ):
                what = f"stores.{store.name} has its password in a file that people share"
                fix = f'url = {{ secret = "{store.name}" }}, and `atoll secret set {store.name}`'
                yield _warning(spec, f"stores.{store.name}", what, fix, "password-in-file")
        yield from _carriers(spec)
        yield from _consumed(spec, published)


def users(services: Mapping[str, ServiceSpec]) -> dict[str, list[tuple[str, str]]]:
    """Each store by `identity`, with the (service, name there) of all that use it."""
    found: dict[str, list[tuple[str, str]]] = {}
    for spec in services.values():
        for store in spec.stores:
            found.setdefault(identity(spec, store), []).append((spec.name, store.name))
    return found


def identity(spec: ServiceSpec, store: Store) -> str:
    """Equal for two services that reach the same data: the same host, port and database, or the same secret."""
    if store.server is not None:
        return f"server {store.name}"
    if isinstance(store.url, SecretRef):
        return f"secret {store.url.name}"
    address = parse(store.url.value, store.type)
    relative = not address.hosts and not address.database.startswith("/")
    if relative or {"data", "service"} & {*placeholders(store.url.value)}:
        return f"{store.url.value} of {spec.name}"
    where = address.address.replace("localhost:", "127.0.0.1:").lower()
    return f"{address.type} {where} {address.database}"


def _shared_stores(workspace: WorkspaceSpec) -> Iterator[Problem]:
    """The second and later users are told who the first is."""
    services = workspace.services
    for uses in users(services).values():
        first, *others = dict(uses)
        for name in others:
            spec, store_name = services[name], dict(uses)[name]
            store = next(each for each in spec.stores if each.name == store_name)
            twice = store.server is not None and store.name not in workspace.stores  # `_names` tells that
            if store.shared or store.type in BROKERS or twice:
                continue
            declared = store_name in workspace.stores and workspace.stores[store_name].url == store.url
            meant = f"stores.{store_name}.shared = true in atoll.toml" if declared else (
                f"declare it once in atoll.toml: [stores.{store_name}] with shared = true"
            )  # fmt: skip
            what = (
                f"stores.{store_name} is the store of {first} ({service_file(services[first])}), too: neither can change"
                " its tables alone"
            )
            fix = f"give each a database of its own, or let {name} ask {first}; if it is meant, {meant}"
            yield _warning(spec, f"stores.{store_name}", what, fix, "shared-store")


def _names(workspace: WorkspaceSpec) -> Iterator[Problem]:
    """A store that Atoll runs is spoken of by its name (`atoll logs orders-db`): nobody else may have it."""
    owners: dict[str, str] = {}
    for spec in workspace.services.values():
        for store in spec.stores:
            if store.server is None:
                continue
            field, declared = f"stores.{store.name}", store.name in workspace.stores
            if store.name in workspace.worked_on:
                what = f"{field} is a store that Atoll runs, and has the name of a {_what(workspace, store.name)}"
                fix = f"another name, such as stores.{store.name}-db"
                yield Problem(file=service_file(spec), field=field, what=what, fix=fix, id="name-taken")
            elif not declared and (owner := owners.setdefault(store.name, spec.name)) != spec.name:
                what = f"{field} is a store of {owner}, too, and Atoll runs each by its name"
                fix = f"give each a name of its own; if it is the same one, declare it once in atoll.toml: [stores.{store.name}]"
                yield Problem(file=service_file(spec), field=field, what=what, fix=fix, id="name-taken")
            if any(call.callee == store.name and not call.store for call in spec.calls):
                field, what = f"calls.{store.name}", "names a store: what it is told of that stands in `stores` alone"
                fix = "take the call out"
                yield Problem(
                    file=service_file(spec), field=field, what=f"{field} {what}", fix=fix, id="fields-contradict"
                )
    for store in workspace.stores.values():
        if store.server is not None and store.name in workspace.worked_on:
            field = f"stores.{store.name}"
            what = f"{field} is a store that Atoll runs, and has the name of a {_what(workspace, store.name)}"
            yield Problem(file="atoll.toml", field=field, what=what, fix="give it another name", id="name-taken")


def _what(workspace: WorkspaceSpec, name: str) -> str:
    return "service" if name in workspace.services else "library"


def _carriers(spec: ServiceSpec) -> Iterator[Problem]:
    names = [store.name for store in spec.stores]
    for field, topics in (("publishes", spec.publishes), ("consumes", spec.consumes)):
        for index, topic in enumerate(topics):
            if topic.store and topic.store not in names:
                at = f"{field}[{index}].store"
                near = nearest(topic.store, names)
                fix = f"did you mean '{near}'?" if near else f'such as stores.{topic.store} = "BROKER_URL"'
                what = f"{at} is no store of {spec.name}: '{topic.store}'"
                yield Problem(file=service_file(spec), field=at, what=what, fix=fix, id="unknown-store")


def _consumed(spec: ServiceSpec, published: AbstractSet[str]) -> Iterator[Problem]:
    for index, topic in enumerate(spec.consumes):
        if topic.external or topic.name in published:
            continue
        near = nearest(topic.name, sorted(published))
        fix = f"did you mean '{near}'?" if near else (
            f'`publishes = ["{topic.name}"]` in the service that does; one outside: {{ topic = "{topic.name}", external = true }}'
        )  # fmt: skip
        what = f"consumes: nobody here publishes '{topic.name}'"
        yield _warning(spec, f"consumes[{index}]", what, fix, "unpublished-topic")


def _warning(spec: ServiceSpec, field: str, what: str, fix: str, id: ErrorId) -> Problem:
    return Problem(file=service_file(spec), field=field, what=what, fix=fix, id=id, level="warning")
