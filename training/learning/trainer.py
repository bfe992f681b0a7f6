"""The loop of the quantisation-aware training, and what of a network learns in it.

A stage of QMedSAM (arXiv 2412.11186) trains the encoder, taught by a float network; the decoder, on
the embeddings of the frozen encoder; or both together.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Iterator
from contextlib import nullcontext
from fnmatch import fnmatch
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, default_collate

from training.data.cases import seeded_rng
from training.data.dataset import SliceDataset
from training.data.runs import RunDataset
from training.data.sampler import BalancedSampler
from training.learning.carried_rounds import carry, drift
from training.learning.click_rounds import correct
from training.learning.config import TrainConfig
from training.learning.losses import batch_losses, mask_losses, mask_stability
from training.learning.processes import Processes
from training.learning.teachers import Encoder, Teacher
from training.models.sam import LiteMedSAM
from training.quantization.quantized_network import PARTS

# Dimensions of a batch of images; runs of slices have one more.
_IMAGES = 4
# A teacher's mask that depends more on its threshold is not taken.
_LEAST_SURE = 0.7


class TrainedNetwork(nn.Module):
    """What is trained, in one call, as several processes need it.

    Parameters
    ----------
    net : LiteMedSAM
    frozen_encoder : callable or None
        Gives the embeddings where the encoder does not learn.
    config : TrainConfig
    """

    def __init__(
        self, net: LiteMedSAM, frozen_encoder: Encoder | None, config: TrainConfig
    ) -> None:
        super().__init__()
        self.net = net
        self._frozen_encoder = frozen_encoder
        self._config = config

    @property
    def decodes(self) -> bool:
        """Whether masks are wanted, and not the embeddings alone."""
        return self._config.mask_weight + self._config.iou_weight > 0

    def forward(
        self,
        image: Tensor,
        prompt: Tensor,
        mask: Tensor,
        rng: np.random.Generator,
        known: Tensor | None = None,
    ) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
        """Return embeddings (B, 256, 64, 64), and logits (B, 256, 256) with IoU (B,) of each round.

        Parameters
        ----------
        image : (B, 3, 256, 256) Tensor
            Or runs of K slices (B, K, 3, 256, 256), whose embeddings are (B K, 256, 64, 64).
        prompt : (B, 4) Tensor
            Boxes; of runs, the masks (B, 256, 256) that are carried.
        mask : (B, 256, 256) Tensor
            What the clicks are to lead to; of runs, what is wanted on each slice
            (B, K, 256, 256).
        rng : numpy.random.Generator
            Of the clicks, or of the carried boxes.
        known : (B,) Tensor, optional
            True where there is a mask that clicks can lead to. Default: everywhere.
        """
        runs = image.ndim > _IMAGES
        embedding = (self._frozen_encoder or self.net.image_encoder)(
            image.flatten(0, 1) if runs else image
        )
        if runs:
            of_runs = embedding.unflatten(0, image.shape[:2])
            return embedding, carry(self.net, of_runs, prompt, mask, rng)
        if not self.decodes:
            return embedding, []
        config = self._config
        wanted = mask.cpu().numpy() > 0
        if wanted.any((1, 2)).all() and rng.random() < config.drifts:
            drifted = np.stack([drift(own, rng) for own in wanted])
            start = torch.from_numpy(drifted).to(mask)
            return embedding, carry(self.net, embedding[:, None], start, mask[:, None], rng)
        often = {"starts": config.starts, "strokes": config.strokes}
        rounds = config.clicks if known is None else config.clicks * known
        return embedding, correct(self.net, embedding, prompt, mask, rounds, rng, **often)


class Trainer:
    """Trains a network by a configuration, step by step.

    Parameters
    ----------
    config : TrainConfig
    net : LiteMedSAM
        Float, or quantised and calibrated; trained in place. A quantised one has no batch norms,
        and the ranges of its activations are parameters.
    data : SliceDataset
    teacher : Teacher or None
    frozen_encoder : callable or None
        As in `TrainedNetwork`.
    processes : Processes
    runs : RunDataset, optional
        What `config.runs` are drawn from.

    Attributes
    ----------
    step, steps : int
        How many steps are done, and how many there are, unless the clock ends the stage.
    """

    def __init__(
        self,
        config: TrainConfig,
        net: LiteMedSAM,
        data: SliceDataset,
        teacher: Teacher | None,
        frozen_encoder: Encoder | None,
        processes: Processes,
        runs: RunDataset | None = None,
    ) -> None:
        self._config, self._teacher, self._processes = config, teacher, processes
        self._net = net.eval().to(processes.device)
        if config.batch_norm == "trained":
            _measure_statistics(net)
        self.sampler = BalancedSampler(
            data.groups,
            config,
            batch_size=config.batch_size,
            rank=processes.rank,
            world_size=processes.count,
        )
        self._data, self._runs = data, runs
        learns = choose_parameters(net, config)
        self._optimizer = build_optimizer(config, learns)
        student = TrainedNetwork(self._net, frozen_encoder, config)
        self._decodes = student.decodes
        self._student: nn.Module = (
            DistributedDataParallel(student, find_unused_parameters=True)
            if processes.count > 1
            else student
        )
        self._average = None if config.average == 0 else copy.deepcopy(net.state_dict())
        self._steps_per_epoch = sum(self.sampler.quotas.values()) // config.batch_size
        self.step, self.steps = 0, config.epochs * self._steps_per_epoch
        self._seconds = 0.0

    def state(self) -> dict[str, Any]:
        """Return all that later steps depend on."""
        return {
            "step": self.step,
            "weights": self._net.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "average": self._average,
            "seconds": self._seconds,
        }

    def weights(self) -> dict[str, Any]:
        """Return the weights that the training ends with: their mean if one is kept."""
        return self._net.state_dict() if self._average is None else self._average

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on after the step at which `state` was taken; the network has its weights already."""
        self.step = state["step"]
        self._optimizer.load_state_dict(state["optimizer"])
        self._average, self._seconds = state["average"], state["seconds"]

    @property
    def done(self) -> float:
        """How much of the stage is done, from 0 to 1."""
        if self._config.minutes > 0:
            return min(1.0, self._seconds / (60 * self._config.minutes))
        return self.step / self.steps

    def run(self) -> Iterator[dict[str, float]]:
        """Train to the end; yield each step's losses, learning rate and seconds."""
        while self.done < 1:
            yield from self.train_one_epoch()

    def train_one_epoch(self) -> Iterator[dict[str, float]]:
        """Train what is left of the present epoch; yield as `run` does."""
        epoch, done = divmod(self.step, self._steps_per_epoch)
        self.sampler.set_epoch(epoch, skip_batches=done)
        loader = DataLoader(
            self._data,
            self._config.batch_size // self._processes.count,
            sampler=self.sampler,
            num_workers=self._config.workers,
        )
        start = time.perf_counter()
        for batch in loader:
            values = self._train_step(batch)
            now = time.perf_counter()
            self.step += 1
            self._seconds += now - start
            yield {**values, "seconds": now - start}
            start = now
            if self.done >= 1:
                return

    def _train_step(self, batch: dict[str, Any]) -> dict[str, float]:
        by_clock = self.done if self._config.minutes > 0 else None
        rate = learning_rate(self._config, self.step, self._steps_per_epoch, by_clock)
        for group in self._optimizer.param_groups:
            group["lr"] = rate * group["multiple"]
        self._optimizer.zero_grad(set_to_none=True)
        starts = range(0, len(batch["box"]), self._config.micro_batch)
        total: dict[str, Tensor] = {}
        for start in starts:
            part = slice(start, start + self._config.micro_batch)
            losses = self._losses(batch, part, last=start == starts[-1] and self._runs is None)
            for name, value in losses.items():
                total[name] = total.get(name, torch.zeros_like(value)) + value / len(starts)
        if self._runs is not None:
            total |= self._run_losses(self._runs)
        if self._config.clip > 0:
            learning = [p for group in self._optimizer.param_groups for p in group["params"]]
            nn.utils.clip_grad_norm_(learning, self._config.clip)
        self._optimizer.step()
        self._follow()
        return {**self._processes.mean(total), "learning_rate": rate}

    def _follow(self) -> None:
        """Let the mean of the weights follow them, faster while there are few steps."""
        if self._average is None:
            return
        share = max(1 - self._config.average, 9 / (10 + self.step))
        for name, value in self._net.state_dict().items():
            if value.is_floating_point():
                self._average[name].lerp_(value, share)

    def _weighted(self, losses: dict[str, Tensor]) -> Tensor:
        """Return the sum of a step's losses, each as much as the configuration says."""
        config = self._config
        weights = {
            "dice": config.mask_weight,
            "bce": config.mask_weight,
            "iou": config.iou_weight,
            "distill": config.distill_weight,
            "answer": config.answer_weight,
        }
        return torch.stack([weights[name] * value for name, value in losses.items()]).sum()

    def _run_losses(self, runs: RunDataset) -> dict[str, Tensor]:
        """Carry masks through this process's runs of the step, forwards and backwards."""
        config, processes = self._config, self._processes
        first = self.step * config.runs
        own = range(first + processes.rank, first + config.runs, processes.count)
        batch = default_collate([runs[number] for number in own])
        image, start, mask = (batch[key].to(processes.device) for key in ("image", "start", "mask"))
        with torch.autocast(processes.device.type, torch.bfloat16, enabled=config.bf16):
            rng = seeded_rng("runs", self.step, processes.rank)
            _, answers = self._student(image, start, mask, rng)
        losses = mask_losses(answers, mask.unbind(1))
        losses = {name: value.mean() for name, value in losses.items()}
        loss = self._weighted(losses)
        share = len(own) * processes.count / config.runs
        (config.run_weight * loss * share).backward()
        return {f"run_{name}": value.detach() for name, value in losses.items()}

    def _losses(self, batch: dict[str, Any], part: slice, *, last: bool) -> dict[str, Tensor]:
        """Compute a part of the batch forwards and backwards."""
        config, device = self._config, self._processes.device
        image, boxes, mask = (batch[key][part].to(device) for key in ("image", "box", "mask"))
        labelled = (batch["label"][part] > 0).float().to(device)
        shown = None
        if self._teacher is not None:
            shown = self._teacher(image, boxes if self._decodes else None)
            if config.answer_weight > 0 and shown[1] is not None and not config.remembers:
                mask, labelled = _answered(mask, labelled, shown[1])
        # Gradients are exchanged once, with those of the last part.
        waits = isinstance(self._student, DistributedDataParallel) and not last
        with self._student.no_sync() if waits else nullcontext():  # type: ignore[operator]
            with torch.autocast(device.type, torch.bfloat16, enabled=config.bf16):
                rng = seeded_rng("clicks", self.step, self._processes.rank, part.start)
                student = self._student(image, boxes, mask, rng, labelled > 0)
            losses = batch_losses(student, mask, labelled, shown, remembers=config.remembers)
            loss = self._weighted(losses)
            share = len(boxes) * self._processes.count / config.batch_size
            (loss * share).backward()
        return {"loss": loss.detach(), **{name: value.detach() for name, value in losses.items()}}


def _answered(mask: Tensor, labelled: Tensor, answer: Tensor) -> tuple[Tensor, Tensor]:
    """Take a teacher's masks where none are known, and as far as it is sure of them."""
    known = labelled > 0
    mask = torch.where(known[:, None, None], mask, (answer > 0).float())
    sure = mask_stability(answer)
    return mask, torch.where(known, 1.0, torch.where(sure < _LEAST_SURE, 0.0, sure.clamp(max=0.99)))


def _measure_statistics(net: LiteMedSAM) -> None:
    norms = [module for module in net.modules() if isinstance(module, nn.BatchNorm2d)]
    if not norms:
        raise ValueError("`batch_norm: trained` needs batch norms, and the network has none")
    for norm in norms:
        norm.train()


def choose_parameters(net: LiteMedSAM, config: TrainConfig) -> dict[str, nn.Parameter]:
    """Let those parameters of a network learn that a configuration names, and only those.

    Raises
    ------
    ValueError
        If a pattern of `frozen` matches nothing.
    """
    learns = {}
    parts = (*PARTS[config.trains], *(("prompt_encoder",) if config.clicks or config.runs else ()))
    for pattern in config.frozen:
        if not any(fnmatch(name, pattern) for name, _ in net.named_parameters()):
            raise ValueError(f"`frozen` names `{pattern}`, which matches no layer")
    for name, parameter in net.named_parameters():
        own = name.split(".")[0] in parts
        parameter.requires_grad_(own and not any(fnmatch(name, p) for p in config.frozen))
        if parameter.requires_grad:
            learns[name] = parameter
    return learns


def build_optimizer(config: TrainConfig, learns: dict[str, nn.Parameter]) -> torch.optim.Optimizer:
    """Build the optimiser, with a group of its own for what decodes."""
    groups = []
    decodes = ("prompt_encoder", "mask_decoder")
    for prefixes, multiple in ((("image_encoder",), 1.0), (decodes, config.decoder_rate)):
        own = [p for name, p in learns.items() if name.startswith(prefixes)]
        if own:
            groups.append({"params": own, "multiple": multiple})
    decay = config.weight_decay
    if config.optimizer == "sgd":
        rate, momentum = config.learning_rate, config.momentum
        return torch.optim.SGD(groups, lr=rate, momentum=momentum, weight_decay=decay)
    return torch.optim.AdamW(groups, lr=config.learning_rate, weight_decay=decay)


def learning_rate(
    config: TrainConfig, step: int, steps_per_epoch: int, by_clock: float | None = None
) -> float:
    """Return the learning rate of a step: linear warm-up from 1 %, cosine, constant end.

    With `by_clock`, how much of the stage's minutes are over, the cosine follows them.
    """
    warmup = config.warmup_epochs * steps_per_epoch
    if step < warmup:
        return config.learning_rate * (0.01 + 0.99 * step / warmup)
    if by_clock is not None:
        return _fallen(config, by_clock)
    falling = (config.epochs - config.warmup_epochs - config.last_epochs) * steps_per_epoch
    done = min(1.0, (step - warmup) / falling) if falling else 1.0
    return _fallen(config, done)


def _fallen(config: TrainConfig, done: float) -> float:
    cosine = (1 + math.cos(math.pi * done)) / 2
    return config.learning_rate * (config.final_rate + (1 - config.final_rate) * cosine)
