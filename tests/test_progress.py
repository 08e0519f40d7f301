"""How far a computation is, told from the depth of its loops."""

from __future__ import annotations

import pytest
import torch

from lae_fast.progress import heard, parts, steps, tell
from lae_fast.sampling.posterior import sample_per_image, sample_posterior


def test_nested_loops_tell_the_share_of_the_whole() -> None:
    told: list[float] = []
    with heard(told.append):
        first, second = parts(1, 3)
        with first:
            for _ in steps(range(2)):
                pass
        with second:
            for _ in steps(iter("ab"), 2):
                tell(0.1)
                for _ in steps(range(3)):
                    pass
    assert told == sorted(told)
    assert told[0] == pytest.approx(0.125)
    assert told[1:3] == pytest.approx([0.25, 0.25])
    assert told[3:5] == pytest.approx([0.25 + 0.375 / 10, 0.25 + 0.375 / 3])
    assert told[-1] == 1.0


def test_nothing_is_told_where_nobody_listens() -> None:
    assert list(steps("abc")) == ["a", "b", "c"]
    for part in parts(0, 0):
        with part:
            tell(0.5)


def test_a_loop_that_is_left_early_leaves_the_rest_right() -> None:
    told: list[float] = []
    with heard(told.append):
        for _ in steps(range(4)):
            for _ in steps(range(10)):
                break
        tell(1.0)
    assert max(told) == told[-1] == 1.0


@pytest.mark.parametrize("precondition", [False, True])
def test_samplers_call_back(precondition: bool) -> None:
    def nll(z: torch.Tensor) -> torch.Tensor:
        return 0.5 * z.square().sum(1)

    told: list[float] = []
    settings = {"draws": 10, "warmup": 20, "chains": 2, "report": told.append}
    sample_per_image(nll, torch.zeros(3, 2), precondition=precondition, **settings)
    assert len(told) > 20
    assert (told == sorted(told), told[-1]) == (True, 1.0)
    told.clear()
    sample_posterior(nll, torch.eye(3), 2, **settings)
    assert (told == sorted(told), told[-1]) == (True, 1.0)
