"""Label smearing: a Bell is also an Impulse, in training and in evaluation."""

import numpy as np
import pytest

from audioset_strong.conversion import converter
from audioset_strong.core import errors
from audioset_strong.evaluation import eval_sets
from audioset_strong.inputs import evaluation_grid, opened_sources, training_sources
from audioset_strong.records import dataset_info
from audioset_strong.synthetic import embedded_corpus
from tests.datasets import conversion_request
from tests.streams import stream, take_samples


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A small corpus converted with its ontology, and without."""
    out = tmp_path_factory.mktemp("smearing")
    embedded_corpus.make_corpus(
        str(out / "corpus"), embedded_corpus.Corpus(3, 4, 8, 2), num_workers=1
    )
    files = out / "corpus" / "metadata"
    for name, ontology in (("with", str(files / "ontology.json")), ("without", None)):
        converter.convert(
            conversion_request(
                audio_dirs=(str(out / "corpus" / "audio" / "train"),),
                class_labels=(str(files / "class_labels_indices.csv"),),
                output_dir=str(out),
                name=name,
                weak_csvs=(str(files / "weak_train.csv"),),
                strong_tsvs=(str(files / "strong_train.tsv"),),
                negatives=(str(files / "train_negatives.tsv"),),
                ontology=ontology,
                num_shards=1,
                num_workers=1,
            )
        )
    return out


def _names(data, labels):
    names = dataset_info.DatasetInfo.load(str(data / "with")).vocabulary.names
    return {names[i] for i in np.flatnonzero(labels)}


def _family_of(name):
    (family,) = (s.family for s in embedded_corpus.sounds.CLASSES if s.name == name)
    return family


def _smeared(names):
    families = {sound.family for sound in embedded_corpus.sounds.CLASSES}
    return names | {_family_of(name) for name in names - families}


@pytest.mark.parametrize("policy", ["weak", "diffuse", "strong"])
def test_a_label_brings_its_general_class_under_every_policy(data, policy):
    def batch(propagate_to_ancestors):
        source = training_sources.Source(
            (str(data / "with"),), policy, propagate_to_ancestors=propagate_to_ancestors
        )
        examples = 12 if policy == "weak" else 8
        return take_samples(1, source, examples)[0]

    plain, smeared = batch(False), batch(True)
    np.testing.assert_array_equal(plain["clip_id"], smeared["clip_id"])
    for before, after in zip(plain["labels"], smeared["labels"], strict=True):
        assert _names(data, after) == _smeared(_names(data, before))
    assert smeared["labels"].sum() > plain["labels"].sum()


def test_evaluation_propagates_labels_of_frames_and_clips_and_keeps_its_results_apart(data):
    def grid(propagate_to_ancestors):
        return next(
            evaluation_grid.grid_patches(
                [str(data / "with")], batch_size=12, propagate_to_ancestors=propagate_to_ancestors
            ).as_numpy_iterator()
        )

    plain, smeared = grid(False), grid(True)
    for before, after in zip(plain["weak_labels"], smeared["weak_labels"], strict=True):
        assert _names(data, after) == _smeared(_names(data, before))
    for before, after in zip(
        plain["frame_labels"].reshape(-1, 30), smeared["frame_labels"].reshape(-1, 30), strict=True
    ):
        assert _names(data, after == 1) == _smeared(_names(data, before == 1))
    # A general class that sounds in some frames has the others as complementary negatives.
    assert (smeared["frame_labels"] == 0).sum() > (plain["frame_labels"] == 0).sum()
    directories = [str(data / "with")]
    alone = evaluation_grid.grid_labels(directories, batch_size=12, propagate_to_ancestors=True)
    for name, labels in next(alone.as_numpy_iterator()).items():
        np.testing.assert_array_equal(labels, smeared[name])
    apart = {
        eval_sets.open_eval_set("eval", directories, propagate_to_ancestors=s).fingerprint
        for s in (0, 1)
    }
    assert len(apart) == 2


def test_priors_of_general_classes_count_their_kinds(data):
    def priors(propagate_to_ancestors):
        return opened_sources.class_priors(
            [
                training_sources.Source(
                    (str(data / "with"),), "strong", propagate_to_ancestors=propagate_to_ancestors
                )
            ]
        )

    general = dataset_info.DatasetInfo.load(str(data / "with")).vocabulary.names.index("Impulse")
    assert priors(True)[general] > priors(False)[general]


def test_without_an_ontology_it_is_refused_before_the_first_batch(data):
    source = training_sources.Source(
        (str(data / "without"),), "strong", propagate_to_ancestors=True
    )
    for begin in (
        lambda: stream(source, 4),
        lambda: evaluation_grid.grid_patches([str(data / "without")], propagate_to_ancestors=True),
        lambda: eval_sets.open_eval_set(
            "eval", [str(data / "without")], propagate_to_ancestors=True
        ),
    ):
        with pytest.raises(errors.InputError, match="converted without --ontology"):
            begin()
