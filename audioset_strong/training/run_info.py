"""`run.json`: what a training run is, as data, for everything that comes after training.

`train` writes it once, when a run begins. Evaluation, prediction, export, model card, report and
sweep read it. The run's gin text, `config.gin`, is kept for people; no program takes facts from it.
"""

import dataclasses
import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

from audioset_strong.audio.features import FrontEnd
from audioset_strong.core import errors, files, version
from audioset_strong.inputs import joint_datasets, training_sources
from audioset_strong.inputs.weight_schedules import WeightSchedule
from audioset_strong.labels import framing
from audioset_strong.labels.vocabularies import Vocabulary
from audioset_strong.models import precisions
from audioset_strong.records.dataset_info import DatasetInfo
from audioset_strong.training.workdirs import MODEL_FILE, RUN_FILE

FORMAT = 1
# What a run must keep from its first step to its last, in the order in which differences are named.
_FIXED = (
    "front_end",
    "framing_rule",
    "augmentation",
    "seed",
    "batch_size",
    "precision",
    "ema_decay",
)
# What `run.json` has not always held; absent, it is unknown.
_LATER = ("init_weights", "total_epochs")


@dataclasses.dataclass(frozen=True)
class DatasetFacts:
    """A dataset that a run was trained or measured on, as it was then.

    All but path and name are None if they are not known, as in the `run.json` that upgrade_run.py
    writes for a run of an older version whose datasets are gone.

    Attributes:
      path: where it was.
      name: name of the dataset.
      fingerprint: hash of its `dataset_info.json`.
      clips, hours, weak_clips, strong_clips, negative_clips, split: as in `DatasetInfo`.
    """

    path: str
    name: str
    fingerprint: str | None = None
    clips: int | None = None
    hours: float | None = None
    weak_clips: int | None = None
    strong_clips: int | None = None
    negative_clips: int | None = None
    split: str | None = None

    @classmethod
    def of(cls, path: str, info: DatasetInfo) -> "DatasetFacts":
        """The facts of a dataset.

        Args:
          path: its directory.
          info: its `dataset_info.json`.
        """
        return cls(
            path=path,
            name=info.name,
            fingerprint=joint_datasets.fingerprint([path]),
            clips=info.num_clips,
            hours=info.hours,
            weak_clips=info.weak_clips,
            strong_clips=info.strong_clips,
            negative_clips=info.negative_clips,
            split=info.split,
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunInfo:
    """The facts of a training run.

    Attributes:
      front_end: makes the log-mel that the model takes.
      sources: of the training examples; see `training_sources.Source`.
      vocabulary: of the model's outputs.
      data_fingerprint: equal for equal datasets, and equal scores of teachers, wherever they lie;
        None if it is not known.
      datasets: the datasets of the sources, each once.
      seed: determines weights, order and windows.
      batch_size: examples in a step.
      total_steps: steps of the whole run.
      total_epochs: the same in epochs, see `lengths.epoch_examples`; None if it is not known.
      framing_rule: of strong labels in training, see `framing.frame_labels`.
      precision: of the layers' arithmetic, see `precisions`.
      ema_decay: of the moving average of the weights; None if the run keeps none.
      init_from: what the weights were started from, as it was named when the run began; None for a
        run from scratch.
      init_weights: fingerprint of the weights started from, see `checkpoints.fingerprint`; None for
        a run from scratch, or if it is not known.
      augmentation: the fields of `Augmentation`, by name.
      stream: the fields of `StreamSettings`, by name.
      versions: of audioset_strong, tensorflow and keras, by name; empty if they are not known.

    Raises:
      errors.InputError: facts that no run has.
    """

    front_end: FrontEnd
    sources: tuple[training_sources.Source, ...]
    vocabulary: Vocabulary
    data_fingerprint: str | None
    datasets: tuple[DatasetFacts, ...]
    seed: int
    batch_size: int
    total_steps: int
    framing_rule: str = framing.RELEASED
    precision: str = "float32"
    ema_decay: float | None = None
    total_epochs: float | None = None
    init_from: str | None = None
    init_weights: str | None = None
    augmentation: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    stream: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    versions: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        errors.check_whole_number("seed", self.seed, least=0)
        errors.check_whole_number("batch_size", self.batch_size)
        errors.check_whole_number("total_steps", self.total_steps)
        for name, value, choices in (
            ("framing_rule", self.framing_rule, framing.RULES),
            ("precision", self.precision, precisions.PRECISIONS),
        ):
            if value not in choices:
                raise errors.InputError(f"{name} = {value!r}: must be one of {', '.join(choices)}")
        decay = self.ema_decay
        if decay is not None and not (isinstance(decay, float) and 0.0 < decay < 1.0):
            raise errors.InputError(f"ema_decay = {decay!r}: must lie in (0, 1), or be null")
        for name in ("sources", "vocabulary"):
            if not len(getattr(self, name)):
                raise errors.InputError(f"{name}: must not be empty")

    @property
    def mu(self) -> float | None:
        """The share of diffuse or strong examples in a mixture; None if there is no mixture."""
        return training_sources.mu(self.sources)

    def to_json(self) -> dict[str, Any]:
        """The facts as JSON values; what `write` writes."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return values | {
            "format": FORMAT,
            "front_end": self.front_end.to_json(),
            "sources": [dataclasses.asdict(source) for source in self.sources],
            "mu": self.mu,
            "vocabulary": self.vocabulary.to_json(),
            "datasets": [dataclasses.asdict(dataset) for dataset in self.datasets],
            "augmentation": dict(self.augmentation),
            "stream": dict(self.stream),
            "versions": dict(self.versions),
        }

    def summary(self) -> str:
        """The facts as JSON text for people, without the classes."""
        return json.dumps(self.to_json() | {"vocabulary": len(self.vocabulary)}, indent=1)

    def write(self, directory: str) -> None:
        """Writes `run.json` into a workdir or an export.

        Raises:
          OSError: it cannot be written.
        """
        files.write_json(os.path.join(directory, RUN_FILE), self.to_json())

    @classmethod
    def read(cls, directory: str) -> "RunInfo":
        """Reads the `run.json` of a workdir or an export.

        Raises:
          errors.InputError: it is missing, damaged, or was written by a newer version.
        """
        path = os.path.join(directory, RUN_FILE)
        try:
            return cls._from_json(files.read_json(path))
        except errors.InputError as error:  # a ValueError too
            raise errors.InputError(f"{path}: {error}") from error
        except FileNotFoundError as error:
            raise _missing(directory) from error
        except OSError as error:
            raise errors.InputError(f"{path}: cannot be read ({files.reason(error)})") from error
        except json.JSONDecodeError as error:
            raise errors.InputError(
                f"{path}, line {error.lineno}: not JSON ({error.msg}); {_RESTORE}"
            ) from error
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise errors.InputError(
                f"{path}: not the facts of a run ({error!r}); {_RESTORE}"
            ) from error

    @classmethod
    def _from_json(cls, values: dict[str, Any]) -> "RunInfo":
        form = values["format"]
        if form != FORMAT:
            raise errors.InputError(
                f"format {form!r}, but this version reads format {FORMAT}; use the version "
                f"that wrote it (audioset_strong {_version_in(values)}) or a newer one"
            )
        names = {field.name for field in dataclasses.fields(cls)}
        known = {name for name in names if name in values or name not in _LATER}
        return cls(
            **{name: values[name] for name in known}
            | {
                "front_end": FrontEnd.from_json(values["front_end"]),
                "sources": tuple(map(training_sources.Source.from_json, values["sources"])),
                "vocabulary": Vocabulary.from_json(values["vocabulary"]),
                "datasets": tuple(DatasetFacts(**dataset) for dataset in values["datasets"]),
            }
        )

    def difference(self, other: "RunInfo") -> str | None:
        """The first thing in which this run differs from another one, in words.

        What may change between two parts of a run is not compared: its length, the versions, how
        the data are read, and where they lie. Nor is what it was started from, because the same
        weights may have been moved; see `loop.train`.

        Args:
          other: the run that this one is to continue.

        Returns:
          Words such as "seed = 1 instead of 0"; None if the runs can be one.
        """
        front_end = self.front_end.difference(other.front_end)
        if front_end:
            return f"FrontEnd.{front_end}"
        if len(self.sources) != len(other.sources):
            return f"{len(self.sources)} sources instead of {len(other.sources)}"
        for i, (mine, theirs) in enumerate(zip(self.sources, other.sources, strict=True)):
            for name in (field.name for field in dataclasses.fields(mine)):
                value, before = getattr(mine, name), getattr(theirs, name)
                if name == "datasets":
                    value, before = (tuple(map(_last_name, each)) for each in (value, before))
                if isinstance(before, WeightSchedule) and isinstance(value, WeightSchedule):
                    value, before = value.points, before.points  # over the run as it was begun
                if value != before:
                    return f"{name} = {value!r} instead of {before!r} in source {i}"
        for name in _FIXED:
            value, before = getattr(self, name), getattr(other, name)
            if isinstance(value, Mapping):
                for key in value:
                    if value[key] != before.get(key, value[key]):  # what is not known may be equal
                        return f"{name}.{key} = {value[key]!r} instead of {before[key]!r}"
            elif value != before:
                return f"{name} = {value!r} instead of {before!r}"
        return None


def current_versions() -> dict[str, str]:
    """The installed versions of audioset_strong, tensorflow and keras, by name."""
    import keras
    import tensorflow as tf

    return {
        "audioset_strong": version.VERSION,
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
    }


def dataset_facts(paths: Sequence[str], infos: Sequence[DatasetInfo]) -> tuple[DatasetFacts, ...]:
    """The facts of datasets.

    Args:
      paths: their directories; one may be given several times.
      infos: of each.

    Returns:
      The facts of each path once.
    """
    by_path = dict(zip(paths, infos, strict=True))
    return tuple(DatasetFacts.of(path, info) for path, info in by_path.items())


_RESTORE = "restore it from a copy, or train again in another --workdir"


def _last_name(path: str) -> str:
    return os.path.basename(path.rstrip("/"))


def _version_in(values: Mapping[str, Any]) -> str:
    versions = values.get("versions")
    return versions.get("audioset_strong", "?") if isinstance(versions, Mapping) else "?"


def _missing(directory: str) -> errors.InputError:
    try:
        model = files.read_json(os.path.join(directory, MODEL_FILE))
    except (OSError, ValueError):
        model = None
    if isinstance(model, Mapping):
        if "vocabulary" not in model:  # which older versions kept there
            return errors.InputError(f"{directory}: its {RUN_FILE} is missing; {_RESTORE}")
        return errors.InputError(
            f"{directory}: no {RUN_FILE}, because an older version trained this model; write one "
            f"with audioset_strong_upgrade_run --workdir={directory}"
        )
    return errors.InputError(
        f"{directory}: no {RUN_FILE}; is it the workdir of a training run, or an export?"
    )
