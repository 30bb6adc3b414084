"""Draw the report's pictures from the landed tables, to plots/*.png.

Run by: make plots
    scripts/lib/env.sh python scripts/plots.py

Shades of grey, hatches and markers: the pictures are readable in black and white. The title of each
is its message, with numbers from the same rows as the picture.
"""

import contextlib
import pathlib
import statistics

import matplotlib
import matplotlib.dates as dates
import matplotlib.pyplot as plt
from matplotlib.ticker import PercentFormatter

import config
import errors
import feed_sql
from printable import printable

matplotlib.use("agg")
matplotlib.rcParams["text.parse_math"] = False  # an exam's name may contain a $

FOLDER = pathlib.Path("plots")
DARK, MIDDLE, LIGHT = "0.15", "0.5", "0.82"
HATCHED = {"color": "white", "hatch": "////"}
LEAST_RESULTS = 50  # of a question, as in queries/11_discrimination.sql
LEAST_CHOSEN = 30  # answers to an option, as in queries/07_wrong_option_that_attracts.sql


@contextlib.contextmanager
def draw(name, title, size=(8, 4.5)):
    """Yields axes to draw on. Saves them as plots/<name>.png when the block ends."""
    if config.TOPIC.startswith("synthetic"):
        title = f"SYNTHETIC data, invented: {title}"
    title = printable(title)  # it contains an exam's name
    figure, axes = plt.subplots(figsize=size, layout="constrained")
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_title(title, loc="left", fontsize=10, wrap=True)
    yield axes
    FOLDER.mkdir(exist_ok=True)
    # Without metadata the same rows give the same file.
    figure.savefig(FOLDER / f"{name}.png", dpi=110, metadata={"Software": None})
    plt.close(figure)
    print(f"{FOLDER / name}.png  {title}")


# Each of these draws one picture. rows: a function from SQL to the list of its rows.


def attempts_per_exam(rows):
    exams = rows("select exam_name, count(*) from attempts group by all order by 2 desc, 1")
    counts = [count for _, count in exams]
    few = sum(count <= 20 for count in counts)
    title = (
        f"{exams[0][0]} was taken {counts[0]} times, the next {counts[1]} times; "
        f"{few} of {len(counts)} exams, counted by name, 20 times or less"
    )
    with draw("attempts_per_exam", title) as axes:
        colors = [DARK if count > 20 else LIGHT for count in counts]
        axes.bar(range(1, len(counts) + 1), counts, color=colors, width=0.9)
        for rank, (name, count) in enumerate(exams[:5], 1):
            axes.annotate(
                name,
                (rank + 0.6, count),
                (rank + 8, count if rank == 1 else counts[1] + 78 - 24 * rank),
                fontsize=9,
                arrowprops={"arrowstyle": "-", "color": MIDDLE, "lw": 0.6},
            )
        axes.set(
            xlabel="exams by name, by rank (light: 20 attempts or less)",
            ylabel="attempts",
            xlim=(0, len(counts) + 1),
        )


def deliveries_per_day(rows):
    deliveries = rows("""
        select cast(a.keen_timestamp as date) as day,
               count_if(m.status = 'accepted'), count_if(m.status = 'duplicate')
        from messages m join attempts a using (keen_id) group by all order by day""")
    repeated = [(day, again) for day, _, again in deliveries if again]
    title = (
        f"All {sum(again for _, again in repeated)} repeated deliveries are of attempts "
        f"between {repeated[0][0]:%d %B} and {repeated[-1][0]:%d %B %Y}"
    )
    with draw("deliveries_per_day", title) as axes:
        days, first, again = ([row[column] for row in deliveries] for column in range(3))
        light = {"color": LIGHT, "edgecolor": MIDDLE, "lw": 0.4, "width": 0.9}
        axes.bar(days, first, **light, label="first delivery")
        axes.bar(days, again, bottom=first, color=DARK, width=0.9, label="delivered again")
        axes.xaxis.set_major_locator(dates.WeekdayLocator(dates.MO, interval=2))
        axes.xaxis.set_major_formatter(dates.DateFormatter("%d %b"))
        axes.set(
            xlabel="day on which the attempt ended (UTC; ticks are Mondays)",
            ylabel="messages a day",
            ylim=(0, 1.2 * max(first + again for _, first, again in deliveries)),
        )
        axes.legend(frameon=False)


def time_taken(rows):
    sittings = rows("""
        select epoch(keen_timestamp) - epoch(started_at), keen_id in (
            select a.keen_id from attempts a
            join attempts b on b.base_exam_id = a.base_exam_id and b.keen_id <> a.keen_id
            and a.started_at between b.keen_timestamp and b.keen_timestamp + interval 60 seconds)
        from attempts""")
    first, again = (
        [value for value, is_again in sittings if is_again == wanted] for wanted in (False, True)
    )
    title = (
        f"Half of all first sittings take {statistics.median(first):.0f} s or less; "
        "of those that begin within a minute after another at the same exam, "
        f"{statistics.median(again):.0f} s"
        if again
        else f"Half of all sittings take {statistics.median(first):.0f} s or less; "
        "none follows another at once"
    )
    with draw("time_taken", title) as axes:
        for values, style, name in (
            (first, "-", "first sittings"),
            (again, "--", "sat again at once"),
        ):
            if values:
                median, label = statistics.median(values), f"{name} ({len(values):,})"
                seconds = [max(value, 0.1) for value in values]
                axes.ecdf(seconds, color=DARK, lw=1.6, ls=style, label=label)
                axes.plot(median, 0.5, marker="o", color=DARK)
                axes.annotate(f"{median:.0f} s", (median * 1.2, 0.45), fontsize=9)
        axes.axhline(0.5, color=MIDDLE, lw=0.8)
        axes.set(
            xscale="log",
            xlabel="seconds from started_at to keen_timestamp (logarithmic)",
            ylabel="share of them that took no longer",
            ylim=(0, 1.01),
        )
        labels = ["1 s", "10 s", "1 min", "10 min", "1 h", "10 h"]
        axes.set_xticks([1, 10, 60, 600, 3600, 36000], labels)
        axes.yaxis.set_major_formatter(PercentFormatter(1))
        axes.legend(frameon=False, loc="upper left")


def difficulty_and_discrimination(rows):
    questions = rows(f"""
        with scored as (
            select exam_name, question_id, cast(user_result = 'correct' as int) as is_correct,
                   count(*) over attempt as n,
                   (sum(cast(user_result = 'correct' as int)) over attempt
                       - cast(user_result = 'correct' as int))
                       / nullif(count(*) over attempt - 1, 0) as rest
            from questions where user_result is not null
            window attempt as (partition by keen_id))
        select 100 * avg(is_correct), corr(is_correct, rest) as r,
               1.96 * (1 - r * r) / sqrt(count(*) - 1)
        from scored where n > 1
        group by exam_name, question_id having count(*) >= {LEAST_RESULTS} and isfinite(r)
        order by exam_name, question_id""")
    weak = [question for question in questions if question[1] < 0.1]
    told_from_zero = sum(abs(r) > margin for _, r, margin in weak)
    title = (
        f"Of {len(questions)} questions with {LEAST_RESULTS} results or more, "
        f"{len(weak)} have a correlation below 0.1 with the rest of the exam; "
        f"{told_from_zero or 'none'} of these can be told from 0 (bars: 95 %)"
    )
    with draw("difficulty_and_discrimination", title) as axes:
        strong = [(percent, r) for percent, r, _ in questions if r >= 0.1]
        circle = {"s": 18, "color": "white", "edgecolor": DARK, "lw": 0.8}
        axes.scatter(
            [percent for percent, _ in strong],
            [r for _, r in strong],
            **circle,
            label="0.1 or more",
        )
        axes.errorbar(
            [percent for percent, *_ in weak],
            [r for _, r, _ in weak],
            [margin for *_, margin in weak],
            fmt="x",
            ms=7,
            color=DARK,
            lw=0.8,
            capsize=3,
            label="below 0.1, with its 95 % interval",
        )
        axes.axhline(0, color=MIDDLE, lw=0.8)
        axes.set(
            xlabel="percent of results that are correct (left: hard)",
            ylabel="correlation with the rest of the attempt",
        )
        axes.legend(frameon=False, loc="lower right")


def wrong_options(rows):
    options = rows(f"""
        with counted as (
            select o.exam_name, o.question_id, o.option_id, bool_or(o.correct) as is_right,
                   count(*) as answers, count_if(o.checked) as chosen
            from options o join questions q using (keen_id, question_position)
            where q.user_result in ('correct', 'incorrect', 'missed_some')
            group by o.exam_name, o.question_id, o.option_id
        ), compared as (
            select *, count_if(is_right) over question as right_options,
                   max(case when is_right then chosen end) over question as most_chosen_right
            from counted window question as (partition by exam_name, question_id))
        select exam_name, question_id, right_options, answers, chosen, most_chosen_right
        from compared
        where not is_right and answers >= {LEAST_CHOSEN} and most_chosen_right is not null
        order by chosen / answers desc, exam_name, question_id, option_id""")
    margins = [chosen - right for *_, chosen, right in options if chosen > right]
    title = (
        f"Of {len(options)} wrong options {len(margins)} {'is' if len(margins) == 1 else 'are'} "
        "chosen more often than every right one"
    )
    if margins:
        title += f", by {max(margins)} answer{'s' * (max(margins) > 1)} at most"
    # The first ten, and those that tie with the last of them.
    shares = [chosen / answers for *_, answers, chosen, _ in options]
    least = min(shares[:10], default=0)
    options = [option for option, share in zip(options, shares, strict=True) if share >= least]
    with draw("wrong_options", title, (8, 5.6)) as axes:
        names = [
            f"{exam if len(exam) < 40 else exam[:38] + '…'}\n"
            f"question {question[:4]}…, {count} right option{'s' * (count > 1)}"
            for exam, question, count, *_ in options
        ]
        wrong = {"color": DARK, "label": "this wrong option"}
        right = HATCHED | {"edgecolor": DARK, "lw": 0.8, "label": "the most chosen right option"}
        for move, column, style in ((-0.2, 4, wrong), (0.2, 5, right)):
            places = [place + move for place in range(len(options))]
            percents = [100 * option[column] / option[3] for option in options]
            axes.barh(places, percents, 0.4, **style)
            for place, percent, option in zip(places, percents, options, strict=True):
                axes.annotate(option[column], (percent + 0.6, place), va="center", fontsize=7)
        axes.set_yticks(range(len(options)), names, fontsize=8)
        axes.invert_yaxis()
        axes.set(
            xlabel="percent of those who answered the question that chose it (at the bars: answers)"
        )
        axes.figure.legend(frameon=False, loc="outside lower right", ncols=2)


def changes_of_mind(rows):
    ((to_right, from_right, changes),) = rows("""
        select count_if(user_result = 'correct'), count_if(left_right), count(*) from (
            select q.user_result,
                   bool_or(o.clicked_at is not null and not o.checked and o.correct) as left_right
            from questions q join options o using (keen_id, question_position)
            where q.user_result in ('correct', 'incorrect', 'missed_some')
            group by q.keen_id, q.question_position, q.user_result
            having count_if(o.correct) <= 1
               and bool_or(o.clicked_at is not null and not o.checked))""")
    counts = [to_right, from_right, changes - to_right - from_right]
    title = (
        f"Where one option is right, {to_right} of {changes} changes of mind led to it, "
        f"{from_right} away from it, and {counts[2]} from one wrong option to another"
    )
    with draw("changes_of_mind", title) as axes:
        styles = {"color": DARK}, HATCHED, {"color": LIGHT}
        for place, (count, style) in enumerate(zip(counts, styles, strict=True)):
            axes.bar(place, count, 0.6, edgecolor=DARK, lw=0.8, **style)
            axes.annotate(
                f"{count:,} ({100 * count / max(changes, 1):.0f} %)",
                (place, count + 0.01 * max(counts)),
                ha="center",
                va="bottom",
                fontsize=9,
            )
        ticks = ["to the right option", "away from the right option", "from wrong to wrong"]
        axes.set_xticks(range(3), ticks)
        axes.set(ylabel="answered questions with a change", ylim=(0, 1.12 * max(*counts, 1)))


def main():
    database = feed_sql.open_tables()
    for picture in (
        attempts_per_exam,
        deliveries_per_day,
        time_taken,
        difficulty_and_discrimination,
        wrong_options,
        changes_of_mind,
    ):
        picture(lambda sql: database.execute(sql).fetchall())


if __name__ == "__main__":
    errors.run(main)
