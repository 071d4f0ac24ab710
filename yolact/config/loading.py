"""YAML files, `_base_` parents and `key.path=value` overrides into frozen dataclasses, and back.

Generic: the dataclass is the schema, and this file knows none of its words. Accepted field types are bool, int, float,
str, `Literal`, numbers `Annotated` with a rule, tuples of them (of fixed or any length, nested), `X | None` and further
dataclasses. Everything that can be wrong in a file or an override is a `ConfigError` of one sentence.
"""

import dataclasses
import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, NamedTuple, NoReturn, TypeVar, Union, get_args, get_origin, get_type_hints

import yaml

from yolact.errors import ConfigError
from yolact.text import did_you_mean, printable

T = TypeVar("T")

MAX_BYTES = 1_000_000  # of a file; larger ones are images or weights given by mistake
MAX_SENTENCE = 3000  # characters of an error, which may list all keys
EXPECTED = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}
KINDS = {NoneType: "null", dict: "a mapping", list: "a list"}


class _Where(NamedTuple):
    """Where a value stands, for messages."""

    source: str  # a file or an override, as the user named it
    root: type  # the outermost dataclass
    keys: tuple[str, ...] = ()

    def at(self, key: str) -> "_Where":
        return self._replace(keys=(*self.keys, key))

    def fail(self, sentence: str) -> NoReturn:
        raise ConfigError(f"{self.source}: {printable(sentence, MAX_SENTENCE)}")

    def __str__(self) -> str:
        return ".".join(self.keys) or "the configuration"


class _StrictLoader(yaml.SafeLoader):
    """YAML of plain data that refuses duplicate keys, and aliases, which can turn bytes into gigabytes."""

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark
            raise yaml.MarkedYAMLError(problem="aliases (*name) are not supported", problem_mark=mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if str(key.value) in seen:
                raise yaml.MarkedYAMLError(problem=f"key '{key.value}' stands twice", problem_mark=key.start_mark)
            seen.add(str(key.value))
        return super().construct_mapping(node, deep)


# YAML 1.1 takes 010 for 8 and 1:30 for 90.
_INT = "tag:yaml.org,2002:int"
_StrictLoader.yaml_implicit_resolvers = {
    first: [(tag, form) for tag, form in forms if tag != _INT]
    for first, forms in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_StrictLoader.add_implicit_resolver(_INT, re.compile("[-+]?(0|[1-9][0-9_]*)$"), list("-+0123456789"))


class _Dumper(yaml.SafeDumper):
    """Blocks for mappings, one line for lists, and quotes around text that PyYAML would write but not read back."""

    def represent_list(self, data: Iterable[Any]) -> yaml.SequenceNode:
        return self.represent_sequence("tag:yaml.org,2002:seq", data, flow_style=True)

    def represent_str(self, data: str) -> yaml.ScalarNode:
        return self.represent_scalar("tag:yaml.org,2002:str", data, style=None if data.isprintable() else '"')


_Dumper.add_representer(list, _Dumper.represent_list)
_Dumper.add_representer(str, _Dumper.represent_str)


def load(schema: type[T], path: Path, find: Callable[[str], Path] = Path, children: tuple[Path, ...] = ()) -> T:
    """Read a YAML file and its `_base_` parents, each a path relative to the file that names it, or what `find` knows.

    Each file must be right by itself on top of its parents, so that a mistake is reported where it stands.
    `children` are the files that lead to this one, resolved.
    """
    own = read_mapping(path)
    base = own.pop("_base_", None)
    if base is None:
        return build(schema, own, str(path))
    if not isinstance(base, str):
        raise ConfigError(f"{path}: _base_ must be the path of one file, got {_shown(base)}.")
    parent = path.parent / find(base)
    children = (*children, path.resolve())
    if parent.resolve() in children:
        raise ConfigError(f"{path}: _base_ leads back to {parent}; a file cannot be its own parent.")
    return build(schema, _merge(to_dict(load(schema, parent, find, children)), own), str(path))


def build(schema: type[T], data: dict[str, Any], source: str) -> T:
    """Make the dataclass `schema` from plain data; `source` names the data's origin in messages."""
    value: T = _convert(schema, data, _Where(source, schema))
    return value


def override(config: T, overrides: Sequence[str]) -> T:
    """Return `config` with each `key.path=value` applied in order; the values are YAML."""
    for text in overrides:
        source = f"override '{printable(text)}'"
        path, equals, value_text = text.partition("=")
        keys = path.strip().split(".")
        if not equals or not all(keys):
            raise ConfigError(f"{source}: expected key.path=value, for example train.lr=0.01.")
        value = _parse(value_text, source)
        kept, comment, _ = value_text.partition(" #")
        if comment and not {"'", '"'} & set(kept):
            raise ConfigError(f"{source}: ' #' begins a comment, so that the value ends: put quotes around it.")
        for key in reversed(keys):
            value = {key: value}
        config = build(type(config), _merge(to_dict(config), value), source)
    return config


def to_dict(config: Any) -> Any:
    """Turn a dataclass into plain data: dicts, lists, str, numbers, bool and None."""
    if isinstance(config, tuple):
        return [to_dict(item) for item in config]
    if not dataclasses.is_dataclass(config):
        return config
    return {field.name: to_dict(getattr(config, field.name)) for field in dataclasses.fields(config)}


def dump(config: Any) -> str:
    """Turn a dataclass into YAML text that `load` reads back to an equal one."""
    return yaml.dump(to_dict(config), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)


def read_mapping(path: Path) -> dict[str, Any]:
    """Read a YAML file of `key: value` lines as plain data; an empty file gives an empty dict."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
        text = content.decode("utf-8")
    except FileNotFoundError:
        hint = did_you_mean(path.name, sorted(entry.name for entry in path.parent.glob("*.yaml")))
        raise ConfigError(f"{path}: there is no such configuration file{hint}") from None
    except OSError as error:
        raise ConfigError(f"{path}: the configuration cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: expected a YAML file in UTF-8, got other bytes.") from None
    if len(content) > MAX_BYTES:
        raise ConfigError(f"{path}: expected a configuration of at most {MAX_BYTES:,} bytes, got a larger file.")
    data = _parse(text, str(path))
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise ConfigError(f"{path}: expected lines of `key: value`, got {_shown(data)}.")
    return data


def _parse(text: str, source: str) -> Any:
    loader = None
    try:
        loader = _StrictLoader(text)
        return loader.get_single_data()
    except yaml.MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise ConfigError(f"{source}{line}: not valid YAML: {printable(str(error.problem))}.") from None
    except Exception as error:  # PyYAML lets KeyError, ValueError and AttributeError out on odd scalars
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ConfigError(f"{source}: not valid YAML: {printable(reason)}.") from None


def _merge(below: Any, above: Any) -> Any:
    """Lay `above` over `below`: mappings key by key, anything else as a whole."""
    if not (isinstance(below, dict) and isinstance(above, dict)):
        return above
    return {**below, **{key: _merge(below.get(key), value) for key, value in above.items()}}


def _convert(kind: Any, value: Any, where: _Where) -> Any:
    """Check `value` against the type `kind`; tuples come from lists, and floats also from integers and numeric text."""
    optional = get_origin(kind) in (Union, UnionType) and NoneType in get_args(kind)
    if optional and value is None:
        return None
    if get_origin(kind) in (Union, UnionType):
        arms = [arm for arm in get_args(kind) if arm is not NoneType]
        # Of a list, a number or a word, the value's form says which is meant.
        is_word = any(get_origin(arm) is Literal and value in get_args(arm) for arm in arms[1:])
        is_first = (get_origin(arms[0]) is tuple) == isinstance(value, list) and not is_word
        kind = arms[0] if len(arms) == 1 or is_first else arms[1]
    if get_origin(kind) is Annotated:
        kind, rule = get_args(kind)
        value = _convert(kind | None if optional else kind, value, where)
        if not rule.holds(value):
            where.fail(f"{where} must be {rule.words}, got {_shown(value)}.")
        return value
    if dataclasses.is_dataclass(kind):
        return _convert_mapping(kind, value, where)
    if get_origin(kind) is tuple:
        return _convert_list(kind, value, where)
    if kind is float:
        value = _as_float(value)
    choices = get_args(kind) if get_origin(kind) is Literal else None
    fits = type(value) is kind if choices is None else any(value == c and type(value) is type(c) for c in choices)
    if not fits:
        expected = EXPECTED[kind] if choices is None else "one of " + ", ".join(map(str, choices))
        quotes = " (put it in quotes)" if kind is str and not isinstance(value, dict | list | NoneType) else ""
        where.fail(f"{where} must be {expected}{' or null' if optional else ''}, got {_shown(value)}{quotes}.")
    return value


def _as_float(value: Any) -> Any:
    """Return a finite float where `value` is or spells one (YAML 1.1 reads 1e-3 as text), and else no float."""
    if type(value) not in (int, float, str):
        return value
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return value
    return number if math.isfinite(number) else str(value)


def _convert_list(kind: Any, value: Any, where: _Where) -> tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        where.fail(f"{where} must be a list, such as [a, b], got {_shown(value)}.")
    items = get_args(kind)
    if items[-1] is Ellipsis:
        items = (items[0],) * len(value)
    if len(items) != len(value):
        where.fail(f"{where} must be a list of {len(items)} values, got {len(value)}.")
    return tuple(_convert(item, v, where.at(str(i))) for i, (item, v) in enumerate(zip(items, value, strict=True)))


def _convert_mapping(schema: Any, data: Any, where: _Where) -> Any:
    if not isinstance(data, dict):
        where.fail(f"{where} must be lines of `key: value`, got {_shown(data)}.")
    kinds = get_type_hints(schema, include_extras=True)
    for key in data:
        if key not in kinds:
            where.fail(f"unknown key '{where.at(str(key))}'{_suggestion(where, str(key), kinds)}")
    for field in dataclasses.fields(schema):
        if field.name not in data and field.default is field.default_factory is dataclasses.MISSING:
            where.fail(f"{where.at(field.name)} is missing.")
    return schema(**{key: _convert(kinds[key], value, where.at(key)) for key, value in data.items()})


def _suggestion(where: _Where, name: str, siblings: dict[str, Any]) -> str:
    """Name the same key in another section, else the closest sibling, else all siblings."""
    for path in _paths(where.root):
        if path.rpartition(".")[2] == name:
            return f"; did you mean '{path}'?"
    return did_you_mean(name, siblings, ".".join([*where.keys, ""]))


def _paths(schema: Any, prefix: str = "") -> Iterator[str]:
    for name, kind in get_type_hints(schema).items():
        yield prefix + name
        if dataclasses.is_dataclass(kind):
            yield from _paths(kind, f"{prefix}{name}.")


def _shown(value: Any) -> str:
    text = repr(value) if isinstance(value, str) else str(value).lower() if isinstance(value, bool) else str(value)
    text = text if len(text) <= 60 else text[:57] + "..."
    return "null" if value is None else f"{KINDS[type(value)]}: {text}" if type(value) in KINDS else text
