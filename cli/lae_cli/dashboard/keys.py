"""The keys as the help shows them, by what the reader wants to do."""

from __future__ import annotations

HELP: dict[str, list[tuple[str, str]]] = {
    "Views": [
        ("1 2 3 4 5 6 7", "live, charts, latents, pictures, runs, comparison, log"),
        ("n  b", "next run in the list, run before it"),
        ("?  ctrl+p", "these keys; every command by name, themes too"),
        ("q", "close the dashboard; the training goes on"),
    ],
    "Training (the open run)": [
        ("p", "pause, or resume"),
        ("k", "write a checkpoint now"),
        ("x", "stop after this epoch (asks first)"),
        ("X", "stop after this iteration (asks first)"),
        ("z", "change the step size"),
    ],
    "Charts": [
        ("+ - 0", "zoom in, out, whole range; wheel, too"),
        ("arrows", "pan; drag, too"),
        ("shift+arrows", "zoom along one axis"),
        (", .", "move the read-out; or point with the mouse"),
        ("m M", "next quantity, the one before"),
        ("y l u", "log y, log x, x axis: iteration, epoch, time"),
        ("s S", "smoother, less smooth; the raw line stays, faint"),
    ],
    "Latents and pictures": [
        ("[ ]", "the evaluation before, the next one"),
        ("{ }", "the first evaluation, the newest"),
        ("space", "play through the evaluations"),
        ("a A", "other axes of the latents"),
        ("+ - 0 arrows", "zoom and pan"),
    ],
    "Runs": [
        ("enter", "open the run under the cursor"),
        ("space", "mark it: marked runs are overlaid (2) and compared (6)"),
        ("o O", "sort by the next column, reverse"),
        ("/ escape", "filter, all again"),
    ],
    "Replay (a finished run)": [
        ("R", "start a replay, leave it"),
        ("space", "hold, go on"),
        ("< >", "slower, faster"),
        ("[ ]", "back, forward"),
    ],
    "Keep": [("e", "export what the view shows: .csv, .json or .svg")],
}
