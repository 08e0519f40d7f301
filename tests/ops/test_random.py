"""The generator: known answers, the normals' accuracy and law, and independence.

Statistical tests use fixed seeds, so they pass or fail for good; each states how often a correct
generator would fail it for a seed drawn at random.
"""

from __future__ import annotations

import math

import pytest
import torch
from scipy import stats

from helpers.ops_cases import DTYPES, make_rows, rng_of
from lae_fast import _C, ops
from lae_fast.ops import chains_ref

# Random123 1.14, kat_vectors: philox4x32, 10 rounds.
ONES = 0xFFFFFFFF
KNOWN_ANSWERS = [
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((ONES, ONES, ONES, ONES), (ONES, ONES), (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]


def noise(shape: tuple[int, ...], rng: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """The kernel's noise alone: with x = grad = 0 and 2 eta tau = 1 the proposal is eps."""
    zero = torch.zeros((1, math.prod(shape)), dtype=dtype, device=rng.device)
    half = torch.full((1,), 0.5, dtype=torch.float64, device=rng.device)
    return ops.propose_rows(zero, zero, rng, half).view(shape)


@pytest.mark.parametrize(("counter", "key", "expected"), KNOWN_ANSWERS)
def test_philox_gives_the_published_known_answers(
    counter: tuple[int, ...], key: tuple[int, ...], expected: tuple[int, ...]
) -> None:
    assert tuple(_C.philox4x32_10(counter, key)) == expected
    assert tuple(int(word) for word in chains_ref.philox4x32_10(counter, key)) == expected


def test_philox_of_kernel_and_reference_agree_on_random_words() -> None:
    words = torch.randint(0, 2**32, (6, 50), generator=torch.Generator().manual_seed(1))
    vectorised = torch.stack(chains_ref.philox4x32_10(list(words[:4]), list(words[4:])))
    for column in range(50):
        numbers = words[:, column].tolist()
        assert list(_C.philox4x32_10(numbers[:4], numbers[4:])) == vectorised[:, column].tolist()


def test_words_are_philox_of_the_documented_counter() -> None:
    seed, step, block = 0x0123456789ABCDEF, 0x1122334455667788, 5
    for stream, top in ((chains_ref.NOISE, 0x11223344), (chains_ref.ACCEPT, 0x91223344)):
        got = chains_ref.words(rng_of(seed, step), torch.tensor(block), stream)
        wanted = _C.philox4x32_10((block, 0, 0x55667788, top), (0x89ABCDEF, 0x01234567))
        assert [int(word) for word in got] == list(wanted)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("seed", "step"), [(0, 0), (2**63 - 1, 2**62 + 7), (7, 2**32 + 1)])
def test_noise_error_is_at_most_twice_plain_pytorchs(
    device: str, dtype: torch.dtype, seed: int, step: int
) -> None:
    rng = rng_of(seed, step, device)
    shape = (300, 1001)
    exact = chains_ref.normal(shape, rng, torch.float64)
    plain = chains_ref.normal(shape, rng, dtype)
    kernel = noise(shape, rng, dtype)
    # Relative, so that the small radii near u = 1 and the zeros of sin and cos count too.
    kernel_error = ((kernel - exact) / exact).abs().max()
    plain_error = ((plain - exact) / exact).abs().max()
    assert kernel_error <= 2 * plain_error + 8 * torch.finfo(torch.float64).eps


def test_float32_and_float64_draw_the_same_noise(device: str) -> None:
    rng = rng_of(11, 3, device)
    single, double = (noise((1000,), rng, dtype) for dtype in DTYPES)
    torch.testing.assert_close(single.double(), double, rtol=1e-6, atol=0)


def test_noise_depends_on_the_element_and_not_on_the_shape(device: str) -> None:
    rng = rng_of(5, 9, device)
    flat = noise((10_007,), rng, torch.float32)
    assert torch.equal(noise((37, 101), rng, torch.float32).flatten(), flat[: 37 * 101])
    assert torch.equal(noise((7,), rng, torch.float32), flat[:7])


@pytest.mark.parametrize("shape", [(1, 1_000_003), (20_001, 8)], ids=str)
def test_results_do_not_depend_on_the_number_of_threads(shape: tuple[int, int]) -> None:
    before = torch.get_num_threads()
    results = []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            rows = make_rows(shape, torch.float32, seed=1, one_step_size=True)
            proposal = ops.propose_rows(*rows.drift())
            ops.step_rows_(*rows.tensors())
            results.append((proposal, *rows.tensors()))
    finally:
        torch.set_num_threads(before)
    for other in results[1:]:
        assert all(torch.equal(x, y) for x, y in zip(results[0], other, strict=True))


def test_noise_is_standard_normal(device: str) -> None:
    """Four moments within 5 standard errors (4 x 6e-7) and a KS test at 1e-5."""
    n = 1_000_000
    eps = noise((n,), rng_of(2024, 17, device), torch.float32).double().cpu()
    for power, expected, variance in ((1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96)):
        error = float((eps**power).mean()) - expected
        assert abs(error) < 5 * math.sqrt(variance / n), f"moment {power} is off by {error}"
    assert stats.kstest(eps.numpy(), "norm").pvalue > 1e-5


def test_tails_are_as_heavy_as_they_should_be() -> None:
    """Poisson counts beyond 4.5 at two-sided level 1e-5: coarse uniforms lose the tail."""
    n, beyond = 4_000_000, 4.5
    eps = noise((n,), rng_of(8, 1), torch.float32)
    count, mean = int((eps.abs() > beyond).sum()), n * 2 * stats.norm.sf(beyond)
    assert stats.poisson.ppf(5e-6, mean) <= count <= stats.poisson.isf(5e-6, mean)


@pytest.mark.parametrize(
    ("first", "second"),
    [((0, 0), (0, 1)), ((0, 0), (1, 0)), ((0, 0), (0, 2**32)), ((0, 0), (2**32, 0))],
)
def test_seeds_and_steps_are_independent(first: tuple[int, int], second: tuple[int, int]) -> None:
    """Correlation within 5 standard errors: 6e-7 a pair. High words must count too."""
    n = 200_000
    a, b = (noise((n,), rng_of(*key), torch.float64) for key in (first, second))
    assert abs(float((a * b).mean())) * math.sqrt(n) < 5


@pytest.mark.parametrize("lag", [1, 2, 3, 4, 64, 256, 4096])
def test_elements_are_independent(lag: int) -> None:
    """Correlations of values and of squares at a lag, each within 5 standard errors (6e-7)."""
    n = 200_000
    eps = noise((n + lag,), rng_of(3, 1), torch.float64)
    assert abs(float((eps[lag:] * eps[:-lag]).mean())) * math.sqrt(n) < 5
    squares = (eps**2 - 1) / math.sqrt(2)
    assert abs(float((squares[lag:] * squares[:-lag]).mean())) * math.sqrt(n) < 5


def test_accept_uniforms_are_uniform_and_never_zero() -> None:
    """A KS test at 1e-5 over consecutive steps."""
    draws = torch.stack([chains_ref.uniform(rng_of(4, step)) for step in range(1500)])
    assert 0 < float(draws.min()) <= float(draws.max()) <= 1
    assert stats.kstest(draws.numpy(), "uniform").pvalue > 1e-5
