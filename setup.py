"""Packaging: what is installed, and what it needs. Name, version and the like: pyproject.toml.

`tools/` and `gin/` lie at the top of a clone and inside the installed package.
"""

import pathlib

import setuptools

ROOT = pathlib.Path(__file__).resolve().parent
TOOLS = sorted({path.stem for path in (ROOT / "tools").glob("[a-z]*.py")} - {"main"})
GIN_FILES = sorted(path.relative_to(ROOT / "gin").as_posix() for path in ROOT.glob("gin/**/*.gin"))

setuptools.setup(
    packages=[
        *setuptools.find_packages(include=["audioset_strong", "audioset_strong.*"]),
        "audioset_strong.tools",
        "audioset_strong.gin",
    ],
    # gin/ is data: an __init__.py in it would shadow the gin-config package in a clone.
    package_dir={"audioset_strong.tools": "tools", "audioset_strong.gin": "gin"},
    include_package_data=False,  # what follows is all; folders of data are no packages
    package_data={
        "audioset_strong": ["py.typed"],
        "audioset_strong.analysis": ["templates/*.html"],
        "audioset_strong.gin": GIN_FILES,
    },
    entry_points={
        "console_scripts": [
            "audioset_strong = audioset_strong.tools.main:run",
            *(f"audioset_strong_{tool} = audioset_strong.tools.{tool}:run" for tool in TOOLS),
        ]
    },
    install_requires=[
        "absl-py>=2.1",
        "adjustText>=1.0",
        "av>=12",
        "filelock>=3.14",
        "flatbuffers>=24.3.25",
        "gin-config>=0.5",
        "jinja2>=3.1",
        "keras>=3.5,<4",
        "markupsafe>=2.1",
        "matplotlib>=3.8",
        "numpy>=1.26,<3",
        "pandas>=2.2",
        "pebble>=5.0",
        "protobuf>=4.25",
        # pyarrow 26 needs NumPy 2 and does not say so to pip.
        "pyarrow>=15,<26",
        "scipy>=1.12",
        "soundfile>=0.12",
        "soxr>=0.4",
        # TensorFlow 2.21 no longer asks for it.
        "tensorboard>=2.17,<2.22",
        "tensorflow>=2.17,<2.22",
        "tqdm>=4.66",
    ],
    extras_require={
        "beam": ["apache-beam[dask]>=2.60", "distributed>=2024.4.2"],
        "docs": ["furo>=2024.8.6", "myst-parser>=4", "sphinx>=8", "sphinx-copybutton>=0.5"],
        "benchmarks": ["librosa>=0.10", "scikit-learn>=1.5"],
        # dcase_util, which sed_scores_eval needs, imports pkg_resources.
        "events": ["sed_eval>=0.2", "sed_scores_eval>=0.0.4", "setuptools<81"],
        # Archives of PANNs and PaSST.
        "hdf5": ["h5py>=3.10"],
        "gpu": ["tensorflow[and-cuda]>=2.17,<2.22"],
        # The last tensorflow-io loads its native code under TensorFlow 2.16 and 2.17 only; there
        # is none for Python 3.13.
        "io": ["tensorflow==2.17.*", "tensorflow-io==0.37.1"],
        "test": [
            "ai-edge-litert>=2.0",
            "h5py>=3.10",
            "hypothesis>=6.100",
            "mypy>=1.11",
            "pillow>=9",
            "pytest>=8",
            "pytest-cov>=5",
            "pytest-randomly>=3.15",
            "pytest-xdist>=3.6",
            "ruff>=0.8",
            "scikit-learn>=1.5",
            "setuptools>=77",  # a test builds the wheel
            "types-tqdm",
        ],
        # Runs TensorFlow Lite models; TensorFlow did that itself up to 2.19.
        "tflite": ["ai-edge-litert>=2.0"],
    },
)
