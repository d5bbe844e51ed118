"""`run.json`: what a training run is, as data, for everything that comes after training.

`train` writes it once, when a run begins. Evaluation, prediction, export, model card, report and
sweep read it; nobody reads these facts out of a run's gin text, which is kept for people.
"""

import dataclasses
import json
import os
from collections.abc import Mapping, Sequence
from importlib import metadata
from typing import Any

from audioset_strong.audio.features import FrontEnd
from audioset_strong.core import errors, files
from audioset_strong.inputs import training_sources
from audioset_strong.labels import framing
from audioset_strong.labels.vocabularies import Vocabulary
from audioset_strong.records.dataset_info import DatasetInfo

RUN_FILE = "run.json"
FORMAT = 1


@dataclasses.dataclass(frozen=True)
class DatasetFacts:
    """A dataset that a run was trained on, as it was when the run began.

    Attributes:
      path: where it was.
      name: of the dataset.
      fingerprint: hash of its `dataset_info.json`.
      clips, hours, weak_clips, strong_clips, negative_clips: as in `DatasetInfo`.
    """

    path: str
    name: str
    fingerprint: str
    clips: int
    hours: float
    weak_clips: int
    strong_clips: int
    negative_clips: int

    @classmethod
    def of(cls, path: str, info: DatasetInfo) -> "DatasetFacts":
        """The facts of a dataset that is there."""
        return cls(
            path=path,
            name=info.name,
            fingerprint=training_sources.fingerprint([path]),
            clips=info.num_clips,
            hours=info.hours,
            weak_clips=info.weak_clips,
            strong_clips=info.strong_clips,
            negative_clips=info.negative_clips,
        )


@dataclasses.dataclass(frozen=True)
class RunInfo:
    """The facts of a training run.

    Attributes:
      front_end: that the model takes its log-mel from.
      sources: of the training examples; see `training_sources.Source`.
      vocabulary: of the model's outputs.
      data_fingerprint: equal for equal datasets, wherever they lie.
      datasets: those of the sources, each once.
      framing_rule: of strong labels in training, see `framing.frame_labels`.
      seed: of weights, order and windows.
      batch_size: examples a step.
      total_steps: of the whole run.
      precision: of the layers' arithmetic, see `precisions`.
      ema_decay: of the moving average of the weights; None where the run keeps none.
      init_from: what the weights were started from; None for a run from scratch.
      versions: of audioset_strong, tensorflow and keras, by name.
    """

    front_end: FrontEnd
    sources: tuple[training_sources.Source, ...]
    vocabulary: Vocabulary
    data_fingerprint: str
    datasets: tuple[DatasetFacts, ...]
    seed: int
    batch_size: int
    total_steps: int
    framing_rule: str = framing.RELEASED
    precision: str = "float32"
    ema_decay: float | None = None
    init_from: str | None = None
    versions: Mapping[str, str] = dataclasses.field(default_factory=dict)

    @property
    def mu(self) -> float | None:
        """The share of diffuse or strong examples in a mixture; None where there is no mixture."""
        return training_sources.mu(self.sources)

    def write(self, directory: str) -> None:
        """Writes `run.json` into a workdir or an export.

        Raises:
          OSError: it cannot be written.
        """
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        values |= {
            "format": FORMAT,
            "front_end": self.front_end.to_json(),
            "sources": [dataclasses.asdict(source) for source in self.sources],
            "mu": self.mu,
            "vocabulary": self.vocabulary.to_json(),
            "datasets": [dataclasses.asdict(dataset) for dataset in self.datasets],
            "versions": dict(self.versions),
        }
        files.write_json(os.path.join(directory, RUN_FILE), values)

    @classmethod
    def read(cls, directory: str) -> "RunInfo":
        """Reads the `run.json` of a workdir or an export.

        Raises:
          errors.InputError: it is missing, damaged, or written by a newer version.
        """
        path = os.path.join(directory, RUN_FILE)
        try:
            values = files.read_json(path)
            return cls._from_json(values, path)
        except FileNotFoundError as error:
            raise _missing(directory) from error
        except OSError as error:
            raise errors.InputError(f"{path}: cannot be read ({files.reason(error)})") from error
        except json.JSONDecodeError as error:
            raise errors.InputError(
                f"{path}, line {error.lineno}: not JSON ({error.msg})"
            ) from error
        except (KeyError, TypeError, AttributeError, UnicodeDecodeError) as error:
            raise errors.InputError(f"{path}: not the facts of a run: {error!r}") from error

    @classmethod
    def _from_json(cls, values: dict[str, Any], path: str) -> "RunInfo":
        form = values["format"]
        if form != FORMAT:
            raise errors.InputError(
                f"{path}: format {form!r}, but this version reads format {FORMAT}; use the version "
                f"of audioset_strong that wrote it, {values.get('versions', {})}, or a newer one"
            )
        try:
            front_end = FrontEnd.from_json(values["front_end"])
        except errors.InputError as error:
            raise errors.InputError(f"{path}: {error}") from error
        converted = {
            "front_end": front_end,
            "sources": tuple(
                training_sources.Source(**source | {"datasets": tuple(source["datasets"])})
                for source in values["sources"]
            ),
            "vocabulary": Vocabulary.from_json(values["vocabulary"]),
            "datasets": tuple(DatasetFacts(**dataset) for dataset in values["datasets"]),
        }
        names = {field.name for field in dataclasses.fields(cls)}
        return cls(**{name: values[name] for name in names} | converted)


def current_versions() -> dict[str, str]:
    """The installed versions that a run is trained with."""
    return {name: metadata.version(name) for name in ("audioset_strong", "tensorflow", "keras")}


def dataset_facts(paths: Sequence[str], infos: Sequence[DatasetInfo]) -> tuple[DatasetFacts, ...]:
    """The facts of datasets, each path once."""
    by_path = dict(zip(paths, infos, strict=True))
    return tuple(DatasetFacts.of(path, info) for path, info in by_path.items())


def _missing(directory: str) -> errors.InputError:
    if files.exists(os.path.join(directory, "model.json")):
        return errors.InputError(
            f"{directory}: no {RUN_FILE}, for an older version trained it; write one with "
            f"audioset_strong_upgrade_run --workdir={directory}"
        )
    return errors.InputError(
        f"{directory}: no {RUN_FILE}; is it the workdir of a train.py run, or an export?"
    )
