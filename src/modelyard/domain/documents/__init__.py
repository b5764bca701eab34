"""Documents: what the platform does, as typed values checked in full before they are stored.

`checked` says every mistake of a document with its path and the nearest right word. Old versions
are lifted by pure functions, so nothing else ever sees one. Each kind has a module of its own.
"""

import difflib
import re
import typing
from collections.abc import Callable, Iterator, Sequence
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationError

from modelyard.errors import Invalid

API_VERSION = "modelyard/v1"
SERVICE = "Service"
LIMIT = "Limit"
PROVIDER = "Provider"
ACCESS_KEY = "AccessKey"
"""Kinds, as they stand in keys of the store."""

NAME = re.compile(r"[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?")
Name = Annotated[str, StringConstraints(pattern=rf"^{NAME.pattern}$")]

Model = TypeVar("Model", bound=BaseModel)


class Part(BaseModel):
    """A mapping of a document: frozen, and every field is known."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


_LIFTS: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {}
"""Old apiVersion → pure function to the next one."""


def lift(data: dict[str, Any]) -> dict[str, Any]:
    """Bring a document of an older apiVersion to the current one; raises Invalid for others."""
    version = data.get("apiVersion")
    while version in _LIFTS:
        data = _LIFTS[version](data)
        version = data["apiVersion"]
    if version != API_VERSION:
        raise Invalid(
            f"apiVersion is {version!r}; this server speaks {API_VERSION!r}",
            hint=f"write `apiVersion: {API_VERSION}` as the first line",
        )
    return data


def lifted(data: Any, *kinds: str) -> dict[str, Any]:
    """A document of one of these kinds in the current apiVersion. Raises Invalid for all else."""
    if not isinstance(data, dict):
        raise Invalid("a document is a mapping with apiVersion, kind, name and spec")
    current = lift(data)
    kind = current.get("kind")
    if kind not in kinds:
        near = difflib.get_close_matches(str(kind), kinds, n=1)
        meant = f"did you mean {near[0]!r}?" if near else ""
        raise Invalid(f"kind is {kind!r}; known kinds: {', '.join(kinds)}", hint=meant)
    return current


def checked(model: type[Model], data: Any, place: str = "", hint: str = "") -> Model:
    """`data` as a value of the model; `place` is where it stands in its document.

    Raises Invalid that lists every mistake with its path and the nearest right word.
    """
    try:
        return model.model_validate(data)
    except ValidationError as error:
        lines = [_line(model, detail, place) for detail in _details(error)]
        raise Invalid("; ".join(lines), hint=hint) from None


def _details(error: ValidationError) -> list[Any]:
    """Without a list's "too short" where its items were refused already."""
    found = error.errors(include_url=False)
    return [
        one
        for one in found
        if one["type"] != "too_short" or not any(other["loc"][:-1] == one["loc"] for other in found)
    ]


def _line(model: type[BaseModel], detail: Any, place: str) -> str:
    location = tuple(detail["loc"])
    path = ".".join(str(step) for step in (place, *location) if step != "")
    if detail["type"] == "extra_forbidden":
        return f"{path}: unknown field{_nearest(location[-1], _fields_at(model, location[:-1]))}"
    if detail["type"] == "literal_error":
        known = re.findall(r"'([^']*)'", detail["ctx"]["expected"])
        return f"{path}: {detail['input']!r} is none of {', '.join(known)}" + _meant(
            detail["input"], known
        )
    if detail["type"] == "string_pattern_mismatch":
        return f"{path}: use lower-case letters, digits, '.', '_' and '-', at most 63 characters"
    text = _SHAPES.get(detail["type"]) or detail["msg"].removeprefix("Value error, ")
    return f"{path}: {text}"


_SHAPES = {"tuple_type": "must be a list", "model_type": "must be a mapping"}


def _nearest(word: Any, known: tuple[str, ...]) -> str:
    return _meant(word, known) or f"; known: {', '.join(known)}"


def _meant(word: Any, known: Sequence[str]) -> str:
    match = difflib.get_close_matches(str(word), known, n=1)
    return f"; did you mean {match[0]!r}?" if match else ""


def _fields_at(model: type[BaseModel], location: tuple[Any, ...]) -> tuple[str, ...]:
    """The names that a mapping at this place of the document may have."""
    for step in location:
        inner = _field(model, step) if isinstance(step, str) else None
        model = next(_models(inner), model)
    return tuple(field.alias or name for name, field in model.model_fields.items())


def _field(model: type[BaseModel], name: str) -> Any:
    for known, field in model.model_fields.items():
        if name in (known, field.alias):
            return field.annotation
    return None


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    """The models inside an annotation such as `tuple[Part, ...] | None`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in typing.get_args(annotation):
        yield from _models(inner)
