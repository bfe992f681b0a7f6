"""Which model is taken: by processor and kind of image, or by the name that the user gives."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from archspec.cpu.detect import detected_info

from napari_medsamq.errors import ModelError
from napari_medsamq.io.modality import MODALITIES, Modality

MODELS = Path(__file__).parents[1] / "models"
INT8_MODEL = "medsamq-int8"
FLOAT_MODEL = "litemedsam-float"
FAST_MODEL = "medsamq-fast"

# x86 with VNNI (as AVX-512 or, in laptops since 2021, as AVX) or AMX.
_DOT_PRODUCTS = frozenset({"avx512_vnni", "avx_vnni", "amx_int8"})
# By the scores in docs/results.md, "Masks of boxes".
_FAST_FOR = frozenset({"CT", "MR"})


def default_model(modality: Modality) -> Path:
    """Return the directory of the model that is used when the user names none.

    Where the processor has 8-bit dot products: the fast model for what it segments at least as well
    as the float one, on cases that no model was trained on, and the int8 model for the rest. On
    other processors, where 8 bits are slower, the float model. Never chosen by timing, so that the
    same computer always gives the same mask.

    Parameters
    ----------
    modality : "CT", "MR" or "other"
    """
    if not _DOT_PRODUCTS & cpu_features():
        return MODELS / FLOAT_MODEL
    return MODELS / (FAST_MODEL if modality in _FAST_FOR else INT8_MODEL)


def explain_default() -> str:
    """Say in a sentence or two which model is taken when none is chosen."""
    names = {modality: default_model(modality).name for modality in MODALITIES}
    if len(set(names.values())) == 1:
        return (
            f"{names['CT']} for every image, as this processor has no 8-bit dot products, without "
            "which the smaller models are slower."
        )
    return f"{names['CT']} for CT and MR, {names['other']} for all other images."


def shipped_models() -> list[Path]:
    """Return the directories of the models that come along, by name."""
    return sorted(path.parent for path in MODELS.glob("*/model.json"))


def find_model(name: str) -> Path:
    """Return the directory of a model that comes along, by its name, or of any other, by its path.

    Raises
    ------
    ModelError
        If it is neither.
    """
    shipped = _by_name(name)
    if shipped is not None:
        return shipped
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
    shipped = _by_name(name)
    if shipped is None:
        raise ModelError(
            f"The model {name!r} is none of those that come along ({_names()}). If you have it, "
            "name its folder by --model."
        )
    return shipped


@cache
def cpu_features() -> frozenset[str]:
    """Return the names of the processor's instructions, as Linux has them in /proc/cpuinfo."""
    return frozenset(detected_info().features)


def _by_name(name: str) -> Path | None:
    return next((path for path in shipped_models() if path.name == name), None)


def _names() -> str:
    return ", ".join(path.name for path in shipped_models())
