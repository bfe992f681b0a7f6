"""Which model is taken: by processor and kind of image, or by the name that the user gives."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from archspec.cpu.detect import detected_info
from platformdirs import user_data_path

from napari_medsamq.errors import ModelError
from napari_medsamq.inference.model_spec import NetworkPart
from napari_medsamq.io.modality import MODALITIES, Modality

MODELS = Path(__file__).parents[1] / "models"
INT8_MODEL = "medsamq-int8"
FLOAT_MODEL = "litemedsam-float"
FAST_MODEL = "medsamq-fast"

# x86 with 8-bit dot products: VNNI (as AVX-512 or, in laptops since 2021, as AVX) or AMX.
_DOT_PRODUCTS = frozenset({"avx512_vnni", "avx_vnni", "amx_int8"})
# By the scores in docs/results.md, "Masks of boxes".
_FAST_FOR = frozenset({"CT", "MR"})
# What OpenVINO's own variable leaves of a processor's instructions, by how their names begin.
_LIMITS = {
    "SSE41": ("avx", "amx"),
    "AVX": ("avx2", "avx_vnni", "avx512", "amx"),
    "AVX2": ("avx_vnni", "avx512", "amx"),
    "AVX2_VNNI": ("avx512", "amx"),
    "AVX512_CORE": ("avx_vnni", "avx512_vnni", "avx512_bf16", "avx512_fp16", "amx"),
    "AVX512_CORE_VNNI": ("avx512_bf16", "avx512_fp16", "amx"),
}


def default_model(modality: Modality) -> Path:
    """Return the directory of the model that is used when the user names none.

    The fast model for what it segments at least as well as the float one, on cases that no model
    was trained on; for the rest the int8 model, where a slice takes it no more than 300 ms: on
    processors with 8-bit dot products. Never chosen by timing, so that the same computer always
    gives the same mask.

    Parameters
    ----------
    modality : "CT", "MR" or "other"
    """
    slow = not _DOT_PRODUCTS & cpu_features()
    return MODELS / (FAST_MODEL if slow or modality in _FAST_FOR else INT8_MODEL)


def floating_parts() -> tuple[NetworkPart, ...]:
    """Return which parts of an 8-bit model this processor computes in floating point.

    Those that are at least 20 % faster so (models/README.md, "Other processors"): the decoder on
    x86 without 8-bit dot products; both on Arm, where OpenVINO has no 8-bit kernels.
    """
    features = cpu_features()
    if _DOT_PRODUCTS & features:
        return ()
    return ("decoder",) if "avx2" in features else ("encoder", "decoder")


def explain_default() -> str:
    """Say in a sentence or two which model is taken when none is chosen."""
    names = {modality: default_model(modality).name for modality in MODALITIES}
    if len(set(names.values())) == 1:
        return (
            f"{names['CT']} for every image, as this processor has no 8-bit dot products, without "
            "which the others take half a second for a slice."
        )
    return f"{names['CT']} for CT and MR, {names['other']} for all other images."


def shipped_models() -> list[Path]:
    """Return the directories of the models that come along, by name."""
    return sorted(path.parent for path in MODELS.glob("*/model.json"))


def personal_folder() -> Path:
    """Return the folder of the user's own models; it need not be there yet."""
    return user_data_path("napari-medsamq") / "models"


def personal_models() -> list[Path]:
    """Return the directories of the user's own models, which `training.adapt` makes, by name."""
    return sorted(path.parent for path in personal_folder().glob("*/model.json"))


def shown_name(directory: Path) -> str:
    """Return how a model is called in menus.

    Examples
    --------
    >>> shown_name(personal_folder() / "mine-2026-11-30")
    'Mine (2026-11-30)'
    """
    own = directory.parent == personal_folder()
    return f"Mine ({directory.name.removeprefix('mine-')})" if own else directory.name


def find_model(name: str) -> Path:
    """Return the directory of a model that comes along or of the user's own, by its name.

    Of any other, by its path.

    Raises
    ------
    ModelError
        If it is neither.
    """
    known = _by_name(name, [*shipped_models(), *personal_models()])
    if known is not None:
        return known
    if Path(name).is_dir():
        return Path(name)
    raise ModelError(
        f"{name} is no model: it has to be one of {_names()}, or a folder with a model.json."
    )


def shipped_model(name: str) -> Path:
    """Return the directory of a model that comes along, by its name, as a file gives it.

    What a file says never leads to another folder: that is for the user to name.

    Raises
    ------
    ModelError
        If none of them has that name.
    """
    shipped = _by_name(name, shipped_models())
    if shipped is None:
        raise ModelError(
            f"The model {name!r} is none of those that come along ({_names()}). If you have it, "
            "name its folder by --model."
        )
    return shipped


@cache
def cpu_features() -> frozenset[str]:
    """Return the names of the processor's instructions, as Linux has them in /proc/cpuinfo.

    Without those that `ONEDNN_MAX_CPU_ISA` keeps OpenVINO from using.
    """
    kept_off = _LIMITS.get(os.environ.get("ONEDNN_MAX_CPU_ISA", "").upper(), ())
    return frozenset(name for name in detected_info().features if not name.startswith(kept_off))


def _by_name(name: str, models: Sequence[Path]) -> Path | None:
    return next((path for path in models if path.name == name), None)


def _names() -> str:
    return ", ".join(path.name for path in shipped_models())
