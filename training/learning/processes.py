"""The processes that train together, as `torchrun` starts them, and the device of each."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor


@dataclass(frozen=True)
class Processes:
    """Where one process stands among all.

    Attributes
    ----------
    rank, count : int
    device : torch.device
    """

    rank: int
    count: int
    device: torch.device

    @property
    def leads(self) -> bool:
        """Whether this process writes and reports for all."""
        return self.rank == 0

    def mean(self, values: Mapping[str, Tensor]) -> dict[str, float]:
        """Return the means of scalars over all processes."""
        stacked = torch.stack([value.float() for value in values.values()])
        if self.count > 1:
            dist.all_reduce(stacked)
        return dict(zip(values, (stacked / self.count).tolist(), strict=True))


@contextmanager
def asked_to_end() -> Iterator[Callable[[], bool]]:
    """Tell, in place of ending at once, whether the process was asked to end (Ctrl+C, SIGTERM)."""
    asked: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    kinds = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(kind, lambda number, _: asked.append(number)) for kind in kinds]
    try:
        yield lambda: bool(asked)
    finally:
        for kind, handler in zip(kinds, before, strict=True):
            signal.signal(kind, handler)


@contextmanager
def join_processes(device: str) -> Iterator[Processes]:
    """Meet the other processes that `torchrun` started, if any.

    Parameters
    ----------
    device : "cpu", "cuda" or "auto"
        Each process of a machine takes a GPU of its own.
    """
    rank, count = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    cuda = device == "cuda" or (device == "auto" and torch.cuda.is_available())
    place = torch.device("cpu")
    if cuda:
        place = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(place)
    if count == 1:
        yield Processes(rank, count, place)
        return
    dist.init_process_group("nccl" if cuda else "gloo")
    try:
        yield Processes(rank, count, place)
    finally:
        dist.destroy_process_group()


def keep_memory() -> None:
    """Have the C library keep freed memory: to get large tensors from the kernel costs a third."""
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):  # glibc; others do as they please
        most = 2**31 - 1
        for setting, value in ((-1, most), (-2, 2**28), (-4, 0)):  # trim, top padding, mmap
            libc.mallopt(setting, value)
