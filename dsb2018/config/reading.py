"""Config files, which may come from strangers: read without running code, and checked."""

import difflib
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import torch
import yaml
from detectron2.config import CfgNode

from dsb2018.config.checks import check_values, find_value
from dsb2018.config.keys import get_dsb2018_cfg
from dsb2018.config.unused import warn_of_unused
from dsb2018.errors import UsageError
from dsb2018.io.files import read_file

BASE = "_BASE_"
LARGEST = 1_000_000  # bytes of a config file, and nodes of YAML with its aliases expanded
RENAMED = "VERSION"  # configs of version 1 have other names, which Detectron2 converts


class ConfigError(UsageError):
    """A config file or KEY VALUE option that cannot be used; the message names file and key."""


def read_config(config_file: str, options: Sequence = ()) -> CfgNode:
    """A config file over the defaults. A `MODEL.DEVICE` of "cuda" becomes "cpu" where there is no
    GPU.

    Args:
        config_file: YAML; `_BASE_` names a file, or a list of files, that it changes.
        options: KEY, VALUE, … that override it.

    Raises:
        FileNotFoundError: no such file.
        ConfigError: unreadable YAML, YAML that would run code, a key that does not exist, or a
            value of the wrong type or outside of its range.
    """
    cfg = get_dsb2018_cfg()
    for path, content in read_chain(Path(config_file)):
        if content.get(RENAMED, cfg.VERSION) == cfg.VERSION:
            for key in _keys(content):
                _check_key(cfg, key, str(path))
    try:
        cfg.merge_from_file(config_file, allow_unsafe=False)
    except (KeyError, ValueError, TypeError, AssertionError, AttributeError) as error:
        raise ConfigError(f"{config_file}: {_first_line(error)}") from error
    _merge_options(cfg, list(options))
    if str(cfg.MODEL.DEVICE).startswith("cuda") and not torch.cuda.is_available():
        cfg.MODEL.DEVICE = "cpu"
    try:
        check_values(cfg)
    except ValueError as error:
        raise ConfigError(f"{config_file}: {error}") from error
    warn_of_unused(cfg, config_file)
    return cfg


def read_chain(path: Path, children: tuple[Path, ...] = ()) -> Iterator[tuple[Path, dict]]:
    """A config file and all files that its `_BASE_` leads to, each with its content.

    Args:
        path: of the file.
        children: files that have led to it.

    Raises:
        FileNotFoundError: no such file; the message names the file that refers to it.
        ConfigError: see `read_yaml`; or a file leads back to itself.
    """
    if path.resolve() in children:
        chain = " → ".join(map(str, (*children, path)))
        raise ConfigError(f"{path}: its {BASE} leads back to itself ({chain})")
    if not path.is_file():
        named = f", the {BASE} of {children[-1]}" if children else ""
        raise FileNotFoundError(f"{path}: no such config file{named}")
    content = read_yaml(path)
    yield path, {key: value for key, value in content.items() if key != BASE}
    bases = content.get(BASE, [])
    for base in bases if isinstance(bases, list) else [bases]:
        if not isinstance(base, str) or "://" in base:
            raise ConfigError(f"{path}: {BASE} {base!r}, expected the path of a local file")
        yield from read_chain(path.parent / Path(base).expanduser(), (*children, path.resolve()))


def read_yaml(path: Path) -> dict:
    """The mapping in a YAML file; tags that would make Python objects are refused.

    Raises:
        ConfigError: not YAML, not a mapping, or larger than `LARGEST`, as it is or when its aliases
            are expanded.
    """
    try:
        text = read_file(path, LARGEST)
        if _expanded_size(yaml.compose(text, yaml.SafeLoader), {}) > LARGEST:
            raise ConfigError(f"{path}: its aliases expand to more than {LARGEST} values")
        content = yaml.safe_load(text)
    except yaml.constructor.ConstructorError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else "?"
        what = f"line {line}: {error.problem}"
        raise ConfigError(f"{path}: refused, {what} (no code in a config is run)") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not YAML ({_first_line(error)})") from error
    except RecursionError as error:
        raise ConfigError(f"{path}: too deeply nested for a config") from error
    except ValueError as error:
        raise error if isinstance(error, ConfigError) else ConfigError(error) from error
    if not isinstance(content, dict):
        kind = "an empty file" if content is None else f"a {type(content).__name__}"
        raise ConfigError(f"{path}: {kind}, expected keys and values, such as `SOLVER:`")
    return content


def _expanded_size(node: yaml.Node | None, sizes: dict[int, float]) -> float:
    """Number of values in a YAML document, an alias counted as often as it is used; infinite where
    an alias contains itself."""
    if id(node) in sizes:
        return sizes[id(node)]
    sizes[id(node)] = math.inf  # what a node that contains itself finds
    size = 1.0
    if isinstance(node, yaml.MappingNode):
        size += sum(_expanded_size(each, sizes) for pair in node.value for each in pair)
    elif isinstance(node, yaml.SequenceNode):
        size += sum(_expanded_size(each, sizes) for each in node.value)
    sizes[id(node)] = size
    return size


def _keys(content: Mapping, prefix: str = "") -> Iterator[str]:
    """All keys of nested mappings, as "SOLVER.BASE_LR"."""
    for name, value in content.items():
        key = f"{prefix}{name}"
        if isinstance(value, Mapping):
            yield from _keys(value, f"{key}.")
        else:
            yield key


def _check_key(cfg: CfgNode, key: str, source: str) -> None:
    try:
        find_value(cfg, key)
    except KeyError as error:
        close = difflib.get_close_matches(key, list(_keys(cfg)), 1, 0.7)
        hint = f"; did you mean {close[0]}?" if close else ""
        raise ConfigError(f"{source}: there is no config key {key}{hint}") from error


def _merge_options(cfg: CfgNode, options: list) -> None:
    if len(options) % 2:
        raise ConfigError(
            f"KEY VALUE: {len(options)} words, expected pairs; {options[-1]!r} has no partner"
        )
    for key, value in zip(options[::2], options[1::2], strict=True):
        _check_key(cfg, str(key), "KEY VALUE")
        before = find_value(cfg, key)
        if isinstance(before, CfgNode):
            raise ConfigError(f"KEY VALUE: {key} is a group of keys: {', '.join(before)}")
        if isinstance(before, float) and str(value).lstrip("+-").isdigit():
            value = float(value)  # 2 is 2.0
        try:
            cfg.merge_from_list([key, value])
        except (ValueError, TypeError, AssertionError, SyntaxError, RecursionError) as error:
            kind = type(before).__name__
            raise ConfigError(
                f"KEY VALUE: {key} {value!r}, expected a value of type {kind}, such as {before!r}"
            ) from error


def _first_line(error: Exception) -> str:
    text = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
    return " ".join(text.split()) or type(error).__name__
