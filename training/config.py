"""Configurations: frozen models filled from flat YAML files and `key=value` overrides."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, TypeVar

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from training.errors import ConfigError

T = TypeVar("T")
# A list, or one value alone.
Several = Annotated[
    tuple[T, ...], BeforeValidator(lambda v: tuple(v) if isinstance(v, list | tuple) else (v,))
]
Probability = Annotated[float, Field(ge=0, le=1)]

_COMMAND_LINE = "the command line"


class Config(BaseModel):
    """What a configuration may say: its fields are the keys, with their types and ranges."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


Filled = TypeVar("Filled", bound=Config)


class _Loader(yaml.SafeLoader):
    """Reads 1e-4 as a number, and refuses a key given twice, of which the last would count."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value]
        twice = next((key for key in keys if keys.count(key) > 1), None)
        if twice is not None:
            raise yaml.YAMLError(f"the key `{twice}` is given twice")
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"[-+]?\d+(\.\d*)?e[-+]?\d+$", re.IGNORECASE),
    "-+0123456789",
)


def require(condition: bool, problem: str) -> None:
    """Raise ValueError with the problem where the condition does not hold."""
    if not condition:
        raise ValueError(problem)


def load_config(
    cls: type[Filled], path: Path | None = None, overrides: Sequence[str] = ()
) -> Filled:
    """Fill a configuration from a YAML file, then from the command line.

    Parameters
    ----------
    cls : subclass of Config
    path : Path, optional
        A flat YAML file, UTF-8.
    overrides : sequence of str
        `key=value`, the value in YAML's notation; later ones win over earlier ones and the file.

    Raises
    ------
    ConfigError
        If the file cannot be read; for an unknown or missing key, a wrong type or a bad value.
    """
    given = {} if path is None else _read_yaml(path)
    asked = dict(_read_override(override, cls) for override in overrides)
    try:
        # JSON has the types of YAML, and strictly, so that no text or truth value is a number.
        return cls.model_validate_json(json.dumps({**given, **asked}, default=str), strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        from_file = path is not None and not set(first["loc"][:1]) & set(asked)
        source = path if from_file else _COMMAND_LINE
        raise ConfigError(f"{source}: {_problem(first, cls.model_fields)}. Correct it.") from error


def as_overrides(words: Iterable[str]) -> list[str]:
    """Turn the folders among `key=value` into `data=[...]`.

    A folder with = in its name can be given as ./a=b.
    """
    words = list(words)
    overrides = [word for word in words if word.partition("=")[0].isidentifier() and "=" in word]
    folders = [word for word in words if word not in overrides]
    return [*overrides, f"data={json.dumps(folders)}"] if folders else overrides


def config_text(config: Config, leave_out: Iterable[str] = ()) -> str:
    """Write a configuration as the YAML that `load_config` reads, without some of its keys."""
    values = config.model_dump(mode="json", exclude=set(leave_out))
    return str(yaml.safe_dump(values, sort_keys=False))


def changed_keys(path: Path, config: Config, leave_out: Iterable[str] = ()) -> list[str]:
    """Return the keys of a configuration that a file of `config_text` has other values of.

    Raises
    ------
    ConfigError
        If the file cannot be read.
    """
    before = _read_yaml(path)
    now = config.model_dump(mode="json", exclude=set(leave_out))
    return [key for key, value in now.items() if before.get(key) != value]


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except OSError as error:
        raise ConfigError(
            f"{path}: cannot be read ({error.strerror}). Check the name of the configuration."
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(
            f"{path}: is not a YAML file of `key: value` lines ({reason}). Correct it."
        ) from error
    if not isinstance(content or {}, dict):
        raise ConfigError(f"{path}: has to hold `key: value` lines only. Correct it.")
    return content or {}


def _read_override(override: str, cls: type[Config]) -> tuple[str, Any]:
    key, equals, text = override.partition("=")
    if not equals:
        raise ConfigError(f"{_COMMAND_LINE}: `{override}` is not of the form key=value.")
    # A name such as `001` or `on` is text where text is wanted.
    if key in cls.model_fields and cls.model_fields[key].annotation in (str, Path):
        return key, text
    try:
        return key, yaml.load(text, _Loader)
    except yaml.YAMLError as error:
        raise ConfigError(f"{_COMMAND_LINE}: `{override}` is not valid YAML.") from error


def _problem(error: ErrorDetails, keys: Iterable[str]) -> str:
    key = ".".join(map(str, error["loc"]))
    if error["type"] == "missing":
        return f"`{key}` is missing"
    if error["type"] == "extra_forbidden":
        close = get_close_matches(key, keys, n=1)
        meant = f" Did you mean `{close[0]}`?" if close else ""
        return f"there is no key `{key}`.{meant} Known keys: {', '.join(keys)}"
    if error["type"] == "value_error":
        return str(error["ctx"]["error"])
    return f"`{key}`: {error['msg']}, not {error['input']!r}"
