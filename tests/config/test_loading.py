"""YAML, parents and overrides become exactly the dataclass that they spell, or one sentence that says why not."""

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Optional, get_args, get_origin, get_type_hints

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from yolact.config import loading
from yolact.errors import ConfigError
from yolact.text import printable


@dataclass(frozen=True, kw_only=True)
class Engine:
    power: float = 1.5
    fuel: Literal["petrol", "diesel"] = "petrol"
    cylinders: int | None = None


@dataclass(frozen=True, kw_only=True)
class Car:
    name: str = "car"
    doors: int = 4
    open_roof: bool = False
    colour: tuple[int, int, int] = (0, 0, 0)
    gears: tuple[tuple[float, ...], ...] = ((1.0,), (2.0, 3.0))
    owner: Optional[str] = None  # noqa: UP045  (the older spelling of optional fields is read as well)
    engine: Engine = field(default_factory=Engine)


def read(tmp_path: Path, text: str, name: str = "car.yaml") -> Car:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return loading.load(Car, path)


def test_a_file_names_only_what_differs(tmp_path: Path) -> None:
    text = "doors: 2\ncolour: [1, 2, 3]\ngears: [[1, 2.5], []]\nengine: {power: 1e-3, cylinders: 6}\n"
    assert read(tmp_path, text) == Car(
        doors=2, colour=(1, 2, 3), gears=((1.0, 2.5), ()), engine=Engine(power=0.001, cylinders=6)
    )
    assert read(tmp_path, "") == Car()
    assert isinstance(read(tmp_path, "engine: {power: 2}").engine.power, float)


@pytest.mark.parametrize("text", ["1e-3", "'1e-3'", "0.001", "1.0e-3", ".001", "+1E-3"])
def test_numeric_text_is_a_float(tmp_path: Path, text: str) -> None:
    assert read(tmp_path, f"engine: {{power: {text}}}").engine.power == 0.001


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("doors: true", "doors must be a whole number, got true"),
        ("doors: 2.0", "doors must be a whole number, got 2.0"),
        ("doors: 010", "doors must be a whole number, got '010'"),
        ("doors: 1:30", "doors must be a whole number, got '1:30'"),
        ("doors: null", "doors must be a whole number, got null"),
        ("open_roof: 1", "open_roof must be true or false, got 1"),
        ("name: 7", "name must be text, got 7 (put it in quotes)"),
        ("name: 2024-01-02", "name must be text, got 2024-01-02 (put it in quotes)"),
        ("owner: 3", "owner must be text or null, got 3"),
        ("engine: {power: fast}", "engine.power must be a number, got 'fast'"),
        ("engine: {power: .inf}", "engine.power must be a number, got 'inf'"),
        (f"engine: {{power: 1{'0' * 400}}}", "engine.power must be a number, got 1000"),
        ("engine: {cylinders: six}", "engine.cylinders must be a whole number or null, got 'six'"),
        ("engine: {fuel: gas}", "engine.fuel must be one of petrol, diesel, got 'gas'"),
        ("engine: 4", "engine must be lines of `key: value`, got 4"),
        ("colour: [1, 2]", "colour must be a list of 3 values, got 2"),
        ("colour: 1", "colour must be a list, such as [a, b], got 1"),
        ("gears: [[1], [x]]", "gears.1.0 must be a number, got 'x'"),
        ("dors: 2", "unknown key 'dors'; did you mean 'doors'?"),
        (r'"a\x1bb\n": 2', "unknown key 'a\N{REPLACEMENT CHARACTER}b\N{REPLACEMENT CHARACTER}'; known are name, doors"),
        ("engine: {powr: 2}", "unknown key 'engine.powr'; did you mean 'engine.power'?"),
        ("engine: {doors: 2}", "unknown key 'engine.doors'; did you mean 'doors'?"),
        ("power: 2", "unknown key 'power'; did you mean 'engine.power'?"),
        ("1: 2", "unknown key '1'; known are name, doors"),
        ("[1, 2]", "expected lines of `key: value`, got a list: [1, 2]"),
        ("_base_: [a.yaml, b.yaml]", "_base_ must be the path of one file, got a list"),
        ("engine: {_base_: a.yaml}", "unknown key 'engine._base_'"),
    ],
)
def test_a_mistake_is_named_with_its_place(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, text)
    assert f"{tmp_path / 'car.yaml'}: {message}" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("doors: 2\nname: x\ndoors: 3", "line 3: not valid YAML: key 'doors' stands twice"),
        ("a: &x 1\nb: *x", "line 2: not valid YAML: aliases (*name) are not supported"),
        ("gears: " + "[" * 100_000, "not valid YAML: maximum recursion depth exceeded"),
        ("doors: [1", "line 1: not valid YAML"),
        ("doors: 2\n\tname: x", "line 2: not valid YAML"),
        ("name: !!python/object/apply:os.getcwd []", "line 1: not valid YAML: could not determine a constructor"),
        ("name: 2024-13-45", "not valid YAML"),
        ("name: a\x00b", "not valid YAML"),
        ("--- 1\n--- 2", "not valid YAML"),
    ],
)
def test_bad_yaml_is_named_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, text)
    assert message in str(caught.value)


def test_unreadable_files_are_named(tmp_path: Path) -> None:
    path = tmp_path / "car.yaml"
    with pytest.raises(ConfigError, match=r"no such configuration file\.$"):
        loading.load(Car, path)
    path.write_text("doors: 2")
    with pytest.raises(ConfigError, match=r"no such configuration file; did you mean 'car.yaml'\?"):
        loading.load(Car, tmp_path / "cra.yaml")
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        loading.load(Car, tmp_path)
    path.write_bytes(b"\x89PNG\xff\xfe")
    with pytest.raises(ConfigError, match="expected a YAML file in UTF-8"):
        loading.load(Car, path)
    path.write_text("#" * (loading.MAX_BYTES + 1))
    with pytest.raises(ConfigError, match="at most 1,000,000 bytes"):
        loading.load(Car, path)


def test_a_parent_lies_below_its_child(tmp_path: Path) -> None:
    read(tmp_path, "doors: 3\ncolour: [9, 9, 9]\nengine: {power: 5, fuel: diesel}", "_base_/low.yaml")
    read(tmp_path, "_base_: low.yaml\nname: middle\nengine: {cylinders: 2}", "_base_/middle.yaml")
    top = read(tmp_path, "_base_: _base_/middle.yaml\ncolour: [1, 1, 1]\nengine: {power: 7}")
    assert top == Car(name="middle", doors=3, colour=(1, 1, 1), engine=Engine(power=7.0, fuel="diesel", cylinders=2))


def test_a_mistake_in_a_parent_names_the_parent(tmp_path: Path) -> None:
    (tmp_path / "low.yaml").write_text("dors: 3")
    with pytest.raises(ConfigError, match=r"low\.yaml: unknown key 'dors'"):
        read(tmp_path, "_base_: low.yaml")
    with pytest.raises(ConfigError, match=r"absent\.yaml: there is no such configuration file"):
        read(tmp_path, "_base_: absent.yaml")


def test_a_circle_of_parents_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="a file cannot be its own parent"):
        read(tmp_path, "_base_: car.yaml")
    (tmp_path / "a.yaml").write_text("_base_: b.yaml")
    (tmp_path / "b.yaml").write_text("_base_: ./a.yaml")
    with pytest.raises(ConfigError, match=r"b\.yaml: _base_ leads back to .*a\.yaml"):
        loading.load(Car, tmp_path / "a.yaml")


def test_overrides_are_applied_in_order() -> None:
    car = Car(doors=2, engine=Engine(power=9.0))
    overrides = ["engine.power=1e-2", "name=a b", "gears=[[1]]", "doors=3", "doors=5", "engine.cylinders=null"]
    assert loading.override(car, overrides) == Car(
        name="a b", doors=5, gears=((1.0,),), engine=Engine(power=0.01, cylinders=None)
    )
    assert loading.override(car, ["name='a #b'"]).name == "a #b"
    assert loading.override(car, ["name=x=y", "engine={fuel: diesel}"]) == Car(
        name="x=y", doors=2, engine=Engine(power=9.0, fuel="diesel")
    )
    assert car == Car(doors=2, engine=Engine(power=9.0))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("doors", "expected key.path=value"),
        ("engine..power=3", "expected key.path=value"),
        ("engine.powr=3", "unknown key 'engine.powr'; did you mean 'engine.power'?"),
        ("doors.x=3", "doors must be a whole number, got a mapping: {'x': 3}"),
        ("doors=two", "doors must be a whole number, got 'two'"),
        ("doors=[1", "line 1: not valid YAML"),
        ("name=pics #2", "' #' begins a comment, so that the value ends: put quotes around it"),
        ("d\x1b\n=1", "unknown key"),
    ],
)
def test_a_wrong_override_is_named(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        loading.override(Car(), [text])
    assert str(caught.value).startswith(f"override '{printable(text)}'")
    assert message in str(caught.value)
    assert str(caught.value).isprintable()


def values(kind: Any) -> st.SearchStrategy[Any]:
    """Return a strategy for every value that a field of type `kind` can hold."""
    if dataclasses.is_dataclass(kind):
        return st.builds(kind, **{name: values(hint) for name, hint in get_type_hints(kind).items()})
    if kind is float:
        return st.floats(allow_nan=False, allow_infinity=False)
    if get_origin(kind) is Literal:
        return st.sampled_from(get_args(kind))
    if get_origin(kind) is tuple:
        items = get_args(kind)
        if items[-1] is Ellipsis:
            return st.lists(values(items[0]), max_size=4).map(tuple)
        return st.tuples(*map(values, items))
    if len(get_args(kind)) == 2:
        return st.none() | values(get_args(kind)[0])
    return {int: st.integers(), bool: st.booleans(), str: st.text(), type(None): st.none()}[kind]


@pytest.mark.parametrize("name", ["\x85", "\u2028", "1e-3", "null", "2024-01-02", "a: b", "é # ü", "", " x ", "\ufeff"])
def test_odd_text_survives_yaml(tmp_path: Path, name: str) -> None:
    assert read(tmp_path, loading.dump(Car(name=name))).name == name


@given(car=values(Car))
@settings(max_examples=50)
def test_yaml_and_back(tmp_path_factory: pytest.TempPathFactory, car: Car) -> None:
    path = tmp_path_factory.getbasetemp() / "round.yaml"
    path.write_text(loading.dump(car), encoding="utf-8", newline="")
    assert loading.load(Car, path) == loading.build(Car, loading.to_dict(car), "here") == car


@given(text=st.text(alphabet="doors:power engine{}[]&*!-?|>#'\"\n\t%@`1e.\x85é", max_size=60))
def test_any_text_loads_or_is_one_sentence(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_text(text, encoding="utf-8", newline="")
    try:
        found = loading.load(Car, path)
    except ConfigError as error:
        found = str(error)
    assert isinstance(found, Car) or "\n" not in found
