"""What holds for the package as a whole: imports, layers, sizes, and what the README promises."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import smoothcert

ROOT = Path(__file__).parents[1]
SOURCE = Path(smoothcert.__file__).parent  # where it is installed, if that is what is tested
MODULES = sorted(SOURCE.rglob("*.py"))
HEAVY = (
    "torch",
    "onnxruntime",
    "onnx",
    "ray",
    "numba",
    "transformers",
    "matplotlib",
    "sklearn",
    "datasets",
    "PIL",
    "jinja2",
    "wandb",
    "mlflow",
    "tensorboard",
)

# Imports go downwards only: a layer may use those before it and itself.
LAYERS = (
    *(
        "errors",
        "version",
        "vocabulary",
        "text",
        "scalars",
        "tries",
        "files",
        "compilation",
        "cores",
        "bounds",
        "noise",
        "data",
        "certificate",
        "zoo",
        "classifiers",
        "sampling",
        "methods",
        "summary",
        "watchers",
        "loggers",
        "planning",
    ),
    *("training", "compress", "adapt", "storage", "runs", "execution", "report", "simulation"),
    *("searching", "api", "testing", "integrations", "cli", "__main__"),
)


def loaded_after(code: str) -> set[str]:
    """Which heavy packages a fresh interpreter has loaded after running code."""
    report = f"import sys; {code}; print(*[m for m in {HEAVY!r} if m in sys.modules])"
    result = subprocess.run(
        [sys.executable, "-c", report], capture_output=True, text=True, check=True
    )
    return set(result.stdout.split())


def test_importing_the_package_imports_nothing_heavy():
    assert loaded_after("import smoothcert") == set()


@pytest.mark.slow
def test_nor_does_the_mathematics_or_the_command_line():
    assert loaded_after("import smoothcert.bounds, smoothcert.api.recertify") == set()
    assert loaded_after("import smoothcert.cli.main, smoothcert.execution.runner") == set()


def test_the_check_sees_what_is_loaded():
    """The control: it is not blind."""
    assert "matplotlib" in loaded_after("import smoothcert.report.plots")


def test_help_imports_not_even_numpy():
    code = "import smoothcert.cli.main, sys; print('numpy' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert found.stdout.strip() == "False"


@pytest.mark.parametrize("name", sorted(smoothcert._HOMES))
def test_public_names_resolve_and_are_documented(name):
    value = getattr(smoothcert, name)
    assert name in dir(smoothcert)
    assert isinstance(value, int) or value.__doc__


def test_the_typed_and_the_lazy_names_are_the_same():
    tree = ast.parse((SOURCE / "__init__.py").read_text())
    typed = {
        alias.asname: node.module.removeprefix("smoothcert.")
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module.startswith("smoothcert.")
        for alias in node.names
        if alias.name != "__version__"
    }
    assert typed == smoothcert._HOMES


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="has no attribute 'certifi'"):
        _ = smoothcert.certifi


def layer(module: str) -> str:
    return module.removeprefix("smoothcert.").split(".")[0]


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_imports_go_downwards(path):
    here = path.relative_to(SOURCE).parts[0].removesuffix(".py")
    if here == "__init__":
        return
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("smoothcert."):
            there = layer(node.module)
            assert LAYERS.index(there) <= LAYERS.index(here), (here, there)


def imports_of(text: str, modules: set[str]) -> set[str]:
    """Which of some modules a source text imports: at its top, in functions and for types."""
    found = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= names & modules or {node.module}
    return found & modules


def circles(graph: dict[str, set[str]]) -> set[frozenset[str]]:
    """The groups of modules that import each other, directly or not."""
    reached = {}
    for start, first in graph.items():
        seen, queue = set(), [*first]
        while queue:
            if (module := queue.pop()) not in seen:
                seen.add(module)
                queue += graph[module]
        reached[start] = seen
    return {
        frozenset(other for other in reached[module] if module in reached[other])
        for module in graph
        if module in reached[module]
    }


def test_no_modules_import_each_other_in_a_circle():
    """Not even inside functions or for types alone. `__init__` files, which Python runs before
    the modules of their folders, count only where they are named."""
    names = {
        ".".join(("smoothcert", *path.relative_to(SOURCE).with_suffix("").parts)): path
        for path in MODULES
    }
    texts = {name.removesuffix(".__init__"): path.read_text() for name, path in names.items()}
    graph = {name: imports_of(text, set(texts)) for name, text in texts.items()}
    assert "smoothcert.cli.console" in graph["smoothcert.cli.main"]  # it sees functions
    assert circles({**graph, "smoothcert.errors": {"smoothcert.cli.main"}})  # and circles
    assert circles(graph) == set()


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_modules_and_functions_stay_small(path):
    text = path.read_text()
    assert text.count("\n") <= 400
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.end_lineno - node.lineno + 1
            assert body <= 60 or path.name == "main.py", (node.name, body)


def test_no_pickle_or_eval_in_the_package():
    for path in MODULES:
        text = path.read_text()
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id not in ("eval", "exec"), path
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = [a.name for a in node.names] + [getattr(node, "module", None) or ""]
                assert not {"pickle", "dill", "joblib"} & set(names), path
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("torch.load", "np.load"):
                safe = {"weights_only": True, "allow_pickle": False}
                options = {
                    k.arg: k.value.value for k in node.keywords if isinstance(k.value, ast.Constant)
                }
                assert safe.items() & options.items(), path


def test_a_missing_extra_names_the_line_that_installs_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    monkeypatch.delitem(sys.modules, "smoothcert.classifiers.onnx", raising=False)
    file = ROOT / "README.onnx"
    from smoothcert.classifiers import loading
    from smoothcert.classifiers.reference import ModelReference

    with pytest.raises(smoothcert.SmoothcertError, match=r"pip install 'smoothcert\[onnx\]'"):
        loading._from_file(file, "cpu", ModelReference.parse(str(file)))


def code_blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)


def test_the_readmes_python_example_is_short():
    (example,) = code_blocks((ROOT / "README.md").read_text(), "python")
    assert len(example.strip().splitlines()) <= 12


def test_the_readme_has_exactly_two_set_up_commands():
    commands = code_blocks((ROOT / "README.md").read_text(), "sh")[:2]
    assert all(len(c.strip().replace("\\\n", "").splitlines()) == 1 for c in commands)
    assert "smoothcert demo" in commands[0]
    assert "pytest" in commands[1]
    assert all("-c constraints.txt" in c for c in commands)


def test_ci_runs_the_readmes_test_command():
    (test_command,) = code_blocks((ROOT / "README.md").read_text(), "sh")[1:2]
    script = (ROOT / ".ci" / "run").read_text()
    assert test_command.strip() in script or "README.md" in script


def test_the_changelog_has_this_version():
    assert f"## {smoothcert.__version__}" in (ROOT / "CHANGELOG.md").read_text()


def test_the_changelog_says_of_every_entry_whether_certificates_can_differ():
    parts = {"New", "Certificates can differ", "Certificates do not change"}
    _, *versions = re.split(r"^## ", (ROOT / "CHANGELOG.md").read_text(), flags=re.MULTILINE)
    for version in versions:
        before, *groups = re.split(r"^### ", version, flags=re.MULTILINE)
        assert not re.search(r"^- ", before, re.MULTILINE), "an entry is in no part"
        assert {group.splitlines()[0] for group in groups} <= parts
        unchanged = [group for group in groups if group.startswith("Certificates do not change")]
        assert all("can differ" not in group for group in unchanged)


@pytest.mark.slow
def test_test_files_share_through_support_and_import_no_other():
    found = {}
    for file in sorted(Path(__file__).parent.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            found.setdefault(file.name, []).extend(names)
    assert "support.known_truth" in found["test_coverage.py"]  # it sees imports
    others = {name.removesuffix(".py") for name in found} | {"conftest"}
    wrong = {f: n for f, names in found.items() for n in names if n in others}
    assert wrong == {}
