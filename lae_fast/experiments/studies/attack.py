"""Tables 8 and 9 of Bisht 2023: projected gradient descent on the classifiers of table 7."""

from __future__ import annotations

from lae_fast.analysis.attack import CONVERGED, EPSILONS, PUBLISHED, Attack, AttackResult, attack
from lae_fast.experiments.lab import Lab
from lae_fast.experiments.outcome import NOT_RUN, Cell, Outcome, ResultTable, stat
from lae_fast.experiments.studies.generators import ROWS, classifiers
from lae_fast.experiments.studies.published import ATTACK

NOTE = (
    f"The attack of Bisht 2023 takes {PUBLISHED.steps} steps of {PUBLISHED.step_size} from the "
    "image itself. The converged attack takes 100 steps of 2.5 epsilon / 100 from 5 random starts "
    "and keeps the worst. That a weak attack fails is no sign of robustness."
)

Found = dict[str, list[list[AttackResult]]]
"""Row -> for every seed, the results on clean images and at each radius."""
CLEAN = Attack(steps=0)


def run(lab: Lab) -> Outcome:
    """Attack every classifier, as in Bisht 2023 and converged."""
    count, few = _count(lab), _count(lab) // 8
    weak, strong = _attack(lab, PUBLISHED, count), _attack(lab, CONVERGED, few)
    same = _attack(lab, PUBLISHED, few)
    on_same = f"Accuracy under the attack of Bisht 2023, first {few} images"
    tables = [
        _table(
            "Table 8 of Bisht 2023: accuracy under attack, by radius",
            ".2%",
            weak,
            0,
            printed=True,
            note=NOTE,
        ),
        _table(
            "Table 9 of Bisht 2023: loss under attack, nats per image, by radius",
            ".3f",
            weak,
            1,
            printed=True,
        ),
        _table(on_same, ".2%", same, 0, printed=False),
        _table(
            "Accuracy under the converged attack, the same images", ".2%", strong, 0, printed=False
        ),
    ]
    setting = "White box, L-infinity, classifiers in evaluation mode, on the first "
    setting += f"{count} held-out images; {few} for the converged attack."
    return lab.outcome("attack", "Do neighbours make a classifier robust?", setting, tables, {})


def _count(lab: Lab) -> int:
    return 300 if lab.quick else 2000


def _attack(lab: Lab, how: Attack, count: int) -> Found:
    some = lab.held_out.first(count)
    return {
        name: [
            attack(model, some, CLEAN, epsilons=(0.0,)) + attack(model, some, how)
            for model, _ in classifiers(lab, name)
        ]
        for name in ROWS
    }


def _table(
    title: str, form: str, found: Found, figure: int, *, printed: bool, note: str = ""
) -> ResultTable:
    """``figure`` is 0 for accuracy, 1 for loss; ``printed`` puts those of Bisht 2023 beside."""
    columns = {"neighbours": "", "clean": form}
    for epsilon in EPSILONS:
        columns |= {f"{epsilon:g}, Bisht 2023": form} if printed else {}
        columns |= {f"{epsilon:g}": form}
    rows: list[list[Cell]] = []
    for name, seeds in found.items():
        row: list[Cell] = [name]
        published = ATTACK.get(name)
        for k in range(1 + len(EPSILONS)):
            ours = [(seed[k].accuracy, seed[k].loss)[figure] for seed in seeds]
            row += [published[k - 1][figure] if published else None] if printed and k else []
            row += [stat(ours) if ours else NOT_RUN]
        rows.append(row)
    return ResultTable(title, columns, rows, note)
