"""The JSON Schema of configurations: what `to_yaml` writes, told from the constructors in the registry.

It knows no class by name, only the registry, the tags of `modularml.io.codec` and the keys of trees.
"""

from __future__ import annotations

import collections.abc
import inspect
import types
import typing
from typing import Any

from modularml.base.config import Configurable, all_types, parameters_of

Schema = dict[str, Any]

_SEQUENCES = (list, tuple, collections.abc.Sequence, collections.abc.Iterable)


def config_schema() -> dict[str, Any]:
    """Return the JSON Schema of what `to_yaml` writes, to check and complete YAML files in an editor.

    A file holds an experiment, a graph, a sampler, or one object with its ``$type``: a phase, a group
    or a splitter. Types of this package are told parameter by parameter; one of a user's own, whose
    ``$type`` is its class, may have any. Names of types are as they are written; reading ignores case.

    Returns:
        A schema of draft 2020-12, as a tree of plain values.
    """
    known = all_types()
    names = sorted(name for name in known if not name.startswith("_"))
    objects = {f"type:{name}": _object(name, known[name]) for name in names}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A configuration of ModularML",
        "anyOf": [_ref(name) for name in ("experiment", "graph", "sampler", "object")],
        "$defs": {**_trees(), **_values(names), **objects},
    }


def _trees() -> Schema:
    """Return the trees that are more than one object."""
    any_object, maybe_object, text = _ref("object"), _maybe("object"), {"type": "string"}
    config = {
        "label": text,
        "registration_policy": {"type": ["string", "null"]},
        "plan": any_object,
        "checkpointing": maybe_object,
        "callbacks": {"type": "array", "items": any_object},
    }
    later = {
        "accelerator": maybe_object,
        "seed": {"type": ["integer", "null"]},
        "results_config": maybe_object,
    }
    graph = {
        "label": {"type": ["string", "null"]},
        "nodes": {"type": "array", "items": text},
        "optimizer": maybe_object,
    }
    model_node = {
        "label": text,
        "node_id": text,
        "model": any_object,
        "upstream_ref": _ref("value"),
        "optimizer": maybe_object,
        "accelerator": maybe_object,
    }
    node = {"anyOf": [_closed(model_node), _closed({"label": text, "node": any_object})]}
    column = _closed({"dtype": text, "shape": {"type": "array", "items": {"type": "integer"}}})
    columns = {"type": "object", "additionalProperties": column}
    return {
        "experiment": _closed({"config": _closed(config, later), "model_graph": _maybe("graph")}),
        "graph": _closed(
            {
                "graph": _closed(graph, {"compile": {"type": "boolean"}}),
                "nodes": {"type": "array", "items": node},
                "featuresets": {"type": "object", "additionalProperties": columns},
            }
        ),
        "sampler": _closed({"config": any_object, "state": _ref("value")}),
    }


def _values(names: list[str]) -> Schema:
    """Return what may stand anywhere: plain values, lists, dicts, tags, and objects of those types."""
    text, items = {"type": "string"}, {"type": "array", "items": _ref("value")}
    tags: dict[str, tuple[Schema, Schema]] = {
        "$tuple": (items, {}),
        "$float": ({"enum": ["nan", "inf", "-inf"]}, {}),
        "$datetime": (text, {}),
        "$timedelta": ({"type": "array", "items": {"type": "integer"}, "maxItems": 3}, {}),
        "$path": (text, {}),
        "$dict": ({"type": "object", "additionalProperties": _ref("value")}, {}),
        "$symbol": (text, {"module": text, "source": text}),
        "$object": (_ref("symbol"), {"state": _ref("value")}),
    }
    no_tag = {"propertyNames": {"anyOf": [{"const": "$type"}, {"not": {"pattern": "^\\$"}}]}}
    one_of_ours = [
        {"if": {"properties": {"$type": {"const": name}}}, "then": _ref(f"type:{name}")} for name in names
    ]
    is_own = {"properties": {"$type": {"type": "object"}}}
    a_users = {"if": is_own, "then": {"additionalProperties": _ref("value")}}
    return {
        "value": {
            "if": {"type": "object"},
            "then": {"if": {"required": ["$type"]}, "then": _ref("object"), "else": _ref("dict")},
            "else": {"anyOf": [{"type": ["null", "boolean", "number", "string"]}, items]},
        },
        "dict": {
            "anyOf": [
                {"type": "object", "additionalProperties": _ref("value"), **no_tag},
                *(_closed({tag: of_tag, **others}) for tag, (of_tag, others) in tags.items()),
            ]
        },
        "float": {"anyOf": [{"type": "number"}, _closed({"$float": tags["$float"][0]})]},
        "symbol": _closed({"$symbol": text, "module": text, "source": text}),
        "object": {
            "type": "object",
            "required": ["$type"],
            "properties": {"$type": {"anyOf": [{"enum": names}, _ref("symbol")]}},
            "allOf": [*one_of_ours, a_users],  # of which one applies, so that nothing is checked twice
        },
    }


def _object(name: str, cls: type[Configurable]) -> Schema:
    """Return what the constructor of a class takes, as it is called with what a file holds."""
    hints = typing.get_type_hints(cls.__init__)
    known = parameters_of(cls)
    properties = {parameter: _of_hint(hints.get(parameter, Any)) for parameter in known}
    kinds = [parameter.kind for parameter in inspect.signature(cls).parameters.values()]
    takes_more = inspect.Parameter.VAR_KEYWORD in kinds
    return {
        "type": "object",
        "properties": {"$type": {"const": name}, **properties},
        "required": ["$type", *(n for n, parameter in known.items() if parameter.default is parameter.empty)],
        "additionalProperties": _ref("value") if takes_more else False,
    }


def _of_hint(hint: Any) -> Schema:
    """Return what a file may hold for an argument; anything, where its type has no word in a file."""
    plain = {bool: "boolean", int: "integer", str: "string", type(None): "null"}
    if hint in plain:
        return {"type": plain[hint]}
    if hint is float:
        return _ref("float")
    if isinstance(hint, type) and issubclass(hint, Configurable):
        return _ref("object")
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        options: list[Schema] = []
        for option in map(_of_hint, arguments):
            if option not in options:
                options.append(option)
        return _ref("value") if _ref("value") in options else {"anyOf": options}
    if origin in _SEQUENCES:
        items = {"type": "array", "items": _of_hint(arguments[0])}
        return {"anyOf": [items, _closed({"$tuple": items})]}
    return _ref("value")


def _closed(properties: Schema, optional: Schema | None = None) -> Schema:
    return {
        "type": "object",
        "properties": {**properties, **(optional or {})},
        "required": list(properties),
        "additionalProperties": False,
    }


def _ref(name: str) -> Schema:
    return {"$ref": f"#/$defs/{name}"}


def _maybe(name: str) -> Schema:
    return {"anyOf": [{"type": "null"}, _ref(name)]}
