"""How a check of a specification tells what is wrong: by the service's file and the field. Used by `validate` and its parts."""

from atoll.model.errors import Problem
from atoll.model.spec import ServiceSpec


def service_file(spec: ServiceSpec) -> str:
    """The path of the service's file, relative to the workspace."""
    return beside(spec, "service.toml")


def beside(spec: ServiceSpec, name: str) -> str:
    """A file of the service's folder, relative to the workspace."""
    return name if spec.folder == "." else f"{spec.folder}/{name}"


def problem(spec: ServiceSpec, field: str, what: str, fix: str = "") -> Problem:
    """An error about a field; `what` goes on after its name. The loader adds the line."""
    return Problem(file=service_file(spec), field=field, what=f"{field} {what}", fix=fix)
