"""The OpenAPI 3.1 document of a table of endpoints, made from it so that it cannot lag behind the API.

`daemon.api` serves it; nothing here handles a request.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from atoll.daemon.endpoint import Endpoint
from atoll.model.wire import ErrorView, PlanView

FILE = "application/octet-stream"
_REF = "#/components/schemas/{name}"


def document(endpoints: Sequence[Endpoint], version: str) -> Mapping[str, Any]:
    """The OpenAPI document of these endpoints."""
    types: list[Any] = [ErrorView, list[PlanView]]
    for endpoint in endpoints:
        types += [part for part in (endpoint.answer, endpoint.body) if part is not None]
    schemas, components = msgspec.json.schema_components(types, ref_template=_REF)
    by_type = dict(zip(map(str, types), schemas, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for endpoint in endpoints:
        paths.setdefault(endpoint.path, {})[endpoint.method.lower()] = _operation(endpoint, by_type)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Atoll", "version": version, "description": "One environment of one workspace."},
        "paths": paths,
        "components": {"schemas": components},
    }


def _operation(endpoint: Endpoint, by_type: Mapping[str, Any]) -> dict[str, Any]:
    parameters: list[dict[str, Any]] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in re.findall(r"{(\w+)}", endpoint.path)
    ]
    for query in endpoint.queries:
        schema: dict[str, Any] = dict(msgspec.json.schema(query.type))
        if query.default is not None:
            schema["default"] = query.default
        if query.many:
            schema = {"type": "array", "items": schema}
        parameters.append({"name": query.name, "in": "query", "description": query.doc, "schema": schema})
    if endpoint.event_id is not None:
        doc = "the id of the last event that arrived; wins over `after`"
        parameters.append({"name": "Last-Event-ID", "in": "header", "description": doc, "schema": {"type": "string"}})
    if endpoint.body is not None and endpoint.method == "POST":
        doc = "a repeated request with the same key gets the first one's answer"
        parameters.append({"name": "Idempotency-Key", "in": "header", "description": doc, "schema": {"type": "string"}})
    kind = "text/event-stream" if endpoint.stream else "application/json"
    good: dict[str, Any] = {"description": "done"}
    if endpoint.answer is bytes:
        good["content"] = {FILE: {"schema": {"type": "string", "format": "binary"}}}
    elif endpoint.answer is not None:
        good["content"] = {kind: {"schema": by_type[str(endpoint.answer)]}}
    error = {"application/json": {"schema": by_type[str(ErrorView)]}}
    operation: dict[str, Any] = {
        "operationId": endpoint.name,
        "summary": endpoint.doc,
        "x-atoll-role": endpoint.role,
        "parameters": parameters,
        "responses": {
            str(endpoint.status): good,
            "default": {"description": "what is wrong, why, and the fix", "content": error},
        },
    }
    if endpoint.plans:
        plan = by_type[str(list[PlanView])]
        if endpoint.status == 200:
            good["content"][kind]["schema"] = {"oneOf": [good["content"][kind]["schema"], plan]}
        else:
            told = {"description": "with `plan`: what would be done", "content": {kind: {"schema": plan}}}
            operation["responses"]["200"] = told
    if endpoint.body is not None:
        kind = FILE if endpoint.body is bytes else "application/json"
        content = {kind: {"schema": by_type[str(endpoint.body)]}}
        operation["requestBody"] = {"required": True, "content": content}
    return operation
