# The dependencies of BUILD's targets. Literals only, so that tests/test_build.py, which
# compares them with the imports, and tools/bazel/run.py can read them, too.
#
# Each entry is (targets of ours, packages of PyPI): exactly those that its sources import.

# The rooms of the package. A room may import those above it, and no others. Its sources are
# audioset_strong/ROOM/**/*.py, or the one module audioset_strong/ROOM.py; those of "api" are
# audioset_strong/__init__.py.
ROOMS = {
    "core": (
        [],
        ["absl-py", "filelock", "matplotlib", "tensorflow", "tensorflow-io", "tqdm"],
    ),
    "labels": (["core"], ["absl-py", "numpy", "pandas"]),
    "audio": (
        ["core", "labels"],
        ["absl-py", "av", "h5py", "numpy", "pyarrow", "soundfile", "soxr", "tensorflow"],
    ),
    "records": (
        ["audio", "core", "labels"],
        ["absl-py", "filelock", "numpy", "protobuf", "pyarrow", "soundfile", "tensorflow"],
    ),
    "conversion": (
        ["audio", "core", "labels", "records"],
        ["absl-py", "apache-beam", "distributed", "numpy", "pandas", "pebble", "pyarrow", "tensorflow"],
    ),
    "inputs": (
        ["audio", "core", "labels", "records"],
        ["absl-py", "numpy", "pyarrow", "scipy", "tensorflow"],
    ),
    "synthetic": (["core", "labels"], ["numpy", "pebble", "scipy", "soundfile"]),
    "models": (["core"], ["keras", "numpy", "tensorflow"]),
    "training": (
        ["audio", "core", "inputs", "labels", "models", "records"],
        ["absl-py", "keras", "numpy", "tensorflow"],
    ),
    "evaluation": (
        ["audio", "core", "inputs", "labels", "records", "training"],
        ["absl-py", "keras", "matplotlib", "numpy", "pandas", "pyarrow", "scipy", "tensorboard", "tensorflow"],
    ),
    "inference": (
        ["audio", "core", "evaluation", "inputs", "labels", "models", "records", "training"],
        ["ai-edge-litert", "flatbuffers", "keras", "matplotlib", "numpy", "pandas", "soxr", "tensorflow"],
    ),
    "annotation": (
        ["core", "evaluation", "inference", "labels", "records"],
        ["absl-py", "numpy", "pandas", "scipy"],
    ),
    "analysis": (
        ["audio", "core", "evaluation", "inputs", "labels", "records", "training"],
        ["absl-py", "adjustText", "jinja2", "markupsafe", "matplotlib", "numpy", "pandas", "scipy", "tensorflow"],
    ),
    "configuration": (
        ["audio", "core", "evaluation", "inputs", "labels", "models", "records", "training"],
        ["gin-config"],
    ),
    "experiments": (
        ["analysis", "configuration", "core", "evaluation"],
        ["pandas", "tensorboard", "tensorflow"],
    ),
    "api": (
        ["audio", "core", "evaluation", "inference", "inputs", "labels", "models"],
        [],
    ),
}

# tools/*.py, as the package audioset_strong.tools. They may import every room.
TOOLS = (
    ["analysis", "annotation", "audio", "configuration", "conversion", "core", "evaluation", "experiments", "inference", "labels", "records", "synthetic", "training"],
    ["absl-py"],
)

# tools/benchmarks/*.py.
BENCHMARKS = (
    ["analysis", "annotation", "audio", "conversion", "core", "evaluation", "experiments", "inference", "inputs", "labels", "models", "records", "synthetic", "training"],
    ["absl-py", "av", "h5py", "keras", "librosa", "numpy", "pandas", "pyarrow", "scikit-learn", "scipy", "soundfile", "soxr", "tensorboard", "tensorflow"],
)

# tests/*.py without the tests, and every conftest.py.
TEST_HELPERS = (
    ["api", "audio", "conversion", "core", "evaluation", "inference", "inputs", "labels", "models", "records", "tools", "training"],
    ["av", "gin-config", "h5py", "keras", "numpy", "pandas", "pyarrow", "pytest", "soundfile", "tensorboard", "tensorflow"],
)

# The folders of tests, each for all of its test_*.py. A tool or a room that a test names in a
# string, to start it as a process, counts as imported.
TESTS = {
    "tests": (
        ["analysis", "api", "audio", "configuration", "conversion", "core", "evaluation", "experiments", "inference", "inputs", "labels", "models", "test_helpers", "tools", "training"],
        ["numpy", "pandas", "pytest", "soundfile", "tensorboard", "tensorflow"],
    ),
    "tests/analysis": (
        ["analysis", "audio", "configuration", "core", "evaluation", "experiments", "inputs", "labels", "records", "test_helpers", "training"],
        ["matplotlib", "numpy", "pandas", "pillow", "pytest", "scipy"],
    ),
    "tests/annotation": (
        ["annotation", "core", "labels", "test_helpers"],
        ["numpy", "pandas", "pytest", "scikit-learn", "scipy", "soundfile"],
    ),
    "tests/audio": (
        ["audio", "core", "test_helpers"],
        ["av", "h5py", "numpy", "pyarrow", "pytest", "soundfile", "tensorflow"],
    ),
    "tests/configuration": (
        ["analysis", "api", "audio", "configuration", "core", "evaluation", "experiments", "inputs", "models", "records", "test_helpers", "training"],
        ["gin-config", "numpy", "pytest", "scipy"],
    ),
    "tests/conversion": (
        ["audio", "conversion", "core", "labels", "records", "test_helpers", "tools"],
        ["apache-beam", "distributed", "h5py", "numpy", "pebble", "pytest", "tensorflow"],
    ),
    "tests/core": (
        ["audio", "conversion", "core", "labels", "test_helpers", "tools"],
        ["numpy", "pytest", "soundfile"],
    ),
    "tests/evaluation": (
        ["audio", "core", "evaluation", "inference", "inputs", "labels", "records", "test_helpers", "training"],
        ["hypothesis", "keras", "numpy", "pandas", "pytest", "scikit-learn", "scipy", "sed_eval", "sed_scores_eval", "tensorboard", "tensorflow"],
    ),
    "tests/experiments": (
        ["analysis", "configuration", "core", "experiments", "test_helpers"],
        ["matplotlib", "pandas", "pytest", "tensorboard"],
    ),
    "tests/inference": (
        ["api", "audio", "core", "evaluation", "inference", "inputs", "labels", "records", "test_helpers", "training"],
        ["hypothesis", "keras", "matplotlib", "numpy", "pandas", "pytest", "scipy", "sed_scores_eval", "soxr", "tensorflow"],
    ),
    "tests/inputs": (
        ["audio", "conversion", "core", "evaluation", "inputs", "labels", "records", "synthetic", "test_helpers"],
        ["absl-py", "numpy", "pyarrow", "pytest", "scipy", "tensorflow"],
    ),
    "tests/labels": (
        ["core", "labels", "test_helpers"],
        ["hypothesis", "numpy", "pandas", "pytest", "tensorflow"],
    ),
    "tests/models": (
        ["audio", "core", "models", "test_helpers"],
        ["keras", "numpy", "pytest", "tensorflow"],
    ),
    "tests/records": (
        ["audio", "conversion", "core", "labels", "records", "test_helpers"],
        ["apache-beam", "hypothesis", "numpy", "pandas", "pyarrow", "pytest", "soundfile", "tensorflow"],
    ),
    "tests/synthetic": (
        ["core", "labels", "synthetic", "test_helpers", "tools"],
        ["numpy", "pytest", "soundfile"],
    ),
    "tests/tools": (
        ["test_helpers"],
        ["matplotlib", "numpy", "pandas", "pytest", "soundfile"],
    ),
    "tests/training": (
        ["audio", "core", "inputs", "labels", "models", "test_helpers", "training"],
        ["absl-py", "keras", "numpy", "pytest", "tensorboard", "tensorflow"],
    ),
}

# Files that a target reads, as patterns.
DATA = {
    "analysis": ["audioset_strong/analysis/templates/*.html"],
    "configuration": ["gin/**/*.gin"],
    "tests/core/test_cli.py": ["tools/*.py"],
    "tests/test_api_page.py": ["docs/api.md"],
    "tests/test_paper_map.py": ["docs/paper_to_code.md", "tests/**/*.py"],
    "tests/test_setup_venv.py": ["setup.py", "tools/setup_venv.sh"],
    "tests/test_tutorial.py": ["docs/tutorial.md"],
}

# Tests that `bazel test //...` leaves out, and why. Each runs when named.
MANUAL_TESTS = {
    "tests/test_build.py": "compares BUILD with whatever lies in the checkout, which no target can list",
    "tests/test_packaging.py": "has pip build a wheel of the checkout",
    "tests/test_pages.py": "reads all pages, gin files and tools of the checkout",
    "tests/test_versions.py": "needs another installation of the project",
}
