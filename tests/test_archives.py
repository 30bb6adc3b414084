"""Class archives (AppCDS): JVMs use them in every run folder, and start without them when they do not fit."""
import os
import pathlib
import shutil
import subprocess
import time

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
JARS = ROOT / ".run" / "jars"


@pytest.fixture(scope="module")
def archives():
    """Set-up makes them in the background."""
    subprocess.run(["scripts/setup.sh", "--quiet"], cwd=ROOT, check=True, env=os.environ | {"RUN_DIR": ".run"})
    begin = time.monotonic()
    while not (JARS / "archives").exists():
        assert time.monotonic() - begin < 500, (ROOT / ".run" / "logs" / "archives.log").read_text()
        time.sleep(1)
    return {kind: JARS / f"{kind}.jsa" for kind in ("kafka", "hdfs", "spark")}


@pytest.fixture
def fresh(archives):
    """A new run folder, set up as for any command."""
    folder = ROOT / ".run-archives"
    shutil.rmtree(folder, ignore_errors=True)
    subprocess.run(["scripts/setup.sh", "--quiet"], cwd=ROOT, check=True, env=os.environ | {"RUN_DIR": folder.name})
    yield folder
    shutil.rmtree(folder)


def run(folder, *command, **more):
    return subprocess.run(["scripts/env.sh", *command], cwd=ROOT, text=True, capture_output=True, check=True,
                          env=os.environ | {"RUN_DIR": folder.name} | more)


def hadoop(folder, options=""):
    """hadoop fs -ls of a local folder needs no stack."""
    return run(folder, "hadoop", "fs", "-ls", f"file://{ROOT}/conf/kafka", JAVA_TOOL_OPTS=f"-Xmx256m {options}")


@pytest.mark.parametrize("tool, name", [("hadoop fs -ls file:///", "org.apache.hadoop.fs.FsShell"), ("kafka-topics --version", "org.apache.kafka.tools.TopicCommand")])
def test_tools_of_a_new_run_folder_take_their_classes_from_the_archive(fresh, tmp_path, tool, name):
    run(fresh, *tool.split(), JAVA_TOOL_OPTS=f"-Xlog:class+load:file={tmp_path}/classes")
    assert f"{name} source: shared objects file (top)" in (tmp_path / "classes").read_text()


def test_spark_of_a_new_run_folder_takes_its_classes_from_the_archive(fresh, tmp_path):
    code = (f"import os, sys; os.environ['SPARK_SUBMIT_OPTS'] += ' -Xlog:class+load:file={tmp_path}/classes'; sys.path.insert(0, 'scripts');"
            "import tables; print(tables.session('archives', 0).range(3).count())")
    assert run(fresh, "python", "-c", code).stdout.strip() == "3"
    loaded = (tmp_path / "classes").read_text()
    for name in ("org.apache.spark.sql.classic.SparkSession", "io.delta.sql.DeltaSparkSessionExtension"):
        assert f"{name} source: shared objects file (top)" in loaded


def test_an_archive_that_does_not_fit_is_left_out_in_silence(fresh):
    good = hadoop(fresh)
    archive = fresh / "jars" / "hdfs.jsa"
    for content in (b"", b"no archive", (fresh / "jars" / "kafka.jsa").read_bytes()):
        archive.unlink()  # a hard link: the others keep theirs
        archive.write_bytes(content)
        done = hadoop(fresh)
        assert (done.stdout, done.stderr) == (good.stdout, good.stderr), content[:20]


def test_an_archive_that_was_cut_short_is_replaced_by_set_up(fresh):
    archive = fresh / "jars" / "hdfs.jsa"
    whole = archive.read_bytes()
    archive.unlink()
    archive.write_bytes(whole[:len(whole) // 2])  # Java would crash on it
    subprocess.run(["scripts/setup.sh", "--quiet"], cwd=ROOT, check=True, env=os.environ | {"RUN_DIR": fresh.name})
    assert archive.samefile(JARS / "hdfs.jsa") and archive.stat().st_size == len(whole)


def test_a_changed_jar_is_not_read_from_the_archive(fresh, tmp_path):
    jar = next((fresh / "jars" / "hdfs").glob("*.jar"))
    shutil.copy(jar, tmp_path / jar.name)
    jar.unlink()  # a hard link: the others keep theirs
    shutil.copy(tmp_path / jar.name, jar)
    done = hadoop(fresh, f"-Xlog:class+load:file={tmp_path}/classes")
    assert not done.stderr and "(top)" not in (tmp_path / "classes").read_text()
