"""A training run with a small encoder in place of the TinyViT, for tests and as a program.

python small_run.py CASES RUN [--resume] [key=value ...], or under `torchrun`.
"""

from __future__ import annotations

import sys
from copy import deepcopy
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from training.checkpoints.network_file import StoredNetwork
from training.config import load_config
from training.learning.config import TrainConfig
from training.learning.processes import join_processes
from training.learning.run_folder import RunFolder
from training.learning.training_run import train
from training.models.layers import LayerNorm2d
from training.models.sam import LiteMedSAM
from training.quantization.quantized_network import QuantConfig, calibrate, quantize


class SmallEncoder(nn.Module):
    """Images (B, 3, 256, 256) to embeddings (B, 256, 64, 64), by two convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 16, 4, stride=4)
        self.neck = nn.Sequential(nn.Conv2d(16, 256, 1), LayerNorm2d(256))

    def forward(self, image: Tensor) -> Tensor:
        embedding: Tensor = self.neck(self.conv(image).relu())
        return embedding


class OneLookDecoder(nn.Module):
    """In place of the mask decoder: the prompt, multiplied once with each place of the image.

    A step with it takes a tenth of the time: for tests of what is around the network.
    """

    def __init__(self) -> None:
        super().__init__()
        self.prompt = nn.Linear(256, 32)
        self.place = nn.Linear(256, 32)
        self.iou = nn.Linear(256, 1)

    def forward(self, image: Tensor, image_pe: Tensor, prompt: Tensor) -> tuple[Tensor, Tensor]:
        """As `MaskDecoder.forward`."""
        asked = prompt.mean(1)
        logits = self.place(image + image_pe) @ self.prompt(asked)[..., None]
        whole = nn.functional.interpolate(logits.reshape(-1, 1, 64, 64), scale_factor=4)
        return whole[:, 0], self.iou(asked)[:, 0]


def small_net(*, one_look: bool = False) -> LiteMedSAM:
    """Build the float network; always the same weights."""
    torch.manual_seed(0)
    net = LiteMedSAM(SmallEncoder())
    if one_look:
        net.mask_decoder = OneLookDecoder()
    return net.eval()


def small_network(parts: str = "both", *, one_look: bool = False) -> StoredNetwork:
    """Build it quantised and calibrated; one of its own for each caller, and always the same."""
    return deepcopy(_calibrated(parts, one_look))


@cache
def _calibrated(parts: str, one_look: bool) -> StoredNetwork:
    config = QuantConfig(parts=parts)  # type: ignore[arg-type]
    net = quantize(small_net(one_look=one_look), config)
    image, box = torch.rand(1, 3, 256, 256), torch.tensor([[60.0, 60, 180, 180]])
    calibrate(net, lambda _: net(image, box), [0], correct_bias=False)
    return StoredNetwork(net, config, {"source": "test"})


def write_cases(folder: Path, count: int = 6) -> Path:
    """Write pictures with one bright block each, half of them CT, half MR."""
    rng = np.random.default_rng(0)
    for number in range(count):
        image = rng.integers(0, 60, (1, 64, 64), np.uint8)
        label = np.zeros((1, 64, 64), np.uint8)
        y, x = rng.integers(4, 30, 2)
        label[0, y : y + 24, x : x + 28] = 1
        image[label == 1] += 120
        path = folder / ("CT/A" if number % 2 else "MR/B") / f"{number}.npz"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(path, imgs=image, gts=label, spacing=np.ones(3))
    return folder


KEYS = (
    *("trains=decoder", "learning_rate=1e-4", "optimizer=adamw", "epochs=3", "batch_size=2"),
    *("distill_weight=0", "iou_weight=1", "strategy=all", "save_steps=2"),
)


def main(cases: str, folder: str, *arguments: str) -> None:
    torch.set_num_threads(1)
    resume = "--resume" in arguments
    own = [argument for argument in arguments if "=" in argument]
    config = load_config(TrainConfig, overrides=[f"data={cases}", *KEYS, *own])
    with join_processes("cpu") as processes:
        run = RunFolder(Path(folder), config, resume=resume, leads=processes.leads)
        train(config, run, small_network(), processes)


if __name__ == "__main__":
    main(*sys.argv[1:])
