"""Looks for what keeps the program from working on this computer, and says what to do about it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from napari_medsamq.errors import ModelError
from napari_medsamq.inference.backend import CPU, cache_folder, cpu_name
from napari_medsamq.inference.engine import Engines
from napari_medsamq.inference.model_choice import cpu_features, default_model
from napari_medsamq.inference.model_list import time_steps
from napari_medsamq.io.modality import MODALITIES, Modality
from napari_medsamq.memory import free_memory
from napari_medsamq.records.journal import journal_folder
from napari_medsamq.records.provenance import software

# With 512 x 512 x 300 voxels open the window may take 1.6 GB; see docs/results.md, "The window".
_MEMORY_GB, _DISK_GB = 2.0, 1.0
_OPENVINO = (2025, 2)
_WINDOW_SECONDS = 120
_PACKAGES = ("napari", "qtpy", "PyQt5", "PyQt6", "pydicom", "nibabel", "SimpleITK", "scipy")
_CLASHING = ("opencv-python", "opencv-contrib-python")
_INSTRUCTIONS = {
    "AVX2": ("avx2",),
    "AVX-VNNI": ("avx_vnni",),
    "AVX-512": ("avx512f",),
    "AVX-512 VNNI": ("avx512_vnni",),
    "AMX (8 bits)": ("amx_int8",),
    "NEON dot products": ("asimddp",),
}
_WINDOW = 'Install it: pip install "napari-medsamq[app]"'
_LIBRARIES = (
    "On Debian and Ubuntu: sudo apt-get install libgl1 libegl1 libgl1-mesa-dri libxkbcommon-x11-0 "
    "libxcb-cursor0 libxcb-icccm4 libxcb-image0 libxcb-keysyms1 libxcb-randr0 libxcb-render-util0 "
    "libxcb-shape0 libxcb-xinerama0 libxcb-xkb1"
)


class Level(StrEnum):
    """How much a finding matters."""

    ok = "ok"
    note = "note"  # something is slower, or a part is missing
    problem = "problem"  # it keeps the program from working


@dataclass(frozen=True)
class Finding:
    """What was found about one thing.

    Attributes
    ----------
    name : str
    level : Level
    found : str
    cure : str
        What to do; empty where nothing needs doing.
    facts : dict
        The same for programs, as JSON can hold it.
    """

    name: str
    level: Level
    found: str
    cure: str
    facts: dict[str, Any]


def examine() -> Iterator[Finding]:
    """Examine this computer, one thing after the other; takes seconds."""
    yield _versions()
    yield _openvino()
    yield _opencv()
    yield _processor()
    engines = Engines()
    for directory in dict.fromkeys(default_model(modality) for modality in MODALITIES):
        used = [name for name in MODALITIES if default_model(name) == directory]
        yield _model(engines, directory, used)
    yield _memory()
    cache = "The first start of each program then takes longer. Allow writing there."
    yield _folder("Cache folder", cache_folder(), cache)
    journals = "Work is then lost in a crash. Allow writing there, or choose a folder in napari's "
    yield _folder("Journal folder", journal_folder(), journals + "preferences.")
    yield _window()


def _versions() -> Finding:
    found = software() | {name: text for name in _PACKAGES if (text := _installed(name))}
    text = ", ".join(f"{name} {number}" for name, number in found.items())
    return Finding("Versions", Level.ok, text, "", dict(found))


def _openvino() -> Finding:
    text = software()["openvino"]
    old = tuple(int(part) for part in text.split(".")[:2]) < _OPENVINO
    least = ".".join(map(str, _OPENVINO))
    cure = f'Version {least} or later is needed: pip install -U "openvino>={least}"' if old else ""
    facts = {"version": text, "least": least}
    return Finding("OpenVINO", Level.problem if old else Level.ok, text, cure, facts)


def _opencv() -> Finding:
    clashing = [name for name in _CLASHING if _installed(name)]
    headless = _installed("opencv-python-headless")
    facts = {"headless": headless, "clashing": clashing}
    if not clashing:
        return Finding("OpenCV", Level.ok, f"headless {headless}", "", facts)
    return Finding(
        "OpenCV",
        Level.note,
        f"{' and '.join(clashing)} brings a Qt of its own, which can keep PyQt5 from starting",
        f"pip uninstall {' '.join(clashing)}; then pip install --force-reinstall --no-deps "
        "opencv-python-headless",
        facts,
    )


def _processor() -> Finding:
    features = cpu_features()
    known = {name: features.issuperset(needed) for name, needed in _INSTRUCTIONS.items()}
    has = ", ".join(name for name, there in known.items() if there) or "none that matter"
    text = f"{cpu_name()}, {os.cpu_count()} cores; {has}"
    facts = {"name": cpu_name(), "cores": os.cpu_count(), "instructions": known}
    return Finding("Processor", Level.ok, text, "", facts)


def _model(engines: Engines, directory: Path, modalities: list[Modality]) -> Finding:
    name = f"Model for {', '.join(modalities)}"
    facts: dict[str, Any] = {"model": directory.name, "modalities": modalities, "device": CPU}
    try:
        engine = engines.load(directory)
        floating = engine.floating
        times = time_steps(engine)
    except ModelError as error:
        cure = "Install the program again: pip install --force-reinstall --no-deps napari-medsamq"
        return Finding(name, Level.problem, str(error), cure, facts)
    facts |= {
        "encode_ms": times.encode_ms,
        "decode_ms": times.decode_ms,
        "floating_point": floating,
    }
    text = (
        f"{directory.name}, files as they should be, {times.encode_ms:.0f} ms to encode a slice "
        f"and {times.decode_ms:.0f} ms for a box"
        + (f"; in floating point: {', '.join(floating)}" if floating else "")
    )
    return Finding(name, Level.ok, text, "", facts)


def _memory() -> Finding:
    free = free_memory() if sys.platform == "linux" else None  # elsewhere it is all there is
    if free is None:
        return Finding("Memory", Level.ok, "not known on this system", "", {"free_gb": None})
    short = free < _MEMORY_GB * 1e9
    cure = "Close other programs before you open large volumes." if short else ""
    facts = {"free_gb": free / 1e9}
    return Finding(
        "Memory", Level.note if short else Level.ok, f"{free / 1e9:.1f} GB free", cure, facts
    )


def _folder(name: str, folder: Path, cure: str) -> Finding:
    facts: dict[str, Any] = {"path": str(folder)}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # Whether a folder may be written to is known only by writing to it.
        with TemporaryFile(dir=folder):
            pass
        free = shutil.disk_usage(folder).free
    except OSError as error:
        facts["error"] = error.strerror or str(error)
        text = f"{folder} cannot be written to ({facts['error']})"
        return Finding(name, Level.note, text, cure, facts)
    facts["free_gb"] = free / 1e9
    short = free < _DISK_GB * 1e9
    return Finding(
        name,
        Level.note if short else Level.ok,
        f"{folder}, {free / 1e9:.1f} GB free",
        "Free some space on that disk." if short else "",
        facts,
    )


def _window() -> Finding:
    """Make a window's canvas in a process of its own, as what is wrong there may end it."""
    name = "Window"
    missing = [name for name in ("napari", "qtpy") if not _installed(name)]
    if missing:
        text = f"{' and '.join(missing)} not installed; the command line works without"
        return Finding(name, Level.note, text, _WINDOW, {"missing": missing})
    if sys.platform == "linux" and not any(map(os.environ.get, ("DISPLAY", "WAYLAND_DISPLAY"))):
        text = "no screen here (neither DISPLAY nor WAYLAND_DISPLAY is set)"
        cure = 'Log in with a screen, or put before it: xvfb-run -a -s "-screen 0 1400x900x24"'
        return Finding(name, Level.note, f"{text}; the command line works without", cure, {})
    command = [sys.executable, "-m", "napari_medsamq.diagnostics.window_probe"]
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=_WINDOW_SECONDS,
        )
    except subprocess.TimeoutExpired:
        text = f"Qt did not start within {_WINDOW_SECONDS} s"
        return Finding(name, Level.problem, text, _LIBRARIES, {"timeout_s": _WINDOW_SECONDS})
    said = done.stderr.strip()
    if done.returncode:
        last = said.splitlines()[-1] if said else "it said nothing"
        text = f"Qt or OpenGL ended with status {done.returncode}: {last}"
        facts = {"status": done.returncode, "stderr": said}
        return Finding(name, Level.problem, text, cure_window(said), facts)
    facts = json.loads(done.stdout.splitlines()[-1])
    if not facts["opengl"]:
        text = f"{facts['binding']}, but no OpenGL"
        return Finding(name, Level.problem, text, cure_window("OpenGL"), facts)
    return Finding(name, Level.ok, f"{facts['binding']}; OpenGL {facts['opengl']}", "", facts)


def cure_window(said: str) -> str:
    """Return what to do about what Qt said before it ended."""
    if "No Qt bindings" in said or "QtBindingsNotFound" in said or "No module named" in said:
        return _WINDOW
    if any(word in said for word in ("xcb", "cannot open shared object", "platform plugin")):
        return f"Qt lacks libraries of the system. {_LIBRARIES}"
    return f"Update the driver of the graphics card. {_LIBRARIES}"


def _installed(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
