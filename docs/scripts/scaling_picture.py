"""Draw docs/images/scaling.svg from what ``lae bench --out REPORT`` wrote.

python docs/scripts/scaling_picture.py REPORT
"""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path

WIDTH, HEIGHT, MARGIN = 220, 180, 34


def panel(group: dict, left: int) -> str:
    """Time against one size, both logarithmic, with the line of proportional time dashed."""
    sizes = [int(row["variant"].split()[1]) for row in group["rows"]]
    times = [1e3 * row["value"] for row in group["rows"]]
    x0, x1 = math.log(sizes[0]), math.log(sizes[-1])
    y0, y1 = math.log(20), math.log(4000)

    def at(size: float, ms: float) -> tuple[float, float]:
        x = left + MARGIN + (math.log(size) - x0) / (x1 - x0) * (WIDTH - 1.5 * MARGIN)
        return x, HEIGHT - MARGIN - (math.log(ms) - y0) / (y1 - y0) * (HEIGHT - 2 * MARGIN)

    def line(values: list[float], style: str) -> str:
        points = " ".join(
            "{:.1f},{:.1f}".format(*at(s, t)) for s, t in zip(sizes, values, strict=True)
        )
        return f'<polyline points="{points}" fill="none" {style}/>'

    name = group["rows"][0]["variant"].split()[0]
    drawn = [f'<text x="{left + WIDTH / 2}" y="20" text-anchor="middle">{name}</text>']
    drawn.append(
        line(
            [times[-1] * s / sizes[-1] for s in sizes],
            'stroke="#999" stroke-dasharray="4 3"',
        )
    )
    drawn.append(line(times, 'stroke="#1f77b4" stroke-width="2"'))
    for size, ms in zip(sizes, times, strict=True):
        x, y = at(size, ms)
        drawn.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="#1f77b4"/>')
        drawn.append(f'<text x="{x:.1f}" y="{y - 7:.1f}" text-anchor="middle">{ms:.0f}</text>')
        drawn.append(f'<text x="{x:.1f}" y="{HEIGHT - 12}" text-anchor="middle">{size}</text>')
    return "\n".join(drawn)


def main() -> None:
    """Write the picture beside this file."""
    report = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    groups = [g for g in report["groups"] if g["group"].startswith("scaling")]
    panels = "\n".join(panel(group, i * WIDTH) for i, group in enumerate(groups))
    size = f'width="{WIDTH * len(groups)}" height="{HEIGHT}"'
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="11">'
        f'<rect {size} fill="white"/>\n{panels}\n'
        f'<text x="4" y="{HEIGHT - 2}">ms per iteration; dashed: in proportion</text></svg>\n'
    )
    (Path(__file__).parents[1] / "images" / "scaling.svg").write_text(svg, encoding="utf-8")


if __name__ == "__main__":
    main()
