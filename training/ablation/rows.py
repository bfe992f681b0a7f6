"""The rows of the ablation: which networks are compared, in which tables, and how they are made."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any, Literal, Self

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from napari_medsamq.inference.model_spec import FLOAT_BITS
from training.config import Several, require
from training.data.config import DataConfig
from training.errors import ConfigError
from training.quantization.quantized_network import QuantConfig

# By the name for the command line, what a table is called.
TABLES = {
    "bits": "Bit width",
    "parts": "What is quantised",
    "weights": "Scales",
    "training": "With and without training",
    "subset": "Training subset",
    "compression": "Other ways to the same latency",
}

Method = Literal["float", "ptq", "qat", "decoder", "pruned", "shallow"]
Strategy = Literal["min", "fraction", "all", "counts"]


class AblationConfig(DataConfig):
    """How much is computed for each row; the keys of `DataConfig` hold for all rows.

    Attributes
    ----------
    calibration_samples : int
        Samples on which activations are measured, drawn by `strategy`.
    correct_bias : bool
        As in `training.quantization.quantized_network.calibrate`.
    training_samples : int
        What networks with a new encoder are trained on, drawn by `strategy`: quantised ones, and
        the smaller float ones that are compared with them.
    batch_size, micro_batch : int
        As in `TrainConfig`.
    qat_rate, student_rate : float
        Learning rates of quantised and of smaller float networks.
    frozen : tuple of str
        What of quantised networks stays, as in `TrainConfig`; of smaller ones everything learns.
    subset_samples, subset_batch : int
        How many samples every row of the subset table trains its decoder on.
    subset_rate : float
    subset_counts : dict of str to int
        Shares of the groups in the row that is given them.
    subset_part : float
        What part of each group's slices the row with few slices sees.
    final_rate, clip, mask_weight, distill_weight, iou_weight : float
        As in `TrainConfig`.
    bf16 : bool
        Compute in bfloat16 where PyTorch's autocast does.
    workers : int
        Processes that prepare samples.
    limit : int, optional
        Scored objects of each data set; without it all of them.
    rare_limit : int, optional
        The same for the rarest modality in the subset table, which looks at it alone.
    rounds : int
        How often each model is timed.
    """

    calibration_samples: PositiveInt = 32
    correct_bias: bool = True
    training_samples: PositiveInt
    batch_size: PositiveInt
    micro_batch: PositiveInt = 1
    qat_rate: PositiveFloat = 1e-4
    student_rate: PositiveFloat = 3e-4
    frozen: Several[str] = ()
    subset_samples: PositiveInt
    subset_batch: PositiveInt
    subset_rate: PositiveFloat = 5e-5
    subset_counts: dict[str, int] = Field(default={"CT": 1, "MR": 1})
    subset_part: float = Field(default=0.1, gt=0, lt=1)
    final_rate: float = 0.02
    clip: float = 1.0
    mask_weight: float = 0.2
    distill_weight: float = 20.0
    iou_weight: float = 1.0
    bf16: bool = False
    workers: int = 0
    limit: PositiveInt | None = None
    rare_limit: PositiveInt | None = None
    rounds: PositiveInt = 7

    @model_validator(mode="after")
    def _samples_are_whole_batches(self) -> Self:
        require(not self.unlabelled, "`unlabelled` images cannot train a decoder; leave it false")
        for whole, part in (
            ("training_samples", "batch_size"),
            ("subset_samples", "subset_batch"),
            ("batch_size", "micro_batch"),
            ("subset_batch", "micro_batch"),
        ):
            many, few = getattr(self, whole), getattr(self, part)
            require(many % few == 0, f"`{whole}` ({many}) has to be a multiple of `{part}` ({few})")
        return self


@dataclass(frozen=True)
class AblationRow:
    """A network of the comparison.

    Attributes
    ----------
    name : str
        Also of its model directory.
    label : str
        What it is called in tables and plots.
    tables : tuple of str
        Which of `TABLES` it stands in; a row of several is made once.
    method : Method
        How it is made: float as published; quantised without training; with training of encoder
        and decoder; with training of the decoder alone; or float with fewer channels or blocks,
        and trained.
    start : str, optional
        The row whose network it starts from, or whose latency it has to meet.
    quant : QuantConfig
        Of the method `ptq`.
    strategy : Strategy
        Of the method `decoder`: how its samples are drawn.
    part : bool
        Of the method `decoder`: whether it sees only part of the slices.
    """

    name: str
    label: str
    tables: tuple[str, ...]
    method: Method
    start: str | None = None
    quant: QuantConfig = field(default_factory=QuantConfig)
    strategy: Strategy = "min"
    part: bool = False


def _quant(**keys: Any) -> QuantConfig:
    """Quantise as the shipped model is, but for some keys."""
    return QuantConfig(overrides={"image_encoder.patch_embed.seq.0.c": FLOAT_BITS}, **keys)


def _subset(name: str, label: str, strategy: Strategy, *, part: bool = False) -> AblationRow:
    return AblationRow(
        f"subset-{name}", label, ("subset",), "decoder", "ptq-8", strategy=strategy, part=part
    )


# In the order in which they are made and listed; what a row starts from stands before it.
ROWS = (
    AblationRow("float", "float", tuple(TABLES), "float"),
    AblationRow("ptq-8", "PTQ 8 bit", tuple(TABLES), "ptq", quant=_quant()),
    AblationRow("ptq-6", "PTQ 6 bit", ("bits",), "ptq", quant=_quant(bits=6)),
    AblationRow("ptq-4", "PTQ 4 bit", ("bits", "training"), "ptq", quant=_quant(bits=4)),
    AblationRow(
        *("ptq-8-encoder", "PTQ 8 bit, encoder only", ("parts",), "ptq"),
        quant=_quant(parts="encoder"),
    ),
    AblationRow(
        *("ptq-8-decoder", "PTQ 8 bit, decoder only", ("parts",), "ptq"),
        quant=QuantConfig(parts="decoder"),
    ),
    AblationRow(
        *("ptq-8-tensor", "PTQ 8 bit, per tensor", ("weights",), "ptq"),
        quant=_quant(weights="per_tensor"),
    ),
    AblationRow(
        *("ptq-8-uneven", "PTQ 8 bit, channels as they are", ("weights",), "ptq"),
        quant=_quant(smooth=False),
    ),
    AblationRow("qat-8", "QAT 8 bit", ("training", "compression"), "qat", "ptq-8"),
    AblationRow("qat-4", "QAT 4 bit", ("training",), "qat", "ptq-4"),
    _subset("min", "min", "min"),
    _subset("min-part", "min, few slices", "min", part=True),
    _subset("fraction", "fraction", "fraction"),
    _subset("all", "all", "all"),
    _subset("counts", "counts", "counts"),
    AblationRow("pruned", "magnitude pruning, float", ("compression",), "pruned", "ptq-8"),
    AblationRow("shallow", "plain distillation, float", ("compression",), "shallow", "ptq-8"),
)


def choose_rows(tables: Collection[str], rows: tuple[AblationRow, ...] = ROWS) -> list[AblationRow]:
    """Return the rows of some tables, or of all if none is named, each once, and what they need.

    Raises
    ------
    ConfigError
        If there is no such table.
    """
    unknown = sorted(set(tables) - set(TABLES))
    if unknown:
        raise ConfigError(f"There is no table {', '.join(unknown)}; there are {', '.join(TABLES)}.")
    chosen = {row.name for row in rows if not tables or set(row.tables) & set(tables)}
    # From the last row to the first, as a row stands after what it starts from.
    for row in reversed(rows):
        if row.name in chosen and row.start is not None:
            chosen.add(row.start)
    return [row for row in rows if row.name in chosen]
