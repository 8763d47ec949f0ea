"""Writes bench/results/README.md and its plots from the JSON lines there; `--readme` refreshes READMEs too.

A table in a README stands between `<!-- bench: NAME -->` and `<!-- end -->`, where NAME is that of a bench or
"plan", which is what `tickerd plan --rate 1000000` says.
"""

import argparse
import json
import re
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib import pyplot as plt

from processes import TICKERD
from recorded import COLUMNS_MAX, ORIGIN, RESULTS, SHIPPED_SPEED, flat

Row = dict[str, Any]
Axes = Any
ROOT = Path(__file__).parents[1]
READMES = (ROOT / "README.md", ROOT / "bench" / "README.md")
BLOCK = re.compile(r"(<!-- bench: ([a-z_]+) -->\n).*?(<!-- end -->)", re.DOTALL)
COLOURS = ("#1f4e79", "#b5403a", "#3d7a4a", "#9db8d2")


def rows_of(bench: str) -> list[Row]:
    """The rows of the last run; none when it has not been run."""
    file = RESULTS / f"{bench}.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def table(rows: Sequence[Row]) -> str:
    """Markdown: a line a row, or a line a figure where there are many; and where it comes from."""
    texts = [flat({name: value for name, value in row.items() if name not in ORIGIN}) for row in rows]
    names = list(dict.fromkeys(name for row in texts for name in row))
    if len(names) > COLUMNS_MAX:
        cells = [
            ["", *("" for _ in rows)],
            *([name, *(row.get(name, "") for row in texts)] for name in names),
        ]
    else:
        cells = [names, *([row.get(name, "") for name in names] for row in texts)]
    lines = [f"| {' | '.join(line)} |" for line in cells]
    lines.insert(1, "|" + "---|" * len(cells[0]))
    last = rows[-1]
    versions = ", ".join(f"{name} {number}" for name, number in last["versions"].items())
    origin = (
        f"{last['machine']}, commit {last['commit']}, {last['at'][:10]}: `{last['command']}` ({versions})"
    )
    return "\n".join([*lines, "", origin, ""])


def plan() -> str:
    """What `tickerd plan` says of a million records a second."""
    options = ["plan", "--rate", "1000000"]
    # The package that is installed here may have the curve from before.
    command = [*TICKERD, *options, "--speed", str(SHIPPED_SPEED)]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    return f"```\n$ tickerd {' '.join(options)}\n{ran.stdout}```\n"


# Plots.


def draw_peers(axes: Axes, rows: Sequence[Row]) -> None:
    """Bars."""
    ours = [row["sender"].startswith("tickerd") for row in rows]
    names = [row["sender"] for row in rows]
    colours = [COLOURS[0] if own else COLOURS[3] for own in ours]
    bars = axes.barh(names, [row["records_per_cpu_s"] for row in rows], color=colours)
    axes.bar_label(bars, [f"{row['records_per_cpu_s']:,}" for row in rows], padding=3, fontsize=8)
    axes.invert_yaxis()
    axes.set_xlim(right=1.15 * max(row["records_per_cpu_s"] for row in rows))
    axes.set_xlabel("records per CPU second (tickerd: made, encoded and sent; others: sent)")


def lines_by(rows: Sequence[Row], key: str) -> dict[str, list[Row]]:
    """Rows by what they have in one column."""
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(row[key], []).append(row)
    return found


def draw_host(axes: Axes, rows: Sequence[Row]) -> None:
    """Cores by rate."""
    for colour, (mode, steps) in zip(COLOURS, lines_by(rows, "mode").items(), strict=False):
        axes.plot(
            [row["acked"] for row in steps], [row["cores"] for row in steps], "o-", color=colour, label=mode
        )
    axes.set(xlabel="records/s", ylabel="cores that the workers use", xlim=(0, None), ylim=(0, None))
    axes.legend()


def draw_delay(axes: Axes, rows: Sequence[Row]) -> None:
    """Median and 99th percentile by load."""
    for colour, (way, steps) in zip(COLOURS, lines_by(rows, "way").items(), strict=False):
        loads = [row["load"] for row in steps]
        axes.plot(loads, [row["p99_s"] for row in steps], "o-", color=colour, label=f"{way}, p99")
        axes.plot(loads, [row["p50_s"] for row in steps], "o--", color=colour, label=f"{way}, p50")
    axes.set(xlabel="load: share of the full rate", ylabel="delay, s", yscale="log", xlim=(0, 1.05))
    axes.legend()


def draw_sizing(axes: Axes, rows: Sequence[Row]) -> None:
    """Dollars by rate."""
    for colour, (mode, steps) in zip(COLOURS, lines_by(rows, "mode").items(), strict=False):
        dollars = [row["dollars_per_month"] for row in steps]
        axes.plot([row["rate"] for row in steps], dollars, "o-", color=colour, label=mode)
    axes.set(xlabel="records/s", ylabel="dollars a month", xscale="log", yscale="log")
    axes.legend(title="kinesis.aggregation")


PLOTS: dict[str, Callable[[Axes, Sequence[Row]], None]] = {
    "peers": draw_peers,
    "host": draw_host,
    "delay": draw_delay,
    "sizing": draw_sizing,
}


def draw(bench: str, rows: Sequence[Row]) -> None:
    """The picture of a bench."""
    figure, axes = plt.subplots(figsize=(8, 4.5), layout="constrained")
    PLOTS[bench](axes, rows)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_title(f"{rows[-1]['machine']}, commit {rows[-1]['commit']}", fontsize=8, loc="right")
    figure.savefig(RESULTS / f"{bench}.png", dpi=110)
    plt.close(figure)


def refresh(file: Path) -> None:
    """Put the newest tables into a README; those that were not measured stay."""

    def newest(found: "re.Match[str]") -> str:
        start, name, end = found.groups()
        if name == "plan":
            return f"{start}{plan()}{end}"
        rows = rows_of(name)
        return f"{start}{table(rows)}{end}" if rows else found.group()

    file.write_text(BLOCK.sub(newest, file.read_text()))


def main() -> None:
    """Write the page and the plots."""
    parser = argparse.ArgumentParser(description="the page of bench results")
    parser.add_argument("--readme", action="store_true", help="refresh the tables of the READMEs too")
    chosen = parser.parse_args()
    mpl.use("agg")
    benches = sorted(file.stem for file in RESULTS.glob("*.jsonl"))
    page = ["# Results of the benches", "", "Written by `bench/report.py` from the JSON lines beside it.", ""]
    for bench in benches:
        rows = rows_of(bench)
        page += [f"## {bench}", "", table(rows)]
        if bench in PLOTS:
            draw(bench, rows)
            page += [f"![{bench}]({bench}.png)", ""]
    (RESULTS / "README.md").write_text("\n".join(page))
    if chosen.readme:
        for file in READMES:
            refresh(file)


if __name__ == "__main__":
    main()
