"""Safe reading of untrusted config files: no code is run, and keys and values are checked."""

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
MAX_SIZE = 1_000_000  # bytes of a config file, and YAML nodes after the expansion of aliases
VERSION = "VERSION"  # Detectron2 converts the old key names in configs of version 1


class ConfigError(UsageError):
    """Raised for an invalid config file or KEY VALUE pair; the message names file and key."""


def read_config(config_file: str, options: Sequence = ()) -> CfgNode:
    """Reads a config file and merges it into the default config.

    `MODEL.DEVICE` becomes "cpu" if it is "cuda" and there is no GPU.

    Args:
        config_file: path of a YAML file; `_BASE_` in it names the file, or a list of files, that
            it changes.
        options: KEY, VALUE, … that override the file.

    Raises:
        FileNotFoundError: the file does not exist.
        ConfigError: the YAML is invalid or contains code, a key does not exist, or a value has
            the wrong type or is out of range.
    """
    cfg = get_dsb2018_cfg()
    for path, content in read_chain(Path(config_file)):
        if content.get(VERSION, cfg.VERSION) == cfg.VERSION:
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
    """Yields a config file and the files that it is based on.

    Args:
        path: path of the config file.
        children: files whose `_BASE_` led to this file.

    Yields:
        The path of each file and its content without `_BASE_`.

    Raises:
        FileNotFoundError: a file does not exist; the message names the file that refers to it.
        ConfigError: a file is invalid, see `read_yaml`, or is based on itself.
    """
    if path.resolve() in children:
        chain = " → ".join(map(str, (*children, path)))
        raise ConfigError(f"{path}: circular {BASE} ({chain})")
    if not path.is_file():
        origin = f", the {BASE} of {children[-1]}" if children else ""
        raise FileNotFoundError(f"{path}: no such config file{origin}")
    content = read_yaml(path)
    yield path, {key: value for key, value in content.items() if key != BASE}
    bases = content.get(BASE, [])
    for base in bases if isinstance(bases, list) else [bases]:
        if not isinstance(base, str) or "://" in base:
            raise ConfigError(f"{path}: {BASE} {base!r}, expected the path of a local file")
        yield from read_chain(path.parent / Path(base).expanduser(), (*children, path.resolve()))


def read_yaml(path: Path) -> dict:
    """Returns the mapping in a YAML file. Tags that create Python objects are refused.

    Raises:
        ConfigError: the file is not YAML or not a mapping, or it is larger than `MAX_SIZE`, before
            or after the expansion of aliases.
    """
    try:
        text = read_file(path, MAX_SIZE)
        if _expanded_size(yaml.compose(text, yaml.SafeLoader), {}) > MAX_SIZE:
            raise ConfigError(f"{path}: its aliases expand to more than {MAX_SIZE} values")
        content = yaml.safe_load(text)
    except yaml.constructor.ConstructorError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else "?"
        problem = f"line {line}: {error.problem}"
        raise ConfigError(f"{path}: refused, {problem} (a config must not contain code)") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not YAML ({_first_line(error)})") from error
    except RecursionError as error:
        raise ConfigError(f"{path}: the YAML is too deeply nested") from error
    except ValueError as error:
        raise error if isinstance(error, ConfigError) else ConfigError(error) from error
    if not isinstance(content, dict):
        kind = "an empty file" if content is None else f"a value of type {type(content).__name__}"
        raise ConfigError(f"{path}: {kind}, expected keys and values, such as `SOLVER:`")
    return content


def _expanded_size(node: yaml.Node | None, sizes: dict[int, float]) -> float:
    """Returns the number of values in a YAML document after the expansion of its aliases.

    It is infinite if an alias contains itself.

    Args:
        node: root of the document, or a part of it.
        sizes: {id of a node: size} of the nodes that were visited.
    """
    if id(node) in sizes:
        return sizes[id(node)]
    sizes[id(node)] = math.inf  # returned if the node contains itself
    size = 1.0
    if isinstance(node, yaml.MappingNode):
        size += sum(_expanded_size(child, sizes) for pair in node.value for child in pair)
    elif isinstance(node, yaml.SequenceNode):
        size += sum(_expanded_size(child, sizes) for child in node.value)
    sizes[id(node)] = size
    return size


def _keys(content: Mapping, prefix: str = "") -> Iterator[str]:
    """Yields all keys of nested mappings in the form "SOLVER.BASE_LR"."""
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
        similar = difflib.get_close_matches(key, list(_keys(cfg)), 1, 0.7)
        hint = f"; did you mean {similar[0]}?" if similar else ""
        raise ConfigError(f"{source}: there is no config key {key}{hint}") from error


def _merge_options(cfg: CfgNode, options: list) -> None:
    if len(options) % 2:
        raise ConfigError(
            f"KEY VALUE: {len(options)} words, expected pairs; {options[-1]!r} has no partner"
        )
    for key, value in zip(options[::2], options[1::2], strict=True):
        _check_key(cfg, str(key), "KEY VALUE")
        current = find_value(cfg, key)
        if isinstance(current, CfgNode):
            raise ConfigError(
                f"KEY VALUE: {key} is a group, expected one of its keys: {', '.join(current)}"
            )
        if isinstance(current, float) and str(value).lstrip("+-").isdigit():
            value = float(value)  # CfgNode does not accept an integer for a float
        try:
            cfg.merge_from_list([key, value])
        except (ValueError, TypeError, AssertionError, SyntaxError, RecursionError) as error:
            kind = type(current).__name__
            raise ConfigError(
                f"KEY VALUE: {key} {value!r}, expected a value of type {kind}, such as {current!r}"
            ) from error


def _first_line(error: Exception) -> str:
    text = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
    return " ".join(text.split()) or type(error).__name__
