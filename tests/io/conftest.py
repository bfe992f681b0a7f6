"""DICOM is read in a process of its own, as users have it, or, faster, in that of the tests."""

from __future__ import annotations

import pytest
from dicom_slices import SameProcess

from napari_medsamq.io.dicom import reader
from napari_medsamq.io.dicom.process import Decoder


@pytest.fixture
def same_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read DICOM in the process of the tests."""
    monkeypatch.setattr(reader, "Decoder", SameProcess)


@pytest.fixture
def own_process(same_process: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Read DICOM in a process of its own where other tests of a file do not."""
    monkeypatch.setattr(reader, "Decoder", Decoder)
