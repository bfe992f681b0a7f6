"""What a script may import from the package itself."""

from __future__ import annotations

import subprocess
import sys

import pytest

import napari_medsamq


def test_every_public_name_is_there() -> None:
    for name in napari_medsamq.__all__:
        assert getattr(napari_medsamq, name) is not None
    assert napari_medsamq.read_volume.__module__ == "napari_medsamq.io.volume"
    with pytest.raises(AttributeError, match="no attribute 'read_image'"):
        _ = napari_medsamq.read_image


def test_importing_the_package_loads_no_library() -> None:
    program = "import sys, napari_medsamq; print(*(n for n, m in sys.modules.items() if m))"
    loaded = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, encoding="utf-8", check=True
    ).stdout.split()
    roots = {name.split(".")[0] for name in loaded}
    assert roots.isdisjoint({"numpy", "openvino", "SimpleITK", "nibabel", "qtpy", "napari"})
