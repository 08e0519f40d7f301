"""`lae eval` and `lae diagnose`: what they measure, and when a chain is not to be trusted."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
from pathlib import Path

import pytest
import torch

from helpers.small_runs import trained, untrained
from lae_cli import exits
from lae_cli.commands.eval import simulated_lines
from lae_cli.main import main
from lae_fast import runs
from lae_fast.analysis.evaluate import ChainReport, Report, evaluate_run, own_bound
from lae_fast.analysis.saved import open_run
from lae_fast.analysis.verdict import judge
from lae_fast.progress import heard
from lae_fast.runs.events import Evaluated, decode
from lae_fast.sampling.marginal import Estimate


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("runs")
    return trained(root, name="lae", steps=3, latent_dim=2, epochs=30)


@pytest.fixture(scope="module")
def report(run: Path) -> Report:
    return evaluate_run(run, images=40, samples=100, ais_images=10)


def test_the_report_agrees_with_itself(report: Report) -> None:
    """The likelihood lies above no bound of it, and two estimators of it agree roughly."""
    assert report.images == 40
    assert report.dimensions == 64
    assert report.nll < report.negative_elbo
    assert report.ais is not None
    assert abs(report.ais - report.nll) < 5
    drawn = report.simulated
    assert drawn is not None
    assert drawn.images == 10
    assert drawn.lower < drawn.nll + 0.5
    assert drawn.lower - 0.5 < drawn.upper < drawn.lower + 5
    assert 0 < report.effective <= 1
    assert report.chain.split_rhat < 1.3
    assert 0.4 < report.chain.accept_prob < 0.8
    assert len(report.chain.latent_std) == 2


def test_the_bound_is_that_of_a_gaussian_around_the_encoder(tmp_path: Path) -> None:
    """KL(N(mu, s^2) || N(0, 1)) in closed form, with torch.distributions."""
    model = open_run(trained(tmp_path, start="point", latent_dim=2)).model
    x = torch.rand(30, 64, generator=torch.Generator().manual_seed(0))
    q = torch.distributions.Normal(model.encode(x), 0.05)
    prior = torch.distributions.Normal(torch.zeros(2), torch.ones(2))
    kl = torch.distributions.kl_divergence(q, prior).sum(1)
    generator = torch.Generator().manual_seed(1)
    nll = torch.zeros(30)
    for _ in range(200):
        z = q.mean + 0.05 * torch.randn(30, 2, generator=generator)
        nll += model.likelihood.nll(model.decoder(z), x) / 200
    assert own_bound(model, x) == pytest.approx(float((nll + kl).mean()), abs=0.05)


def test_a_vae_is_evaluated_the_same_way(tmp_path: Path) -> None:
    vae = evaluate_run(trained(tmp_path, model="vae", latent_dim=2), images=20, samples=50)
    assert vae.nll < vae.negative_elbo


class TestVerdict:
    def healthy(self) -> Report:
        chain = ChainReport(0.57, 0.01, 0.05, 1e3, 1.02, 0.2, (0.1, -0.1), (0.95, 1.1))
        return Report(
            "r",
            "lae",
            "digits",
            100,
            100,
            90.0,
            1.0,
            0.2,
            95.0,
            64,
            None,
            None,
            0,
            None,
            None,
            chain,
        )

    def failures(self, run: Path, report: Report) -> set[str]:
        findings = judge(run, report)
        return {finding.name for finding in findings if not finding.ok}

    def test_a_healthy_run_is_trusted(self, run: Path) -> None:
        assert self.failures(run, self.healthy()) == set()

    @pytest.mark.parametrize(
        ("change", "name"),
        [
            ({"split_rhat": 1.4}, "mixing"),
            ({"split_rhat": math.nan}, "mixing"),
            ({"posterior_std": 0.99}, "latents in use"),
            ({"latent_mean": (0.4, 0.0)}, "aggregate posterior"),
            ({"latent_std": (0.5, 1.0)}, "aggregate posterior"),
        ],
    )
    def test_what_is_wrong_is_named(self, run: Path, change: dict[str, object], name: str) -> None:
        healthy = self.healthy()
        chain = dataclasses.replace(healthy.chain, **change)
        assert self.failures(run, dataclasses.replace(healthy, chain=chain)) == {name}

    def test_a_chain_that_froze_once_is_not_trusted(self, run: Path, tmp_path: Path) -> None:
        lines = (run / "events.jsonl").read_bytes().splitlines()
        frozen = tmp_path / "frozen"
        frozen.mkdir()
        with runs.RunWriter(frozen) as log:
            for line in lines:
                event = decode(line)
                if isinstance(event, Evaluated) and event.epoch == 2:
                    event = dataclasses.replace(event, accept_prob=0.01)
                if event is not None:
                    log.append(event)
        assert self.failures(frozen, self.healthy()) == {"moving throughout"}

    def test_few_effective_samples_are_a_note(self, run: Path) -> None:
        poor = dataclasses.replace(self.healthy(), effective=1e-4)
        findings = [f for f in judge(run, poor) if not f.ok]
        assert [f.essential for f in findings] == [False]


class TestTwoEstimates:
    """What `lae eval` says where importance sampling and AIS do not agree."""

    @staticmethod
    def notes(**change: float) -> str:
        drawn = {"images": 10, "lower": 89.8, "upper": 90.0, "nll": 90.1}
        values = {"ais": 95.0, "ais_nll": 95.2}
        simulated = drawn | {name: change[name] for name in drawn if name in change}
        values |= {name: change[name] for name in values if name in change}
        return " ".join(text for _, text in simulated_lines(values | {"simulated": simulated}))

    def test_none_where_they_agree(self) -> None:
        shown = self.notes()
        assert "89.80 by AIS backwards, 90.00 forwards" in shown
        assert not any(word in shown for word in ("apart", "believe", "open", "misses"))

    def test_the_lower_of_two_is_believed(self) -> None:
        assert "2.0 nats apart" in self.notes(ais=97.2)
        assert "believe importance sampling" in self.notes(ais=97.2)
        assert "believe AIS" in self.notes(ais=93.0)

    def test_what_is_off_on_simulated_images(self) -> None:
        assert "AIS leaves 1.2 nats open" in self.notes(lower=88.8)
        assert "importance sampling misses the truth" in self.notes(nll=91.0)


class TestCommands:
    def run(self, capsys: pytest.CaptureFixture[str], *args: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as stopped:
            main(args)
        out, err = capsys.readouterr()
        return int(stopped.value.code or 0), out, err

    def test_eval(self, run: Path, capsys: pytest.CaptureFixture[str]) -> None:
        few = ["--run-root", str(run.parent), "--images", "20", "--samples", "20"]
        code, out, err = self.run(capsys, "eval", "lae", *few)
        assert (code, err) == (0, "")
        assert "-log p(x)" in out
        assert "split R-hat" in out
        code, out, _ = self.run(capsys, "eval", "lae", *few, "--json")
        values = json.loads(out)
        assert values["images"] == 20
        assert values["chain"]["split_rhat"] > 0.9

    def test_diagnose_says_with_its_exit_code(
        self, tmp_path: Path, run: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        few = ["--images", "20", "--samples", "20"]
        code, out, _ = self.run(capsys, "diagnose", "lae", "--run-root", str(run.parent), *few)
        assert code == 0
        assert out.splitlines()[0].startswith("ok    acceptance")
        frozen = trained(tmp_path, name="frozen", step_size=20.0, whiten=False, epochs=2)
        code, out, _ = self.run(capsys, "diagnose", "frozen", "--run-root", str(tmp_path), *few)
        assert frozen.name == "frozen"
        assert code == exits.FAILED
        assert "fail  acceptance" in out

    def test_nothing_to_evaluate(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        code, _, err = self.run(capsys, "eval", "nothing", "--run-root", str(tmp_path))
        assert code == exits.BAD_INPUT
        assert "no run 'nothing'" in err
        run = untrained(tmp_path, name="broken")
        (run / "checkpoints" / "best.safetensors").write_bytes(b"nonsense")
        code, _, err = self.run(capsys, "eval", "broken", "--run-root", str(tmp_path))
        assert code == exits.BAD_INPUT
        assert "cannot read the checkpoint" in err


def test_an_estimate_is_a_mean_with_its_error() -> None:
    estimate = Estimate(torch.tensor([1.0, 2.0, 3.0, 4.0]), torch.ones(4))
    assert estimate.mean == 2.5
    assert estimate.standard_error == pytest.approx(1.2909944 / 2)


def test_an_evaluation_tells_how_far_it_is(run: Path) -> None:
    told: list[float] = []
    with heard(told.append):
        evaluate_run(run, images=20, samples=20, ais_images=3)
    assert told == sorted(told)
    assert told[-1] == pytest.approx(1.0)
    assert max(b - a for a, b in itertools.pairwise(told)) < 0.01
