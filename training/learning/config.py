"""What a stage of the training is, as its YAML file says it."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import (
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

from training.config import Probability, Several, require
from training.data.config import DataConfig


class TrainConfig(DataConfig):
    """A stage: the keys of `DataConfig`, and how is trained.

    Attributes
    ----------
    trains : "encoder", "decoder" or "both"
        Which part of the network learns. The prompt encoder only does with `clicks` or `runs`,
        where points and masks are learnt from.
    frozen : tuple of str
        Name patterns of layers that stay as they are (`image_encoder.layers.0.*`).
    epochs, warmup_epochs, last_epochs : int
        The learning rate rises linearly from 1 % in the warm-up, falls along a cosine, and stays
        where it ends in the last epochs; `epochs` counts all of them.
    minutes : float
        How long the stage takes, whatever `epochs` says: the cosine follows the clock. 0 leaves it
        to `epochs`.
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
    strokes : float
        How often, with `clicks`, a simulated scribble stands in place of a click, and with `starts`
        a lasso in place of the box and the mask that is a little wrong.
    volumes : tuple of Path
        Folders of cases, not of their cache, whose volumes `runs` are drawn from.
    runs : int
        Runs of slices per step, of all processes together, beside its samples: structures of
        volumes, carried from slice to slice on the network's own answers.
    run_slices : int
        Slices of each run that are asked for.
    run_weight : float
        Of the loss of the runs, beside that of the samples.
    drifts : float
        How often samples are asked for by a carried mask that is moved and deformed, as from a
        slice nearby, in place of their boxes.
    in_float : "nothing", "decoder" or "both"
        Which quantised parts learn in floating point again; `python -m training.quantize` then
        quantises them once more.
    average : float
        Decay, per step, of a running mean of the weights, which the stage ends with in place of
        the last ones; 0 keeps none. In the first steps it is less.
    mask_weight, iou_weight, distill_weight, answer_weight : float
        Of Dice + BCE, of the error of the predicted IoU, of the distance to the teacher's
        embedding, and of the cross entropy to the teacher's answer to the box, which then also
        stands for the mask where none is known. Without the last two no teacher is needed.
    teacher : Path, optional
        Network file, directory of an int8 model, whose weights teach in floating point, or
        checkpoint of MedSAM ViT-B; without it the published LiteMedSAM teaches.
    remembers : bool
        Whether the network as it was at the start teaches instead, so that nothing is forgotten;
        for a decoder that learns alone.
    teacher_bf16 : bool
        Whether a teacher's encoder computes in bfloat16, which not every processor can.
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
    frozen: Several[str] = ()
    epochs: PositiveInt = 1
    minutes: NonNegativeFloat = 0.0
    warmup_epochs: NonNegativeInt = 0
    last_epochs: NonNegativeInt = 0
    optimizer: Literal["sgd", "adamw"] = "sgd"
    learning_rate: PositiveFloat
    decoder_rate: NonNegativeFloat = 1.0
    final_rate: NonNegativeFloat = 0.001
    momentum: NonNegativeFloat = 0.9
    weight_decay: NonNegativeFloat = 0.0
    clip: NonNegativeFloat = 0.0
    batch_size: PositiveInt
    micro_batch: PositiveInt = 1
    clicks: NonNegativeInt = 0
    starts: Probability = 0.0
    strokes: Probability = 0.0
    volumes: Several[Path] = ()
    runs: NonNegativeInt = 0
    run_slices: PositiveInt = 3
    run_weight: NonNegativeFloat = 1.0
    drifts: Probability = 0.0
    in_float: Literal["nothing", "decoder", "both"] = "nothing"
    average: float = Field(default=0.0, ge=0, lt=1)
    mask_weight: NonNegativeFloat = 1.0
    iou_weight: NonNegativeFloat = 0.0
    distill_weight: NonNegativeFloat = 1.0
    answer_weight: NonNegativeFloat = 0.0
    teacher: Path | None = None
    remembers: bool = False
    teacher_bf16: bool = False
    teacher_cache: Path | None = None
    teacher_cache_gb: NonNegativeFloat = 20.0
    batch_norm: Literal["frozen", "trained"] = "frozen"
    bf16: bool = False
    workers: NonNegativeInt = 0
    save_steps: PositiveInt = 50

    @property
    def taught(self) -> bool:
        """Whether a teacher is needed."""
        return self.distill_weight + self.answer_weight > 0

    @model_validator(mode="after")
    def _stage_is_possible(self) -> Self:
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
        require(
            self.starts == 0 or self.clicks > 0,
            "`starts` gives masks to correct, and with `clicks: 0` nothing is corrected",
        )
        require(
            self.strokes == 0 or self.clicks > 0,
            "`strokes` stand in place of clicks, and with `clicks: 0` nothing is corrected",
        )
        require(
            self.runs == 0 or self.mask_weight > 0,
            "`runs` teach masks, and with `mask_weight: 0` none are learnt",
        )
        require(
            (self.runs == 0) == (not self.volumes),
            "`runs` are drawn from `volumes`: give both or neither",
        )
        require(
            self.distill_weight == 0 or self.trains != "decoder",
            "`distill_weight` teaches the encoder; with `trains: decoder` it has to be 0",
        )
        require(
            self.answer_weight == 0 or self.mask_weight > 0,
            "`answer_weight` teaches masks, and with `mask_weight: 0` none are learnt",
        )
        require(
            not self.remembers or (self.trains == "decoder" and self.answer_weight > 0),
            "`remembers` gives a decoder that learns alone its answers of before, and needs "
            "`trains: decoder` and an `answer_weight`",
        )
        require(
            self.batch_norm == "frozen" or self.trains != "decoder",
            "`batch_norm: trained` is for the encoder; with `trains: decoder` it has to be frozen",
        )
        require(
            not self.unlabelled or self.taught,
            "`unlabelled` images need a teacher; `distill_weight` and `answer_weight` are 0",
        )
        return self
