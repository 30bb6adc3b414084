"""Draw the report's pictures from the answers of queries/, to plots/*.png.

Run by: make plots
    scripts/env.sh python report/plots.py

The title of each picture is its finding, with numbers from the same rows as the picture; the number
of cases and the method stand below it. Colours are Okabe and Ito's, which the colour-blind can tell
apart, and labels stand at the marks.
"""

import contextlib
import glob
import pathlib
from collections.abc import Iterator
from typing import Any

import matplotlib
import matplotlib.pyplot as plt
from pyspark.sql import Row, SparkSession

from pipeline import script
from pipeline.serving import client
from pipeline.settings import Feed, Settings
from pipeline.spark import questions, views
from pipeline.text import printable

matplotlib.use("agg")
matplotlib.rcParams["text.parse_math"] = False  # an exam's name may contain a $

FOLDER = pathlib.Path("plots")
BLUE, SKY, ORANGE, RED = "#0072B2", "#56B4E9", "#E69F00", "#D55E00"  # Okabe and Ito
GREY, LIGHT = "0.45", "0.85"


class Answers:
    """The answers of queries/ about a feed."""

    def __init__(self, spark: SparkSession, feed: Feed):
        self.spark, self.feed = spark, feed

    def __call__(self, number: str) -> list[Row]:
        """The rows of the query with this number."""
        (path,) = glob.glob(f"queries/{number}_*.sql")
        return self.spark.sql(questions.statement(pathlib.Path(path).read_text())).collect()


@contextlib.contextmanager
def draw(
    feed: Feed, name: str, title: str, note: str, size: tuple[float, float], columns: int = 1
) -> Iterator[Any]:
    """Yields axes to draw on (several when columns > 1), and saves them as plots/<name>.png.

    title: the finding; note: number of cases and method.
    """
    if feed.is_synthetic:
        title = f"SYNTHETIC data, invented: {title}"
    title = printable(title)  # it contains an exam's name
    figure, axes = plt.subplots(1, columns, figsize=size, layout="constrained", sharey=True)
    for each in axes if columns > 1 else [axes]:
        each.spines[["top", "right"]].set_visible(False)
    unbroken = title.replace(" %", "\N{NO-BREAK SPACE}%")
    figure.suptitle(unbroken, x=0.01, ha="left", fontsize=10, weight="bold", wrap=True)
    figure.supxlabel(note, x=0.01, ha="left", fontsize=8, color=GREY, wrap=True)
    yield axes
    FOLDER.mkdir(exist_ok=True)
    # Without metadata the same rows give the same file.
    figure.savefig(FOLDER / f"{name}.png", dpi=110, metadata={"Software": None})
    plt.close(figure)
    print(f"{FOLDER / name}.png  {title}")


def short(name: str, most: int = 44) -> str:
    """An exam's name, truncated, for an axis."""
    return printable(name if len(name) <= most else name[: most - 1] + "…")


def rows_of(axes: Any, labels: list[str]) -> None:
    """Labels the rows, the first one at the top."""
    axes.set_yticks(range(len(labels)), labels, fontsize=8)
    axes.set_ylim(len(labels) - 0.4, -0.6)


def stack(axes: Any, place: int, parts: list[tuple[float, str, str]]) -> None:
    """Draws a bar of parts (percent, colour, colour of its label), each with its percent."""
    left = 0.0
    for share, color, ink in parts:
        if share:
            axes.barh(place, share, 0.66, left=left, color=color)
        if share >= 6:  # there is room for the label
            axes.annotate(
                f"{share:.1f}",
                (left + share / 2, place),
                ha="center",
                va="center",
                fontsize=8,
                color=ink,
            )
        left += share


def above(axes: Any, words: list[tuple[float, str, str]]) -> None:
    """Writes (x, text, colour) above the first row, instead of a legend."""
    for x, text, color in words:
        axes.annotate(
            text,
            (x, -0.5),
            ha="center",
            va="bottom",
            fontsize=8,
            color=color,
            annotation_clip=False,
        )


def marking_rule(answer: Answers) -> None:
    rows = answer("11")
    bars = [row for row in rows if row.right_options != "several"]
    of = {row.right_options: row for row in rows}
    title = "No question with several right options was answered"
    if "several" in of and "one" in of:
        several = of["several"]
        title = (
            "Questions with several right options are answered right in "
            f"{several.percent_right} % of first attempts, those with one in "
            f"{of['one'].percent_right} %; {several.percent_partly} % "
            "of the answers to the former are partly right, which counts as nothing"
        )
    note = (
        "Percent of results on first attempts. Partly right: no wrong option, not all right ones."
    )
    with draw(answer.feed, "marking_rule", title, note, (9, 1.5 + 0.5 * len(bars))) as axes:
        for place, row in enumerate(bars):
            parts = [
                (row.percent_right, BLUE, "white"),
                (row.percent_partly, ORANGE, "black"),
                (row.percent_wrong, LIGHT, "black"),
                (row.percent_unanswered, GREY, "white"),
            ]
            stack(axes, place, parts)
        if bars:
            (one, last), end = (bars[0], bars[-1]), len(bars) - 0.82
            partly = last.percent_right + last.percent_partly / 2
            named = [
                (one.percent_right / 2, 0.18, "right", "white"),
                (
                    one.percent_right + one.percent_partly + one.percent_wrong / 2,
                    0.18,
                    "wrong",
                    "black",
                ),
                (partly, end, "partly right", "black"),
            ]
            for x, y, text, ink in named:
                axes.annotate(text, (x, y), ha="center", va="center", fontsize=7, color=ink)
            above(axes, [(96, "unanswered", GREY)])
        rows_of(
            axes,
            [
                f"{row.right_options} right option{'s' * (row.right_options != 'one')}\n"
                f"{row.questions} questions, {row.results:,} results"
                for row in bars
            ],
        )
        axes.set(xlim=(0, 100), xticks=[])
        axes.spines[["bottom", "left"]].set_visible(False)


def gain_by_retake(answer: Answers) -> None:
    found = answer("07")  # the total is last, and missing when no attempt has a score
    rows = [row for row in [*found[-1:], *found[:-1]] if row.pairs]
    title = "No attempt with a score was retaken"
    if rows:
        total = rows[0]
        title = (
            f"A retake scores {total.mean_gain} points more than the attempt before it: "
            f"{total.percent_better} % are better, {total.percent_equal} % equal, "
            f"{total.percent_worse} % worse. Chance alone would give {total.gain_if_chance}"
        )
    note = (
        "Mean scores; the bar at ● is the 95 % interval of the mean gain; × is the score if scores "
        "were pure chance (the mean of first attempts at the same exams)."
    )
    names = {"all": "every score", "4 all right": "everything right"}
    with draw(answer.feed, "gain_by_retake", title, note, (9, 3.9), columns=2) as (scores, shares):
        for place, row in enumerate(rows):
            scores.plot([row.mean_before, row.mean_after], [place] * 2, color=SKY, zorder=1)
            bar = {"fmt": "o", "color": BLUE, "capsize": 3, "zorder": 2}
            scores.errorbar(row.mean_after, place, xerr=row.margin or 0, **bar)
            scores.scatter(row.mean_before, place, color="white", edgecolor=BLUE, zorder=2)
            chance = row.mean_before + (row.gain_if_chance or 0)
            scores.scatter(chance, place + 0.25, marker="x", color=RED, s=24, zorder=2)
            # The texts stand on the outer sides of both marks, so that they never meet.
            rises = row.mean_after >= row.mean_before
            for x, text, is_right in (
                (row.mean_before, "before", not rises),
                (row.mean_after, "retake", rises),
            ):
                words = f"{x:.1f}" if place else f"{text} {x:.1f}"
                at = {"ha": "left" if is_right else "right", "va": "bottom", "fontsize": 8}
                scores.annotate(words, (x, place - 0.18), **at)
            if not place:
                scores.annotate(
                    "by chance",
                    (chance - 3, place + 0.25),
                    ha="right",
                    va="center",
                    fontsize=8,
                    color=RED,
                )
            parts = [
                (row.percent_better, BLUE, "white"),
                (row.percent_equal, LIGHT, "black"),
                (row.percent_worse, ORANGE, "black"),
            ]
            stack(shares, place, parts)
        groups = [names.get(row.score_before, row.score_before[2:]) for row in rows]
        labels = [f"{group}\n{row.pairs:,} pairs" for group, row in zip(groups, rows, strict=True)]
        rows_of(scores, labels)
        scores.set(xlabel="score", ylabel="score before", xlim=(-14, 114))
        above(shares, [(25, "better", BLUE), (72, "equal", GREY), (95, "worse", RED)])
        shares.set(xlabel="percent of the pairs", xlim=(0, 100))


def exams_taken(answer: Answers) -> None:
    rows = sorted(answer("05"), key=lambda row: (-row.first_attempts, row.exam_name))
    by_attempts = sorted(rows, key=lambda row: -row.attempts)
    title = "No attempt is landed"
    if rows:
        title = f"{rows[0].exam_name} is taken most, by first attempts and by all"
    if rows and rows[0] != by_attempts[0]:
        title = (
            f"{rows[0].exam_name} has most first attempts, {by_attempts[0].exam_name} most of all"
        )
    if len(rows) > 2:
        title += (
            f". By first attempts {rows[1].exam_name} is second and {rows[2].exam_name} third; "
            f"by all, {by_attempts[1].exam_name} and {by_attempts[2].exam_name}"
        )
    note = (
        f"The {len(rows)} exams with most attempts, sorted by first attempts: those that do not "
        "begin within a minute after another attempt at the exam."
    )
    with draw(answer.feed, "exams_taken", title, note, (9, 1.6 + 0.28 * len(rows))) as axes:
        for place, row in enumerate(rows):
            retakes = row.attempts - row.first_attempts
            axes.barh(place, row.first_attempts, 0.7, color=BLUE)
            axes.barh(place, retakes, 0.7, left=row.first_attempts, color=ORANGE)
            words = f"{row.first_attempts}" + (" first attempts" if place == 0 else "")
            axes.annotate(
                words,
                (row.first_attempts - 3, place),
                ha="right",
                va="center",
                fontsize=8,
                color="white",
            )
            words = f"+ {retakes} retakes" if place == 0 else f"+ {retakes}"
            axes.annotate(words, (row.attempts + 3, place), va="center", fontsize=8)
        rows_of(axes, [short(row.exam_name) for row in rows])
        most = max((row.attempts for row in rows), default=1)
        axes.set(xlabel="attempts", xlim=(0, 1.2 * most))


def questions_to_review(answer: Answers) -> None:
    rows = answer("08")
    ahead = sum("wrong option ahead" in row.why for row in rows)
    hard = sum("hard" in row.why for row in rows)
    title = (
        f"{len(rows)} of {rows[0].of_questions} questions show a sign of a fault: {hard} are hard "
        f"for their format, in {ahead} more people chose one wrong option than any right one"
        if rows
        else "No question shows a sign of a fault"
    )
    note = (
        "Percent right on first attempts with its 95 % interval (Wilson); blue: one right option, "
        "orange: several. | all questions of that format."
    )
    size = (9, 1.7 + 0.44 * max(len(rows), 2))
    named: set[float] = set()  # formats whose mark has its label
    with draw(answer.feed, "questions_to_review", title, note, size) as axes:
        for place, row in enumerate(rows):
            color = BLUE if row.right_options == 1 else ORANGE
            ends = [[row.percent_right - row.low], [row.high - row.percent_right]]
            bar = {"fmt": "o", "color": color, "capsize": 3}
            axes.errorbar(row.percent_right, place, xerr=ends, **bar)
            axes.scatter(row.format_percent, place, marker="|", s=120, color=color)
            if row.format_percent not in named:
                named.add(row.format_percent)
                words = "all with one" if row.right_options == 1 else "all with several"
                at = {"ha": "center", "va": "bottom", "fontsize": 7, "color": GREY}
                axes.annotate(words, (row.format_percent, place - 0.22), **at)
            # NULL: the question has no wrong, or no right, option.
            chosen = (
                f"{row.wrong_chosen or 0} chose a wrong, {row.right_chosen or 0} a right option"
            )
            words = f"{row.right_results} of {row.results} right; {chosen}\n{row.why}"
            axes.annotate(words, (76, place), va="center", fontsize=7)
        kinds = [
            "one right option" if row.right_options == 1 else f"{row.right_options} right options"
            for row in rows
        ]
        labels = [
            f"{short(row.exam_name, 52)}\n{row.question}, {kind}"
            for row, kind in zip(rows, kinds, strict=True)
        ]
        rows_of(axes, labels)
        axes.set(xlabel="percent right", xlim=(0, 144), xticks=range(0, 71, 10))
        axes.spines["bottom"].set_bounds(0, 70)


def time_taken(answer: Answers) -> None:
    rows = [row for row in answer("14") if row.median_retake is not None]
    rows.sort(key=lambda row: (-row.median_retaken_first, row.exam_name))
    quicker = sum(row.median_retake < row.median_retaken_first for row in rows)
    title = "No exam with 50 attempts or more was retaken"
    if rows:
        title = f"A retake takes less time than the first attempt in {quicker} of {len(rows)} exams"
    note = (
        "Median minutes of the first attempts that were retaken (○) and of the retakes (●); in "
        "brackets their numbers. Exams with 50 attempts or more."
    )
    with draw(answer.feed, "time_taken", title, note, (9, 1.4 + 0.25 * len(rows))) as axes:
        for place, row in enumerate(rows):
            ends = [row.median_retake, row.median_retaken_first]
            axes.plot(ends, [place] * 2, color=SKY, zorder=1)
            axes.scatter(row.median_retake, place, color=ORANGE, zorder=2)
            axes.scatter(row.median_retaken_first, place, color="white", edgecolor=BLUE, zorder=2)
            for x, side, how in ((min(ends), -6, "right"), (max(ends), 6, "left")):
                axes.annotate(
                    f"{x:.1f}",
                    (x, place),
                    (side, 0),
                    textcoords="offset points",
                    ha=how,
                    va="center",
                    fontsize=7,
                )
        rows_of(
            axes,
            [f"{short(row.exam_name)} ({row.retaken_first}, {row.retakes})" for row in rows],
        )
        if rows:
            first = rows[0]
            above(
                axes,
                [
                    (first.median_retake, "retake", RED),
                    (first.median_retaken_first, "first attempt", BLUE),
                ],
            )
        axes.set(xlabel="median minutes")
        axes.set_xlim(left=0)


def main(settings: Settings) -> None:
    feed = settings.feed()
    answer = Answers(client.for_reading(feed, "plots", views.messages_landed(feed)), feed)
    for picture in (marking_rule, gain_by_retake, questions_to_review, exams_taken, time_taken):
        picture(answer)


if __name__ == "__main__":
    script.run(main)
