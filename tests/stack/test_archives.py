"""Class archives (AppCDS): JVMs use them in every run folder, and start without unusable ones."""

import os
import shutil
import subprocess

import pytest

from stacks import ROOT

pytestmark = pytest.mark.thorough

JARS = ROOT / ".jars"


def set_up(run_dir, root=ROOT):
    command = ["scripts/env.sh", "--bare", "scripts/setup.sh", "--quiet"]
    subprocess.run(command, cwd=root, check=True, env=os.environ | {"RUN_DIR": run_dir})


@pytest.fixture(scope="module")
def archives():
    """{kind: path}, made by set-up."""
    set_up(".run")
    return {kind: JARS / f"{kind}.jsa" for kind in ("kafka", "hdfs", "spark")}


@pytest.fixture
def fresh(archives):
    """A new run folder, set up as for any command, but with jars that a test may change."""
    folder = ROOT / ".run-archives"
    shutil.rmtree(folder, ignore_errors=True)
    set_up(folder.name)
    assert (folder / "jars").samefile(JARS)
    (folder / "jars").unlink()
    shutil.copytree(JARS, folder / "jars", copy_function=os.link)
    yield folder
    shutil.rmtree(folder)


def run(folder, *command, options=""):
    """Runs a command in the environment of a run folder. options: for the JVM of a tool."""
    return subprocess.run(
        ["scripts/env.sh", "env", f"JAVA_TOOL_OPTS={options}", *command],
        cwd=ROOT,
        text=True,
        capture_output=True,
        check=True,
        env=os.environ | {"RUN_DIR": folder.name},
    )


def hadoop(folder, options=""):
    """Lists a local folder with hadoop, which needs no stack."""
    command = ["hadoop", "fs", "-ls", f"file://{ROOT}/conf/kafka"]
    return run(folder, *command, options=f"-Xmx256m {options}")


@pytest.mark.parametrize(
    "tool, name",
    [
        ("hadoop fs -ls file:///", "org.apache.hadoop.fs.FsShell"),
        ("kafka-topics --version", "org.apache.kafka.tools.TopicCommand"),
    ],
)
def test_tools_of_a_new_run_folder_take_their_classes_from_the_archive(fresh, tmp_path, tool, name):
    run(fresh, *tool.split(), options=f"-Xlog:class+load:file={tmp_path}/classes")
    assert f"{name} source: shared objects file" in (tmp_path / "classes").read_text()


def test_spark_of_a_new_run_folder_takes_its_classes_from_the_archive(fresh, tmp_path):
    log = f"-Xlog:class+load:file={tmp_path}/classes"
    code = (
        f"import os; os.environ['SPARK_SUBMIT_OPTS'] += ' {log}'; "
        "from pipeline import settings; from pipeline.spark import session; "
        "print(session.get(settings.load(), 'archives', 0).range(3).count())"
    )
    assert run(fresh, "python", "-c", code).stdout.strip() == "3"
    loaded = (tmp_path / "classes").read_text()
    for name in (
        "org.apache.spark.sql.classic.SparkSession",
        "io.delta.sql.DeltaSparkSessionExtension",
    ):
        assert f"{name} source: shared objects file" in loaded


def test_an_archive_that_does_not_fit_is_left_out_in_silence(fresh):
    good = hadoop(fresh)
    archive = fresh / "jars" / "hdfs.jsa"
    for content in (b"", b"no archive", (fresh / "jars" / "kafka.jsa").read_bytes()):
        archive.unlink()  # a hard link: the others keep theirs
        archive.write_bytes(content)
        done = hadoop(fresh)
        assert (done.stdout, done.stderr) == (good.stdout, good.stderr), content[:20]


def test_an_archive_that_was_cut_short_is_made_again_by_set_up(archives, tmp_path):
    for name in ("conf", "scripts"):
        shutil.copytree(ROOT / name, tmp_path / name)
    shutil.copy(ROOT / "Makefile", tmp_path)
    (tmp_path / ".venv").symlink_to(ROOT / ".venv")
    shutil.copytree(JARS, tmp_path / ".jars", copy_function=os.link)
    archive = tmp_path / ".jars/hdfs.jsa"
    whole = archive.read_bytes()
    archive.unlink()  # a hard link: the other keeps its content
    archive.write_bytes(whole[: len(whole) // 2])  # Java would crash on it
    set_up(".run", tmp_path)
    for path in archives.values():
        made = (tmp_path / ".jars" / path.name).stat().st_size
        assert made == pytest.approx(path.stat().st_size, rel=0.01)


def test_archives_do_not_depend_on_the_run_folder_that_made_them(archives):
    for path in archives.values():
        content = path.read_bytes()
        assert f"{JARS}/".encode() in content and f"{ROOT}/.run".encode() not in content


def test_a_changed_jar_is_not_read_from_the_archive(fresh, tmp_path):
    jar = next((fresh / "jars" / "hdfs").glob("*.jar"))
    shutil.copy(jar, tmp_path / jar.name)
    jar.unlink()  # a hard link: the others keep theirs
    shutil.copy(tmp_path / jar.name, jar)
    done = hadoop(fresh, f"-Xlog:class+load:file={tmp_path}/classes")
    assert not done.stderr and "source: shared" not in (tmp_path / "classes").read_text()
