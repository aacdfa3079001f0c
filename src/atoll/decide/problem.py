"""How a check of a specification tells what is wrong: by the service's file and the field. Used by `validate` and its parts."""

from atoll.model.catalogue.ids import ErrorId
from atoll.model.errors import Problem
from atoll.model.spec import ServiceSpec, service_file


def beside(spec: ServiceSpec, name: str) -> str:
    """A file of the service's folder, relative to the workspace."""
    return name if spec.folder == "." else f"{spec.folder}/{name}"


def env_field(spec: ServiceSpec, variable: str) -> str:
    """Where a variable of `env` was written: a store's are merged into it."""
    for store in spec.stores:
        if variable in store.env:
            return f"stores.{store.name}.env.{variable}"
    return f"env.{variable}"


def problem(spec: ServiceSpec, field: str, what: str, fix: str = "", *, id: ErrorId) -> Problem:
    """An error about a field; `what` goes on after its name. The loader adds the line."""
    return Problem(file=service_file(spec), field=field, what=f"{field} {what}", fix=fix, id=id)
