"""Settings: bounds, precedence, and messages that name what the reader wrote."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lae_fast.config import ConfigError, TrainConfig
from lae_fast.config.presets import BEFORE, PRESETS
from lae_fast.config.settings import from_stored, load_json, parse, resolve


def test_flags_over_environment_over_file_over_defaults(tmp_path: Path) -> None:
    file = tmp_path / "lae.toml"
    file.write_text('steps = 2\nlatent-dim = 3\nstep_size = "auto"\nmh = false\n')
    environ = {"LAE_STEPS": "4", "LAE_HIDDEN": "64", "LAE_DEBUG": "1", "LAE_BUILD_CUDA": "0"}
    config = resolve({"steps": 8}, file=file, environ=environ)
    assert (config.steps, config.latent_dim, config.hidden, config.mh) == (8, 3, 64, False)
    assert resolve({}, file=file, environ=environ).steps == 4
    assert resolve({}, file=file, environ={}).steps == 2
    assert resolve({}, environ={}) == TrainConfig()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("stepz = 3", "did you mean 'steps'"),
        ("steps = 0", "lae.toml: steps must be at least 1"),
        ('steps = "x"', "steps must be a whole number"),
        ("steps = 2.5", "steps must be a whole number"),
        ("steps = true", "steps must be a whole number"),
        ("mh = 1", "mh must be true or false"),
        ("learning-rate = nan", "learning-rate must be a positive number"),
        ("dataset = 5", "dataset must be text"),
        ("[train]\nsteps = 3", "unknown setting 'train'"),
        ("steps = ", "cannot read"),
        ('likelihood = "gausian"', "did you mean 'gaussian'"),
    ],
)
def test_bad_file(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "lae.toml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=message) as error:
        resolve({}, file=file, environ={})
    assert "\n" not in str(error.value)
    assert str(file) in str(error.value)


@pytest.mark.parametrize(
    ("settings", "quantity"),
    [
        ({}, "-ELBO"),
        ({"model": "vae"}, "-ELBO"),
        ({"model": "hoffman"}, "-ELBO"),
        ({"model": "frozen"}, "potential"),
        ({"start": "point"}, "potential"),
        ({"accept": "batch"}, "potential"),
        ({"prior": False}, "-log p(x|z)"),
        ({"model": "vae", "prior": False}, "-log p(x|z)"),
    ],
)
def test_what_the_validation_loss_is(settings: dict[str, Any], quantity: str) -> None:
    config = TrainConfig(**settings)
    assert config.val_quantity == quantity
    assert config.loss_kind == dataclasses.replace(config, seed=1).loss_kind


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("dataset", "mnist"),
        ("image_size", 16),
        ("validation", "test"),
        ("validation_fraction", 0.2),
        ("binarize", True),
        ("likelihood", "gaussian"),
        ("scale", 0.1),
    ],
)
def test_losses_on_other_images_or_of_other_likelihoods_do_not_compare(
    name: str, value: Any
) -> None:
    config = TrainConfig()
    assert config.loss_kind != dataclasses.replace(config, **{name: value}).loss_kind


def test_unreadable_file(tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    for path in (tmp_path / "none.toml", tmp_path, tmp_path / "binary"):
        with pytest.raises(ConfigError, match="cannot read") as refusal:
            resolve({}, file=path, environ={})
        assert "rrno" not in str(refusal.value)
        assert "codec" not in str(refusal.value)


def test_environment_messages_name_the_variable() -> None:
    with pytest.raises(ConfigError, match="LAE_EPOCHS must be a whole number, not 'many'"):
        resolve({}, environ={"LAE_EPOCHS": "many"})
    with pytest.raises(ConfigError, match="LAE_STEP; did you mean LAE_STEPS"):
        resolve({}, environ={"LAE_STEP": "5"})


NUMBERS = [
    field.name
    for field in dataclasses.fields(TrainConfig)
    if "int" in str(field.type) or "float" in str(field.type)
]


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("text", ["nan", "inf", "-inf", "-1", "", "9" * 400, "9" * 6000, "1;2"])
def test_numbers_out_of_bounds(name: str, text: str) -> None:
    with pytest.raises(ConfigError, match="--flag must be") as error:
        parse(name, text, label="--flag")
    assert len(str(error.value)) < 200


ZERO_IS_ALLOWED = {"patience", "seed", "checkpoint_interval", "kl_warmup", "ema"}


@pytest.mark.parametrize("name", sorted({*NUMBERS} - ZERO_IS_ALLOWED))
def test_zero_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="--flag must be"):
        parse(name, "0", label="--flag")


@given(st.sampled_from([f.name for f in dataclasses.fields(TrainConfig)]), st.text(max_size=20))
def test_any_text_parses_or_is_refused(name: str, text: str) -> None:
    try:
        value = parse(name, text, label="x")
    except ConfigError:
        return
    assert getattr(TrainConfig(**{name: value}), name) == value


def test_stored_configuration_round_trips(tmp_path: Path) -> None:
    config = TrainConfig(steps=50, step_size=1e-3, max_time=3.5, scale=0.1, name="x")
    path = tmp_path / "config.json"
    path.write_text(json.dumps(config.to_dict()))
    assert load_json(path) == config
    for text in ("[]", "{", '{"stepz": 1}', '{"steps": "many"}'):
        path.write_text(text)
        with pytest.raises(ConfigError):
            load_json(path)


def test_the_damping_follows_the_start() -> None:
    assert TrainConfig(start="point").ridge == 0.1
    assert TrainConfig(start="gaussian").ridge == 10
    assert TrainConfig(start="gaussian", damping=0.3).ridge == 0.3


@pytest.mark.parametrize(
    ("settings", "gaussian"),
    [
        ({}, True),
        ({"start": "gaussian", "prior": False}, True),
        ({"start": "point"}, False),
        ({"prior": False}, False),
        ({"whiten": False}, False),
        ({"accept": "batch"}, False),
        ({"encoder_gradient": "start"}, False),
        ({"model": "vae"}, False),
        ({"model": "hoffman"}, False),
    ],
)
def test_the_start_is_gaussian_where_that_is_possible(
    settings: dict[str, object], gaussian: bool
) -> None:
    assert TrainConfig(**settings).gaussian_start is gaussian  # type: ignore[arg-type]


def test_a_run_keeps_its_meaning_when_settings_are_added() -> None:
    stored = {name: value for name, value in TrainConfig().to_dict().items() if name not in BEFORE}
    config = from_stored(stored)
    assert not config.gaussian_start
    assert (config.ridge, config.warmup, config.ema) == (0.1, 0.0, 0.0)
    assert from_stored(TrainConfig().to_dict()) == TrainConfig()


@pytest.mark.parametrize("preset", PRESETS)
def test_every_other_setting_wins_over_a_preset(preset: str, tmp_path: Path) -> None:
    file = tmp_path / "my.toml"
    file.write_text("epochs = 3\nsteps = 7\nseed = 9")
    environ = {"LAE_STEPS": "5", "LAE_EPOCHS": "6"}
    config = resolve({"epochs": 4}, preset=preset, file=file, environ=environ)
    given = {"epochs": 4, "steps": 5, "seed": 9}
    assert config == TrainConfig(**{**PRESETS[preset], **given})  # type: ignore[arg-type]
