"""Pictures of single classes: what is in them, and which classes can be asked for."""

import numpy as np
import pandas as pd
import pytest
from scipy import integrate
from sklearn import metrics as sk

from audioset_strong.core import errors
from audioset_strong.evaluation import class_plots, eval_metrics
from audioset_strong.labels.vocabularies import Vocabulary

VOCABULARY = Vocabulary(
    ("/m/dog", "/m/cat", "/m/rain", "/m/rain2", "/m/none"), ("Dog", "Cat", "Rain", "Rain", "$5, $6")
)


@pytest.fixture(scope="module")
def samples():
    """Dogs with known negatives, cats without, rain everywhere, the last class nowhere."""
    rng = np.random.default_rng(0)
    labels = rng.integers(-1, 2, (200, 5)).astype(np.int8)
    labels[:, 1] = np.where(labels[:, 1] == 0, -1, labels[:, 1])
    labels[:, 2:4] = 1
    labels[:, 4] = -1
    scores = rng.random((200, 5)) + 0.3 * labels
    return eval_metrics.Samples(scores, labels, labels == 0, np.arange(200), are_logits=False)


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (["/m/rain2", "cat"], ("/m/rain2", "/m/cat")),
        (["Dog", "/m/dog", "$5, $6"], ("/m/dog", "/m/none")),
        ([], ()),
    ],
)
def test_classes_are_found_by_mid_or_by_name(wanted, found):
    assert class_plots.find_classes(wanted, VOCABULARY) == found


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ("Horse", "--plot_classes: 'Horse' is neither a mid nor a display name of the 5 classes"),
        ("Rain", r"'Rain' is the name of several classes \(/m/rain, /m/rain2\)"),
    ],
)
def test_a_class_that_is_not_there_is_told(wanted, message):
    with pytest.raises(errors.InputError, match=message):
        class_plots.find_classes([wanted], VOCABULARY)


def test_curves_hold_the_classes_against_the_negatives_that_there_are(samples):
    table = class_plots.curves(samples, VOCABULARY, mids=VOCABULARY.mids)
    kinds = table.groupby("mid", sort=False)["negatives"].first().to_dict()
    assert kinds == {
        "/m/dog": "known",
        "/m/cat": "implicit",
        "/m/rain": "none",
        "/m/rain2": "none",
        "/m/none": "none",
    }
    for mid, known in (("/m/dog", samples.labels[:, 0] >= 0), ("/m/cat", slice(None))):
        rows, k = table[table["mid"] == mid], VOCABULARY.index[mid]
        wanted = sk.roc_auc_score(samples.labels[known, k] == 1, samples.scores[known, k])
        area = integrate.trapezoid(rows["recall"], rows["false_positive_rate"])
        assert area == pytest.approx(wanted, abs=1e-12)


def test_the_picture_of_curves_tells_each_class_with_its_areas(samples, tmp_path):
    table = class_plots.curves(samples, VOCABULARY, mids=("/m/cat", "/m/dog", "/m/none"))
    figure = class_plots.draw_curves(table, "Strong eval, step 7")
    roc, precision = figure.axes
    known = samples.labels[:, 0] >= 0
    truth, scores = samples.labels[known, 0] == 1, samples.scores[known, 0]
    roc_labels, precision_labels = (
        [text.get_text() for text in panel.get_legend().get_texts()] for panel in (roc, precision)
    )
    assert roc_labels[1] == f"Dog, AUC {sk.roc_auc_score(truth, scores):.3f}"
    assert precision_labels[1] == f"Dog, AP {sk.average_precision_score(truth, scores):.3f}"
    assert roc_labels[0].startswith("Cat (implicit negatives), AUC 0.")
    assert roc_labels[2] == "$5, $6: no positives, or nothing else"
    assert figure.get_suptitle() == "Strong eval, step 7"
    (line,) = (line for line in roc.lines if line.get_label() == roc_labels[1])
    np.testing.assert_array_equal(line.get_xdata()[[0, -1]], [0, 1])

    stem = str(tmp_path / "strong_eval-7")
    assert not class_plots.have_curves(stem, ["/m/dog"])
    class_plots.write_curves(
        samples, VOCABULARY, mids=("/m/dog", "/m/none"), title="title", path_stem=stem
    )
    assert (tmp_path / "strong_eval-7.png").read_bytes().startswith(b"\x89PNG")
    assert class_plots.have_curves(stem, ["/m/dog", "/m/none"])
    assert not class_plots.have_curves(stem, ["/m/dog", "/m/cat"])


@pytest.mark.parametrize("count", [0, 3, 120])
def test_the_picture_of_all_classes_names_the_best_and_the_worst(count):
    rng = np.random.default_rng(count)
    table = pd.DataFrame(
        {
            "display_name": [f"class {i}" for i in range(count + 1)],
            "positives": rng.integers(1, 100, count + 1),
            "d_prime": [*rng.normal(size=count), np.nan],
            "d_prime_implicit": np.nan,
        }
    )
    figure = class_plots.draw_per_class(table, "Weak eval")
    ordered, scattered = figure.axes
    named = [tick.label1.get_text() for tick in ordered.yaxis.get_major_ticks()]
    in_order = table.dropna(subset=["d_prime"]).sort_values("d_prime")["display_name"].tolist()
    assert named == (in_order if count < 50 else in_order[:25] + in_order[-25:])
    assert len(scattered.lines[0].get_xdata()) == count
    mean = f", mean d' {table['d_prime'].mean():.2f}" if count else ""
    assert figure.get_suptitle() == f"Weak eval{mean}"


def test_without_explicit_negatives_the_implicit_d_prime_is_drawn():
    table = pd.DataFrame(
        {
            "display_name": ["a", "b"],
            "positives": [3, 4],
            "d_prime": [np.nan, np.nan],
            "d_prime_implicit": [2.0, 1.0],
        }
    )
    ordered, scattered = class_plots.draw_per_class(table, "Weak eval").axes
    assert ordered.get_xlabel() == scattered.get_ylabel() == "d' (implicit negatives)"
    np.testing.assert_array_equal(ordered.lines[0].get_xdata(), [1.0, 2.0])
