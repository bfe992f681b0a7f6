"""From corrected cases to a model directory: taught, rounded, and otherwise as the one before."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from napari_medsamq.inference.model_spec import ModelSpec
from napari_medsamq.inference.preprocess import default_window
from napari_medsamq.io.medsam_case import read_arrays
from napari_medsamq.io.volume import read_volume
from napari_medsamq.plugin import SAMPLES
from training.checkpoints.network_file import StoredNetwork, in_floating_point
from training.config import load_config
from training.conversion.model_directory import describe_network, write_model
from training.conversion.restore import restore_network
from training.conversion.to_openvino import convert_decoder
from training.data.cases import ARRAYS, Arrays, NpzCase, find_cases, read_case, write_case
from training.data.config import DataConfig
from training.learning.calibration import CalibrationConfig, quantize_network
from training.learning.config import TrainConfig
from training.learning.processes import Processes
from training.learning.run_folder import CONFIG, RunFolder
from training.learning.training_run import train

SETTINGS = Path(__file__).parents[1] / "configs" / "adapt.yaml"
# What lies below the folder of the modality: cases with their masks, and images without.
MINE, MEMORY = "mine", "memory"
_SAMPLES, SAMPLE_SLICES = ("ct.nii.gz", "mr.nrrd"), 45
# Samples that the activations of the decoder are measured on.
_MEASURED = 24


def write_cases(cases: Iterable[NpzCase], folder: Path) -> None:
    """Write cases into the folder of their modality: `mine`, and their images alone, `memory`."""
    for case in cases:
        arrays = read_arrays(case.path, *ARRAYS)
        write_case(folder / MINE / case.path.name, arrays)
        del arrays["gts"]
        write_case(folder / MEMORY / case.path.name, arrays)


def write_samples(folder: Path) -> None:
    """Write the images that come along into the folder of a modality, as `memory`."""
    for name in _SAMPLES:
        volume = read_volume(SAMPLES / name)
        arrays: Arrays = {
            "imgs": default_window(volume).apply(volume.data),
            "spacing": volume.spacing[::-1].copy(),
        }
        write_case(folder / MEMORY / f"sample-{volume.modality}.npz", arrays)


@dataclass(frozen=True)
class Teaching:
    """Which model is taught, and how.

    Attributes
    ----------
    base : Path
        Directory of an int8 model.
    processes : Processes
    ends : callable
        Where it says so, the step that was done is the last one for now.
    overrides : tuple of str
        `key=value` in place of what the settings say.
    """

    base: Path
    processes: Processes
    ends: Callable[[], bool] = lambda: False
    overrides: tuple[str, ...] = ()

    def settings(self, cases: Sequence[Path], *more: str) -> TrainConfig:
        """Return the settings for folders of cases."""
        data = f"data=[{', '.join(map(str, cases))}]"
        return load_config(TrainConfig, SETTINGS, [data, *more, *self.overrides])


def samples_of(counts: Mapping[str, int], slices: int) -> dict[str, int]:
    """Return an epoch's samples by group: of `mine` as many as slices, of others in proportion.

    Parameters
    ----------
    counts : mapping of str to int
        At most so many.
    slices : int
        Of the group `mine`.
    """
    share = min(1.0, slices / counts[MINE])
    return {name: round(share * count) for name, count in counts.items()}


def teach(cases: Sequence[Path], run_folder: Path, teaching: Teaching) -> StoredNetwork | None:
    """Teach the decoder of a model, and round it again; goes on where it ended.

    Parameters
    ----------
    cases : sequence of Path
        Folders, which hold <modality>/mine and <modality>/memory.
    run_folder : Path
    teaching : Teaching

    Returns
    -------
    network : StoredNetwork or None
        None where it was asked to end before.
    """
    settings = teaching.settings(cases, f"teacher_cache={run_folder.parent / 'embeddings'}")
    # The settings do not know of which modality the groups are, nor how much the user has.
    found = [case for folder in cases for case in find_cases(folder)]
    names = {case.data_set.rpartition("/")[2]: case.data_set for case in found}
    slices = sum(len(read_case(case).image) for case in found if case.data_set == names[MINE])
    samples = samples_of(settings.counts, max(slices, settings.batch_size))
    counts = {names[own]: count for own, count in samples.items()}
    settings = settings.model_copy(update={"counts": counts})
    start = restore_network(teaching.base)
    if start.quant is None:
        raise ValueError("only an int8 model is rounded again")
    rounding = start.quant.model_dump()
    begun = (run_folder / CONFIG).exists()
    run = RunFolder(run_folder, settings, resume=begun, leads=teaching.processes.leads)
    network = run.read_start() if begun else in_floating_point(start, "decoder")
    trained = train(settings, run, network, teaching.processes, teaching.ends)
    if teaching.ends():
        return None
    data = settings.model_dump(include=set(DataConfig.model_fields))
    measure = CalibrationConfig(**data, **rounding, samples=_MEASURED, clicks=settings.clicks)
    return quantize_network(measure, trained)


def write_personal(out: Path, base: Path, network: StoredNetwork) -> ModelSpec:
    """Write a model directory with another decoder than `base`, and all else as it is there."""
    spec = ModelSpec.read(base)
    bits, story = describe_network(network)
    carrier = spec.provenance.get("carrier")
    return write_model(
        out,
        base / "encoder.xml",
        convert_decoder(network.net),
        *([] if carrier is None else [base / "carrier.xml"]),
        name=out.name,
        bits=bits,
        provenance={**story, **({} if carrier is None else {"carrier": carrier})},
        box=spec.preprocessing.box,
    )
