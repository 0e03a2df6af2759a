"""What a terminal shows of a project, word by word."""

from __future__ import annotations

import io

from rich.console import RenderableType

from lossrank.console import PlainConsole
from lossrank.exchange import Question
from lossrank.project.status import Forecast
from lossrank.project.terminal import expected, questions_table


def lines(shown: RenderableType) -> list[str]:
    console = PlainConsole(width=80, file=io.StringIO(), record=True)
    console.print(shown)
    return [" ".join(line.split()) for line in console.export_text().splitlines()]


def test_each_question_with_what_the_model_says() -> None:
    questions = [
        Question("[b]/1.png", 1, 137.2, "cat", 0.756, 99.96),
        Question("2.png", 2, None, {"count": 2.4, "points": [[1.0, 2.0]]}),
        Question("3.png", 3, -0.05, [[1.0, 2.0, 2]], 0.5, 87.5),
        Question("4\n\t.png", 4, prediction=42.8657),
    ]
    assert lines(questions_table(questions)) == [
        "rank id percentile the model says",
        "1 [b]/1.png 99.9 cat 76%",
        "2 2.png 2.4",
        "3 3.png 88 50%",
        "4 4\\n\\t.png 42.87",
    ]
    assert lines(questions_table([Question("1.png", 1, 137.2)]))[0] == "rank id the model says"
    assert len(lines(questions_table(questions * 4))) == 11


def test_what_is_expected_of_the_next_batch() -> None:
    told = expected(Forecast(40, 0.0123, -0.001, 0.03), "%")
    assert told == "40 more labels are expected to bring +1.2 % (80 %: -0.1 % to +3.0 %)"
    assert expected(Forecast(40, 1.5, 0.25, 2.0), "years").endswith("+1.5 years (80 %: +0.25 years to +2 years)")
