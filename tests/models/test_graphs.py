"""Networks written as JSON compute what the originals compute, and run nothing else."""

from __future__ import annotations

import copy
import json

import pytest
import torch
from torch import Tensor, nn

from helpers import own_networks
from lae_fast.errors import UntraceableError
from lae_fast.models.graphs import Graph, encode


class Odd(nn.Module):
    """Sizes in arithmetic, constants, a buffer that is not saved, parts of a tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 12)
        self.register_buffer("shift", torch.ones(3), persistent=False)
        self.register_buffer("scale", torch.full((1,), 2.0))

    def forward(self, x: Tensor) -> Tensor:
        a, b = self.linear(x).view(x.shape[0], -1).chunk(2, 1)
        rows = torch.arange(x.shape[0], device=x.device, dtype=x.dtype)[:, None]
        limit = torch.clamp(a + b, max=float("inf"))
        return limit * self.scale + self.shift.repeat(2) * torch.tensor([3.0]) + 0 * rows


NETWORKS = {
    "convolutional": (own_networks.encoder, (1, 6, 6)),
    "odd": (Odd, (4,)),
    "attention": (
        lambda: nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True),
        (5, 8),
    ),
    "in-place": (
        lambda: nn.Sequential(
            nn.Linear(8, 16),
            nn.ReLU(inplace=True),
            nn.Unflatten(1, (4, 2, 2)),
            nn.ConvTranspose2d(4, 4, 4, 2, 1),
            nn.SiLU(inplace=True),
            nn.PixelShuffle(2),
            nn.Conv2d(1, 1, 3, padding="same", padding_mode="reflect"),
            nn.Upsample(scale_factor=2, mode="bilinear"),
        ),
        (8,),
    ),
    "pooling": (
        lambda: nn.Sequential(
            nn.InstanceNorm2d(2, affine=True), nn.MaxPool2d(2), nn.AdaptiveAvgPool2d(1), nn.GELU()
        ),
        (2, 8, 8),
    ),
    "batch-norm-at-rest": (lambda: nn.Sequential(nn.BatchNorm1d(4)).eval(), (4,)),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_values_and_gradients_are_those_of_the_network(name: str) -> None:
    make, shape = NETWORKS[name]
    network = make()
    steps, tensors = encode(network, torch.randn(3, *shape))
    graph = copy.deepcopy(Graph(json.loads(json.dumps(steps)), tensors))
    x = torch.randn(7, *shape)
    torch.testing.assert_close(graph(x), network(x))
    graph(x).square().sum().backward()
    network(x).square().sum().backward()
    ours, theirs = dict(graph.named_parameters()), dict(network.named_parameters())
    assert graph.state_dict().keys() == network.state_dict().keys()
    for key, value in theirs.items():
        torch.testing.assert_close(ours[key].grad, value.grad)


def test_types_are_not_taken_from_numbers() -> None:
    for call in (
        ("call", "aten.sum.default", [{"value": 0}], {"dtype": 1000}),
        ("call", "aten.to.dtype", [{"value": 0}, 1000], {}),
        ("call", "aten.to.dtype", [{"value": 0}, {"value": 0}], {}),
        ("call", "aten.clone.default", [{"value": 0}], {"memory_format": 99}),
        ("call", "aten.zeros.default", [[2]], {"device": "cuda"}),
    ):
        with pytest.raises(TypeError, match="is no"):
            Graph([("input", "", [], {}), call], {})


@pytest.mark.parametrize("device", [{}, {"device": None}, {"device": {"device": None}}])
def test_what_is_too_large_is_refused_before_it_is_made(device: dict[str, None]) -> None:
    call = ("call", "aten.zeros.default", [[1 << 30, 1 << 30]], device)
    with pytest.raises(ValueError, match="makes a tensor"):
        Graph([("input", "", [], {}), call], {}).check(torch.zeros(2, 4))


class Gathers(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.gather(1, torch.zeros_like(x, dtype=torch.int64))


def test_the_operator_that_cannot_be_kept_is_named() -> None:
    with pytest.raises(UntraceableError, match=r"aten\.gather\.default"):
        encode(Gathers(), torch.randn(3, 4))


class ByValue(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * 2 if x.sum() > 0 else x


class Counts(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return x * self.calls


@pytest.mark.parametrize("network", [ByValue(), Counts(), nn.Unflatten(0, (3, 1))])
def test_what_cannot_be_written_is_refused(
    network: nn.Module, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UntraceableError):
        encode(network, torch.randn(3, 4))
    assert capfd.readouterr() == ("", "")  # the tracer's own logs stay away


@pytest.mark.parametrize(
    "name",
    [
        *("os.system", "aten.from_file.default", "operator.attrgetter", "aten.mul", "prim.a.b"),
        *("aten._reshape_alias.default", "aten.as_strided.default", "aten.fill_.Scalar"),
        *("aten.relu_.default", "aten.add.out", "aten.view.dtype", "aten.mul.left_t"),
        *("aten.upsample_nearest2d.default", "aten.set_.source_Tensor", "aten.item.default"),
    ],
)
def test_only_operators_on_tensors_and_sizes_are_called(name: str) -> None:
    with pytest.raises((ValueError, LookupError, AttributeError)):
        Graph([("input", "", [], {}), ("call", name, [], {})], {})
