from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

import pytest

pytest.importorskip("yaml")

from pydantic import Field, model_validator

from training.config import Config, Several, changed_keys, config_text, load_config, require
from training.data.config import DataConfig
from training.errors import ConfigError


class Run(Config):
    name: str
    rate: float = 0.1
    steps: int = Field(10, ge=1)
    resume: bool = False
    out: Path | None = None
    mode: Literal["a", "b"] = "a"
    sizes: Several[int] = (1,)
    counts: dict[str, int] = Field({})

    @model_validator(mode="after")
    def _steps_fit(self) -> Self:
        require(self.steps != 7, "`steps` cannot be 7 with this `rate`")
        return self


def write(folder: Path, text: str) -> Path:
    path = folder / "run.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_every_type_is_read_from_the_file(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "name: one\nrate: 1e-4\nsteps: 3\nresume: true\nout: a/b\nmode: b\nsizes: [4, 5]\n"
        "counts: {CT: 7}\n",
    )
    found = load_config(Run, path)
    assert tuple(found.model_dump().values()) == (
        *("one", 1e-4, 3, True, Path("a/b"), "b", (4, 5), {"CT": 7}),
    )


def test_the_command_line_wins_and_is_typed_like_the_file(tmp_path: Path) -> None:
    path = write(tmp_path, "name: one\nsteps: 3\nout: a\n")
    overrides = ["steps=4", "steps=5", "name=007", "out=null", "sizes=6", "counts={MR: 2}"]
    found = load_config(Run, path, overrides)
    assert found == Run(name="007", steps=5, out=None, sizes=(6,), counts={"MR": 2})


def test_a_whole_number_serves_as_a_number(tmp_path: Path) -> None:
    rate = load_config(Run, write(tmp_path, "name: x\nrate: 1\n")).rate
    assert (rate, type(rate)) == (1.0, float)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("name: x\nstep: 3\n", "no key `step`. Did you mean `steps`?"),
        ("name: x\nsteps: 3.5\n", "`steps`: Input should be a valid integer, not 3.5"),
        ("name: x\nsteps: '3'\n", "`steps`: Input should be a valid integer, not '3'"),
        ("name: x\nsteps: true\n", "`steps`: Input should be a valid integer, not True"),
        ("name: x\nrate: fast\n", "`rate`: Input should be a valid number, not 'fast'"),
        ("name: x\nrate: .nan\n", "`rate`: Input should be a finite number"),
        ("name: x\nresume: 1\n", "`resume`: Input should be a valid boolean"),
        ("name: 5\n", "`name`: Input should be a valid string, not 5"),
        ("name: x\nmode: c\n", "`mode`: Input should be 'a' or 'b', not 'c'"),
        ("name: x\nsizes: [1, two]\n", "`sizes.1`: Input should be a valid integer, not 'two'"),
        ("name: x\ncounts: [1]\n", "`counts`: Input should be an object, not [1]"),
        ("name: x\nsteps: 0\n", "`steps`: Input should be greater than or equal to 1, not 0"),
        ("name: x\nsteps: 7\n", "`steps` cannot be 7 with this `rate`"),
        ("name: x\nname: y\n", "`name` is given twice"),
        ("steps: 3\n", "`name` is missing"),
        ("- name\n", "`key: value` lines only"),
        ("name: [x\n", "is not a YAML file"),
    ],
)
def test_a_bad_file_is_one_error_with_its_name(tmp_path: Path, text: str, reason: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        load_config(Run, path)
    assert str(caught.value).startswith(f"{path}: ")
    assert reason in str(caught.value)


@pytest.mark.parametrize(
    ("override", "reason"),
    [("steps", "not of the form key=value"), ("stps=3", "Known keys: name, rate, steps")],
)
def test_a_bad_override_names_the_command_line(override: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason) as caught:
        load_config(Run, None, ["name=x", override])
    assert str(caught.value).startswith("the command line: ")


def test_missing_and_unreadable_files_are_errors_with_their_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config(Run, tmp_path / "none.yaml")
    path = tmp_path / "latin.yaml"
    path.write_bytes(b"name: \xe9\xff\n")
    with pytest.raises(ConfigError, match="is not a YAML file"):
        load_config(Run, path)


@pytest.mark.parametrize(
    "override",
    [
        *("axes=[]", "axes=[axial, axial]", "axes=oblique", "min_pixels=0", "box_jitter=-1"),
        *("flip=1.1", "fraction=0", "memory_mb=-1", "strategy=counts", "counts={CT: 3}"),
        "data=[]",
    ],
)
def test_values_that_make_no_data_set_are_refused(override: str) -> None:
    with pytest.raises(ConfigError, match=override.partition("=")[0]):
        load_config(DataConfig, None, ["data=cases", override])


def test_counts_of_an_unknown_modality_are_refused() -> None:
    with pytest.raises(ConfigError, match="`counts` names Xray; modalities are CT, MR"):
        load_config(DataConfig, None, ["data=cases", "strategy=counts", "counts={Xray: 3}"])
    by_set = ["balance=data_set", "strategy=counts", "counts={MR/Heart: 3}"]
    assert load_config(DataConfig, None, ["data=cases", *by_set]).counts == {"MR/Heart": 3}


def test_a_configuration_is_written_as_it_is_read_and_compared_by_its_values(
    tmp_path: Path,
) -> None:
    config = Run(name="on", rate=1e-5, out=Path("a/b"), sizes=(4, 5), counts={"CT": 7})
    path = write(tmp_path, config_text(config))
    assert load_config(Run, path) == config
    path.write_text(path.read_text().replace("- 4\n", "- 4.0\n").replace("1.0e-05", "1e-5"))
    assert changed_keys(path, config) == []
    other = config.model_copy(update={"rate": 0.5, "sizes": (4,)})
    assert changed_keys(path, other, leave_out=["sizes"]) == ["rate"]
