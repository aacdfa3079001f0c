"""Reads the templates of `[files]`: their text becomes part of the specification, and so of the release.

Called by the loader. A template that cannot be read is a problem like any other; its placeholders are judged by
`decide.validate`.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

from msgspec.structs import replace

from atoll.model.errors import Problem
from atoll.model.spec import RenderedFile, ServiceSpec, service_file
from atoll.model.suggest import did_you_mean
from atoll.workspace.positions import field_text

MAX_BYTES = 256 * 1024  # of one file, and of a service's together: it travels with every release


def filled_in(root: Path, spec: ServiceSpec) -> tuple[ServiceSpec, list[Problem]]:
    """The service with the text of its template files, and what is wrong with those."""
    if not spec.files:
        return spec, []
    problems: list[Problem] = []
    read = dict(_read(root, spec, problems))
    size = sum(len(file.text.encode()) for file in read.values())
    if size > MAX_BYTES and not problems:
        what = f"files are {size // 1024} KiB together; they travel with every release, up to {MAX_BYTES // 1024} KiB"
        fix = "what needs no placeholder is read from the artifact, where it lies beside the program"
        problems.append(Problem(file=service_file(spec), field="files", what=what, fix=fix, id="template-unusable"))
    return replace(spec, files=read), problems


def _read(root: Path, spec: ServiceSpec, problems: list[Problem]) -> Iterator[tuple[str, RenderedFile]]:
    for name, file in spec.files.items():
        if file.template is None:
            yield name, file
            continue
        text, what, fix = _text(root / spec.folder, file.template)
        if what:
            field = f"{field_text(('files', name))}.template"
            problems.append(
                Problem(file=service_file(spec), field=field, what=f"{field} {what}", fix=fix, id="template-unusable")
            )
        yield name, replace(file, text=text)


def _text(folder: Path, template: str) -> tuple[str, str, str]:
    """(text, what is wrong, fix)."""
    path = folder / template
    try:
        if not path.resolve().is_relative_to(folder.resolve()):
            return "", f'"{template}" leads out of the service\'s folder', "put the template there"
        with path.open("rb") as opened:
            data = opened.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            return "", f'"{template}" is larger than {MAX_BYTES // 1024} KiB', "it is text with placeholders"
        return data.decode("utf-8"), "", ""
    except FileNotFoundError:
        return "", f'names no file: "{template}"', did_you_mean(template, _beside(folder, path))
    except UnicodeDecodeError as exc:
        line = exc.object.count(b"\n", 0, exc.start) + 1
        return "", f'"{template}" is not UTF-8 (line {line})', "save it as UTF-8"
    except (OSError, RuntimeError) as exc:
        return "", f'"{template}" cannot be read: {getattr(exc, "strerror", None) or exc}', "make it a readable file"


def _beside(folder: Path, path: Path) -> Mapping[str, None]:
    """The files that may have been meant."""
    try:
        return {str(each.relative_to(folder)): None for each in sorted(path.parent.iterdir()) if each.is_file()}
    except (OSError, ValueError):
        return {}
