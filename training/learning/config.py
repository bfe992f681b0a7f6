"""What a stage of the training is, as its YAML file says it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from training.config import DataConfig, require


@dataclass(frozen=True, kw_only=True)
class TrainConfig(DataConfig):
    """A stage: the keys of `DataConfig`, and how is trained.

    Attributes
    ----------
    trains : "encoder", "decoder" or "both"
        Which part of the network learns. The prompt encoder only does with `clicks`, where points
        and masks are learnt from.
    frozen : tuple of str
        Name patterns of layers that stay as they are (`image_encoder.layers.0.*`).
    epochs, warmup_epochs, last_epochs : int
        The learning rate rises linearly from 1 % in the warm-up, falls along a cosine, and stays
        where it ends in the last epochs; `epochs` counts all of them.
    optimizer : "sgd" or "adamw"
    learning_rate : float
    decoder_rate : float
        The decoder's learning rate, as a multiple.
    final_rate : float
        Where the cosine ends, as a multiple of `learning_rate`.
    momentum : float
        Of SGD.
    weight_decay : float
    clip : float
        Largest norm of the gradient; 0 leaves it as it is.
    batch_size : int
        Samples per step, of all processes together.
    micro_batch : int
        Samples that a process computes at a time: how much memory is needed.
    clicks : int
        How often each mask is corrected by a click, and learnt from anew.
    starts : float
        How often, with `clicks`, the first answer is that to a mask that is a little wrong.
    float_decoder : bool
        Whether a decoder that is quantised learns in floating point again;
        `python -m training.quantize` then quantises it once more.
    mask_weight, iou_weight, distill_weight : float
        Of Dice + BCE, of the error of the predicted IoU, and of the distance to the teacher's
        embedding. Without distillation no teacher is needed.
    teacher : Path, optional
        Checkpoint of MedSAM ViT-B; without it the published LiteMedSAM teaches.
    teacher_bf16 : bool
        Whether a teacher on a CPU computes in bfloat16, which not every processor can.
    teacher_cache : Path, optional
        Folder that keeps the teacher's embeddings; pays if `variants` brings images again.
    teacher_cache_gb : float
        How large it may get, 2 MB for each image.
    batch_norm : "frozen" or "trained"
        Whether batch norms measure their statistics anew, each process on its own `micro_batch`;
        a quantised network has none.
    bf16 : bool
        Compute in bfloat16 where PyTorch's autocast does.
    workers : int
        Processes that prepare samples, for each training process.
    save_steps : int
        Steps between checkpoints.
    """

    trains: Literal["encoder", "decoder", "both"]
    frozen: tuple[str, ...] = ()
    epochs: int
    warmup_epochs: int = 0
    last_epochs: int = 0
    optimizer: Literal["sgd", "adamw"] = "sgd"
    learning_rate: float
    decoder_rate: float = 1.0
    final_rate: float = 0.001
    momentum: float = 0.9
    weight_decay: float = 0.0
    clip: float = 0.0
    batch_size: int
    micro_batch: int = 1
    clicks: int = 0
    starts: float = 0.0
    float_decoder: bool = False
    mask_weight: float = 1.0
    iou_weight: float = 0.0
    distill_weight: float = 1.0
    teacher: Path | None = None
    teacher_bf16: bool = False
    teacher_cache: Path | None = None
    teacher_cache_gb: float = 20.0
    batch_norm: Literal["frozen", "trained"] = "frozen"
    bf16: bool = False
    workers: int = 0
    save_steps: int = 50

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("epochs", "batch_size", "micro_batch", "save_steps"):
            require(
                getattr(self, name) >= 1, f"`{name}` has to be 1 or more, not {getattr(self, name)}"
            )
        for name in (
            *(
                "warmup_epochs",
                "last_epochs",
                "decoder_rate",
                "final_rate",
                "momentum",
                "weight_decay",
                "clip",
            ),
            *("clicks", "mask_weight", "iou_weight", "distill_weight"),
            *("workers", "teacher_cache_gb"),
        ):
            require(
                getattr(self, name) >= 0, f"`{name}` has to be 0 or more, not {getattr(self, name)}"
            )
        require(self.learning_rate > 0, f"`learning_rate` has to be above 0: {self.learning_rate}")
        require(
            self.warmup_epochs + self.last_epochs <= self.epochs,
            f"`warmup_epochs` and `last_epochs` ({self.warmup_epochs} and {self.last_epochs}) are "
            f"parts of `epochs` ({self.epochs}) and cannot be more",
        )
        require(
            self.batch_size % self.micro_batch == 0,
            f"`batch_size` ({self.batch_size}) has to be a multiple of `micro_batch` "
            f"({self.micro_batch})",
        )
        require(
            self.mask_weight + self.iou_weight + self.distill_weight > 0,
            "`mask_weight`, `iou_weight` and `distill_weight` are all 0: nothing is learnt",
        )
        require(
            self.clicks == 0 or self.mask_weight > 0,
            "`clicks` correct masks, and with `mask_weight: 0` none are learnt",
        )
        require(0 <= self.starts <= 1, f"`starts` is a probability in 0..1, not {self.starts}")
        require(
            self.starts == 0 or self.clicks > 0,
            "`starts` gives masks to correct, and with `clicks: 0` nothing is corrected",
        )
        require(
            self.distill_weight == 0 or self.trains != "decoder",
            "`distill_weight` teaches the encoder; with `trains: decoder` it has to be 0",
        )
        require(
            self.batch_norm == "frozen" or self.trains != "decoder",
            "`batch_norm: trained` is for the encoder; with `trains: decoder` it has to be frozen",
        )
        require(
            not self.unlabelled or self.distill_weight > 0,
            "`unlabelled` images serve the distillation only; `distill_weight` is 0",
        )
