"""Configurations: frozen dataclasses filled from flat YAML files and `key=value` overrides.

The fields of the dataclass are the keys, their annotations the types: bool, int, float, str, Path,
Literal, `tuple[T, ...]` (a YAML list, or one value alone), `dict[str, T]`, and `T | None`. What a
value has to satisfy beyond its type stands in `__post_init__`, as ValueError.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, field, fields
from difflib import get_close_matches
from pathlib import Path
from types import NoneType
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

import yaml

from training.errors import ConfigError

Config = TypeVar("Config")

# The folder names that tell what kind of image a case is.
MODALITIES = (
    *("CT", "MR", "PET", "US", "XRay", "Dermoscopy", "Endoscopy", "Fundus", "Mammography"),
    *("Microscopy", "OCT"),
)


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Which slices are trained on, how they are drawn, and how they are varied.

    Attributes
    ----------
    data : tuple of Path
        Folders <modality>/<data set>/<case>.npz of cases, or of their cache.
    unlabelled : bool
        Whether cases without `gts` are taken too: all their slices, with an empty mask, label 0
        and the whole slice as box. Without it they are an error.
    axes : tuple of "axial", "coronal", "sagittal"
        Across which axes volumes are cut into slices; single slices and 2D images always across
        the first one.
    min_pixels : int
        Objects that cover fewer pixels of the slice are left out.
    box_jitter : int
        The box's sides are moved by 0 to so many pixels of the 256 px frame.
    jitter : "outwards" or "symmetric"
        Symmetric also moves them inwards, by at most a quarter of the box.
    flip : float
        Probability of mirroring, for each of the two axes.
    turn : float
        Probability of exchanging rows and columns.
    crop : float
        Probability of showing a part of the slice instead: a square of 1 to `crop_most` times the
        object's longer side, somewhere around it. Parts are sharp only from cases, or from a cache
        made with --full.
    crop_most : float
    intensity : float
        How far grey levels are varied, by another window and gamma: 0 (not at all) to 1.
    colour : float
        Probability of other colours: channels exchanged, each with a gamma of its own. Grey images
        are tinted.
    variants : int
        After so many epochs, slices come in the same variants again, so that a teacher's answers
        can be kept; 0 varies them for ever.
    strategy : "min", "fraction", "all" or "counts"
        What each group contributes to an epoch: as much as the smallest one; `fraction` of its
        own, but not less than the smallest has; everything; or what `counts` says.
    fraction : float
    counts : dict of str to int
        Slices of each group per epoch; more than there are repeats them, a group left out gives
        none.
    balance : "modality" or "data_set"
        What a group is.
    memory_mb : int
        Decoded cases kept in the memory of each process.
    seed : int
    """

    data: tuple[Path, ...]
    unlabelled: bool = False
    axes: tuple[Literal["axial", "coronal", "sagittal"], ...] = ("axial",)
    min_pixels: int = 100
    box_jitter: int = 10
    jitter: Literal["outwards", "symmetric"] = "outwards"
    flip: float = 0.5
    turn: float = 0.0
    crop: float = 0.0
    crop_most: float = 8.0
    intensity: float = 0.0
    colour: float = 0.0
    variants: int = 0
    strategy: Literal["min", "fraction", "all", "counts"] = "min"
    fraction: float = 0.1
    counts: dict[str, int] = field(default_factory=dict)
    balance: Literal["modality", "data_set"] = "modality"
    memory_mb: int = 256
    seed: int = 0

    def __post_init__(self) -> None:
        require(len(self.data) > 0, "`data` needs at least one folder of cases")
        require(len(self.axes) > 0, "`axes` needs at least one axis")
        require(len(set(self.axes)) == len(self.axes), "`axes` names an axis twice")
        require(self.min_pixels >= 1, f"`min_pixels` has to be 1 or more, not {self.min_pixels}")
        require(0 <= self.box_jitter <= 128, f"`box_jitter` lies in 0..128, not {self.box_jitter}")
        for name in ("flip", "turn", "crop", "colour"):
            chance = getattr(self, name)
            require(0 <= chance <= 1, f"`{name}` is a probability in 0..1, not {chance}")
        require(self.crop_most > 1, f"`crop_most` has to be above 1, not {self.crop_most}")
        require(0 <= self.intensity <= 1, f"`intensity` lies in 0..1, not {self.intensity}")
        require(self.variants >= 0, f"`variants` has to be 0 or more, not {self.variants}")
        require(0 < self.fraction <= 1, f"`fraction` lies above 0, up to 1, not {self.fraction}")
        require(self.memory_mb >= 0, f"`memory_mb` has to be 0 or more, not {self.memory_mb}")
        require(
            all(count >= 0 for count in self.counts.values()), "`counts` has to be 0 or more each"
        )
        require(
            (self.strategy == "counts") == any(self.counts.values()),
            "`counts` needs slices of at least one group with `strategy: counts`, and is empty "
            "with any other strategy",
        )
        if self.balance == "modality":
            strangers = sorted(set(self.counts) - set(MODALITIES))
            require(
                not strangers,
                f"`counts` names {', '.join(strangers)}; modalities are {', '.join(MODALITIES)}",
            )


def require(condition: bool, problem: str) -> None:
    """Raise ValueError with the problem where the condition does not hold."""
    if not condition:
        raise ValueError(problem)


def load_config(
    cls: type[Config], path: Path | None = None, overrides: Sequence[str] = ()
) -> Config:
    """Fill a dataclass from a YAML file, then from the command line.

    Parameters
    ----------
    cls : dataclass type
    path : Path, optional
        A flat YAML file, UTF-8.
    overrides : sequence of str
        `key=value`, the value in YAML's notation; later ones win over earlier ones and the file.

    Raises
    ------
    ConfigError
        If the file cannot be read; for an unknown or missing key, a wrong type or a bad value.
    """
    source = "the command line" if path is None else str(path)
    hints = {f.name: get_type_hints(cls)[f.name] for f in fields(cls)}  # type: ignore[arg-type]
    values: dict[str, Any] = {}
    for origin, found in (
        (source, {} if path is None else _read_yaml(path)),
        ("the command line", _read_overrides(overrides, hints)),
    ):
        for key, value in found.items():
            if key not in hints:
                raise _unknown_key(origin, key, hints)
            try:
                values[key] = _convert(value, hints[key])
            except TypeError as error:
                raise ConfigError(
                    f"{origin}: `{key}` has to be {error}, not {value!r}. Correct it."
                ) from error
    missing = [
        f"`{f.name}`"
        for f in fields(cls)  # type: ignore[arg-type]
        if f.name not in values and f.default is MISSING and f.default_factory is MISSING
    ]
    if missing:
        raise ConfigError(f"{source}: {', '.join(missing)} is missing. Known keys: {_keys(hints)}.")
    try:
        return cls(**values)
    except ValueError as error:
        raise ConfigError(f"{source}: {error}. Correct it.") from error


def config_text(config: Any, leave_out: Sequence[str] = ()) -> str:
    """Write a dataclass as the YAML that `load_config` reads, without some of its keys."""
    values = {key: _plain(v) for key, v in asdict(config).items() if key not in leave_out}
    return yaml.safe_dump(values, sort_keys=False)


def _plain(value: Any) -> Any:
    """Turn paths and tuples into what YAML has."""
    if isinstance(value, dict):
        return {key: _plain(v) for key, v in value.items()}
    if isinstance(value, tuple):
        return [_plain(v) for v in value]
    return str(value) if isinstance(value, Path) else value


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        content = _parse(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(
            f"{path}: cannot be read ({error.strerror}). Check the name of the configuration."
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(
            f"{path}: is not a YAML file of `key: value` lines ({reason}). Correct it."
        ) from error
    if content is None:
        return {}
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise ConfigError(f"{path}: has to hold `key: value` lines only. Correct it.")
    return content


def _parse(text: str) -> Any:
    """Read YAML, but refuse a key given twice, where PyYAML would take the last one."""
    nodes = [yaml.compose(text, yaml.SafeLoader)]
    while nodes:
        node = nodes.pop()
        if isinstance(node, yaml.MappingNode):
            keys = [key.value for key, _ in node.value]
            twice = next((key for key in keys if keys.count(key) > 1), None)
            if twice is not None:
                raise yaml.YAMLError(f"the key `{twice}` is given twice")
            nodes += [value for _, value in node.value]
    return yaml.safe_load(text)


def _read_overrides(overrides: Sequence[str], hints: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals:
            raise ConfigError(f"the command line: `{override}` is not of the form key=value.")
        # A name such as `001` or `on` is text where text is wanted.
        if hints.get(key) in (str, Path):
            found[key] = text
            continue
        try:
            found[key] = _parse(text)
        except yaml.YAMLError as error:
            raise ConfigError(f"the command line: `{override}` is not valid YAML.") from error
    return found


def _unknown_key(origin: str, key: str, hints: Mapping[str, Any]) -> ConfigError:
    close = get_close_matches(key, hints, n=1)
    meant = f" Did you mean `{close[0]}`?" if close else ""
    return ConfigError(f"{origin}: there is no key `{key}`.{meant} Known keys: {_keys(hints)}.")


def _keys(hints: Mapping[str, Any]) -> str:
    return ", ".join(hints)


def _convert(value: Any, kind: Any) -> Any:
    """Return a YAML value as the annotated type; TypeError says what was wanted."""
    if kind in _PLAIN:
        wanted, accept = _PLAIN[kind]
        converted = accept(value)
        if converted is None:
            raise TypeError(wanted)
        return converted
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Literal:
        if value not in arguments:
            raise TypeError("one of " + ", ".join(map(str, arguments)))
        return value
    if origin is tuple:
        return tuple(
            _convert(v, arguments[0]) for v in (value if isinstance(value, list) else [value])
        )
    if origin is dict:
        if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
            raise TypeError("a mapping from names to values, {name: value}")
        return {key: _convert(v, arguments[1]) for key, v in value.items()}
    if NoneType in arguments:
        (other,) = (argument for argument in arguments if argument is not NoneType)
        return None if value is None else _convert(value, other)
    raise NotImplementedError(f"a configuration cannot hold {kind}")


def _number(value: Any) -> float | None:
    # YAML 1.1 takes 1e-4, without a point, for text.
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


_PLAIN: dict[Any, tuple[str, Callable[[Any], Any]]] = {
    bool: ("true or false", lambda v: v if isinstance(v, bool) else None),
    int: ("a whole number", lambda v: v if type(v) is int else None),
    float: ("a finite number", _number),
    str: ("text", lambda v: v if isinstance(v, str) else None),
    Path: ("a path", lambda v: Path(v) if isinstance(v, str) and v else None),
}
