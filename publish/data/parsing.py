"""A dataclass of a YAML or JSON mapping: unknown keys, other types and values out of range are refused."""

from __future__ import annotations

import dataclasses
import types
import typing
from pathlib import Path
from typing import Any, TypeVar

import yaml  # type: ignore[import-untyped]

from lungsynth.errors import ConfigError, DataError

T = TypeVar("T")


def load_yaml(path: Path) -> dict[str, Any]:
    """The mapping of a YAML file.

    Raises:
        DataError: the file cannot be read.
        ConfigError: it is not YAML, not a mapping, or a key stands twice.
    """

    class Loader(yaml.SafeLoader):  # type: ignore[misc]
        """Safe, and refuses a key that is written twice."""

        def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
            seen: set[Any] = set()
            for key_node, _ in node.value:
                key = self.construct_object(key_node, deep=True)
                if key in seen:
                    raise ConfigError(f"{path}: key {key!r} stands twice. Keep one of them.")
                seen.add(key)
            return dict(super().construct_mapping(node, deep))

    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read as UTF-8 text ({error}).") from error
    try:
        loader = Loader(text)
        try:
            values = loader.get_single_data()
        finally:
            loader.dispose()
    except (yaml.YAMLError, TypeError) as error:
        raise ConfigError(f"{path}: not YAML ({' '.join(str(error).split())}).") from error
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: a {type(values).__name__}; expected `key: value` lines.")
    return values


def from_mapping(kind: type[T], values: Any, where: str) -> T:
    """A dataclass of a JSON or YAML mapping: unknown keys, other types and ranges are refused.

    Raises:
        ConfigError: naming the key, what was got, and what is expected.
    """
    return typing.cast(T, _value(kind, values, where, ""))


def _value(kind: Any, value: Any, where: str, key: str) -> Any:
    """A value as `kind`, or a ConfigError that names the key."""
    origin = typing.get_origin(kind)
    if origin in (typing.Union, types.UnionType):
        return _union(kind, value, where, key)
    if dataclasses.is_dataclass(kind):
        return _dataclass(kind, value, where, key)
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise _wrong(where, key, value, "a list")
        items = typing.get_args(kind)
        kinds = items[:1] * len(value) if items[-1] is Ellipsis else items
        if len(value) != len(kinds):
            raise _wrong(where, key, value, f"a list of {len(kinds)}")
        pairs = zip(kinds, value, strict=True)
        return tuple(_value(k, v, where, f"{key}[{i}]") for i, (k, v) in enumerate(pairs))
    if origin is dict:
        if not isinstance(value, dict):
            raise _wrong(where, key, value, "a mapping")
        names, held = typing.get_args(kind)
        return {
            _value(names, k, where, key): _value(held, v, where, f"{key}.{k}")
            for k, v in value.items()
        }
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    plain = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}
    if kind not in plain:
        raise ConfigError(f"{where}: {key!r} cannot be set in a file.")
    if type(value) is not kind:
        raise _wrong(where, key, value, plain[kind])
    return value


def _union(kind: Any, value: Any, where: str, key: str) -> Any:
    """A value as the member it looks like, or as the first of them."""
    choices = [one for one in typing.get_args(kind) if one is not type(None)]
    if value is None and len(choices) < len(typing.get_args(kind)):
        return None
    looks = tuple if isinstance(value, list | tuple) else type(value)
    fitting = [one for one in choices if looks in (one, typing.get_origin(one))]
    return _value([*fitting, *choices][0], value, where, key)


def _dataclass(kind: Any, value: Any, where: str, key: str) -> Any:
    if not isinstance(value, dict):
        raise _wrong(where, key, value, "`key: value` lines")
    prefix = f"{key}." if key else ""
    fields = {one.name: one for one in dataclasses.fields(kind)}
    hints = typing.get_type_hints(kind)
    for name in value:
        if name not in fields:
            raise ConfigError(
                f"{where}: unknown key {prefix + str(name)!r}; expected one of {', '.join(fields)}."
            )
    made = {}
    for name, one in fields.items():
        if name not in value:
            if one.default is one.default_factory is dataclasses.MISSING:
                raise ConfigError(f"{where}: `{prefix}{name}` is missing.")
            continue
        made[name] = _value(hints[name], value[name], where, prefix + name)
        low, high = one.metadata.get("min"), one.metadata.get("max")
        if low is not None and not low <= made[name] <= high:
            raise ConfigError(
                f"{where}: `{prefix}{name}` is {made[name]}; expected {low:g} to {high:g}."
            )
    return kind(**made)


def _wrong(where: str, key: str, value: Any, expected: str) -> ConfigError:
    shown = repr(value)
    return ConfigError(
        f"{where}: `{key or 'the file'}` is {shown[:60]}{'…' if len(shown) > 60 else ''} "
        f"({type(value).__name__}); expected {expected}."
    )
