"""What the figures of a study say, in sentences that are computed from them. Torch-free.

Nothing here is stored: a sentence is made from the table that it stands under, each time that it is
shown. A row that was not measured is left out of it, and so is a sentence that would have none.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence

from lae_fast.experiments.outcome import Cell, Outcome, ResultTable, Stat, cell_text

BISHT = ", Bisht 2023"
"""Ends the heading of a printed figure; ours has the same heading without it."""
DEFAULT_LAE = "LAE, T = 1 (the default)"
"""The row of `lae train`'s defaults in the study ``versus``."""
GAUSSIAN_KEPT = 0.9545
"""Share of a Gaussian inside its mean +- 2 standard deviations."""


class Figures:
    """A table's figures, means over seeds, by row and heading."""

    def __init__(self, table: ResultTable) -> None:
        self.table, self.columns = table, table.columns
        self.rows = {str(row[0]): dict(zip(table.columns, row, strict=True)) for row in table.rows}

    def get(self, row: str, heading: str) -> float | None:
        """A figure; None where there is none."""
        return number(self.rows.get(row, {}).get(heading))

    def column(self, heading: str, rows: Iterable[str] | None = None) -> dict[str, float]:
        """Row -> figure, of rows that have one."""
        names = self.rows if rows is None else rows
        found = {name: self.get(name, heading) for name in names}
        return {name: value for name, value in found.items() if value is not None}

    def pairs(self, heading: str, printed: str = BISHT) -> dict[str, tuple[float, float]]:
        """Row -> the printed figure and ours, of rows that have both."""
        ours, theirs = self.column(heading), self.column(heading + printed)
        return {name: (theirs[name], ours[name]) for name in theirs if name in ours}

    def text(self, row: str, heading: str) -> str:
        """A figure, as the table writes it."""
        return cell_text(self.get(row, heading), self.columns[heading])


def number(cell: Cell) -> float | None:
    """A cell's figure, a mean where it is one; None where it is text or empty."""
    if isinstance(cell, Stat):
        return cell.mean
    return float(cell) if isinstance(cell, float | int) else None


def findings(found: Outcome) -> list[str]:
    """For each table of an outcome, what its figures say; empty where that is nothing."""
    say = FINDINGS.get(found.name) if found.tables else None
    said = say([Figures(table) for table in found.tables]) if say else []
    return [*said, *[""] * (len(found.tables) - len(said))]


def _reconstruction(tables: Sequence[Figures]) -> list[str]:
    (table,) = tables
    said = [
        _against(table.pairs("reconstruction") | table.pairs("negative ELBO"), "losses", 0.01),
        _against(table.pairs("MSE"), "squared errors", 0.05),
    ]
    steps = {"LAE z=2, 20 epochs": "2", "LAE z=2, T=10": "10", "LAE z=2, T=50": "50"}
    losses, epochs = (table.column(name, steps) for name in ("reconstruction", "epochs"))
    if len(losses) == len(steps) and len(set(epochs.values())) == 1:
        minutes = [table.text(name, "minutes") for name in steps]
        said.append(
            f"After {epochs['LAE z=2, T=10']:.0f} epochs each, T = {_list(steps.values())} come to "
            f"{_list(f'{loss:.1f}' for loss in losses.values())} nats per image, no further apart "
            f"than {max(losses.values()) - min(losses.values()):.1f}, after {_list(minutes)} "
            "minutes."
        )
    drawn, mean, printed, rate = (
        table.get("LAE z=2, MH", heading)
        for heading in (
            "reconstruction",
            "from the mean",
            "reconstruction, Bisht 2023",
            "acceptance rate",
        )
    )
    if drawn is not None and mean is not None and printed is not None and rate is not None:
        nearer = "the mean" if abs(mean - printed) < abs(drawn - printed) else "a draw"
        still = ", so phi stays where it was initialised" if rate < 0.005 else ""
        said.append(
            f"With MH, at the step size of Bisht 2023, the acceptance rate is {rate:.3f}{still}. "
            f"Its row comes to {drawn:.1f} from a draw and {mean:.1f} from the mean; the printed "
            f"{printed:.1f} is nearer to that from {nearer}."
        )
    return [_paragraph(said)]


def _probe(tables: Sequence[Figures]) -> list[str]:
    (table,) = tables
    said = []
    for heading, protocol in (
        ("accuracy", "Under this protocol"),
        ("accuracy, 20 epochs, scaled", "In the last column"),
    ):
        printed, ours = table.column("accuracy, Bisht 2023"), table.column(heading)
        apart = {name: 100 * abs(printed[name] - ours[name]) for name in printed if name in ours}
        if apart:
            near = sum(value <= 5 for value in apart.values())
            far = max(apart, key=apart.__getitem__)
            said.append(
                f"{protocol}, {near} of {len(apart)} accuracies are within 5 points of those of "
                f"Bisht 2023; {far} is the furthest, by {apart[far]:.0f}."
            )
    order = ("LAE z=2", "LAE z=2, T=10", "LAE z=2, T=50", "LAE z=2, MH")
    rises = {
        heading: _ordered(list(table.column(heading, order).values()))
        for heading in ("accuracy, Bisht 2023", "accuracy", "accuracy, 20 epochs, scaled")
        if len(table.column(heading, order)) == len(order)
    }
    if len(rises) == 3:
        theirs, published, scaled = rises.values()
        said.append(
            f"From T = 2 to 10, to 50 and to MH the accuracy of Bisht 2023 {theirs}; ours "
            f"{published} under this protocol and {scaled} in the last column."
        )
    return [_paragraph(said)]


def _neighbours(tables: Sequence[Figures]) -> list[str]:
    pairs = tables[0].pairs("accuracy")
    said = []
    if pairs:
        apart = [100 * (ours - theirs) for theirs, ours in pairs.values()]
        said.append(
            f"Ours less the accuracy of Bisht 2023 is {_range(apart)} points in {len(pairs)} rows."
        )
    for latents in ("z=2", "z=8"):
        gains = _gains(tables[0], "accuracy", latents)
        if gains:
            said.append(
                f"Neighbours from generators with {latents[2:]} latents change the accuracy by "
                f"{_range(gains)} points."
            )
    others = []
    for table in tables[1:]:
        parts = {heading: _gains(table, heading, "z=8") for heading in list(table.columns)[1:]}
        text = "; ".join(f"{_range(gains)} at {head}" for head, gains in parts.items() if gains)
        others.append(f"Neighbours change the accuracy, in points, by {text}." if text else "")
    return [_paragraph(said), *others]


def _gains(table: Figures, heading: str, latents: str) -> list[float]:
    """In points, over the row without neighbours."""
    without = table.get("none", heading)
    if without is None:
        return []
    return [
        100 * (value - without) for name, value in table.column(heading).items() if latents in name
    ]


def _attack(tables: Sequence[Figures]) -> list[str]:
    accuracy, loss, same, converged = tables
    radii = [heading for heading in accuracy.columns if heading + BISHT in accuracy.columns]
    apart = {
        (name, radius): 100 * abs(ours - theirs)
        for radius in radii
        for name, (theirs, ours) in accuracy.pairs(radius).items()
    }
    said = []
    if apart:
        name, radius = max(apart, key=apart.__getitem__)
        said.append(
            f"Accuracies under attack are within {apart[name, radius]:.1f} points of those of "
            f"Bisht 2023; the furthest is {name} at radius {radius}."
        )
    counts = [
        f"{sum(gain < 0 for gain in gains)} of {len(gains)} at {radius}"
        for radius in radii
        if (gains := _gains(accuracy, radius, "z="))
    ]
    if counts:
        said.append(f"Rows with neighbours below the one without: {_list(counts)}.")
    lower = []
    for latents, printed in (("z=2", BISHT), ("z=2", ""), ("z=8", "")):
        gains = _gains(loss, radii[-1] + printed, latents)
        if gains:
            count = sum(gain < 0 for gain in gains)
            whose = "of Bisht 2023" if printed else f"of ours with {latents[2:]} latents"
            lower.append(f"{count} of {len(gains)} {whose}")
    under = (
        f"At radius {radii[-1]} the loss is lower with neighbours than without in {_list(lower)}."
        if lower
        else ""
    )
    taken = [
        100 * (before - after)
        for radius in radii
        for name, before in same.column(radius).items()
        if (after := converged.get(name, radius)) is not None
    ]
    more = ""
    if taken:
        most = max(taken)
        much = f"at most {most:.1f} points more" if most > 0.05 else "nowhere more"
        more = f"On the same images the converged attack takes {much} than that of Bisht 2023."
    return [_paragraph(said), under, "", more]


def _exactness(tables: Sequence[Figures]) -> list[str]:
    said = []
    for table in tables:
        apart, exact = table.column("total variation"), table.column("of exact draws")
        lines = []
        chains = [name for name in ("ALD", "Langevin per point") if name in apart]
        ratios = [f"{name} {apart[name] / exact[name]:.2f}" for name in chains]
        if ratios:
            lines.append(
                f"Total variation over that of exact draws, with Metropolis-Hastings (MH): "
                f"{_list(ratios)}."
            )
        ratios = [
            f"{name} {apart[other] / apart[name]:.1f}"
            for name in chains
            if (other := f"{name} without MH") in apart
        ]
        if ratios:
            lines.append(
                "Without MH, at the step size that MH settles on, over that with MH: "
                f"{_list(ratios)}."
            )
        if chains and "amortised Gaussian" in apart:
            best = min(apart[name] for name in chains)
            lines.append(
                f"The amortised Gaussian is {apart['amortised Gaussian'] / best:.1f} times as far "
                "as the nearest chain with MH."
            )
        said.append(_paragraph(lines))
    return said


def _uniform(tables: Sequence[Figures]) -> list[str]:
    (table,) = (figures.table for figures in tables)
    rows = [dict(zip(table.columns, row, strict=True)) for row in table.rows]
    said = []
    for latents in (2, 1):
        back = {
            number(row["beta"]): number(row["KS of points from N(0, I)"])
            for row in rows
            if (row["latents"], row["lambda"]) == (latents, 0)
        }
        (low, first), *_, (high, last) = back.items()
        if first is not None and last is not None:
            said.append(
                f"With {_latents(latents)} and no penalty, decoded N(0, I) is "
                f"{_than(last, first, 'nearer to', 'further from')} the uniform at beta {high:g} "
                f"(KS {last:.3f}) than at {low:g} ({first:.3f})."
            )
    wild = [
        f"{_latents(row['latents'])}, beta {row['beta']:g}, lambda {row['lambda']:g}"
        for row in rows
        if isinstance(error := row["MSE"], Stat) and (error.sd or 0) > error.mean
    ]
    if wild:
        said.append(
            "Reconstruction breaks down for some seeds, so that its error has a standard deviation "
            f"above its mean: {'; '.join(wild)}."
        )
    return [_paragraph(said)]


def _latents(count: Cell) -> str:
    return "1 latent" if count == 1 else f"{count} latents"


def _vae(tables: Sequence[Figures]) -> list[str]:
    errors, anomalies, conditional = tables
    printed = errors.get("clean", "MSE, De León Martínez 2024")
    mean, draw = (errors.get("clean", f"MSE from {what}") for what in ("the mean", "a draw"))
    first = second = third = ""
    if printed is not None and mean is not None and draw is not None:
        sides = [_than(ours, printed, "below", "above") for ours in (mean, draw)]
        both = f"both {sides[0]}"
        if sides[0] != sides[1]:
            both = f"{sides[0]} from the mean and {sides[1]} from a draw"
        first = f"Our errors of clean images are {both} that of De León Martínez 2024."
    kept, theirs = anomalies.get("mse", "kept"), anomalies.get("mse", "kept, De León Martínez 2024")
    if kept is not None and theirs is not None:
        second = (
            f"By squared error ours keeps {kept:.1%}; a Gaussian score would keep "
            f"{GAUSSIAN_KEPT:.1%}, and De León Martínez 2024 keeps {theirs:.1%}."
        )
    shares = conditional.column("recognised")
    if len(shares) > 1:
        best = max(shares, key=shares.__getitem__)
        others = [
            f"{name} {100 * (shares[best] - shares[name]):.1f} points less"
            for name in shares
            if name != best
        ]
        third = f"Recognised most often is {best}; {_list(others)}."
    return [first, second, third]


def _likelihood(tables: Sequence[Figures]) -> list[str]:
    (table,) = tables
    nll = table.column("-log p(x), IS")
    said = []
    vae = nll.get("VAE z=8")
    rivals = ("LAE z=8, prior and MH", "Langevin from an encoder z=8")
    apart = [
        f"{name} {_signed(nll[name] - vae)}" for name in rivals if vae is not None and name in nll
    ]
    if apart:
        said.append(f"Over the VAE with 8 latents, in nats per image: {_list(apart)}.")
    fewer, annealed = table.column("IS, fewer images"), table.column("AIS, these images")
    gaps = {name: fewer[name] - annealed[name] for name in fewer if name in annealed}
    useless = [name for name, gap in gaps.items() if gap > 10]
    close = [abs(gap) for name, gap in gaps.items() if name not in useless]
    if close:
        rest = " of the other rows" if useless else ""
        said.append(
            f"On the same images AIS and IS{rest} differ by {min(close):.1f} to {max(close):.1f} "
            "nats."
        )
    if useless:
        said.append(f"IS is far above AIS, and of no use, for {_list(useless)}.")
    return [_paragraph(said)]


def _versus(tables: Sequence[Figures]) -> list[str]:
    values, by_epochs, _, by_time = tables
    said = []
    for table in (by_epochs, by_time):
        for heading in table.columns:
            point = heading.removesuffix(", by")
            gain = table.get(DEFAULT_LAE, heading)
            images = table.get(DEFAULT_LAE, f"s.e. {point}")
            if not heading.endswith(", by") or gain is None or images is None:
                continue
            error = math.hypot(images, _error_over_seeds(table.rows[DEFAULT_LAE][heading]))
            side = "above" if gain < 0 else "below"
            apart = f"{abs(gain):.2f} ± {error:.2f} nats {side} it"
            level = abs(gain) < 2 * error
            said.append(f"level with it ({apart}) {point}" if level else f"{apart} {point}")
    over = values.get(DEFAULT_LAE, "over the VAE's")
    if not said or over is None:
        return []
    return [
        f"An epoch of the default LAE takes {over:.2f} times as long as one of the VAE. In "
        "-log p(x) per image it compares with the VAE as follows, lower being better: "
        f"{', '.join(said)} (± is the standard error of the paired difference, over images and "
        "over seeds)."
    ]


def _error_over_seeds(cell: Cell) -> float:
    """The standard error of a mean over seeds; 0 where there is one."""
    return (cell.sd or 0.0) / math.sqrt(cell.n) if isinstance(cell, Stat) else 0.0


FINDINGS: Mapping[str, Callable[[Sequence[Figures]], list[str]]] = {
    "reconstruction": _reconstruction,
    "probe": _probe,
    "neighbours": _neighbours,
    "attack": _attack,
    "exactness": _exactness,
    "uniform": _uniform,
    "vae": _vae,
    "likelihood": _likelihood,
    "versus": _versus,
}
"""Study -> from its tables to a paragraph for each of the first ones."""


def _against(pairs: Mapping[str, tuple[float, float]], what: str, tolerance: float) -> str:
    """How our figures compare with printed ones, relative to those."""
    apart = {name: ours / theirs - 1 for name, (theirs, ours) in pairs.items()}
    if not apart:
        return ""
    near = sum(abs(value) <= tolerance for value in apart.values())
    said = f"Of the {len(apart)} {what} of Bisht 2023, ours are within {tolerance:.0%} in {near}"
    for side, chosen in (
        ("lower", {name: -value for name, value in apart.items() if value < -tolerance}),
        ("higher", {name: value for name, value in apart.items() if value > tolerance}),
    ):
        if chosen:
            names = _list(f"{name} by {value:.1%}" for name, value in chosen.items())
            said += f"; {side} in {len(chosen)} ({names})"
    return f"{said}."


def _ordered(values: Sequence[float]) -> str:
    """Whether values rise or fall all the way."""
    steps = [b - a for a, b in itertools.pairwise(values)]
    if all(step > 0 for step in steps):
        return "rises at each step"
    return "falls at each step" if all(step < 0 for step in steps) else "has no direction"


def _than(value: float, other: float, less: str, more: str) -> str:
    return less if value < other else more


def _signed(value: float, form: str = ".1f") -> str:
    """With its sign, which is that of the rounded value."""
    text = format(value, f"+{form}")
    return text[1:] if float(text) == 0 else text.replace("-", "\N{MINUS SIGN}")


def _range(values: Sequence[float]) -> str:
    low, high = _signed(min(values)), _signed(max(values))
    return low if low == high else f"{low} to {high}"


def _list(words: Iterable[str]) -> str:
    """Words in a row: a, b and c."""
    *first, last = words
    return f"{', '.join(first)} and {last}" if first else last


def _paragraph(sentences: Iterable[str]) -> str:
    return " ".join(sentence for sentence in sentences if sentence)
