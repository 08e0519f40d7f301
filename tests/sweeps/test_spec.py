"""The file of a sweep: its points, their names, and everything that it refuses."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from lae_fast.config import ConfigError
from lae_fast.runs.files import RunError
from lae_fast.sweeps import spec
from lae_fast.sweeps.folder import SweepFolder


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LAE_RUN_ROOT", raising=False)


def read(tmp_path: Path, text: str, **flags: Any) -> spec.Sweep:
    file = tmp_path / "try.toml"
    file.write_text(text)
    return spec.read(file, {"run_root": str(tmp_path / "runs")} | flags)


def test_a_grid_is_the_product_of_values_and_seeds(tmp_path: Path) -> None:
    sweep = read(
        tmp_path,
        'name = "mine"\nseeds = 2\n[base]\nepochs = 3\n'
        "[grid]\nlatent-dim = [2, 8]\nmh = [true, false]",
    )
    assert [point.label for point in sweep.points] == [
        f"latent-dim-{dim}_{mh}_seed-{seed}"
        for dim in (2, 8)
        for mh in ("mh", "no-mh")
        for seed in (0, 1)
    ]
    last = sweep.points[-1].config
    assert (last.latent_dim, last.mh, last.seed, last.epochs) == (8, False, 1, 3)
    assert (sweep.name, sweep.root) == ("mine", tmp_path / "runs" / "mine")


def test_environment_and_flags_rank_above_base_and_below_what_varies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAE_EPOCHS", "7")
    monkeypatch.setenv("LAE_STEPS", "9")
    text = "[base]\nepochs = 3\n[grid]\nsteps = [2]"
    (point,) = read(tmp_path, text, data_dir="elsewhere").points
    assert (point.config.epochs, point.config.steps) == (7, 2)
    assert point.config.data_dir == "elsewhere"


RANDOM = """
[random]
count = {count}
seed = {seed}
learning-rate = {{low = 1e-5, high = 1e-2, log = true}}
steps = {{low = 2, high = 50}}
hidden = {{low = 8, high = 512, log = true, int = true}}
likelihood = ["bernoulli", "gaussian"]
"""


def test_random_draws_stay_in_range_and_more_of_them_keep_the_first(tmp_path: Path) -> None:
    few, many, other = (
        read(tmp_path, RANDOM.format(count=count, seed=seed)).points
        for count, seed in ((5, 1), (200, 1), (5, 2))
    )
    assert many[:5] == few
    assert other != few
    configs = [point.config for point in many]
    assert len(set(configs)) == 200
    assert all(1e-5 <= config.learning_rate <= 1e-2 for config in configs)
    assert {type(config.steps) for config in configs} == {int}
    assert {config.likelihood for config in configs} == {"bernoulli", "gaussian"}
    assert min(c.hidden for c in configs) < 32
    assert max(c.hidden for c in configs) > 256
    # Uniform in the logarithm: a third of the draws in each of three decades. Of 200, fewer than
    # 40 in one has probability 3e-5; the seed is fixed.
    decades = [math.floor(math.log10(config.learning_rate)) for config in configs]
    assert min(decades.count(decade) for decade in (-5, -4, -3)) >= 40


def test_names_are_short_distinct_and_fit_for_folders() -> None:
    assert spec.label_of({"step_size": "auto", "mh": False}) == "step-size-auto_no-mh"
    a, b = (spec.label_of({"dataset": value}) for value in ("a/b.npy", "a-b.npy"))
    assert a != b
    assert spec.label_of({f"option{n}": 1.5 for n in range(20)}) != spec.label_of(
        {f"option{n}": 1.5 + (n == 19) for n in range(20)}
    )
    assert len(spec.label_of({f"option{n}": 1.5 for n in range(20)})) <= 90


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[grid", "cannot read"),
        ("", "nothing varies"),
        ("[grid]", "nothing varies"),
        ("grid = 3", "grid must be a table"),
        ("[gird]\nsteps = [1]", "did you mean 'grid'?"),
        ("[grid]\nstep = [1]", "did you mean 'steps'?"),
        ("[grid]\nsteps = 3", "[grid] steps must be a list"),
        ("[grid]\nsteps = []", "[grid] steps has no values"),
        ("[grid]\nsteps = [1, 1]", "[grid] steps has 1 twice"),
        ("[grid]\nsteps = [1, 0]", "[grid] steps must be at least 1, not 0"),
        ("[grid]\nsteps = [1.5]", "[grid] steps must be a whole number"),
        ("[grid]\nmh = ['maybe']", "[grid] mh must be true or false"),
        ("[grid]\nseed = [1, 2]", "put seeds"),
        ("[grid]\nrun-root = ['a']", "run-root cannot vary"),
        ("[grid]\nname = ['a']", "name cannot vary"),
        ("[grid]\nsteps = [1]\n[random]\ncount = 1\nhidden = [1]", "exclude each other"),
        ("[base]\nsteps = 2\n[grid]\nsteps = [1]", "fixed in [base] and varies"),
        ("seeds = 2\n[base]\nseed = 2", "fixed in [base] and seeds vary"),
        ("[base]\nname = 'a'\n[grid]\nsteps = [1]", "[base] name"),
        ("[base]\nstepz = 2\n[grid]\nhidden = [1]", "[base]: unknown setting 'stepz'"),
        ("seeds = 0", "seeds must be 1 to"),
        ("seeds = []", "seeds has no values"),
        ("seeds = [1, -1]", "seeds must be between"),
        ("seeds = true", "seeds must be a list"),
        ("seeds = 20000", "seeds must be 1 to"),
        ("name = '../x'\nseeds = 1", "name must be"),
        ("name = 3\nseeds = 1", "name must be"),
        ("seeds = 2000\n[grid]\nsteps = [1, 2, 3, 4, 5, 6]", "12000 points are too many"),
        (
            "[base]\nwhiten = false\n[grid]\naccept = ['batch', 'image']",
            "point accept-image: accept = image runs in whitened",
        ),
        ("[grid]\ndataset = ['digits', 'digitz']", "point dataset-digitz: dataset 'digitz'"),
        ("[random]\nsteps = [1]", "needs count"),
        ("[random]\ncount = 0\nsteps = [1]", "count must be a whole number, at least 1"),
        ("[random]\ncount = 1\nseed = [1]\nsteps = [1]", "seeds of the runs"),
        ("[random]\ncount = 1", "names no option"),
        ("[random]\ncount = 3\nsteps = [1, 2]", "only 2 different points"),
        ("[random]\ncount = 1\nsteps = 3", "must be a list of values, or {low"),
        ("[random]\ncount = 1\nsteps = {low = 1}", "steps: high must be a number"),
        ("[random]\ncount = 1\nsteps = {low = 1, hihg = 3}", "did you mean 'high'?"),
        ("[random]\ncount = 1\nsteps = {low = 3, high = 1}", "low must be less than high"),
        ("[random]\ncount = 1\nsteps = {low = 0, high = 3}", "at least 1, not 0"),
        ("[random]\ncount = 1\nsteps = {low = 1.5, high = 3}", "whole number"),
        ("[random]\ncount = 1\nmh = {low = 0, high = 1}", "is not a number"),
        ("[random]\ncount = 1\nseed = 1\ntemperature = {low = 1, high = 2, log = 1}", "log must"),
        (
            "[random]\ncount = 1\ncheckpoint-interval = {low = 0, high = 2, log = true}",
            "low must be above 0",
        ),
    ],
)
def test_what_a_file_must_not_say(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError) as refused:
        read(tmp_path, text)
    assert message in str(refused.value)
    assert "try.toml" in str(refused.value)
    assert not (tmp_path / "runs").exists()


def test_a_changed_file_adds_points_and_keeps_the_old(tmp_path: Path) -> None:
    text = "[base]\nepochs = {}\n[grid]\nsteps = [{}]"
    folder = SweepFolder(tmp_path / "runs" / "try")
    folder.write(folder.merge(read(tmp_path, text.format(1, "2, 4"))))
    assert [p.name for p in folder.merge(read(tmp_path, text.format(1, "4, 2, 8")))] == [
        "steps-4",
        "steps-2",
        "steps-8",
    ]
    points = folder.merge(read(tmp_path, text.format(5, "2")))
    assert [(p.name, p.config.epochs, p.listed) for p in points] == [
        ("steps-2-2", 5, True),
        ("steps-2", 1, False),
        ("steps-4", 1, False),
    ]
    # Where the data lie makes no other run of it.
    points = folder.merge(read(tmp_path, text.format(1, "2, 4"), data_dir="moved"))
    assert [(p.name, p.config.data_dir) for p in points] == [
        ("steps-2", "moved"),
        ("steps-4", "moved"),
    ]


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    sweep = read(tmp_path, "seeds = 1")
    (sweep.root / "photos").mkdir(parents=True)
    with pytest.raises(RunError, match="not a sweep"):
        SweepFolder(sweep.root).merge(sweep)


@pytest.mark.parametrize("text", ["{", "[]", '{"points": {"../x": {}}}', '{"points": {"a": 3}}'])
def test_a_damaged_record_is_one_line(tmp_path: Path, text: str) -> None:
    sweep = read(tmp_path, "seeds = 1")
    sweep.root.mkdir(parents=True)
    (sweep.root / "sweep.json").write_text(text)
    with pytest.raises(RunError, match="is damaged"):
        SweepFolder(sweep.root).merge(sweep)
