"""The folder of a training run: its configuration, checkpoint, log, and the network it ends with.

Every file is there whole or not at all, so that a run killed at any moment goes on from its last
checkpoint.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch.utils.tensorboard import SummaryWriter

from training.checkpoints.network_file import StoredNetwork, read_network, write_network
from training.checkpoints.tensor_files import read_tensors, write_tensors
from training.config import changed_keys, config_text
from training.errors import ConfigError
from training.files import write_file
from training.learning.config import TrainConfig

CONFIG, LOG = "config.yaml", "log.csv"
START, CHECKPOINT, NETWORK = "start.pth", "checkpoint.pth", "network.pth"


class RunFolder:
    """A run's folder.

    Parameters
    ----------
    folder : Path
    config : TrainConfig
    resume : bool
        Go on with a run that was begun with the same configuration.
    leads : bool
        Whether this process writes; of several only the first one does.

    Raises
    ------
    ConfigError
        If the folder holds a run and `resume` is not given, or holds none or another one and it is.
    """

    def __init__(self, folder: Path, config: TrainConfig, *, resume: bool, leads: bool) -> None:
        self.folder = folder
        self._leads = leads
        self._events: SummaryWriter | None = None
        self._config = config
        if resume:
            self._check_begun()
        elif leads:
            self._check_free()

    def _check_free(self) -> None:
        if self.folder.exists() and (not self.folder.is_dir() or any(self.folder.iterdir())):
            raise ConfigError(
                f"{self.folder}: holds something already, and a run never replaces another. Give "
                "--resume to go on with the run in it, or another folder."
            )

    def begin(self, network: StoredNetwork) -> None:
        """Write down the network that the run starts from, and its configuration."""
        if self._leads:
            write_network(self.folder / START, network)
            write_file(self.folder / CONFIG, config_text(self._config))

    def _check_begun(self) -> None:
        file = self.folder / CONFIG
        if not file.exists():
            raise ConfigError(
                f"{self.folder}: holds no run to go on with. Leave --resume out to begin one."
            )
        other = ", ".join(changed_keys(file, self._config))
        if other:
            raise ConfigError(
                f"{self.folder}: was begun with another {other}. Use the configuration in {CONFIG} "
                "there, or begin a run in another folder."
            )

    def read_start(self) -> StoredNetwork:
        """Read the network that the run started from."""
        return read_network(self.folder / START)

    @property
    def network(self) -> Path:
        """The network file that the run ends with; not there before."""
        return self.folder / NETWORK

    def read_checkpoint(self) -> dict[str, Any] | None:
        """Read the last checkpoint; None before the first one."""
        path = self.folder / CHECKPOINT
        return read_tensors(path) if path.exists() else None

    def write_checkpoint(self, state: dict[str, Any]) -> None:
        """Replace the checkpoint."""
        if self._leads:
            write_tensors(self.folder / CHECKPOINT, state)

    def write_network(self, network: StoredNetwork) -> None:
        """Write the network that the run ends with."""
        if self._leads:
            write_network(self.network, network)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Add a step to `log.csv` and to TensorBoard's events."""
        if not self._leads:
            return
        if self._events is None:
            # Steps after the checkpoint that a killed run had logged come once more.
            _cut_log(self.folder / LOG, step)
            self._events = SummaryWriter(str(self.folder / "events"), purge_step=step)
        for name, value in values.items():
            self._events.add_scalar(name, value, step)
        path = self.folder / LOG
        fresh = not path.exists()
        with path.open("a", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            if fresh:
                writer.writerow(["step", *values])
            writer.writerow([step, *(f"{value:.6g}" for value in values.values())])

    def close(self) -> None:
        """Write out what TensorBoard's writer still holds."""
        if self._events is not None:
            self._events.close()


def _cut_log(path: Path, step: int) -> None:
    """Drop the lines of a log from `step` on, and one that a kill cut off."""
    if not path.exists():
        return
    head, *lines = path.read_text(encoding="utf-8").splitlines()
    whole = [line for line in lines if line.count(",") == head.count(",")]
    kept = [head, *(line for line in whole if int(line.split(",")[0]) < step)]
    write_file(path, "".join(f"{line}\n" for line in kept))
