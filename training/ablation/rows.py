"""The rows of the ablation: which networks are compared, in which tables, and how they are made."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any, Literal

from napari_medsamq.inference.model_spec import FLOAT_BITS
from training.config import DataConfig, require
from training.errors import ConfigError
from training.quantization.layer_map import QuantConfig

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


@dataclass(frozen=True, kw_only=True)
class AblationConfig(DataConfig):
    """How much is computed for each row; the keys of `DataConfig` hold for all rows.

    Attributes
    ----------
    calibration_samples : int
        Samples on which activations are measured, drawn by `strategy`.
    correct_bias : bool
        As in `training.quantization.layer_map.calibrate`.
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

    calibration_samples: int = 32
    correct_bias: bool = True
    training_samples: int
    batch_size: int
    micro_batch: int = 1
    qat_rate: float = 1e-4
    student_rate: float = 3e-4
    frozen: tuple[str, ...] = ()
    subset_samples: int
    subset_batch: int
    subset_rate: float = 5e-5
    subset_counts: dict[str, int] = field(default_factory=lambda: {"CT": 1, "MR": 1})
    subset_part: float = 0.1
    final_rate: float = 0.02
    clip: float = 1.0
    mask_weight: float = 0.2
    distill_weight: float = 20.0
    iou_weight: float = 1.0
    bf16: bool = False
    workers: int = 0
    limit: int | None = None
    rare_limit: int | None = None
    rounds: int = 7

    def __post_init__(self) -> None:
        super().__post_init__()
        require(not self.unlabelled, "`unlabelled` images cannot train a decoder; leave it false")
        for name in (
            *("calibration_samples", "training_samples", "batch_size", "micro_batch"),
            *("subset_samples", "subset_batch", "limit", "rare_limit", "rounds"),
        ):
            value = getattr(self, name)
            require(value is None or value >= 1, f"`{name}` has to be 1 or more, not {value}")
        for samples, batch in (
            ("training_samples", "batch_size"),
            ("subset_samples", "subset_batch"),
        ):
            require(
                getattr(self, samples) % getattr(self, batch) == 0,
                f"`{samples}` ({getattr(self, samples)}) has to be a multiple of `{batch}` "
                f"({getattr(self, batch)})",
            )
            require(
                getattr(self, batch) % self.micro_batch == 0,
                f"`{batch}` ({getattr(self, batch)}) has to be a multiple of `micro_batch` "
                f"({self.micro_batch})",
            )
        for name in ("qat_rate", "student_rate", "subset_rate"):
            require(
                getattr(self, name) > 0, f"`{name}` has to be above 0, not {getattr(self, name)}"
            )
        require(
            0 < self.subset_part < 1, f"`subset_part` lies between 0 and 1, not {self.subset_part}"
        )


@dataclass(frozen=True)
class Row:
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


def _subset(name: str, label: str, strategy: Strategy, *, part: bool = False) -> Row:
    return Row(
        f"subset-{name}", label, ("subset",), "decoder", "ptq-8", strategy=strategy, part=part
    )


# In the order in which they are made and listed; what a row starts from stands before it.
ROWS = (
    Row("float", "float", tuple(TABLES), "float"),
    Row("ptq-8", "PTQ 8 bit", tuple(TABLES), "ptq", quant=_quant()),
    Row("ptq-6", "PTQ 6 bit", ("bits",), "ptq", quant=_quant(bits=6)),
    Row("ptq-4", "PTQ 4 bit", ("bits", "training"), "ptq", quant=_quant(bits=4)),
    Row(
        *("ptq-8-encoder", "PTQ 8 bit, encoder only", ("parts",), "ptq"),
        quant=_quant(parts="encoder"),
    ),
    Row(
        *("ptq-8-decoder", "PTQ 8 bit, decoder only", ("parts",), "ptq"),
        quant=QuantConfig(parts="decoder"),
    ),
    Row(
        *("ptq-8-tensor", "PTQ 8 bit, per tensor", ("weights",), "ptq"),
        quant=_quant(weights="per_tensor"),
    ),
    Row(
        *("ptq-8-uneven", "PTQ 8 bit, channels as they are", ("weights",), "ptq"),
        quant=_quant(smooth=False),
    ),
    Row("qat-8", "QAT 8 bit", ("training", "compression"), "qat", "ptq-8"),
    Row("qat-4", "QAT 4 bit", ("training",), "qat", "ptq-4"),
    _subset("min", "min", "min"),
    _subset("min-part", "min, few slices", "min", part=True),
    _subset("fraction", "fraction", "fraction"),
    _subset("all", "all", "all"),
    _subset("counts", "counts", "counts"),
    Row("pruned", "magnitude pruning, float", ("compression",), "pruned", "ptq-8"),
    Row("shallow", "plain distillation, float", ("compression",), "shallow", "ptq-8"),
)


def choose_rows(tables: Collection[str], rows: tuple[Row, ...] = ROWS) -> list[Row]:
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
