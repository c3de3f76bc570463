import pytest

from dsb2018.config import ConfigError, read_config
from tests.configs import CONFIGS

UNET = str(CONFIGS / "unet" / "unet_light.yaml")


def write(tmp_path, text, name="config.yaml"):
    path = tmp_path / name
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize(
    "payload",
    [
        'FOO: !!python/object/apply:os.system ["touch PWNED"]',
        'FOO: !!python/object/new:os.system ["touch PWNED"]',
        'FOO: !!python/name:os.system ""',
        "FOO: !!python/module:os",
    ],
)
@pytest.mark.parametrize("location", ["file", "base"])
def test_code_in_yaml_is_not_run(tmp_path, monkeypatch, payload, location):
    monkeypatch.chdir(tmp_path)
    config = write(tmp_path, payload)
    if location == "base":
        config = write(tmp_path, "_BASE_: config.yaml", "leaf.yaml")
    with pytest.raises(ConfigError, match=r"config\.yaml: refused, line 1.*not contain code"):
        read_config(config)
    assert not (tmp_path / "PWNED").exists()


BOMB = "a: &a [1,1,1,1,1,1,1,1,1]\n" + "\n".join(
    f"{b}: &{b} [{','.join([f'*{a}'] * 9)}]" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "an empty file, expected keys and values"),
        ("[1, 2]", "a value of type list, expected keys and values"),
        ("5", "a value of type int, expected keys and values"),
        ("SOLVER: [1, 2", "not YAML"),
        ("a: b: c", "not YAML"),
        ("SOLVER:\n  BASE_LRR: 1", "no config key SOLVER.BASE_LRR; did you mean SOLVER.BASE_LR?"),
        ("QUITE_ANOTHER: 1", "no config key QUITE_ANOTHER$"),
        ("SOLVER:\n  BASE_LR: {a: 1}", "no config key SOLVER.BASE_LR.a"),
        ("SOLVER: 3", "Type mismatch"),
        ("SOLVER:\n  MAX_ITER: many", "Type mismatch.*SOLVER.MAX_ITER"),
        ("SOLVER:\n  BASE_LR: null", "SOLVER.BASE_LR None, expected a number above 0"),
        ("_BASE_: config.yaml", "circular _BASE_"),
        ("_BASE_: 3", "_BASE_ 3, expected the path of a local file"),
        ("_BASE_: https://example.org/a.yaml", "expected the path of a local file"),
        (BOMB, "aliases expand to more than"),
        ("a: &a [*a]", "aliases expand to more than|not YAML"),
        ("[" * 20_000, "too deeply nested"),
        ("\x00\x01", "not YAML"),
    ],
)
def test_invalid_configs(tmp_path, text, message):
    config = write(tmp_path, text)
    with pytest.raises(ConfigError, match=message) as error:
        read_config(config)
    assert "config.yaml" in str(error.value)


def test_binary_or_large_files(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_bytes(bytes(range(128, 256)))
    with pytest.raises(ConfigError, match=r"config\.yaml: not YAML"):
        read_config(str(path))
    path.write_bytes(b"#" * 2_000_000)
    with pytest.raises(ConfigError, match="2 MB, expected at most 1 MB"):
        read_config(str(path))


def test_missing_files(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.yaml: no such config file$"):
        read_config(str(tmp_path / "none.yaml"))
    config = write(tmp_path, "_BASE_: none.yaml")
    with pytest.raises(FileNotFoundError, match=r"none\.yaml: no such .*, the _BASE_ of .*config"):
        read_config(config)


def test_circular_base_of_two_files(tmp_path):
    write(tmp_path, "_BASE_: b.yaml", "a.yaml")
    write(tmp_path, "_BASE_: [a.yaml]", "b.yaml")
    with pytest.raises(ConfigError, match=r"b\.yaml.*→.*a\.yaml"):
        read_config(str(tmp_path / "a.yaml"))


def test_yaml_aliases_are_allowed(tmp_path):
    text = "MODEL:\n  PIXEL_STD: &p [2.0, 2.0, 2.0]\n  PIXEL_MEAN: *p"
    assert read_config(write(tmp_path, text)).MODEL.PIXEL_MEAN == [2.0, 2.0, 2.0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["SOLVER.BASE_LR"], "1 words, expected pairs; 'SOLVER.BASE_LR' has no partner"),
        (["SOLVER.BASE", 1], "no config key SOLVER.BASE"),
        (["NO", 1], "no config key NO"),
        (["SOLVER", 1], "SOLVER is a group, expected one of its keys: "),
        (["SOLVER.MAX_ITER", "many"], "expected a value of type int"),
        (["SOLVER.MAX_ITER.X", "1"], "no config key SOLVER.MAX_ITER.X"),
        (["DATASETS.TRAIN", "dsb2018_train"], "expected a value of type tuple"),
        (["MODEL.DEVICE", "abacus"], "MODEL.DEVICE 'abacus', expected cpu, cuda, or one GPU"),
        (["SOLVER.OPTIMIZER", "LION"], "'LION', expected one of 'SGD', 'ADAM', 'ADAMW'"),
    ],
)
def test_invalid_options(options, message):
    with pytest.raises(ConfigError, match=message):
        read_config(UNET, options)


def test_integer_for_float_key():
    assert read_config(UNET, ["SOLVER.BASE_LR", "2"]).SOLVER.BASE_LR == 2.0
