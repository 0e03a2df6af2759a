"""Makes RESULTS.md and its figures from the recorded sweeps below results/, and from what results/commentary says.

    python docs/make_results.py

A sweep is recorded by benchmarks/record_sweep.py. Numbers and verdicts are worked out here; what people have to say of
them stands in results/commentary/NAME.md, NAME being `summary`, `claims`, `ranking`, `crossing` or a sweep's folder,
and is taken over as it is.
"""

from __future__ import annotations

import sys
from pathlib import Path

from evidence.claims import RULE, claims_table, judged, judged_in_one_training, missing, tally
from evidence.crossing import RULE as CROSSING
from evidence.crossing import crossing_table
from evidence.figures import advantage_figure, curves_figure, save
from evidence.sweeps import BASELINE, Sweep, read_sweeps
from evidence.tables import ALIKE, in_a_sentence, other_recipes, ranking_table, same_model_table, strategies_table

from lossrank.errors import LossrankError, listed
from lossrank.folder import write_atomic

ROOT = Path(__file__).parents[1]
COLUMNS = (
    "Mean ± sample standard deviation over the seeds; mean over the budget: area under the curve over its range; "
    f"better than {BASELINE} by: paired difference of that over the seeds that both have, positive where better, "
    "with its 95 % t interval; p: paired t-test, Holm's correction over the strategies of the table; Spearman and"
    " top-10 % recall of the score and the true loss of held-out samples, means over rounds and seeds; choosing: "
    "seconds of a choice, and the most that resident memory grew by it, on a machine that did other work beside "
    "it."
)
SAME_MODEL = (
    "On one model: Spearman of a learned score, and of each made by hand from the same outputs, with the true loss of "
    "held-out samples, mean over the rounds of the learned strategy's runs, over seeds that all have; the difference "
    "with its 95 % t interval; p with Holm's correction over the table; *as well*: the whole interval lies within "
    f"{ALIKE:g} of 0. A score that ranks the wrong way round on a task is turned round, as one who knows would use it."
)
RANKING = (
    "Each on its own model: the same between two strategies' runs, over the seeds that both have. After the first "
    "round each ranks with the model that its own choices trained, so that a difference is one of the models too; "
    "with the first labels both models have seen the same samples. A score that ranks the wrong way round is set "
    "against as it is and turned round."
)


def main(root: Path = ROOT) -> int:
    """Write RESULTS.md, results/curves.svg and results/advantage.svg."""
    results = root / "results"
    try:
        sweeps = read_sweeps(results)
        save(curves_figure(sweeps), results / "curves.svg")
        save(advantage_figure(sweeps), results / "advantage.svg")
        write_atomic(root / "RESULTS.md", page(sweeps, results))
    except LossrankError as error:
        print(f"make_results: {error}", file=sys.stderr)
        return 2
    print(f"{root / 'RESULTS.md'}: {listed((sweep.name for sweep in sweeps), 20)}")
    return 0


def page(sweeps: list[Sweep], results: Path) -> str:
    """The whole of RESULTS.md."""
    parts = [
        "# Results",
        "Real data, small networks, few labels, one or two CPU cores: what holds at this scale, and what does not. "
        "Made from [results/](results) by `python docs/make_results.py`; recorded by `benchmarks/record_sweep.py`.",
        commentary(results, "summary"),
        "\n".join(f"- **{sweep.short}**, {_seeds(sweep)}: {in_a_sentence(sweep)}." for sweep in sweeps),
        "![Better than random by how much, per task](results/advantage.svg)",
        "![Learning curves and rank correlation, per task](results/curves.svg)",
        *_claims(sweeps, results),
        *_ranking(sweeps, results),
        *_crossing(sweeps, results),
        "## Each task",
        COLUMNS,
        *(part for sweep in sweeps for part in _section(sweep, results)),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def commentary(results: Path, name: str) -> str:
    """What a person wrote about it; empty where nobody has."""
    path = results / "commentary" / f"{name}.md"
    return path.read_text(encoding="utf-8").strip() if path.is_file() else ""


def _claims(sweeps: list[Sweep], results: Path) -> list[str]:
    found = [*judged(sweeps), *judged_in_one_training(results)]
    absent = missing(sweeps)
    return [
        "## The paper's claims",
        f"Over the rows below: {tally(found)}.",
        commentary(results, "claims"),
        claims_table(found) if found else "",
        f"Not run here: {listed(absent, 30)}." if absent else "",
        RULE,
    ]


def _ranking(sweeps: list[Sweep], results: Path) -> list[str]:
    same, apart = same_model_table(sweeps), ranking_table(sweeps)
    told = [part for table, rule in ((same, SAME_MODEL), (apart, RANKING)) if table for part in (table, rule)]
    return ["## Does a learned ranking beat one made by hand?", commentary(results, "ranking"), *told] if told else []


def _crossing(sweeps: list[Sweep], results: Path) -> list[str]:
    found = crossing_table(sweeps)
    return ["## Where choosing begins to pay", commentary(results, "crossing"), found, CROSSING] if found else []


def _section(sweep: Sweep, results: Path) -> list[str]:
    commands = "\n".join(sweep.commands)
    environment = ", ".join(
        f"{name} {sweep.environment[name]}" for name in _TOLD if sweep.environment.get(name) is not None
    )
    return [
        f"### {sweep.title}",
        commentary(results, sweep.name),
        strategies_table(sweep),
        "\n".join(f"- {line}" for line in other_recipes(sweep)),
        f"```sh\n{commands}\n```",
        f"Rows: [results/{sweep.name}](results/{sweep.name}). {environment}.",
    ]


_TOLD = ("python", "torch", "numpy", "cores", "accelerator")


def _seeds(sweep: Sweep) -> str:
    counts = sorted({len(group) for group in sweep.groups.values()})
    many = " to ".join(map(str, dict.fromkeys((counts[0], counts[-1]))))
    return "one seed" if many == "1" else f"{many} seeds"


if __name__ == "__main__":
    sys.exit(main())
