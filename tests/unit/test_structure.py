"""The structure of the code: which part imports which, and who reads the environment."""

import ast
import graphlib
import importlib.metadata
import re
import sys

from pipeline import settings
from pipeline.settings import ROOT

SCRIPTS = ROOT / "scripts"
# Imports go from a level to itself or a later one. Every module of the library has a level.
LEVELS = [
    "landing serving publishing monitoring backup customer",
    "spark tables kafka stack",
    "message",
    "settings errors script text files environment",
]
LEVEL_OF = {room: level for level, rooms in enumerate(LEVELS) for room in rooms.split()}


def name_of(path):
    """The name by which others import a file of Python: pipeline.tables.delta"""
    return ".".join(path.relative_to(SCRIPTS).with_suffix("").parts).removesuffix(".__init__")


LIBRARY = {
    name_of(path): ast.parse(path.read_bytes()) for path in (SCRIPTS / "pipeline").rglob("*.py")
}
PROGRAMS = {
    path: ast.parse(path.read_bytes())
    for folder in (SCRIPTS, ROOT / "report", ROOT / "bench")
    for path in folder.glob("*.py")
}


def at_run_time(node):
    """Yields all nodes but those of `if TYPE_CHECKING`."""
    yield node
    for part in ast.iter_child_nodes(node):
        if not (isinstance(part, ast.If) and "TYPE_CHECKING" in ast.unparse(part.test)):
            yield from at_run_time(part)


def imported(tree):
    """Yields the name of each module that is imported, inside functions too."""
    for node in at_run_time(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, ast.unparse(node)
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if inner in LIBRARY else node.module


IMPORTS = {module: {*imported(tree)} for module, tree in LIBRARY.items()}


def test_imports_go_one_way():
    def level(module):
        return LEVEL_OF[module.split(".")[1]]

    graph = {
        module: {name for name in names if name in LIBRARY and name != "pipeline"}
        for module, names in IMPORTS.items()
        if module != "pipeline"
    }
    assert len(graph) > 40
    upwards = [
        f"{module} imports {name}"
        for module, names in graph.items()
        for name in names
        if level(name) < level(module)
    ]
    assert not upwards
    graphlib.TopologicalSorter(graph).prepare()  # raises CycleError, which names the circle


def test_the_library_imports_no_script():
    scripts = {path.stem for path in PROGRAMS}
    assert {"land", "annotate", "up"} < scripts
    wrong = {
        module: names & scripts
        for module, names in IMPORTS.items()
        if {name.partition(".")[0] for name in names} & scripts
    }
    assert not wrong


def test_every_module_of_the_library_is_used():
    used = {name for tree in PROGRAMS.values() for name in imported(tree)}.union(*IMPORTS.values())
    texts = {
        path: path.read_text(errors="ignore")
        for path in [*ROOT.glob("*"), *SCRIPTS.rglob("*")]
        if path.is_file() and path.suffix != ".pyc"
    }

    def is_run(module):
        """Whether another file names it, as `python -m` or PYTHONSTARTUP want it."""
        file = f"{module.replace('.', '/')}.py"
        names = re.compile(rf"\b({re.escape(module)}|{re.escape(file)})\b")
        return any(names.search(text) for path, text in texts.items() if path != SCRIPTS / file)

    unused = [
        module
        for module, tree in LIBRARY.items()
        if not all(isinstance(node, ast.Expr) for node in tree.body)  # __init__.py
        and module not in used
        and not is_run(module)
    ]
    assert not unused


# --- the environment ------------------------------------------------------------------------------


def is_environ(node):
    return ast.unparse(node) in ("os.environ", "environ")


def read_from_environment(tree):
    """Yields (line, name of the variable) of each that is read; None: the name is calculated."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Load):
            key = node.slice if is_environ(node.value) else None
        elif isinstance(node, ast.Call) and node.args:
            called = node.func
            is_read = ast.unparse(called) in ("os.getenv", "getenv") or (
                isinstance(called, ast.Attribute)
                and is_environ(called.value)
                and called.attr in ("get", "pop", "setdefault")
            )
            key = node.args[0] if is_read else None
        else:
            key = None
        if key is not None:
            yield node.lineno, key.value if isinstance(key, ast.Constant) else None


def test_only_the_settings_read_a_knob():
    sample = "os.environ['A']\nos.environ['B'] = 1\nos.environ.get('C')\nos.getenv(name)\n"
    assert [*read_from_environment(ast.parse(sample))] == [(1, "A"), (3, "C"), (4, None)]
    names = {*settings.declared(), "KNOB_ORIGINS", "STACK_KNOBS", "FEED_KNOBS", "FILE_KNOBS", None}
    names |= {f"{server}_PORT" for server in ("KAFKA", "CONTROLLER", "HDFS", "CONNECT", "JDBC")}
    allowed = {"pipeline.settings", "pipeline.environment"}
    trees = {name: tree for name, tree in LIBRARY.items() if name not in allowed} | PROGRAMS
    wrong = [
        f"{name}:{line} reads {variable}"
        for name, tree in trees.items()
        for line, variable in read_from_environment(tree)
        if variable in names
    ]
    assert not wrong


def run_at_import(node):
    """Yields the nodes that run when a module is imported.

    Bodies of classes, defaults and decorators do; bodies of functions, and what is guarded by
    `if __name__ == "__main__"`, do not.
    """
    if isinstance(node, ast.If) and ast.unparse(node.test) == "__name__ == '__main__'":
        parts = []
    elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
        parts = [node.args, *getattr(node, "decorator_list", [])]
    else:
        yield node
        parts = ast.iter_child_nodes(node)
    for part in parts:
        yield from run_at_import(part)


def environment_reads(tree):
    """Yields the line of each read of the environment, or of the settings, at import."""
    names = {"environ", "environb", "getenv"}
    for node in run_at_import(tree):
        if isinstance(node, ast.Attribute):
            read = ast.unparse(node.value) == "os" and node.attr in names
        elif isinstance(node, ast.ImportFrom):
            taken = {alias.name for alias in node.names}
            read = node.module == "os" and taken & names
        elif isinstance(node, ast.Call):
            read = ast.unparse(node.func) in ("settings.load", "settings.read")
        else:
            read = False
        if read:
            yield node.lineno


def test_no_module_of_the_library_reads_the_environment_when_it_is_imported():
    sample = (
        "class A:\n  b = os.environ['B']\ndef f(c=settings.load().c): return os.environ\n"
        "if __name__ == '__main__': settings.load()\n"
    )
    assert list(environment_reads(ast.parse(sample))) == [2, 3]
    found = {module: list(environment_reads(tree)) for module, tree in LIBRARY.items()}
    assert not {module: lines for module, lines in found.items() if lines}


def test_no_part_of_the_code_names_a_place_that_moved():
    """Paths of scripts and modules in comments, messages and pages exist."""
    of_a_baseline = "bench/stack.py names scripts/lib/env.sh"  # in checkouts of older commits
    # (bench/results.md keeps the names of the commit that was measured.)
    pages = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), ROOT / "Makefile", ROOT / "Dockerfile"]
    code = [
        path
        for folder in ("scripts", "report", "bench", "conf")
        for path in (ROOT / folder).rglob("*")
        if path.suffix in (".py", ".sh", ".sql", ".conf", ".xml", ".properties", ".java", ".md")
        and path.name != "results.md"
    ]
    wrong = []
    for path in [*pages, *code]:
        for named in re.findall(
            r"\b((?:scripts|report|bench|tests|conf)/[\w/.-]*\.(?:py|sh|sql|jq|java|md|txt))\b",
            path.read_text(errors="ignore"),
        ):
            if not (ROOT / named).exists():
                wrong.append(f"{path.relative_to(ROOT)} names {named}")
    assert wrong == [of_a_baseline]


# --- containers -----------------------------------------------------------------------------------


def test_what_runs_in_a_container_needs_only_the_packages_that_are_there():
    """STACK=docker: the image has conf/requirements-run.txt. Imports in functions do not count."""
    lock = (ROOT / "conf/requirements-run.txt").read_text()
    there = {name.lower() for name in re.findall(r"^([A-Za-z0-9._-]+)==", lock, re.MULTILINE)}
    of_module = importlib.metadata.packages_distributions()
    ours = {"pipeline", *(path.stem for path in PROGRAMS)}
    outside = {"notebook", "dictionary"}  # scripts/containers.sh refuses them
    trees = {path: tree for path, tree in PROGRAMS.items() if path.parent == SCRIPTS}
    trees = {path.stem: tree for path, tree in trees.items() if path.stem not in outside}
    wrong = []
    for name, tree in (LIBRARY | trees).items():
        top_level = ast.Module([node for node in tree.body if is_import(node)], [])
        for module in {each.partition(".")[0] for each in imported(top_level)}:
            distributions = {
                each.lower().replace("_", "-") for each in of_module.get(module, [module])
            }
            if module not in {*sys.stdlib_module_names, *ours} and not distributions & there:
                wrong.append(f"{name} imports {module}")
    assert len(trees) > 10 and len(there) > 20
    assert not wrong


def is_import(node):
    return isinstance(node, ast.Import | ast.ImportFrom)
