"""The import law of the house: who may import whom, and which library has which door."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from importlib.util import find_spec
from pathlib import Path

import pytest

# Rooms by the order in which they may import each other: one those before it, beside itself. Rooms
# in one line do not import each other.
PLUGIN = (
    ("",),  # __init__, errors, geometry, palettes, plain_text, prompts
    ("io",),
    ("inference",),
    ("analysis",),
    ("annotation", "plugin"),
    ("records",),
    ("workflows",),
    ("cohort", "diagnostics"),
    ("ui",),
    ("cli",),
)
# The same for the training side; of its modules outside rooms, all but these are commands.
TRAINING = (
    ("",),
    ("models",),
    ("data",),
    ("quantization",),
    ("checkpoints",),
    ("conversion",),
    ("learning", "evaluation"),
    ("benchmarks", "adaptation"),
    ("ablation",),
    ("commands",),
)
COMMON = {"config", "console", "errors", "files"}
DOORS = {
    "openvino": {"inference"},
    "nibabel": {"io"},
    "pydicom": {"io"},
    "highdicom": {"io"},
    "SimpleITK": {"io", "analysis"},
    "dask": {"cohort"},
    "distributed": {"cohort"},
    "typer": {"cli"},
    "rich": {"cli"},
}
HEAVY = {"torch", "training", "onnx", "brevitas"}
GRAPHICAL = {"qtpy", "PyQt5", "PyQt6", "PySide2", "PySide6", "napari", "magicgui"}
# It is run on its own, to see whether windows can be opened.
PROBE = "napari_medsamq.diagnostics.window_probe"
# Above this a file is likely to hold two subjects; none is cut for its length.
LONG = 500
CROWDED = 20


@cache
def modules(package: str) -> dict[str, ast.Module]:
    """All modules of a package by their full names; a folder has that of the folder."""
    root = Path(find_spec(package).origin).parent
    found = {}
    for path in sorted(root.rglob("*.py")):
        parts = (package, *path.relative_to(root).with_suffix("").parts)
        name = ".".join(parts).removesuffix(".__init__")
        found[name] = ast.parse(path.read_text(encoding="utf-8"))
    return found


def imports(tree: ast.AST, *, lazy: bool = True) -> Iterator[str]:
    """Full names of what a module imports; without those of functions and type checkers if told."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif lazy or not (
            isinstance(node, ast.FunctionDef)
            or (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
        ):
            yield from imports(node, lazy=lazy)


def ours(package: str, tree: ast.AST, *, lazy: bool = True) -> set[str]:
    """Those of its own package that a module imports."""
    known = modules(package)
    found = set()
    for name in imports(tree, lazy=lazy):
        if name in known:
            found.add(name)
        elif name.rpartition(".")[0] in known:
            found.add(name.rpartition(".")[0])
    return found


def room(name: str) -> str:
    """The folder of a module below its package; that of `plugin` is itself."""
    parts = name.split(".")
    package = ".".join(parts[:2])
    is_folder = any(other.startswith(f"{package}.") for other in modules(parts[0]))
    if len(parts) > 1 and (is_folder or parts[1] == "plugin"):
        return parts[1]
    return "commands" if package.startswith("training.") and parts[1] not in COMMON else ""


def roots(tree: ast.AST, *, lazy: bool = True) -> set[str]:
    return {name.split(".")[0] for name in imports(tree, lazy=lazy)}


@pytest.mark.parametrize(("package", "rooms"), [("napari_medsamq", PLUGIN), ("training", TRAINING)])
def test_an_import_points_only_upwards(package: str, rooms: tuple[tuple[str, ...], ...]) -> None:
    line = {name: number for number, names in enumerate(rooms) for name in names}
    back = [
        f"{name} imports {other}"
        for name, tree in modules(package).items()
        # The public names are loaded when they are asked for.
        for other in ours(package, tree, lazy=name != "napari_medsamq")
        if (room(other) != room(name) and line[room(other)] >= line[room(name)])
        or room(other) == "commands"
    ]
    assert back == []


@pytest.mark.parametrize("package", ["napari_medsamq", "training"])
def test_no_file_imports_itself_by_way_of_others(package: str) -> None:
    graph = {
        name: ours(package, tree, lazy=False) - {name} for name, tree in modules(package).items()
    }
    TopologicalSorter(graph).prepare()


def test_the_window_is_opened_by_its_commands_alone() -> None:
    for name, tree in modules("napari_medsamq").items():
        if room(name) == "cli":
            assert {room(other) for other in ours("napari_medsamq", tree, lazy=False)} <= {
                *(own for names in PLUGIN for own in names if own != "ui")
            }, name


def test_the_training_side_uses_the_half_of_the_plugin_without_windows() -> None:
    used = {
        name
        for tree in modules("training").values()
        for name in imports(tree)
        if name.split(".")[0] == "napari_medsamq"
    }
    assert {room(name) for name in used}.isdisjoint({"ui"})


def test_windows_are_opened_in_one_room() -> None:
    for name, tree in modules("napari_medsamq").items():
        if room(name) == "ui" or name == PROBE:
            continue
        assert roots(tree, lazy=False).isdisjoint(GRAPHICAL), name
        if name != "napari_medsamq.plugin":
            assert roots(tree).isdisjoint(GRAPHICAL), name


def test_formats_networks_and_clusters_have_one_door_each() -> None:
    through = [
        f"{name} imports {library}"
        for name, tree in modules("napari_medsamq").items()
        for library in roots(tree) & set(DOORS)
        if room(name) not in DOORS[library]
    ]
    assert through == []


def test_the_program_runs_without_the_training_side() -> None:
    for name, tree in modules("napari_medsamq").items():
        assert roots(tree).isdisjoint(HEAVY), name


def test_napari_is_used_by_its_public_names() -> None:
    private = [
        (name, full)
        for name, tree in modules("napari_medsamq").items()
        for full in imports(tree)
        if full.startswith("napari.") and any(part.startswith("_") for part in full.split("."))
    ]
    assert private == []


def test_a_room_is_no_crowd_and_a_file_has_one_subject() -> None:
    for package in ("napari_medsamq", "training", "tests.stress"):
        rooms: dict[str, int] = {}
        for name, tree in modules(package).items():
            folder = name.rpartition(".")[0]
            if not any(other.startswith(f"{name}.") for other in modules(package)):
                rooms[folder] = rooms.get(folder, 0) + 1
            last = max((node.end_lineno or 0 for node in tree.body), default=0)
            assert last <= LONG, name
        assert {name: count for name, count in rooms.items() if count > CROWDED} == {}


def test_everything_public_is_described() -> None:
    missing = []
    for name, tree in modules("napari_medsamq").items():
        if room(name) == "ui":
            continue
        missing += [] if ast.get_docstring(tree) else [name]
        scopes: list[ast.Module | ast.ClassDef] = [tree]
        while scopes:
            for node in scopes.pop().body:
                own = isinstance(node, ast.FunctionDef | ast.ClassDef)
                if not own or node.name.startswith("_"):
                    continue
                overloads = "overload" in map(ast.unparse, node.decorator_list)
                if not overloads and not ast.get_docstring(node):
                    missing.append(f"{name}.{node.name}")
                if isinstance(node, ast.ClassDef):
                    scopes.append(node)
    assert missing == []


def test_the_command_line_starts_without_window_training_and_telemetry() -> None:
    program = """
import sys
import napari_medsamq.analysis.consensus, napari_medsamq.workflows.follow_up
import napari_medsamq.cli.main
print(*(name for name, module in sys.modules.items() if module))
"""
    loaded = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, encoding="utf-8", check=True
    ).stdout.split()
    found = {name.split(".")[0] for name in loaded}
    assert {"napari_medsamq", "openvino"} <= found
    assert found.isdisjoint(GRAPHICAL | HEAVY | {"openvino_telemetry"})
    # What few need takes each start's time and memory where it is imported at once.
    few = {"scipy.ndimage", "scipy.spatial", "SimpleITK._SimpleITK", "highdicom", "dask"}
    assert not few & set(loaded)
