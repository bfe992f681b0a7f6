"""The rules that keep the program small: who imports whom, and what stays out of the core."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import napari_medsamq

PACKAGE = Path(napari_medsamq.__file__).parent
MODULES = {path.stem: path for path in sorted(PACKAGE.glob("*.py"))}

# Each module may import those of the lines above its own; private ones (_*) stand with volume_io.
CORE = (
    ("__init__", "errors", "organs", "metrics", "palettes", "memory", "plain_text"),
    ("geometry", "files"),
    ("prompts",),
    ("_source", "_outlines", "_dicom_numbers"),
    (
        *("_nifti_header", "_modality", "_label", "_decoder", "_dicom_header", "_even_grid"),
        *("_text_header", "_lattice"),
    ),
    ("_nifti", "_nrrd", "_meta_image", "_dicom_pixels", "_series"),
    ("_dicom_child",),
    ("_case", "_itk", "_dicom_source", "_division"),
    ("_volumes",),
    ("_dicom", "_dicom_seg"),
    ("_readers", "_contours"),
    ("_seg_nrrd", "_rtstruct"),
    ("_label_files",),
    ("_save",),
    ("volume_io",),
    ("preprocess", "facts", "phantom", "registration", "quality"),
    ("windows", "views"),
    ("model_spec", "setting"),
    ("networks",),
    ("engine",),
    ("embeddings", "model_choice"),
    ("stop_rules", "corrections", "review"),
    ("propagation", "slice_network", "acceptance"),
    ("history", "operations"),
    ("labelling", "origins", "meanwhile"),
    ("session",),
    (
        *("locks", "reports", "journal_file", "label_files", "correcting", "repairs"),
        "arguments",
    ),
    ("journal",),
    ("recording", "terminal"),
    ("verification", "statistics", "comparison"),
    ("provenance",),
    ("replay", "pictures"),
    ("label_report",),
    ("cli_report",),
    ("layers",),
    ("headless",),
    ("case_table", "gallery", "cluster_access"),
    ("case_boxes", "cohort_files"),
    ("cohort",),
    ("cohort_run",),
    ("demo",),
    ("benchmark_worker",),
    ("benchmark", "followup"),
    ("cli_benchmark", "cli_batch", "cli_compare", "cli_followup", "doctor"),
    ("cli_doctor",),
    ("cli",),
)
QT = (
    (
        "worker",
        "model_box",
        "box_drag",
        "rectangles",
        "ready_bar",
        "past",
        "canvas",
        "window_form",
        "preferences",
        "click_marks",
        "doctor_window",
        "review_strip",
        "selecting",
        "help",
        "key_focus",
        "status_line",
    ),
    ("forms", "prefetch"),
    (
        "label_form",
        "label_edits",
        "check_form",
        "measure_form",
        "compare_form",
        "guide",
        "prior_form",
    ),
    ("view", "model_chooser"),
    ("workspace",),
    (
        "opening",
        "switch",
        "preview",
        "propagator",
        "saver",
        "loader",
        "clicking",
        "solid",
        "nudging",
        "naming",
    ),
    ("live", "orientation", "answers", "comparison_view", "reviewer"),
    ("windowing", "measuring", "mending", "comparing", "following"),
    ("checkup", "keys"),
    ("controller",),
    ("widget",),
    ("window", "gui_script"),
    ("benchmark_answers",),
    ("benchmark_gui",),
)
LINE = {name: number for number, names in enumerate((*CORE, *QT)) for name in names}
CORE_NAMES = sorted({name for names in CORE for name in names} & set(MODULES))
QT_NAMES = {name for names in QT for name in names}
# Commands that import what only they need when they are called.
LAZY = {
    ("cli_batch", "cohort_run"),
    ("cli_benchmark", "benchmark"),
    ("cli_benchmark", "benchmark_gui"),
    ("cli", "demo"),
    ("cli", "window"),
}
ONLY_IN = {
    "openvino": {"engine", "networks"},
    "nibabel": {"_nifti", "_nifti_header", "_save"},
    "SimpleITK": {"_itk", "_dicom_pixels", "registration"},
    "highdicom": {"_dicom_seg"},
    "pydicom": {
        *("_contours", "_dicom_child", "_dicom_header", "_dicom_numbers", "_dicom_pixels"),
        *("_dicom_seg", "_dicom_source", "_rtstruct"),
    },
}
HEAVY = {"torch", "training", "onnx", "brevitas"}
GRAPHICAL = {"qtpy", "PyQt5", "PyQt6", "PySide2", "PySide6", "napari", "magicgui"}


def imports(path: Path, *, lazy: bool = True) -> Iterator[str]:
    """Full names of what a module imports; without those of functions and type checkers if told."""

    def walk(nodes: list[ast.stmt]) -> Iterator[str]:
        for node in nodes:
            if isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{path.name} imports relatively"
                yield str(node.module)
                yield from (f"{node.module}.{alias.name}" for alias in node.names)
            elif lazy or not (
                isinstance(node, ast.FunctionDef)
                or (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
            ):
                for _, field in ast.iter_fields(node):
                    if isinstance(field, list):
                        yield from walk([part for part in field if isinstance(part, ast.AST)])

    yield from walk(ast.parse(path.read_text(encoding="utf-8")).body)


def ours(path: Path, *, lazy: bool = True) -> set[str]:
    parts = (name.split(".") for name in imports(path, lazy=lazy))
    found = {part[1] for part in parts if part[0] == "napari_medsamq" and len(part) > 1}
    return found & set(MODULES)


def test_every_module_has_its_place() -> None:
    assert set(MODULES) == set(LINE)


@pytest.mark.parametrize("name", MODULES)
def test_a_module_imports_only_what_stands_above_it(name: str) -> None:
    for imported in ours(MODULES[name]):
        if (name, imported) in LAZY:
            assert imported not in ours(MODULES[name], lazy=False)
        else:
            assert LINE[imported] < LINE[name], f"{name} imports {imported}"


@pytest.mark.parametrize("name", MODULES)
def test_private_modules_are_read_by_volume_io_alone(name: str) -> None:
    if name != "volume_io" and not name.startswith("_"):
        assert not {imported for imported in ours(MODULES[name]) if imported.startswith("_")}


@pytest.mark.parametrize("name", CORE_NAMES)
def test_the_core_needs_no_window(name: str) -> None:
    roots = {full.split(".")[0] for full in imports(MODULES[name], lazy=False)}
    assert roots.isdisjoint(GRAPHICAL)
    if name != "layers":
        assert {full.split(".")[0] for full in imports(MODULES[name])}.isdisjoint(GRAPHICAL)


@pytest.mark.parametrize("name", MODULES)
def test_the_program_runs_without_the_training_side(name: str) -> None:
    assert {full.split(".")[0] for full in imports(MODULES[name])}.isdisjoint(HEAVY)


@pytest.mark.parametrize("name", MODULES)
def test_napari_is_used_by_its_public_names(name: str) -> None:
    private = [
        full
        for full in imports(MODULES[name])
        if full.startswith("napari.") and any(part.startswith("_") for part in full.split("."))
    ]
    assert private == []


@pytest.mark.parametrize("name", MODULES)
def test_formats_and_networks_have_one_door_each(name: str) -> None:
    roots = {full.split(".")[0] for full in imports(MODULES[name])}
    for library, doors in ONLY_IN.items():
        assert library not in roots or name in doors, f"{name} imports {library}"


@pytest.mark.parametrize("name", MODULES)
def test_a_file_has_one_subject(name: str) -> None:
    # None is cut for its length, but above this it is likely to hold two.
    assert len(MODULES[name].read_text(encoding="utf-8").splitlines()) <= 500


@pytest.mark.parametrize("name", CORE_NAMES)
def test_everything_public_is_described(name: str) -> None:
    tree = ast.parse(MODULES[name].read_text(encoding="utf-8"))
    missing = [] if ast.get_docstring(tree) else ["the module"]
    scopes: list[ast.Module | ast.ClassDef] = [tree]
    while scopes:
        for node in scopes.pop().body:
            if not isinstance(node, ast.FunctionDef | ast.ClassDef) or node.name.startswith("_"):
                continue
            if not ast.get_docstring(node):
                missing.append(node.name)
            if isinstance(node, ast.ClassDef):
                scopes.append(node)
    assert missing == []


def test_the_command_line_starts_without_window_training_and_telemetry() -> None:
    program = "import sys, napari_medsamq.cli; print(*(n for n, m in sys.modules.items() if m))"
    loaded = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, encoding="utf-8", check=True
    ).stdout.split()
    roots = {name.split(".")[0] for name in loaded}
    assert {"napari_medsamq", "openvino"} <= roots
    assert roots.isdisjoint(GRAPHICAL | HEAVY | {"openvino_telemetry"})
    assert not {f"napari_medsamq.{name}" for name in QT_NAMES} & set(loaded)
