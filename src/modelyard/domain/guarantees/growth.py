"""How often one place of a value may be looked at while it is checked against a schema.

A schema can be small and its check endless: twenty definitions that each name the next one twice
make a million looks, and so does one that names itself twice where the answer is twenty levels
deep. Gateways have one thread, so such a schema is refused before it is used.
"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple
from urllib.parse import unquote

MOST_LOOKS = 20_000
DEEPEST_ANSWER = 32
"""Levels of an answer that is checked against a schema that refers to its own parts."""
_MOST_STEPS = 50_000
"""Of the count itself, which must not be endless either."""
_AT_ANY_DEPTH = -1
_SAME_PLACE = ("not", "if", "then", "else", "propertyNames")
_SAME_PLACE_LISTS = ("allOf", "anyOf", "oneOf")
_SAME_PLACE_MAPS = ("dependentSchemas", "dependencies")
_REFERENCES = ("$ref", "$dynamicRef", "$recursiveRef")
_OTHER_ITEMS = ("items", "additionalItems")
_ALL_ITEMS = ("contains", "unevaluatedItems")


class Looks(NamedTuple):
    """At the place itself; below it through objects; below it through arrays. A value is never
    both an object and an array, so that the two are not added."""

    here: int
    objects: int
    arrays: int

    @property
    def most(self) -> int:
        """Of any place at or below."""
        return self.here + max(self.objects, self.arrays)


_ONE = Looks(1, 0, 0)


class Parts(NamedTuple):
    """The schemas that a schema holds, by where of a value they are looked at."""

    same: list[Any]
    named: list[Any]
    """Of members with different names, and of those that have no name: one place meets one."""
    objects: list[Any]
    listed: list[Any]
    """Of elements at different places of a list, and of those behind them."""
    arrays: list[Any]


_ENDLESS = "names its own parts so often that checking an answer would not come to an end"


def trouble(root: Any) -> str:
    """Why answers cannot be checked against this schema: one place would be looked at more than
    `MOST_LOOKS` times, or that cannot be told. Empty where they can."""
    growth = _Growth(root)
    try:
        growth.find_loops(root)
        looks = (growth.looks(root, depth).most for depth in range(DEEPEST_ANSWER + 1))
        return _ENDLESS if max(looks) > MOST_LOOKS else ""
    except RecursionError:
        return _ENDLESS
    except _UncountableError as error:
        return str(error)


class _UncountableError(Exception):
    """It cannot be told how many looks there are."""


class _Growth:
    def __init__(self, root: Any) -> None:
        self._root = root
        self._parts: dict[int, Parts] = {}
        self._loops: dict[int, bool | None] = {}
        """Whether a schema comes upon itself below; None while that is looked for."""
        self._known: dict[tuple[int, int], Looks] = {}
        self._open: set[tuple[int, int]] = set()
        self._steps = 0

    def find_loops(self, schema: Any) -> bool:
        """Whether this schema, or one below it, comes upon itself again."""
        if not isinstance(schema, dict):
            return False
        known = self._loops.get(id(schema), False)
        if id(schema) in self._loops:
            return known is not False
        self._loops[id(schema)] = None
        found = [self.find_loops(child) for group in self._of(schema) for child in group]
        self._loops[id(schema)] = any(found)
        return any(found)

    def looks(self, schema: Any, depth: int) -> Looks:
        """With so many levels of the answer still below. Depths are asked for in their order, so
        that each stands on what is known of the one before."""
        if not isinstance(schema, dict):
            return _ONE
        loops = self._loops.get(id(schema), True)
        identity = (id(schema), depth if loops else _AT_ANY_DEPTH)
        known = self._known.get(identity)
        if known is not None:
            return known
        if identity in self._open:
            # It says nothing of the answer, and checkers turn in circles.
            raise _UncountableError(
                "names a part that names it again at the same place of an answer"
            )
        self._steps += 1
        if self._steps > _MOST_STEPS:
            raise _UncountableError(_ENDLESS)
        self._open.add(identity)
        counted = self._known[identity] = self._count(self._of(schema), depth, loops=bool(loops))
        self._open.discard(identity)
        return counted

    def _count(self, parts: Parts, depth: int, *, loops: bool) -> Looks:
        same = [self.looks(child, depth) for child in parts.same]
        here = 1 + sum(child.here for child in same)
        objects = sum(child.objects for child in same)
        arrays = sum(child.arrays for child in same)
        if depth or not loops:
            objects += self._below(parts.named, parts.objects, depth - 1)
            arrays += self._below(parts.listed, parts.arrays, depth - 1)
        most = MOST_LOOKS + 1  # numbers do not grow without end
        return Looks(min(here, most), min(objects, most), min(arrays, most))

    def _below(self, one_of: list[Any], all_of: list[Any], depth: int) -> int:
        most = max((self.looks(one, depth).most for one in one_of), default=0)
        return most + sum(self.looks(one, depth).most for one in all_of)

    def _of(self, schema: dict[str, Any]) -> Parts:
        parts = self._parts.get(id(schema))
        if parts is None:
            if isinstance(schema.get("$id"), str) and schema is not self._root:
                raise _UncountableError("has an $id below its top, and refers to its parts")
            parts = self._parts[id(schema)] = Parts(
                list(self._same_place(schema)),
                [
                    *_values(schema.get("properties")),
                    *_members(schema, ("additionalProperties",)),
                ],
                [
                    *_values(schema.get("patternProperties")),
                    *_members(schema, ("unevaluatedProperties",)),
                ],
                [*_listed(schema), *_members(schema, _OTHER_ITEMS)],
                list(_members(schema, _ALL_ITEMS)),
            )
        return parts

    def _same_place(self, schema: dict[str, Any]) -> Iterator[Any]:
        for name in _REFERENCES:
            if isinstance(schema.get(name), str):
                yield self._named(schema[name])
        yield from _members(schema, _SAME_PLACE)
        for name in _SAME_PLACE_LISTS:
            yield from schema.get(name) or ()
        for name in _SAME_PLACE_MAPS:
            yield from _values(schema.get(name))

    def _named(self, reference: str) -> Any:
        """The part that a reference names by its path."""
        part: Any = self._root
        if reference == "#":
            return part
        if not reference.startswith("#/"):
            raise _UncountableError(f"refers to {reference!r}, which is no path from its top (#/…)")
        for step in reference[2:].split("/"):
            name = unquote(step).replace("~1", "/").replace("~0", "~")
            if isinstance(part, list) and name.isdigit() and int(name) < len(part):
                part = part[int(name)]
            else:
                part = part.get(name) if isinstance(part, dict) else None
        return part


def _members(schema: dict[str, Any], names: tuple[str, ...]) -> Iterator[Any]:
    yield from (schema[name] for name in names if isinstance(schema.get(name), dict))


def _listed(schema: dict[str, Any]) -> Iterator[Any]:
    """`prefixItems`, which were `items` before."""
    for name in ("items", "prefixItems"):
        if isinstance(schema.get(name), list):
            yield from schema[name]


def _values(mapping: Any) -> Iterator[Any]:
    if isinstance(mapping, Mapping):
        yield from mapping.values()


def depth_of(value: Any) -> int:
    """Levels of objects and lists, counted without recursion."""
    depth, level = 0, [value]
    while level := [one for one in level if isinstance(one, dict | list) and one]:
        depth += 1
        level = [child for one in level for child in _children(one)]
    return depth


def _children(value: Any) -> Any:
    return value.values() if isinstance(value, dict) else value
