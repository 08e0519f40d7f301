"""Convolutional and conditional networks, and the models that a configuration asks for."""

from __future__ import annotations

import pytest
import torch

from lae_fast.config import ConfigError, TrainConfig
from lae_fast.models import LAE, VAE
from lae_fast.models.build import build_model
from lae_fast.models.conditional import Conditioned
from lae_fast.models.conv import ConvDecoder, ConvEncoder
from lae_fast.models.mlp import MLP

Shape = tuple[int, int, int]
SHAPES = [(1, 4, 4), (1, 28, 28), (3, 32, 32), (1, 8, 8), (3, 5, 9), (1, 4, 37), (3, 64, 48)]


@pytest.mark.parametrize("shape", SHAPES)
def test_convolutions_of_any_size(shape: Shape) -> None:
    d_x = shape[0] * shape[1] * shape[2]
    x = torch.rand(3, d_x)
    assert ConvEncoder(shape, 16, None)(x).shape == (3, 16)
    assert ConvEncoder(shape, 16, 5)(x).shape == (3, 5)
    decoder = ConvDecoder(2, 16, shape)
    output = decoder(torch.randn(3, 2))
    assert output.shape == (3, d_x)
    # Every pixel depends on the latents.
    assert bool((decoder(torch.randn(200, 2)).std(0) > 0).all())


def test_too_small_for_convolutions() -> None:
    config = TrainConfig(architecture="conv")
    with pytest.raises(ConfigError, match=r"at least 4x4 pixels, not 3x9; .* mlp"):
        build_model(config, (1, 3, 9))


@pytest.mark.parametrize("model", ["lae", "vae", "iwae", "frozen", "hoffman"])
@pytest.mark.parametrize("architecture", ["mlp", "conv"])
def test_an_image_does_not_depend_on_its_batch(model: str, architecture: str) -> None:
    """Else there is no posterior to sample."""
    config = TrainConfig(model=model, architecture=architecture, hidden=32)
    built = build_model(config, (1, 8, 8))
    x = torch.rand(5, 64)
    z = built.encode(x)
    assert torch.allclose(z[:1], built.encode(x[:1]), atol=1e-5)
    assert torch.allclose(built.decode(z)[:1], built.decode(z[:1]), atol=1e-5)


def test_what_the_configuration_asks_for() -> None:
    lae = build_model(TrainConfig(hidden=16, depth=1), (1, 8, 8))
    assert isinstance(lae, LAE)
    assert isinstance(lae.decoder, MLP)
    assert len(lae.decoder.blocks) == 1
    assert lae.phi.shape == (8, 16)
    assert isinstance(build_model(TrainConfig(model="hoffman"), (1, 8, 8)), VAE)
    conv = build_model(TrainConfig(architecture="conv", model="vae"), (3, 8, 8))
    assert isinstance(conv.encoder, ConvEncoder)
    again = build_model(TrainConfig(hidden=16, depth=1), (1, 8, 8))
    assert torch.equal(lae.phi, again.phi)


class TestConditional:
    @pytest.mark.parametrize("architecture", ["mlp", "conv"])
    @pytest.mark.parametrize("model", ["lae", "vae"])
    def test_labels_matter_to_both_networks(self, model: str, architecture: str) -> None:
        config = TrainConfig(model=model, architecture=architecture, conditional=True, hidden=32)
        built = build_model(config, (1, 8, 8), classes=3)
        x, z = torch.rand(2, 64), torch.randn(2, 8)
        first, second = (built.given(torch.tensor(labels)) for labels in ([0, 0], [0, 2]))
        # Each keeps its labels, whatever the order of the calls.
        encoded, decoded = second.encode(x), first.decode(z)
        for before, after in ((first.encode(x), encoded), (decoded, second.decode(z))):
            assert torch.allclose(before[0], after[0], atol=1e-6)
            assert not torch.allclose(before[1], after[1], atol=1e-3)

    def test_stacked_chains_see_their_images_labels(self) -> None:
        network = Conditioned(torch.nn.Identity(), 3).given(torch.tensor([2, 0]))
        shown = network(torch.zeros(6, 1))[:, 1:].argmax(1)
        assert shown.tolist() == [2, 0, 2, 0, 2, 0]

    def test_planes(self) -> None:
        network = Conditioned(torch.nn.Identity(), 2, planes=3).given(torch.tensor([1]))
        assert network(torch.full((1, 1), 7.0)).tolist() == [[7, 0, 0, 0, 1, 1, 1]]

    def test_an_unconditional_model_is_itself_at_any_labels(self) -> None:
        model = build_model(TrainConfig(hidden=8), (1, 8, 8))
        assert model.given(torch.tensor([0])) is model

    @pytest.mark.parametrize("model", ["lae", "vae"])
    def test_labels_are_never_left_over(self, model: str) -> None:
        built = build_model(TrainConfig(model=model, conditional=True, hidden=8), (1, 8, 8), 3)
        x, z = torch.rand(2, 64), torch.randn(2, 8)
        built.given(torch.tensor([0, 1])).nll(x, z)
        for use in (lambda: built.encode(x), lambda: built.decode(z), lambda: built.nll(x, z)):
            with pytest.raises(RuntimeError, match=r"needs labels; use model.given\(labels\)"):
                use()

    def test_labels_that_do_not_fit(self) -> None:
        built = build_model(TrainConfig(conditional=True, hidden=8), (1, 8, 8), 3)
        with pytest.raises(RuntimeError, match="given 2 labels for 5 rows; give one label per row"):
            built.given(torch.tensor([0, 1])).encode(torch.rand(5, 64))

    def test_all_weights_are_shared(self) -> None:
        built = build_model(TrainConfig(conditional=True, hidden=8), (1, 8, 8), 3)
        there = built.given(torch.tensor([1]))
        assert there.state_dict().keys() == built.state_dict().keys()
        for one, other in zip(
            there.state_dict().values(), built.state_dict().values(), strict=True
        ):
            assert one.data_ptr() == other.data_ptr()

    def test_no_labels(self) -> None:
        with pytest.raises(ConfigError, match="at least two classes"):
            build_model(TrainConfig(conditional=True), (1, 8, 8), classes=0)
