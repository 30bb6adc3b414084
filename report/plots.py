"""Draw the report's pictures from the answers of queries/, to plots/*.png.

Run by: make plots
    scripts/env.sh python report/plots.py

Shades of grey, hatches and markers: the pictures are readable in black and white. The title of each
is its message, with numbers from the same rows as the picture.
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
DARK, MIDDLE, LIGHT = "0.15", "0.5", "0.82"
HATCHED: dict[str, Any] = {"color": "white", "hatch": "////", "edgecolor": DARK, "lw": 0.8}


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
    feed: Feed, name: str, title: str, size: tuple[float, float], columns: int = 1
) -> Iterator[Any]:
    """Yields axes to draw on (several when columns > 1), and saves them as plots/<name>.png."""
    if feed.is_synthetic:
        title = f"SYNTHETIC data, invented: {title}"
    title = printable(title)  # it contains an exam's name
    figure, axes = plt.subplots(1, columns, figsize=size, layout="constrained", sharey=True)
    for each in axes if columns > 1 else [axes]:
        each.spines[["top", "right"]].set_visible(False)
    figure.suptitle(title, x=0.01, ha="left", fontsize=10, wrap=True)
    yield axes
    FOLDER.mkdir(exist_ok=True)
    # Without metadata the same rows give the same file.
    figure.savefig(FOLDER / f"{name}.png", dpi=110, metadata={"Software": None})
    plt.close(figure)
    print(f"{FOLDER / name}.png  {title}")


def short(name: str, most: int = 44) -> str:
    """An exam's name, truncated, for an axis."""
    return printable(name if len(name) <= most else name[: most - 1] + "…")


def gain_by_retake(answer: Answers) -> None:
    *groups, total = answer("07")
    title = (
        f"A retake scores {total.mean_gain} points more than the attempt before it "
        f"({total.pairs:,} pairs): {total.percent_better} % are better, "
        f"{total.percent_equal} % equal, {total.percent_worse} % worse"
    )
    rows = [row for row in (*groups, total) if row.pairs]
    with draw(answer.feed, "gain_by_retake", title, (9, 3.8), columns=2) as (scores, shares):
        for place, row in enumerate(rows):
            scores.plot([row.mean_before, row.mean_after], [place] * 2, color=MIDDLE, zorder=1)
            scores.errorbar(
                row.mean_after, place, xerr=row.margin, fmt="o", color=DARK, capsize=3, zorder=2
            )
            scores.scatter(row.mean_before, place, color="white", edgecolor=DARK, zorder=2)
            left = 0
            for share, style in (
                (row.percent_better, {"color": DARK}),
                (row.percent_equal, {"color": LIGHT}),
                (row.percent_worse, HATCHED),
            ):
                if share:  # a bar without width would still draw its edge
                    shares.barh(place, share, 0.6, left=left, **style)
                left += share
        names = [f"{row.score_before.lstrip('0123456789 ')}\n{row.pairs:,} pairs" for row in rows]
        scores.set_yticks(range(len(rows)), names)
        scores.invert_yaxis()
        scores.set(
            xlabel="mean score before (○),\nat the retake (●; bar: 95 % of the gain)",
            ylabel="score before",
        )
        shares.set(xlabel="percent better (dark),\nequal (light), worse (hatched)", xlim=(0, 100))


def exams_taken(answer: Answers) -> None:
    rows = answer("05")
    least = [row for row in answer("04") if row.reading == "by name"]
    (how,) = answer("01")
    title = (
        f"{rows[0].exam_name} was taken {rows[0].attempts} times; of {how.exams_by_name} exams, "
        f"{len(least)} were taken least, with {least[0].attempts} attempt"
        f"{'s' * (least[0].attempts > 1)} each"
    )
    with draw(answer.feed, "exams_taken", title, (9, 4.2)) as axes:
        for place, row in enumerate(rows):
            retakes = row.attempts - row.first_attempts
            axes.barh(place, row.first_attempts, 0.7, color=DARK)
            axes.barh(place, retakes, 0.7, left=row.first_attempts, **HATCHED)
            words = f"{row.first_attempts} first attempts, {retakes} retakes"
            axes.annotate(words, (row.attempts + 3, place), va="center", fontsize=8)
        axes.set_yticks(range(len(rows)), [short(row.exam_name) for row in rows], fontsize=9)
        axes.invert_yaxis()
        axes.set(xlabel="attempts", xlim=(0, 1.5 * rows[0].attempts))


def questions_to_review(answer: Answers) -> None:
    rows = answer("08")
    ahead = sum("wrong option ahead" in row.why for row in rows)
    title = (
        f"{len(rows)} of {rows[0].of_questions} questions show a sign of a fault; in {ahead} of "
        "them more people chose one wrong option than any right one (first attempts)"
        if rows
        else "No question shows a sign of a fault (first attempts)"
    )
    with draw(answer.feed, "questions_to_review", title, (9, 1.6 + 0.46 * len(rows))) as axes:
        most = 1
        for place, row in enumerate(rows):
            # NULL: the question has no wrong, or no right, option.
            wrong, right = row.wrong_chosen or 0, row.right_chosen or 0
            axes.barh(place - 0.2, wrong, 0.36, color=DARK)
            axes.barh(place + 0.2, right, 0.36, **HATCHED)
            words = f"{row.percent_right} % right: {row.why}"
            axes.annotate(words, (max(wrong, right) + 1, place), va="center", fontsize=8)
            most = max(most, wrong, right)
        names = [f"{short(row.exam_name, 60)}\n{row.question}" for row in rows]
        axes.set_yticks(range(len(rows)), names, fontsize=8)
        axes.invert_yaxis()
        label = "people, for the most chosen wrong option (dark), right option (hatched)"
        axes.set(xlabel=label, xlim=(0, 1.65 * most))


def time_taken(answer: Answers) -> None:
    rows = [row for row in answer("14") if row.median_retake is not None]
    quicker = sum(row.median_retake < row.median_retaken_first for row in rows)
    title = (
        f"Those who retake need less time for the retake in {quicker} of {len(rows)} exams with "
        "50 attempts or more"
    )
    with draw(answer.feed, "time_taken", title, (8, 1.4 + 0.24 * len(rows))) as axes:
        for place, row in enumerate(rows):
            ends = [row.median_retake, row.median_retaken_first]
            axes.plot(ends, [place] * 2, color=MIDDLE, zorder=1)
            axes.scatter(row.median_retake, place, marker="x", color=DARK, zorder=2)
            axes.scatter(row.median_retaken_first, place, color="white", edgecolor=DARK, zorder=2)
        axes.set_yticks(range(len(rows)), [short(row.exam_name) for row in rows], fontsize=8)
        axes.invert_yaxis()
        axes.set(xlabel="median minutes of first attempts that were retaken (○), of retakes (×)")
        axes.set_xlim(left=0)


def main(settings: Settings) -> None:
    feed = settings.feed()
    answer = Answers(client.for_reading(feed, "plots", views.messages_landed(feed)), feed)
    for picture in (gain_by_retake, exams_taken, questions_to_review, time_taken):
        picture(answer)


if __name__ == "__main__":
    script.run(main)
