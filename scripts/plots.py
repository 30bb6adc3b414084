"""Draw the report's pictures from the landed tables, to plots/*.png.

Run by: make plots
    scripts/env.sh python scripts/plots.py

Shades of grey, hatches and markers, so that they can be read in black and white. Each has one message, its title,
whose numbers come from the same rows as the picture.
"""
import contextlib
import pathlib
import statistics

import matplotlib

matplotlib.use("agg")
import matplotlib.dates as dates
import matplotlib.pyplot as plt
from matplotlib.ticker import PercentFormatter

import feed
import verify

FOLDER = pathlib.Path("plots")
DARK, MIDDLE, LIGHT = "0.15", "0.5", "0.82"
LEAST_RESULTS = 50  # of a question, as in queries/11_discrimination.sql
LEAST_CHOSEN = 30  # answers to an option, as in queries/07_wrong_option_that_attracts.sql


@contextlib.contextmanager
def draw(name, title, size=(8, 4.5)):
    """A pair of axes to draw on; saved as plots/<name>.png when the block ends."""
    if feed.TOPIC.startswith("synthetic"):
        title = f"SYNTHETIC data, invented: {title}"
    figure, axes = plt.subplots(figsize=size, layout="constrained")
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_title(title, loc="left", fontsize=10, wrap=True)
    yield axes
    FOLDER.mkdir(exist_ok=True)
    figure.savefig(FOLDER / f"{name}.png", dpi=110, metadata={"Software": None})  # the same rows give the same file
    plt.close(figure)
    print(f"{FOLDER / name}.png  {title}")


def attempts_per_exam(rows):
    exams = rows("select exam_name, count(*) from attempts group by all order by 2 desc, 1")
    counts = [count for _, count in exams]
    few = sum(count <= 20 for count in counts)
    with draw("attempts_per_exam", f"{exams[0][0]} was taken {counts[0]} times, the next {counts[1]} times; {few} of the {len(counts)} exams 20 times or less") as axes:
        axes.bar(range(1, len(counts) + 1), counts, color=[DARK if count > 20 else LIGHT for count in counts], width=0.9)
        for rank, (name, count) in enumerate(exams[:5], 1):
            axes.annotate(name, (rank + 0.6, count), (rank + 8, count if rank == 1 else counts[1] + 78 - 24 * rank), fontsize=9, arrowprops={"arrowstyle": "-", "color": MIDDLE, "lw": 0.6})
        axes.set(xlabel="exams by rank (light: 20 attempts or less)", ylabel="attempts", xlim=(0, len(counts) + 1))


def deliveries_per_day(rows):
    days = rows("""select cast(a.keen_timestamp as date) as day, count_if(m.status = 'accepted'), count_if(m.status = 'duplicate')
                   from messages m join attempts a using (keen_id) group by all order by day""")
    repeated = [(day, again) for day, _, again in days if again]
    title = f"All {sum(again for _, again in repeated)} repeated deliveries are of attempts between {repeated[0][0]:%d %B} and {repeated[-1][0]:%d %B %Y}"
    with draw("deliveries_per_day", title) as axes:
        axes.bar([day for day, *_ in days], [first for _, first, _ in days], color=LIGHT, edgecolor=MIDDLE, lw=0.4, width=0.9, label="first delivery")
        axes.bar([day for day, *_ in days], [again for *_, again in days], bottom=[first for _, first, _ in days], color=DARK, width=0.9, label="delivered again")
        axes.xaxis.set_major_locator(dates.WeekdayLocator(dates.MO, interval=2))
        axes.xaxis.set_major_formatter(dates.DateFormatter("%d %b"))
        axes.set(xlabel="day on which the attempt ended (UTC; ticks are Mondays)", ylabel="messages a day")
        axes.legend(frameon=False)


def time_taken(rows):
    seconds = sorted(value for value, in rows("select epoch(keen_timestamp) - epoch(started_at) from attempts"))
    positive = [value for value in seconds if value > 0]
    median, mean = statistics.median(seconds), statistics.mean(seconds)
    below_mean = sum(value < mean for value in seconds) / len(seconds)
    with draw("time_taken", f"Half of all attempts take {median:.0f} s or less; the mean, {mean:.0f} s, is longer than {below_mean:.0%} of them") as axes:
        axes.ecdf(positive, color=DARK, lw=1.6)
        for value, style, name in ((median, "-", "median"), (mean, "--", "mean")):
            axes.axvline(value, color=MIDDLE, ls=style, lw=1)
            axes.annotate(f"{name} {value:.0f} s", (value * 1.07, 0.03), fontsize=9)
        axes.set(xscale="log", xlabel="seconds from started_at to keen_timestamp (logarithmic)", ylabel="share of attempts that took no longer", ylim=(0, 1.01))
        axes.set_xticks([1, 10, 60, 600, 3600, 36000], ["1 s", "10 s", "1 min", "10 min", "1 h", "10 h"])
        axes.yaxis.set_major_formatter(PercentFormatter(1))


def difficulty_and_discrimination(rows):
    questions = rows(f"""
        with scored as (
            select question_id, cast(user_result = 'correct' as int) as is_correct, count(*) over attempt as n,
                   (sum(cast(user_result = 'correct' as int)) over attempt - cast(user_result = 'correct' as int)) / nullif(count(*) over attempt - 1, 0) as rest
            from questions where user_result is not null window attempt as (partition by keen_id))
        select 100 * avg(is_correct), corr(is_correct, rest) from scored where n > 1
        group by question_id having count(*) >= {LEAST_RESULTS} order by question_id""")
    weak = [pair for pair in questions if pair[1] < 0.1]
    with draw("difficulty_and_discrimination", f"Of {len(questions)} questions with {LEAST_RESULTS} results or more, {len(weak)} tell next to nothing about the rest of the exam") as axes:
        for pairs, look in (([pair for pair in questions if pair not in weak], {"s": 18, "color": "white", "edgecolor": DARK, "lw": 0.8, "label": "0.1 or more"}),
                            (weak, {"s": 34, "marker": "x", "color": DARK, "label": "below 0.1"})):
            axes.scatter([percent for percent, _ in pairs], [discrimination for _, discrimination in pairs], **look)
        axes.axhline(0, color=MIDDLE, lw=0.8)
        axes.set(xlabel="percent of results that are correct (left: hard)", ylabel="correlation with the rest of the attempt")
        axes.legend(frameon=False)


def wrong_options(rows):
    options = rows(f"""
        select exam_name, chosen, right_ from (
            select min(o.exam_name) as exam_name, 100 * avg(cast(o.checked as int)) as chosen, 100 * avg(cast(q.user_result = 'correct' as int)) as right_,
                   row_number() over (partition by o.question_id order by chosen desc, o.option_id) as nth
            from options o join questions q using (keen_id, question_position)
            where q.user_result in ('correct', 'incorrect', 'missed_some')
            group by o.question_id, o.option_id having count(*) >= {LEAST_CHOSEN} and not bool_or(o.correct))
        where nth = 1 order by chosen desc, exam_name""")
    beaten = sum(chosen > right for _, chosen, right in options)
    options = options[:12]
    title = f"{beaten} questions where one wrong option is chosen more often than the question is answered right"
    with draw("wrong_options", title, (8, 5.2)) as axes:
        places = range(len(options))
        axes.barh([place - 0.2 for place in places], [chosen for _, chosen, _ in options], 0.4, color=DARK, label="chose this wrong option")
        axes.barh([place + 0.2 for place in places], [right for *_, right in options], 0.4, color="white", edgecolor=DARK, hatch="////", lw=0.8, label="answered the question right")
        axes.set_yticks(places, [name if len(name) < 48 else name[:46] + "…" for name, *_ in options], fontsize=9)
        axes.invert_yaxis()
        axes.set(xlabel="percent of those who answered")
        axes.figure.legend(frameon=False, loc="outside lower right", ncols=2)


def changes_of_mind(rows):
    groups = rows("""
        select several, changed, 100 * avg(cast(user_result = 'correct' as int)), count(*) from (
            select q.user_result, bool_or(o.clicked_at is not null and not o.checked) as changed, count_if(o.correct) > 1 as several
            from questions q join options o using (keen_id, question_position)
            where q.user_result in ('correct', 'incorrect', 'missed_some') group by q.keen_id, q.question_position, q.user_result)
        group by all order by several, changed""")
    share = {(several, changed): (percent, count) for several, changed, percent, count in groups}
    title = (f"Who took an option back is right less often: by {share[False, False][0] - share[False, True][0]:.0f} points where one option is right, "
             f"by {share[True, False][0] - share[True, True][0]:.0f} where several are")
    with draw("changes_of_mind", title) as axes:
        for changed, place, style in ((False, -0.2, {"color": LIGHT, "label": "took nothing back"}), (True, 0.2, {"color": "white", "hatch": "////", "label": "took an option back"})):
            for several in (False, True):
                percent, count = share[several, changed]
                axes.bar(several + place, percent, 0.36, edgecolor=DARK, lw=0.8, **(style if not several else {**style, "label": None}))
                axes.annotate(f"{percent:.1f} %\n{count:,} questions", (several + place, percent + 1), ha="center", fontsize=9)
        axes.set_xticks([0, 1], ["one right option", "several right options"])
        axes.set(ylabel="percent of answered questions that are correct", ylim=(0, 90))
        axes.legend(frameon=False)


def main():
    database = verify.open_tables()
    for picture in (attempts_per_exam, deliveries_per_day, time_taken, difficulty_and_discrimination, wrong_options, changes_of_mind):
        picture(lambda sql: database.execute(sql).fetchall())


if __name__ == "__main__":
    with feed.report_failures():
        main()
