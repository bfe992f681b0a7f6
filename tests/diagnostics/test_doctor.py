"""What `medsamq doctor` finds on this computer, and on those where something is wrong."""

from __future__ import annotations

import json
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import pytest
from scripted_engine import ScriptedEngine, load_instead
from typer.testing import CliRunner, Result

from napari_medsamq.cli.main import app
from napari_medsamq.diagnostics import doctor
from napari_medsamq.errors import ModelError
from napari_medsamq.inference.backend import CACHE_VARIABLE


@pytest.fixture(autouse=True)
def computer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A computer without a screen, where a network answers at once."""
    load_instead(monkeypatch, ScriptedEngine())
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    monkeypatch.setattr(doctor, "journal_folder", lambda: tmp_path / "journals")
    monkeypatch.setattr(doctor.sys, "platform", "linux")
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["doctor", *arguments])


def found(name: str) -> dict[str, Any]:
    content = json.loads(run("--json").stdout)
    (finding,) = (entry for entry in content["findings"] if entry["name"].startswith(name))
    return dict(finding)


def without(*missing: str, **others: str) -> Any:
    def look_up(package: str) -> str:
        if package in missing:
            raise PackageNotFoundError(package)
        return others.get(package.replace("-", "_")) or version(package)

    return look_up


def test_a_computer_where_all_is_well() -> None:
    result = run()
    assert result.exit_code == 0, result.output
    assert "Nothing keeps the program from working." in result.stdout
    for words in ("openvino", "numpy", "Processor", "ms to encode a slice", "free", "no screen"):
        assert words in result.stdout


def test_json_holds_the_same_for_programs() -> None:
    result = run("--json")
    assert result.exit_code == 0
    content = json.loads(result.stdout)
    assert content["works"] is True
    facts = {entry["name"]: entry["facts"] for entry in content["findings"]}
    assert facts["Versions"]["openvino"]
    assert {"AVX2", "AVX-VNNI", "AVX-512", "AMX (8 bits)"} <= set(
        facts["Processor"]["instructions"]
    )
    (model, *_) = (value for name, value in facts.items() if name.startswith("Model for CT"))
    assert model["encode_ms"] > 0
    assert facts["Memory"]["free_gb"] > 0
    assert facts["Cache folder"]["free_gb"] > 0


def test_a_model_that_was_altered_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise ModelError("encoder.bin is not the file that model.json describes.")

    monkeypatch.setattr("napari_medsamq.inference.engine.OpenVINOEngine", refuse)
    result = run()
    assert result.exit_code == 1
    assert "PROBLEM" in result.stdout
    assert "encoder.bin is not the file" in result.stdout
    assert "pip install --force-reinstall" in result.stdout
    assert json.loads(run("--json").stdout)["works"] is False


def test_an_old_openvino_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "software", lambda: {"openvino": "2024.6.0-17404-abc"})
    assert run().exit_code == 1
    assert found("OpenVINO")["cure"].endswith('pip install -U "openvino>=2025.2"')


def test_two_wheels_of_opencv_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "version", without(opencv_python="4.10"))
    finding = found("OpenCV")
    assert finding["level"] == "note"
    assert "keep PyQt5 from starting" in finding["found"]
    assert "pip uninstall opencv-python" in finding["cure"]


def test_without_napari_the_command_line_works(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "version", without("napari", "qtpy"))
    assert run().exit_code == 0
    assert 'pip install "napari-medsamq[app]"' in found("Window")["cure"]


def test_little_memory_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "free_memory", lambda: 5 * 10**8)
    finding = found("Memory")
    assert (finding["level"], finding["found"]) == ("note", "0.5 GB free")
    monkeypatch.setattr(doctor, "free_memory", lambda: None)
    assert found("Memory")["found"] == "not known on this system"


@pytest.mark.parametrize("name", ["Cache folder", "Journal folder"])
def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path, name: str) -> None:
    (tmp_path / {"Cache folder": "cache", "Journal folder": "journals"}[name]).write_text("a file")
    assert run().exit_code == 0
    finding = found(name)
    assert finding["level"] == "note"
    assert "cannot be written to" in finding["found"]
    assert "Allow writing there" in finding["cure"]


def test_little_room_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    class Usage:
        free = 10**8

    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda _: Usage)
    assert found("Cache folder")["cure"] == "Free some space on that disk."


# -- the window, in a process of its own ----------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "stderr", "cure"),
    [
        (-11, "", "driver of the graphics card"),
        (-6, 'could not load the Qt platform plugin "xcb"', "libxcb-cursor0"),
        (1, "ImportError: libGL.so.1: cannot open shared object file", "apt-get install libgl1"),
        (1, "qtpy.QtBindingsNotFoundError: No Qt bindings could be found", "napari-medsamq[app]"),
    ],
)
def test_a_crash_of_qt_is_a_finding(
    status: int, stderr: str, cure: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DISPLAY", ":1")
    done = subprocess.CompletedProcess([], status, "", stderr)
    monkeypatch.setattr(doctor.subprocess, "run", lambda *_, **__: done)
    monkeypatch.setattr(doctor, "cpu_name", lambda: "a processor")
    result = run()
    assert result.exit_code == 1
    finding = found("Window")
    assert f"ended with status {status}" in finding["found"]
    assert cure in finding["cure"]


def test_qt_that_hangs_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    def hang(command: list[str], **_: object) -> None:
        raise subprocess.TimeoutExpired(command, 120)

    monkeypatch.setenv("DISPLAY", ":1")
    monkeypatch.setattr(doctor.subprocess, "run", hang)
    assert run().exit_code == 1


@pytest.mark.parametrize(("opengl", "status"), [("4.5 Mesa, llvmpipe", 0), ("", 1)])
def test_opengl_is_told(opengl: str, status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = json.dumps({"binding": "PyQt5 with Qt 5.15", "platform": "xcb", "opengl": opengl})
    monkeypatch.setenv("DISPLAY", ":1")
    done = subprocess.CompletedProcess([], 0, answer, "")
    monkeypatch.setattr(doctor.subprocess, "run", lambda *_, **__: done)
    assert run().exit_code == status
    assert opengl in found("Window")["found"]


def test_a_screen_that_is_not_there_ends_only_the_other_process(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DISPLAY", ":987")
    monkeypatch.delenv("QT_QPA_PLATFORM", raising=False)
    result = run()
    assert result.exit_code == 1
    assert "Qt or OpenGL ended with status" in result.stdout
