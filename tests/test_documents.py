"""The documents agree with the code: links, commands, config keys and error messages."""

import ast
import importlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from detectron2.config import CfgNode, get_cfg

from dsb2018.config import get_dsb2018_cfg
from tests.configs import CONFIGS

PROJECT = CONFIGS.parent
DOCUMENTS = [
    *sorted(PROJECT.glob("*.md")),
    *sorted((PROJECT / "docs").glob("*.md")),
    PROJECT / "datasets" / "README.md",
]
NAMES = [str(path.relative_to(PROJECT)) for path in DOCUMENTS]
TOOLS = sorted(path.stem for path in (PROJECT / "tools").glob("*.py"))
GROUPS = "MODEL|INPUT|SOLVER|TEST|DATALOADER|DATASETS|WANDB"
# Messages of other software in the headings of docs/troubleshooting.md.
FOREIGN_MESSAGES = {
    "No module named 'dsb2018'",
    "No module named 'onnx'",
    "CUDA out of memory",
    "Killed",
    "DataLoader worker … is killed by signal: Bus error",
    "No space left on device",
}


def test_readme_is_short():
    assert len((PROJECT / "README.md").read_text().splitlines()) <= 150


@pytest.mark.parametrize("name", NAMES)
def test_relative_links_exist(name):
    document = PROJECT / name
    text = re.sub(r"^```.*?^```", "", document.read_text(), flags=re.DOTALL | re.MULTILINE)
    targets = re.findall(r"\]\(([^)\s]+)\)", text)
    broken = [target for target in targets if "://" not in target and not exists(document, target)]
    assert not broken


def exists(document: Path, target: str) -> bool:
    """Whether the file of a relative link exists, and its heading if the link has an anchor."""
    path, _, anchor = target.partition("#")
    file = (document.parent / path).resolve() if path else document
    return file.exists() and (not anchor or anchor in anchors(file.read_text()))


def anchors(text: str) -> set[str]:
    """Returns the anchors that GitHub creates for the headings of a document."""
    text = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("tool", TOOLS)
def test_options_exist(tool, capsys):
    with pytest.raises(SystemExit):
        importlib.import_module(tool).main(["--help"])
    options = set(re.findall(r"--[a-z][a-z0-9-]*", capsys.readouterr().out))
    unknown = {
        (path.name, option)
        for path in DOCUMENTS
        for command in commands(path.read_text(), tool)
        for option in re.findall(r"(?<!\S)--[a-z][a-z0-9-]*", command)
        if option not in options
    }
    assert not unknown


def commands(text: str, tool: str) -> list[str]:
    """Returns the arguments of all commands of a tool in a document; continued lines are joined."""
    return re.findall(rf"tools/{tool}\.py([^\n`]*)", text.replace("\\\n", " "))


@pytest.mark.parametrize("name", NAMES)
def test_files_and_config_keys_exist(name):
    text = (PROJECT / name).read_text()
    files = re.findall(r"(?<![\w/.])(?:tools/\w+\.py|configs/[\w./-]+\.yaml)", text)
    missing = [file for file in files if not (PROJECT / file).exists()]
    assert set(missing) <= {"configs/mine.yaml"}  # the example of a user's own config
    existing = {key for key, _ in keys(get_dsb2018_cfg())}
    documented = re.findall(rf"\b(?:{GROUPS})(?:\.[A-Z][A-Z0-9_]*)+\b", text)
    assert not [key for key in documented if key not in existing]


def keys(cfg: CfgNode, prefix: str = "") -> Iterator[tuple[str, object]]:
    """Yields all keys and groups of a config with their values."""
    for name, value in cfg.items():
        yield f"{prefix}{name}", value
        if isinstance(value, CfgNode):
            yield from keys(value, f"{prefix}{name}.")


def test_added_keys_are_documented_with_their_defaults():
    text = (PROJECT / "docs" / "training.md").read_text().partition("### Detectron2 keys")[0]
    documented = dict(re.findall(r"^\| `([A-Z0-9_.]+)` \| `(.*?)` \|", text, re.MULTILINE))
    detectron2 = dict(keys(get_cfg()))
    for key, value in keys(get_dsb2018_cfg()):
        if key not in detectron2 and not isinstance(value, CfgNode):
            default = documented.pop(key)
            is_unquoted = isinstance(value, str) and value  # only empty strings have quotes
            assert (default if is_unquoted else ast.literal_eval(default)) == value
    assert not documented


def test_all_configs_are_in_the_model_zoo():
    text = (PROJECT / "MODEL_ZOO.md").read_text()
    for path in CONFIGS.glob("*/*.yaml"):
        assert f"| `{path.relative_to(CONFIGS).with_suffix('')}` |" in text


def test_messages_in_troubleshooting_exist():
    text = (PROJECT / "docs" / "troubleshooting.md").read_text()
    headings = re.findall(r"^### (.+)$", text, re.MULTILINE)
    quoted = {message for heading in headings for message in re.findall("`(.+?)`", heading)}
    texts = "\n".join(messages())
    unknown = []
    for message in quoted - FOREIGN_MESSAGES:
        if not re.search(".*".join(map(re.escape, message.split("…"))), texts):
            unknown.append(message)
    assert not unknown


def messages() -> Iterator[str]:
    """Yields the Makefile and each string in the code; `…` replaces formatted values."""
    yield (PROJECT / "Makefile").read_text()
    for path in [*(PROJECT / "dsb2018").rglob("*.py"), *(PROJECT / "tools").glob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield " ".join(node.value.split())
            elif isinstance(node, ast.JoinedStr):
                parts = (getattr(part, "value", "") for part in node.values)
                yield "".join(part if isinstance(part, str) else "…" for part in parts)
