"""The processes that torchrun starts for one training, and the messages between them.

Every rank holds the whole model and its share of each batch's images. Noise and decisions are
functions of shared counters, so ranks talk only where a sum over the whole batch is needed.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any
from uuid import uuid4

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous

from lae_fast.errors import OtherRankError, RankLostError

NOISE_BLOCK = 4
"""Rows per rank are a multiple of this: the generator of the noise gives four numbers at once."""
PATIENCE = timedelta(days=1)
"""The others wait this long for rank 0, which may be paused. A rank that has died is noticed at
once, by its sockets or by torchrun."""
MEETING = timedelta(minutes=10)
"""How long ranks wait for each other at the start."""


class Ranks:
    """This process among all that train one model.

    With one process, every method does nothing and costs nothing.

    Args:
        rank: place of this process, 0 for the one that writes the run folder.
        size: number of processes.
        device: where tensors lie while they are sent.

    Attributes:
        calls, bytes_sent: collectives so far, and the bytes of their buffers.
    """

    def __init__(self, rank: int = 0, size: int = 1, device: str = "cpu") -> None:
        self.rank, self.size, self.device = rank, size, torch.device(device)
        self.calls = self.bytes_sent = 0

    @property
    def leads(self) -> bool:
        """Whether this process decides, evaluates, and writes."""
        return self.rank == 0

    @property
    def alone(self) -> bool:
        """Whether there is no other."""
        return self.size == 1

    def share(self, images: int) -> slice:
        """This rank's rows of a batch: equal parts, the last ones shorter or empty.

        Even an empty part starts at a multiple of four, as the operators ask.
        """
        if self.alone:
            return slice(0, images)
        start = self.rank * self._rows(images)
        return slice(start, min(start + self._rows(images), images))

    def sum_(self, *tensors: Tensor) -> None:
        """Replace each tensor by its sum over ranks, in one message of the first one's dtype."""
        if self.alone:
            return
        dtype = tensors[0].dtype
        flat = torch.cat([tensor.reshape(-1).to(self.device, dtype) for tensor in tensors])
        self._send(flat, lambda: dist.all_reduce(flat))
        parts = torch.split(flat, [tensor.numel() for tensor in tensors])
        for tensor, part in zip(tensors, parts, strict=True):
            tensor.copy_(part.view(tensor.shape))

    def gather(self, rows: Tensor, images: int) -> Tensor:
        """The rows of all ranks, ``(images, ...)``, in the order of the whole batch."""
        if self.alone:
            return rows
        shape = self._rows(images), *rows.shape[1:]
        padded = torch.zeros(shape, dtype=rows.dtype, device=self.device)
        padded[: len(rows)] = rows
        whole = padded.new_empty((self.size * len(padded), *rows.shape[1:]))
        self._send(whole, lambda: dist.all_gather_into_tensor(whole, padded))
        return whole[:images].to(rows.device)

    def agree(self, error: Exception | None) -> None:
        """Raise on every rank if any rank had an error: its own, or the first other rank's.

        Raises:
            OtherRankError: another rank had an error.
        """
        if not self.alone:
            failed = torch.tensor([error is not None], dtype=torch.int32, device=self.device)
            self._send(failed, lambda: dist.all_reduce(failed))
            if int(failed):
                mine = None if error is None else str(error)
                texts = [self.tell(mine, rank) for rank in range(self.size)]
                if error is None:
                    first = next(rank for rank, text in enumerate(texts) if text is not None)
                    raise OtherRankError(f"rank {first}: {texts[first]}")
        if error is not None:
            raise error

    def tell(self, fact: Any, source: int = 0) -> Any:
        """Send a plain value from ``source`` to every rank, as JSON, and return it."""
        if self.alone:
            return fact
        text = json.dumps(fact).encode() if self.rank == source else b""
        length = self.broadcast(torch.tensor([len(text)], device=self.device), source)
        data = torch.zeros(int(length), dtype=torch.uint8, device=self.device)
        if self.rank == source:
            data.copy_(torch.frombuffer(bytearray(text), dtype=torch.uint8))
        return json.loads(bytes(self.broadcast(data, source).tolist()))

    def tell_tensors(self, tensors: dict[str, Tensor] | None) -> dict[str, Tensor]:
        """Send tensors from rank 0 to every rank; each arrives on the same kind of device."""
        given = tensors or {}
        kinds = {
            name: (str(t.dtype).removeprefix("torch."), list(t.shape), t.device.type)
            for name, t in given.items()
        }
        received = {}
        for name, (dtype, shape, device) in self.tell(kinds).items():
            value = torch.empty(shape, dtype=getattr(torch, dtype), device=self.device)
            if name in given:
                value.copy_(given[name])
            received[name] = self.broadcast(value).to(device)
        return received

    def broadcast(self, tensor: Tensor, source: int = 0) -> Tensor:
        """Fill ``tensor`` with that of ``source``; return it."""
        if not self.alone:
            self._send(tensor, lambda: dist.broadcast(tensor, source))
        return tensor

    def _rows(self, images: int) -> int:
        return -(-images // (self.size * NOISE_BLOCK)) * NOISE_BLOCK

    def _send(self, buffer: Tensor, collective: Callable[[], Any]) -> None:
        self.calls += 1
        self.bytes_sent += buffer.numel() * buffer.element_size()
        try:
            collective()
        except RuntimeError as error:
            raise RankLostError(
                f"rank {self.rank} of {self.size} lost contact with the others"
            ) from error


ALONE = Ranks()


@contextmanager
def join(device: str = "auto") -> Iterator[Ranks]:
    """The ranks that torchrun started, for as long as the block lasts; alone without torchrun.

    Collectives run on NCCL when ``device`` is, or may be, CUDA, and there is a GPU for every local
    rank; on gloo otherwise.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield ALONE
        return
    local, here = int(os.environ["LOCAL_RANK"]), int(os.environ["LOCAL_WORLD_SIZE"])
    cuda = device != "cpu" and torch.cuda.is_available() and torch.cuda.device_count() >= here
    if cuda:
        torch.cuda.set_device(local)
    try:
        store, rank, size = next(rendezvous("env://", timeout=MEETING))
        dist.init_process_group(
            "nccl" if cuda else "gloo",
            store=PrefixStore(meet(store, rank, size), store),
            rank=rank,
            world_size=size,
            timeout=PATIENCE,
        )
    except RuntimeError as error:
        raise RankLostError(f"the ranks did not find each other: {error}") from error
    try:
        yield Ranks(rank, size, "cuda" if cuda else "cpu")
    finally:
        dist.destroy_process_group()


def meet(store: Store, rank: int, size: int) -> str:
    """Agree on a prefix for ``store`` that only the processes running now know.

    torchrun's store outlives the processes that it starts anew, so without a prefix they find the
    addresses of dead processes (torch issue 135712), and their count of restarts differs between
    machines. Rank 0 therefore makes up a word and answers every question with it. Each question is
    new, so that no process takes an answer to a dead one for its own.

    Raises:
        RuntimeError: some rank did not come within `MEETING`.
    """
    if rank != 0:
        question = uuid4().hex
        store.set(f"question/{rank}", question)
        answer: str = store.get(f"answer/{question}").decode()
        store.set(f"heard/{answer}/{rank}", "")
        return answer
    word, deadline = uuid4().hex, time.monotonic() + MEETING.total_seconds()
    missing = set(range(1, size))
    while missing:
        for other in tuple(missing):
            if store.check([f"heard/{word}/{other}"]):
                missing.remove(other)
            elif store.check([f"question/{other}"]):
                store.set(f"answer/{store.get(f'question/{other}').decode()}", word)
        if time.monotonic() > deadline:
            raise RuntimeError(f"rank {min(missing)} did not come")
        time.sleep(0.01)
    return word
