"""Which changes to the code are tried, and that the command finds those that no test notices."""

from __future__ import annotations

import shutil
from contextlib import suppress
from pathlib import Path

import pytest
import typer

pytest.importorskip("cosmic_ray")
pytest.importorskip("coverage")

from tests.stress.mutants import command as mutants
from tests.stress.mutants.changes import Change, changes_of, draw_changes

# Only what is marked may be changed.
SOURCE = '''"""A docstring with 1 number."""
from functools import lru_cache
from typing import TYPE_CHECKING, Literal, overload

if TYPE_CHECKING:
    from a import b
__all__ = ["f"]
Number = int | Literal | None
LIMIT = 3  # changed
ROOM = 1 << 20


@overload
def f(a: Literal[1] | None, b=2) -> Literal[3]: ...


@lru_cache(maxsize=4)
def f(a: int | None, *, b: Literal[5] = 5) -> Literal[6] | None:  # changed
    """Say 7."""
    if a > b:  # changed
        raise ValueError("more than" + str(b - 1))
    zip(a, b, strict=True)  # changed
    try:
        logger.warning("%d", a + 1)
    except (ValueError, a.Error, *b):
        raise
    logger.close()  # changed
    return {**a, "b": 2}  # changed
'''
MODULE = "napari_medsamq/both.py"
BOTH = "def both(a: bool, b: bool) -> bool:\n    return a and b\n"
TESTS = "from napari_medsamq.both import both\n\n\ndef test_both():\n    {}\n"


def test_annotations_messages_decorators_and_aliases_are_left_as_they_are() -> None:
    lines = SOURCE.splitlines()
    changed = {place[0].line for place in changes_of("a.py", SOURCE)}
    assert changed == {n for n, line in enumerate(lines, 1) if "# changed" in line}


def test_a_change_is_one_line_and_knows_its_statement() -> None:
    found = [change for place in changes_of("a.py", SOURCE) for change in place]
    pairs = {change.lines(SOURCE) for change in found}
    assert ("LIMIT = 3  # changed", "LIMIT = 4  # changed") in {
        (before, after.replace("  4", " 4")) for before, after in pairs
    }
    assert ("if a > b:  # changed", "if a >= b:  # changed") in pairs
    assert ("logger.close()  # changed", "pass  # changed") in pairs
    assert not any("strict=False" in after for _, after in pairs)
    statements = {change.line: change.statement for change in found}
    assert statements == {
        9: (0, 0),
        18: (0, 0),
        20: (20, 20),
        22: (22, 22),
        27: (27, 27),
        28: (28, 28),
    }


def test_a_seed_draws_the_same_changes_again_and_where_code_has_moved(tmp_path: Path) -> None:
    def draw(source: str, seed: int) -> set[tuple[str, str]]:
        (tmp_path / "a.py").write_text(source)
        drawn: list[Change] = draw_changes(tmp_path, ["a.py"], 3, seed)
        assert len({change.key for change in drawn}) == 3
        return {(change.key, change.operator) for change in drawn}

    assert draw(SOURCE, 0) == draw(SOURCE, 0) == draw("import os\n\n" + SOURCE, 0)
    assert len({frozenset(draw(SOURCE, seed)) for seed in range(5)}) > 1


def test_what_no_test_notices_is_found_and_what_is_known_is_not_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "napari_medsamq").mkdir()
    (tmp_path / "napari_medsamq" / "__init__.py").touch()
    (tmp_path / "tests" / "io").mkdir(parents=True)
    plugin = tmp_path / "tests" / "stress" / "mutants"
    plugin.mkdir(parents=True)
    for folder in (plugin.parent, plugin):
        (folder / "__init__.py").touch()
    shutil.copy(Path(mutants.__file__).with_name("reached_lines.py"), plugin)
    (tmp_path / MODULE).write_text(BOTH)
    (tmp_path / "pyproject.toml").write_text("[tool.pytest.ini_options]\nmarkers = ['slow']\n")
    equivalent = tmp_path / "equivalent.toml"
    equivalent.write_text("change = []\n")
    monkeypatch.setattr(mutants, "ROOT", tmp_path)
    monkeypatch.setattr(mutants, "MODULES", [MODULE])
    monkeypatch.setattr(mutants, "EQUIVALENT", equivalent)

    def run(test: str) -> str:
        (tmp_path / "tests" / "io" / "test_both.py").write_text(TESTS.format(test))
        with suppress(typer.Exit):
            mutants.mutants(9, 1, 1, "", tmp_path / "work")
        return capsys.readouterr().out

    weak, strong = "assert both(True, True)", "assert not both(True, False)"
    missed = run(weak)
    assert f"{MODULE}:2\n- return a and b\n+ return a or b\n" in missed
    assert "noticed 0.000 of 1 changes (goal >= 0.85) missed" in missed
    noticed = run(strong)
    assert "1 changes, 1 of them to be tried" in noticed
    assert "noticed 1.000 of 1 changes (goal >= 0.85) met" in noticed
    assert "1 changes, 0 of them to be tried" in run(strong)
    assert (tmp_path / MODULE).read_text() == BOTH
    equivalent.write_text(
        f'[[change]]\nmodule = "{MODULE}"\nbefore = "return a and b"\nafter = "return a or b"\n'
    )
    assert "equivalent 1.000 (goal <= 0.05) missed" in run(weak)
