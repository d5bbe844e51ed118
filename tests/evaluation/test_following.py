"""Evaluation of a real run: shards and checkpoints in; results, events and a selection out."""

import contextlib
import dataclasses
import json
import os
import re
import shutil
import signal
import time

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from scipy import integrate, special, stats
from sklearn import metrics as sk
from tensorboard.backend.event_processing import event_accumulator, plugin_event_accumulator
from tensorboard.plugins.custom_scalar import layout_pb2
from tensorboard.plugins.hparams import metadata as hparams_metadata
from tensorflow.python.summary import summary_iterator

from audioset_strong.audio import features
from audioset_strong.core import errors
from audioset_strong.evaluation import following, offline, score_files, scoring
from audioset_strong.evaluation.results import read_results
from audioset_strong.evaluation.settings import EvaluationSettings
from audioset_strong.labels import vocabularies
from audioset_strong.training import checkpoints
from tests.datasets import VOCABULARY, make_clip, toy_clips, write_dataset
from tests.toy_training import train

STEPS = [10, 20]
SETS = ["strong_eval", "strong_validation", "weak_eval", "weak_validation"]
FRAME = 15360  # samples of 0.96 s


def confusing_clips(count, first):
    """Toy clips, every third of which sounds like the other class: no model tells them apart."""
    clips = toy_clips(count + 1, first)
    return [
        dataclasses.replace(clip, audio=clips[i + (i % 3 == 0)].audio)
        for i, clip in enumerate(clips[:count])
    ]


EVAL_CLIPS = confusing_clips(30, 1000)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    directory = tmp_path_factory.mktemp("data")
    write_dataset(directory / "train", toy_clips(48), 2)
    write_dataset(directory / "eval", EVAL_CLIPS, 2, split="all")
    write_dataset(directory / "validation", confusing_clips(20, 2000), 1, split="validation")
    return directory


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory):
    """A run of two checkpoints, not evaluated."""
    workdir = tmp_path_factory.mktemp("runs") / "trained"
    return train(
        workdir, data, 1e-3, total_steps=STEPS[-1], checkpoint_every=STEPS[0], steps_per_call=10
    )


@pytest.fixture(scope="module")
def evaluated(data, trained, tmp_path_factory):
    """The run, evaluated on both sets, scores kept."""
    workdir = tmp_path_factory.mktemp("evaluated") / "run"
    shutil.copytree(trained, workdir)
    evaluate(workdir, data, save_scores="npz", plot_classes=["class 1", "/m/00", "class 3"])
    return workdir


@pytest.fixture
def run(trained, tmp_path):
    """A copy of the run, to evaluate anew."""
    return shutil.copytree(trained, tmp_path / "run")


def only(data, *names):
    return {name: str(data / name) for name in names}


def eval_sets(data):
    return only(data, "eval", "validation")


def evaluate(workdir, data, **given):
    """Evaluates a run; takes arguments of `evaluate_workdirs` and fields of its settings."""
    names = {field.name for field in dataclasses.fields(EvaluationSettings)} & given.keys()
    settings = EvaluationSettings(**{name: given.pop(name) for name in names})
    arguments = {"run_once": True, "eval_sets": eval_sets(data)} | given
    following.evaluate_workdirs([str(workdir)], settings=settings, **arguments)


def flags(workdir, data, *more):
    return [
        f"--workdir={workdir}",
        f"--eval_data={data / 'eval'}",
        f"--validation_data={data / 'validation'}",
        *more,
    ]


def results(workdir):
    return pd.read_csv(workdir / "eval" / "results.csv")


def value(workdir, step, set_name, metric):
    table = results(workdir).set_index(["step", "set", "metric"])["value"]
    return table.loc[(step, set_name, metric)]


def copy_checkpoint(source, target, step):
    """A checkpoint as training writes it: its index last."""
    (target / "checkpoints").mkdir(exist_ok=True)
    for path in sorted((source / "checkpoints").glob(f"step-{step}.*")):
        shutil.copy(path, target / "checkpoints" / (path.name + ".tmp"))
        (target / "checkpoints" / (path.name + ".tmp")).rename(target / "checkpoints" / path.name)


def delete_checkpoint(workdir, step):
    for path in (workdir / "checkpoints").glob(f"step-{step}.*"):
        path.unlink()


def test_results_hold_every_checkpoint_once_on_every_set(evaluated):
    table = results(evaluated)
    assert list(table.columns) == ["step", "set", "metric", "value"]
    assert not table.duplicated(["step", "set", "metric"]).any()
    counts = table.groupby(["step", "set"])["metric"].nunique()
    assert sorted(counts.index) == [(step, name) for step in STEPS for name in SETS]
    for set_name in SETS:
        at_each_step = [
            {
                metric
                for metric in table[(table.step == s) & (table.set == set_name)].metric
                if not metric.endswith(("_low", "_high"))
            }
            for s in STEPS
        ]
        assert (
            at_each_step[0]
            == at_each_step[1]
            >= {
                *(
                    "d_prime",
                    "d_prime_implicit",
                    "d_prime_of_mean_auc",
                ),
                *("auc", "mAP", "lwlrap", "classes", "samples"),
            }
        )
    # The validation data have too few clips.
    with_interval = set(table.loc[table["metric"] == "lwlrap_low", "set"])
    assert with_interval == {"weak_eval", "strong_eval"}
    assert value(evaluated, 20, "weak_eval", "samples") == 30
    # Four of a four-second clip's frames lie inside it by half or more.
    assert value(evaluated, 20, "strong_eval", "samples") == 4 * 30


def test_event_files_hold_the_same_values_under_the_same_tags(evaluated):
    accumulator = event_accumulator.EventAccumulator(str(evaluated / "eval"), {"tensors": 0})
    accumulator.Reload()
    pictures = {f"{name}/{what}" for name in SETS for what in ("per_class", "curves")}
    # What is read first comes first where TensorBoard sorts them, upper case before lower.
    first = {
        f"{name}/{kind}_{metric}": (f"{kind}_{name.lower()}", metric)
        for name in ("Eval", "Validation")
        for kind in ("strong", "weak")
        for metric in ("d_prime", "lwlrap")
    }
    tags = accumulator.Tags()["tensors"]
    assert [tag for tag in sorted(tags) if tag[0].isupper()] == list(first)
    read = [
        (event.step, *first.get(tag, tag.split("/")), float(tf.make_ndarray(event.tensor_proto)))
        for tag in tags
        if tag not in pictures and "__" not in tag and "_hparams_" not in tag
        for event in accumulator.Tensors(tag)
    ]
    key = ["step", "set", "metric"]
    events = pd.DataFrame(read, columns=[*key, "value"]).sort_values(key, ignore_index=True)
    table = results(evaluated).sort_values(key, ignore_index=True)
    pd.testing.assert_frame_equal(events[key], table[key])
    np.testing.assert_allclose(events["value"], table["value"], rtol=1e-6)
    for tag in pictures:
        name, what = tag.split("/")
        # Both checkpoints waited. Only the last has a picture that nobody asked for.
        steps = STEPS if what == "curves" else STEPS[-1:]
        assert [event.step for event in accumulator.Tensors(tag)] == steps
        shown = tf.make_ndarray(accumulator.Tensors(tag)[0].tensor_proto)[2]
        written = (evaluated / "eval" / what / f"{name}-{steps[0]}.png").read_bytes()
        np.testing.assert_array_equal(
            tf.io.decode_png(shown), tf.io.decode_png(written, channels=3)
        )


def test_tensorboard_draws_all_runs_with_their_intervals_and_lists_their_facts(evaluated):
    accumulator = plugin_event_accumulator.EventAccumulator(str(evaluated / "eval"), {"tensors": 0})
    accumulator.Reload()
    scalars = {
        tag
        for tag in accumulator.Tags()["tensors"]
        if accumulator.SummaryMetadata(tag).plugin_data.plugin_name == "scalars"
    }
    (event,) = accumulator.Tensors("custom_scalars__config__")
    layout = layout_pb2.Layout.FromString(tf.make_ndarray(event.tensor_proto).item())
    assert [category.title for category in layout.category] == ["Eval", "Validation", "Training"]
    charts = {chart.title: chart for chart in layout.category[0].chart}
    assert list(charts)[::-1] == [  # TensorBoard shows charts with margins from last to first
        f"{kind} eval {metric}, 95% interval"
        for kind in ("Strong", "Weak")
        for metric in ("d'", "lwlrap")
    ]
    (series,) = charts["Weak eval d', 95% interval"].margin.series
    assert series.value == "Eval/weak_d_prime"
    assert (series.lower, series.upper) == ("weak_eval/d_prime_low", "weak_eval/d_prime_high")
    assert {series.value, series.lower, series.upper} <= scalars

    def hparams(tag):
        content = accumulator.SummaryMetadata(tag).plugin_data.content
        return hparams_metadata.parse_session_start_info_plugin_data(content)

    session = hparams("_hparams_/session_start_info")
    assert session.group_name == f"run ({evaluated.parent.name})"
    facts = session.hparams
    assert facts["batch_size"].number_value == 16
    assert facts["start"].string_value == "scratch"
    assert facts["sources"].string_value == "strong"
    content = accumulator.SummaryMetadata("_hparams_/experiment").plugin_data.content
    experiment = hparams_metadata.parse_experiment_plugin_data(content)
    shown = [metric.name.tag for metric in experiment.metric_infos]
    assert shown == [
        f"{name}/{kind}_{metric}"
        for kind in ("strong", "weak")
        for name in ("Eval", "Validation")
        for metric in ("d_prime", "lwlrap")
    ]
    assert set(shown) <= scalars
    assert facts.keys() <= {info.name for info in experiment.hparam_infos}


def test_saved_scores_are_what_the_checkpoint_gives_each_window(evaluated):
    for step in STEPS:
        scores = score_files.load(str(evaluated / "eval" / "scores" / f"eval-{step}.npz"))
        assert sorted(scores.clip_ids) == [clip.clip_id for clip in EVAL_CLIPS]
        path = str(evaluated / "checkpoints" / f"step-{step}")
        model = checkpoints.load_model(str(evaluated), path).model
        for clip in EVAL_CLIPS[:5]:
            padded = np.pad(clip.audio / 32768, (0, 10 * FRAME))
            windows = [
                padded[i * FRAME : i * FRAME + features.DEFAULT_FRONT_END.patch_samples]
                for i in range(10)
            ]
            log_mel = features.log_mel(tf.constant(np.stack(windows), tf.float32))
            got = scores.frame_scores[scores.clip_ids.index(clip.clip_id)]
            logits = model(log_mel, training=False)
            np.testing.assert_allclose(got, logits, rtol=1e-4, atol=1e-5)


def labels_of(clip):
    """Plain Python: the labels of a clip's four frames by section 3.2; 1, 0 or -1 (unknown)."""
    frames = np.full((4, len(VOCABULARY)), -1)
    frames[:, list(clip.negatives)] = 0
    for label in {label for _, _, label in clip.segments}:
        frames[:, label] = 0
    for start, end, label in clip.segments:
        for frame in range(4):
            overlap = min(end, 960 * (frame + 1)) - max(start, 960 * frame)
            if overlap > 0 and 2 * overlap >= min(960, end - start):
                frames[frame, label] = 1
    return frames


@pytest.mark.parametrize("step", STEPS)
def test_results_are_those_of_scikit_learn_on_the_saved_scores(evaluated, step):
    scores = score_files.load(str(evaluated / "eval" / "scores" / f"eval-{step}.npz"))
    clips = {clip.clip_id: clip for clip in EVAL_CLIPS}
    ordered = [clips[clip_id] for clip_id in scores.clip_ids]
    frame_scores = special.expit(scores.frame_scores[:, :4].astype(np.float64))
    weak_labels = np.full((30, len(VOCABULARY)), -1)
    for row, clip in zip(weak_labels, ordered, strict=True):
        row[list(clip.negatives)] = 0
        row[list(clip.weak_labels)] = 1
    for set_name, samples, labels in (
        ("weak_eval", frame_scores.mean(axis=1), weak_labels),
        ("strong_eval", np.concatenate(frame_scores), np.concatenate([*map(labels_of, ordered)])),
    ):
        per_class = pd.read_csv(evaluated / "eval" / "per_class" / f"{set_name}-{step}.csv")
        assert list(per_class["mid"]) == list(VOCABULARY.mids)
        assert list(per_class["display_name"]) == list(VOCABULARY.names)
        for suffix, known in (("", labels >= 0), ("_implicit", labels > -2)):
            auc = [
                sk.roc_auc_score(labels[known[:, k], k] == 1, samples[known[:, k], k])
                for k in (0, 1)
            ]
            precision = [
                sk.average_precision_score(labels[known[:, k], k] == 1, samples[known[:, k], k])
                for k in (0, 1)
            ]
            d_prime = np.sqrt(2) * stats.norm.ppf(auc)
            assert np.isfinite(d_prime).all()
            for metric, wanted in (
                ("auc", np.mean(auc)),
                ("d_prime", np.mean(d_prime)),
                ("d_prime_of_mean_auc", np.sqrt(2) * stats.norm.ppf(np.mean(auc))),
                ("mAP", np.mean(precision)),
                ("classes", 2),
            ):
                got = value(evaluated, step, set_name, metric + suffix)
                assert got == pytest.approx(wanted, abs=1e-9), metric + suffix
            np.testing.assert_allclose(per_class[f"d_prime{suffix}"][:2], d_prime, atol=1e-9)
            assert per_class[f"d_prime{suffix}"][2:].isna().all()
        lwlrap = sk.label_ranking_average_precision_score(
            labels == 1, samples, sample_weight=(labels == 1).sum(axis=1)
        )
        assert value(evaluated, step, set_name, "lwlrap") == pytest.approx(lwlrap, abs=1e-9)


def test_curves_are_those_of_the_chosen_classes_on_the_saved_scores(evaluated):
    scores = score_files.load(str(evaluated / "eval" / "scores" / "eval-20.npz"))
    clips = {clip.clip_id: clip for clip in EVAL_CLIPS}
    labels = np.concatenate([labels_of(clips[clip_id]) for clip_id in scores.clip_ids])
    samples = np.concatenate(special.expit(scores.frame_scores[:, :4].astype(np.float64)))
    curves = pd.read_csv(evaluated / "eval" / "curves" / "strong_eval-20.csv")
    # In the order in which they were asked for; of the last one there is no positive.
    assert list(curves["mid"].unique()) == ["/m/01", "/m/00", "/m/03"]
    assert list(curves["negatives"].unique()) == ["known", "none"]
    for k in (0, 1):
        rows = curves[curves["mid"] == f"/m/0{k}"]
        known = labels[:, k] >= 0
        wanted = sk.roc_auc_score(labels[known, k] == 1, samples[known, k])
        area = integrate.trapezoid(rows["recall"], rows["false_positive_rate"])
        assert area == pytest.approx(wanted, abs=1e-5)
        for row in rows.itertuples():
            detected = (samples[:, k] >= row.threshold * (1 - 1e-5)) & known
            assert (labels[detected, k] == 1).sum() == round(row.recall * (labels[:, k] == 1).sum())


def test_curves_of_more_classes_are_drawn_on_demand(evaluated, data, run, monkeypatch):
    shutil.copytree(evaluated / "eval", run / "eval")
    asked = {"checkpoint": "step-10", "eval_sets": only(data, "eval")}
    evaluate(run, data, plot_classes=["class 0", "/m/02"], **asked)
    curves = pd.read_csv(run / "eval" / "curves" / "weak_eval-10.csv")
    assert list(curves["mid"].unique()) == ["/m/00", "/m/02"]
    monkeypatch.setattr(scoring, "score", None)  # those that are there are not drawn anew
    evaluate(run, data, plot_classes=["/m/02"], **asked)


def write_framed(path, clips, grid=(0, 960, 1920, 2880)):
    """The released format, by hand: the labels of section 3.2 as rows."""
    lines = ["segment_id\tstart_time_seconds\tend_time_seconds\tlabel\tpresent"]
    for clip in clips:
        for frame, label in np.argwhere(labels_of(clip) >= 0):
            start = grid[frame]
            word = "PRESENT" if labels_of(clip)[frame, label] else "NOT_PRESENT"
            lines.append(
                f"{clip.clip_id}\t{start / 1000}\t{(start + 960) / 1000}\t"
                f"{VOCABULARY.mids[label]}\t{word}"
            )
    path.write_text("\n".join(lines) + "\n")
    return str(path)


@pytest.fixture(scope="module")
def stripped(tmp_path_factory):
    """The eval clips as shards that hold weak labels only."""
    weak_only = [dataclasses.replace(c, segments=None, negatives=None) for c in EVAL_CLIPS]
    return write_dataset(tmp_path_factory.mktemp("stripped") / "eval", weak_only, 2)


def test_the_released_framed_file_takes_the_place_of_strong_labels(
    server, evaluated, run, stripped, tmp_path
):
    framed = write_framed(tmp_path / "framed.tsv", EVAL_CLIPS)
    process = server.start(
        "evaluate",
        *(f"--workdir={run}", f"--eval_data={stripped}", f"--framed_tsv={framed}"),
        *("--checkpoint=step-20", "--save_scores=parquet"),
    )
    assert process.wait() == 0, process.stderr
    wanted = results(evaluated)
    wanted = wanted[(wanted["step"] == 20) & wanted["set"].str.endswith("_eval")]
    pd.testing.assert_frame_equal(results(run), wanted.reset_index(drop=True), rtol=1e-9)

    # Other labels under the same name are another eval set.
    process = server.start("evaluate", f"--workdir={run}", f"--eval_data={stripped}", "--run_once")
    assert process.wait() == 2
    assert (
        "'eval' was another eval set before (now it is the datasets' own strong labels instead of "
        "framed labels)"
    ) in process.stderr

    # The file alone is enough for saved scores, of any system.
    table = pd.read_parquet(run / "eval" / "scores" / "eval-20.parquet")
    kept = ["clip_id", "frame", *(f"logit:{mid}" for mid in VOCABULARY.mids)]
    table[kept].to_parquet(tmp_path / "theirs.parquet")
    process = server.start(
        "measure_scores",
        *(f"--scores={tmp_path / 'theirs.parquet'}", f"--framed_tsv={framed}"),
        *(f"--output_dir={tmp_path / 'out'}", "--plot_classes=/m/01"),
    )
    assert process.wait() == 0, process.stderr
    scored = pd.read_csv(tmp_path / "out" / "results.csv").set_index(["set", "metric"])["value"]
    assert set(scored.index.get_level_values("set")) == {"strong_eval"}
    for metric in ("d_prime", "lwlrap", "lwlrap_balanced", "mAP", "mAP_implicit", "samples"):
        wanted = value(evaluated, 20, "strong_eval", metric)
        assert scored[("strong_eval", metric)] == pytest.approx(wanted, rel=1e-12)
    assert (tmp_path / "out" / "per_class_strong_eval.png").exists()
    assert set(pd.read_csv(tmp_path / "out" / "curves_strong_eval.csv")["mid"]) == {"/m/01"}


def test_framed_clips_that_are_not_there_are_counted(run, data, stripped, tmp_path, caplog):
    framed = write_framed(tmp_path / "framed.tsv", [*EVAL_CLIPS[:20], *confusing_clips(3, 5000)])
    evaluate(
        *(run, data),
        eval_sets={"eval": stripped},
        framed_tsvs={"eval": framed},
        checkpoint="step-20",
    )
    assert f"{framed}: 3 of its 23 clips are not in eval set 'eval': left out" in caplog.text
    assert value(run, 20, "strong_eval", "samples") == 4 * 20
    assert value(run, 20, "weak_eval", "samples") == 30


def test_the_checkpoint_with_the_best_validation_is_selected(evaluated):
    selected = json.loads((evaluated / "selection.json").read_text())
    values = {step: value(evaluated, step, "strong_validation", "d_prime") for step in STEPS}
    best = max(values, key=values.get)
    assert selected["step"] == best
    assert selected["value"] == values[best]
    assert selected["checkpoint"] == f"checkpoints/step-{best}"
    assert {candidate["step"]: candidate["value"] for candidate in selected["candidates"]} == values
    assert selected["best_of_each_metric"]["weak_eval/lwlrap"]["value"] == max(
        value(evaluated, step, "weak_eval", "lwlrap") for step in STEPS
    )
    for set_name in SETS:
        chosen = (evaluated / "eval" / f"per_class_{set_name}.csv").read_text()
        assert chosen == (evaluated / "eval" / "per_class" / f"{set_name}-{best}.csv").read_text()
        picture = (evaluated / "eval" / f"per_class_{set_name}.png").read_bytes()
        source = evaluated / "eval" / "per_class" / f"{set_name}-{best}.png"
        assert picture == source.read_bytes()
    assert checkpoints.resolve(str(evaluated))[1] == str(evaluated / selected["checkpoint"])


def test_evaluated_again_nothing_is_done(evaluated, data, monkeypatch):
    monkeypatch.setattr(scoring, "score", None)
    held = {path: path.read_bytes() for path in evaluated.rglob("*") if path.is_file()}
    evaluate(evaluated, data, save_scores="npz")
    evaluate(evaluated, data, run_once=False)  # it is finished: there is nothing to follow
    assert {path: path.read_bytes() for path in evaluated.rglob("*") if path.is_file()} == held


def test_what_is_missing_is_evaluated_and_only_that(evaluated, data, run, monkeypatch):
    shutil.copytree(evaluated / "eval", run / "eval")
    table = results(evaluated)
    gone = (table["step"] == 20) & table["set"].str.endswith("_validation")
    table[~gone].to_csv(run / "eval" / "results.csv", index=False)
    scored, score = [], scoring.score

    def watched(predict, batches, *, name, **given):
        scored.append(name)
        return score(predict, batches, name=name, **given)

    monkeypatch.setattr(scoring, "score", watched)
    evaluate(run, data)
    assert scored == [f"{run} at step 20 on 'validation'"]
    key = ["step", "set", "metric"]
    pd.testing.assert_frame_equal(
        results(run).sort_values(key, ignore_index=True),
        results(evaluated).sort_values(key, ignore_index=True),
    )
    # A set of scores that was not kept is made anew.
    (run / "eval" / "scores" / "eval-10.npz").unlink()
    evaluate(run, data, save_scores="npz")
    assert scored[1:] == [f"{run} at step 10 on 'eval'"]
    assert (run / "eval" / "scores" / "eval-10.npz").exists()
    assert not results(run).duplicated(key).any()


# Ends its own process when results.csv is about to be written for the second time.
_DIE = """
import os, signal
replace, seen = os.replace, []
def dying(source, target):
    if os.path.basename(target) == "results.csv":
        seen.append(source)
        if len(seen) == 2:
            os.kill(os.getpid(), signal.SIGKILL)
    return replace(source, target)
os.replace = dying
"""


@pytest.mark.slow
def test_an_evaluation_killed_half_way_goes_on(server, evaluated, data, run):
    killed = server.start("evaluate", *flags(run, data, "--run_once"), prelude=_DIE)
    assert killed.wait() == -signal.SIGKILL
    assert set(results(run)["set"]) == {"strong_eval", "weak_eval"}
    assert set(results(run)["step"]) == {10}
    again = server.start("evaluate", *flags(run, data, "--run_once"))
    assert again.wait() == 0, again.stderr
    assert (run / "eval" / "results.csv").read_text() == (
        evaluated / "eval" / "results.csv"
    ).read_text()
    assert (run / "selection.json").read_text() == (evaluated / "selection.json").read_text()


def test_a_run_is_followed_from_before_it_begins_until_it_is_finished(
    server, trained, evaluated, data, tmp_path
):
    run = tmp_path / "runs" / "later"
    following = server.start("evaluate", *flags(run, data))

    def wait_for(step):
        wait_until(lambda: step in set(read_results(str(run))["step"]), following)

    def waits():
        with contextlib.suppress(FileNotFoundError):  # its stderr, right after it is started
            return f"{run}: no run there yet; waiting for it" in following.stderr

    wait_until(waits, following)
    run.mkdir(parents=True)
    shutil.copy(trained / "model.json", run)
    shutil.copy(trained / "run.json", run)
    copy_checkpoint(trained, run, 10)
    wait_for(10)
    delete_checkpoint(run, 10)
    copy_checkpoint(trained, run, 20)
    wait_for(20)
    assert not (run / "selection.json").exists()
    (run / "finished.json").write_text('{"step": 20}')
    assert following.wait() == 0, following.stderr
    table = results(run)
    wanted = results(evaluated)
    pd.testing.assert_frame_equal(table, wanted)
    selected = json.loads((run / "selection.json").read_text())
    assert selected["step"] == 20
    assert {c["step"]: c["available"] for c in selected["candidates"]} == {10: False, 20: True}


def wait_until(happened, process):
    deadline = time.monotonic() + 120
    while not happened():
        assert time.monotonic() < deadline, process.stderr
        time.sleep(0.05)


def test_faults_of_one_run_stop_no_other_and_what_is_mended_is_evaluated(
    server, trained, bad, data, tmp_path
):
    runs = {name: tmp_path / name for name in ("good", "odd", "no_numbers", "gone")}
    for name, run in runs.items():
        shutil.copytree(bad / "no_numbers" if name == "no_numbers" else trained, run)
        delete_checkpoint(run, 20)
        (run / "finished.json").unlink()
    facts = (runs["odd"] / "run.json").read_text()
    (runs["odd"] / "run.json").write_text(facts[:-20])
    process = server.start(
        "evaluate",
        *(f"--workdir={run}" for run in runs.values()),
        f"--eval_data={data / 'validation'}",
        "--gin_param=evaluate_workdirs.intervals = False",
    )

    def wait_for(step, name):
        wait_until(lambda: step in set(read_results(str(runs[name]))["step"]), process)

    for name in ("good", "gone"):
        wait_for(10, name)
    assert f"{runs['odd']}/run.json, line " in process.stderr
    assert f"{runs['no_numbers']} at step 10 on 'eval': the score of" in process.stderr

    (runs["odd"] / "run.json").write_text(facts)
    copy_checkpoint(trained, runs["no_numbers"], 10)
    for name in ("odd", "no_numbers"):
        wait_for(10, name)
    shutil.rmtree(runs["gone"])
    wait_until(lambda: f"{runs['gone']}: the run is gone" in process.stderr, process)
    for name in ("good", "odd", "no_numbers"):
        copy_checkpoint(trained, runs[name], 20)
        (runs[name] / "finished.json").write_text('{"step": 20}')
    assert process.wait() == 2
    assert "Traceback" not in process.stderr
    told = process.stderr.splitlines()[-1]
    assert told == f"error: left out: {runs['gone']}: the run is gone; all else is evaluated"
    assert not runs["gone"].exists()
    tables = [results(runs[name]) for name in ("good", "odd", "no_numbers")]
    assert set(tables[0]["step"]) == set(STEPS)
    for table in tables[1:]:
        pd.testing.assert_frame_equal(table, tables[0])


@pytest.mark.parametrize("flags_of_each", [("eval", "validation"), ("both", "both")])
def test_two_evaluators_of_a_run_give_each_result_once(server, evaluated, data, run, flags_of_each):
    given = {name: [f"--{name}_data={data / name}"] for name in ("eval", "validation")}
    given["both"] = given["eval"] + given["validation"]
    processes = [
        server.start("evaluate", f"--workdir={run}", *given[name]) for name in flags_of_each
    ]
    for process in processes:
        assert process.wait() == 0, process.stderr
        assert "Traceback" not in process.stderr
    key = ["step", "set", "metric"]
    pd.testing.assert_frame_equal(
        results(run).sort_values(key, ignore_index=True),
        results(evaluated).sort_values(key, ignore_index=True),
    )
    selected = (run / "selection.json").read_text()
    assert selected == (evaluated / "selection.json").read_text()
    assert not [path for path in run.rglob("*") if path.name.endswith(".tmp")]
    seen = [
        (value.tag, event.step)
        for path in (run / "eval").glob("events.*")
        for event in summary_iterator.summary_iterator(str(path))
        for value in event.summary.value
        if not value.tag.startswith(("_hparams_", "custom_scalars"))  # once in each file
    ]
    assert len(seen) == len(set(seen)) > 0


def test_a_checkpoint_deleted_while_it_is_read_is_passed_over(run, data, monkeypatch, caplog):
    load = checkpoints.load_weights

    def too_late(model, checkpoint, ema=False):
        if checkpoint.endswith("step-10"):
            os.unlink(checkpoint + ".data-00000-of-00001")  # its index is still there
        load(model, checkpoint, ema=ema)

    monkeypatch.setattr(checkpoints, "load_weights", too_late)
    evaluate(run, data, intervals=False, eval_sets=only(data, "validation"))
    assert set(results(run)["step"]) == {20}
    assert "step-10: its files are gone, it cannot be evaluated" in caplog.text


def test_following_ends_when_nothing_comes(run, data, caplog):
    (run / "finished.json").unlink()
    settings = {"intervals": False, "eval_sets": only(data, "eval")}
    evaluate(run, data, run_once=False, timeout_s=0.1, **settings)
    assert set(results(run)["step"]) == set(STEPS)
    assert "no new checkpoint for 0.1 s: stopped following" in caplog.text
    assert not (run / "selection.json").exists()
    assert (
        "no checkpoint selected, because strong_validation/d_prime was not measured" in caplog.text
    )


def test_one_checkpoint_alone_is_evaluated_and_none_selected(run, evaluated, data):
    path = run / "checkpoints" / "step-20"
    settings = {"intervals": False, "eval_sets": only(data, "eval")}
    evaluate(run, data, run_once=False, checkpoint=str(path), **settings)
    table = results(run)
    assert set(table["step"]) == {20}
    assert not table["metric"].str.endswith("_low").any()
    wanted = value(evaluated, 20, "strong_eval", "d_prime")
    assert value(run, 20, "strong_eval", "d_prime") == wanted
    for same in ("step-20", "step-20.index", f"{path}.index", os.path.relpath(path)):
        evaluate(run, data, checkpoint=same, **settings)
    pd.testing.assert_frame_equal(results(run), table)
    assert not (run / "selection.json").exists()
    # What comparisons need is made up for where it is asked for by name.
    evaluate(run, data, checkpoint="step-20")
    left_out = {path.name for path in (run / "eval" / "left_out").iterdir()}
    assert left_out == {f"{name}-20.npz" for name in SETS}
    assert value(run, 20, "strong_eval", "lwlrap_low") < value(run, 20, "strong_eval", "lwlrap")


def test_several_runs_are_evaluated_in_one_go(run, trained, data, tmp_path):
    other = shutil.copytree(trained, tmp_path / "other")
    delete_checkpoint(other, 10)
    settings = EvaluationSettings(intervals=False)
    following.evaluate_workdirs(
        [str(run), str(other)], only(data, "validation"), run_once=True, settings=settings
    )
    assert set(results(run)["step"]) == set(STEPS)
    assert set(results(other)["step"]) == {20}
    assert (run / "selection.json").exists()
    assert (other / "selection.json").exists()


def test_labels_of_one_kind_give_the_sets_of_that_kind(run, tmp_path, caplog):
    weak_only = [
        make_clip(i, seconds=4, weak=(i % 2,), segments=None, negatives=None) for i in range(4)
    ]
    write_dataset(tmp_path / "weak", weak_only, 1)
    sets = {"eval": str(tmp_path / "weak")}
    following.evaluate_workdirs([str(run)], sets, checkpoint="step-20")
    assert "weak_eval has no explicit negatives: d_prime is left out" in caplog.text
    table = results(run)
    assert set(table["set"]) == {"weak_eval"}
    assert "d_prime_implicit" in set(table["metric"])
    assert "d_prime" not in set(table["metric"])


def test_gin_binds_the_metric_and_the_settings(server, run, data):
    more = [
        "--run_once",
        f"--validation_data={data / 'validation'}",
        "--gin_param=select.metric = 'weak_validation/lwlrap'",
        "--gin_param=evaluate_workdirs.intervals = False",
        "--gin_param=evaluate_workdirs.save_scores = 'parquet'",
    ]
    process = server.start("evaluate", f"--workdir={run}", *more)
    assert process.wait() == 0, process.stderr
    selected = json.loads((run / "selection.json").read_text())
    assert (selected["set"], selected["metric"]) == ("weak_validation", "lwlrap")
    assert not results(run)["metric"].str.endswith("_low").any()
    assert (run / "eval" / "scores" / "validation-20.parquet").exists()
    assert process.stdout == (
        f"{run}: 2 checkpoints evaluated, step {selected['step']} is selected; "
        f"results in {run}/eval/results.csv\n"
    )


def test_saved_scores_give_the_same_results_without_the_model(server, evaluated, data, tmp_path):
    path = evaluated / "eval" / "scores" / "eval-20.npz"
    scores = score_files.load(str(path))
    order = np.random.default_rng(0).permutation(len(scores.clip_ids))
    np.savez(
        tmp_path / "theirs.npz",
        mids=np.array(scores.mids),
        clip_ids=np.array(scores.clip_ids)[order],
        frame_scores=scores.frame_scores[order],
    )
    assert scores.frame_scores.min() < 0
    processes = [
        server.start("measure_scores", f"--scores={path}", f"--output_dir={tmp_path / 'ours'}"),
        server.start(
            "measure_scores",
            f"--scores={tmp_path / 'theirs.npz'}",
            f"--eval_data={data / 'eval'}",
            f"--output_dir={tmp_path / 'joined'}",
            "--logits",
        ),
    ]
    table = results(evaluated)
    here = (table["step"] == 20) & table["set"].str.endswith("_eval")
    wanted = table[here].drop(columns="step").reset_index(drop=True)
    for process, output in zip(processes, ("ours", "joined"), strict=True):
        assert process.wait() == 0, process.stderr
        pd.testing.assert_frame_equal(pd.read_csv(tmp_path / output / "results.csv"), wanted)
        per_class = pd.read_csv(tmp_path / output / "per_class_weak_eval.csv")
        evaluated_ones = pd.read_csv(evaluated / "eval" / "per_class" / "weak_eval-20.csv")
        if output == "ours":  # no dataset tells the names
            evaluated_ones["display_name"] = evaluated_ones["mid"]
        pd.testing.assert_frame_equal(per_class, evaluated_ones)


def test_score_prints_a_line_for_each_metric(evaluated, tmp_path):
    path = str(evaluated / "eval" / "scores" / "eval-20.npz")
    lines = offline.to_text(offline.measure(offline.read(path), with_intervals=True)).splitlines()
    assert lines[0].split() == ["weak_eval", "strong_eval"]
    cells = {line.split()[0]: line.split(maxsplit=1)[1] for line in lines[1:]}
    low, middle, high = (
        value(evaluated, 20, "strong_eval", f"d_prime{end}") for end in ("_low", "", "_high")
    )
    assert cells["d_prime"].endswith(f"{middle:.4f} [{low:.3f}, {high:.3f}]")
    assert cells["samples"].split() == ["30", "120"]
    assert cells["d_prime_explicit"].split()[0] == "-"


def test_scores_without_labels_are_one_line_and_exit_code_2(server, evaluated, tmp_path):
    scores = score_files.load(str(evaluated / "eval" / "scores" / "eval-20.npz"))
    nothing = np.zeros(len(scores.clip_ids), bool)
    path = tmp_path / "scores.npz"
    unlabelled = dataclasses.replace(scores, weak_known=nothing, strong_known=nothing)
    score_files.save(unlabelled, str(path))
    for given, message in (
        (path, f"error: {path}: none of its 30 clips has labels\n"),
        (tmp_path / "nowhere.npz", f"error: {tmp_path / 'nowhere.npz'}: no such file\n"),
    ):
        process = server.start("measure_scores", f"--scores={given}")
        assert process.wait() == 2
        assert process.stderr == message


@pytest.fixture(scope="module")
def bad(data, trained, tmp_path_factory):
    """A directory of bad things, each named for what is wrong with it."""
    directory = tmp_path_factory.mktemp("bad")
    others = vocabularies.Vocabulary(VOCABULARY.mids[::-1], VOCABULARY.names[::-1])
    write_dataset(directory / "other_order", toy_clips(4), 1, vocabulary=others)
    unlabelled = [
        make_clip(i, seconds=1, weak=None, segments=None, negatives=None) for i in range(2)
    ]
    write_dataset(directory / "unlabelled", unlabelled, 1)
    write_dataset(directory / "one_class", toy_clips(1), 1)
    write_framed(directory / "off_grid.tsv", EVAL_CLIPS, (500, 960, 1920, 2880))
    write_framed(directory / "other_clips.tsv", confusing_clips(3, 5000))
    text = (directory / "other_clips.tsv").read_text().replace("/m/0", "/m/9")
    (directory / "other_classes.tsv").write_text(text)
    write_dataset(directory / "cut", toy_clips(4), 1)
    (shard,) = (directory / "cut").glob("*.tfrecord")
    shard.write_bytes(shard.read_bytes()[:-10])
    shutil.copytree(trained, directory / "no_numbers")
    loaded = checkpoints.load_model(str(trained)).model
    loaded.set_weights([np.full_like(weight, np.nan) for weight in loaded.get_weights()])
    saved = tf.train.Checkpoint(model=loaded)
    saved.write(str(directory / "no_numbers" / "checkpoints" / "step-10"))
    shutil.copytree(trained, directory / "not_writable")
    (directory / "not_writable" / "eval").write_text("a file where the folder should be")
    shutil.copytree(trained, directory / "older")
    (directory / "older" / "eval").mkdir()
    (directory / "older" / "eval" / "datasets.json").write_text('{"eval": "0123"}')
    shutil.copytree(trained, directory / "odd_results")
    (directory / "odd_results" / "eval").mkdir()
    (directory / "odd_results" / "eval" / "results.csv").write_text("step,metric\n10,d_prime\n")
    shutil.copytree(trained, directory / "odd_datasets")
    (directory / "odd_datasets" / "eval").mkdir()
    (directory / "odd_datasets" / "eval" / "datasets.json").write_text("[1]")
    return directory


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--workdir={run}/"], "--workdir={run}/: given twice; give it once"),
        (["--eval_data={bad}/nowhere"], "{bad}/nowhere: no converted dataset"),
        (
            ["--eval_data={bad}/one_class", "--eval_data={bad}/one_class/"],
            "dataset {bad}/one_class/ is given twice (also as {bad}/one_class); give it once",
        ),
        (["--eval_data={bad}/other_order"], "{bad}/other_order: another vocabulary (4 classes)"),
        (["--eval_data=", "--validation_data="], "no converted dataset"),
        (["--checkpoint=step-11"], "step-11: no checkpoint of {run}"),
        (["--checkpoint={trained}/checkpoints/step-10"], "step-10: no checkpoint of {run}"),
        (["--checkpoint=step-10", "--workdir={trained}"], "goes with exactly one --workdir"),
        (["--eval_data={data}/eval"], "is given twice"),
        (
            ["--gin_param=select.metric = 'strong_eval/lwlrap'"],
            "selecting on strong_eval would flatter the model: it is the eval set; give held-out",
        ),
        (
            ["--select_on=weak_eval", "--gin_param=select.metric = 'strong_eval/lwlrap'"],
            "evaluate_workdirs.select_on = 'weak_eval': must be the set of select.metric = 'strong",
        ),
        (
            ["--select_on=validation"],
            "no set 'validation' to select on (select.metric = 'validation/d_prime'); there are: ",
        ),
        (
            ["--gin_param=select.metric = 'strong_validation/d'"],
            "no metric 'd' to select by (select.metric = 'strong_validation/d'); there are: auc, ",
        ),
        (["--gin_param=evaluate_workdirs.batch_size = 0"], "evaluate_workdirs.batch_size = 0"),
        (
            ["--gin_param=evaluate_workdirs.cache_clips = 'x'"],
            "evaluate_workdirs.cache_clips = 'x'",
        ),
        (["--gin_param=evaluate_workdirs.batchsize = 1"], "batchsize"),
        (
            ["--gin_param=evaluate_workdirs.save_scores = 'csv'"],
            "evaluate_workdirs.save_scores = 'csv': must be one of npz, parquet",
        ),
        (
            ["--plot_classes=Horse"],
            "--plot_classes: 'Horse' is neither a mid nor a display name of the 4",
        ),
        (["--framed_tsv={bad}/off_grid.tsv"], "/m/00 from 0.5 to 1.46 s: not a frame of the 0.96"),
        (["--framed_tsv={bad}/other_classes.tsv"], "none of its labels is one of the 4 classes"),
        (["--framed_tsv={bad}/nowhere.tsv"], "{bad}/nowhere.tsv: cannot be read"),
        (
            ["--gin_param=evaluate_workdirs.framed_tsvs = {{'test': 'x.tsv'}}"],
            "framed labels of 'test': there is no such eval set",
        ),
        (["--timeout_s=-1"], "timeout_s"),
    ],
)
def test_a_user_s_mistake_is_one_line_and_exit_code_2(
    server, bad, data, trained, run, more, message
):
    places = {"bad": bad, "run": run, "data": data, "trained": trained}
    more = [flag.format(**places) for flag in more]
    process = server.start("evaluate", *flags(run, data, "--run_once", *more))
    assert process.wait() == 2, process.stderr
    assert told(process) == 1
    assert message.format(**places) in process.stderr
    assert not (run / "selection.json").exists()


def test_bad_checkpoints_are_left_out_and_the_others_are_evaluated(server, bad, data, run):
    saved = run / "checkpoints"
    for path in saved.glob("step-10.*"):
        shutil.copy(path, saved / path.name.replace("-10.", "-11."))
    another = keras.Sequential([keras.Input((96, 64)), keras.layers.Dense(4)])
    tf.train.Checkpoint(model=another).write(str(saved / "step-10"))
    (weights,) = saved.glob("step-11.data*")
    content = weights.read_bytes()
    middle = len(content) // 2
    weights.write_bytes(content[:middle] + bytes(100) + content[middle + 100 :])
    for path in (bad / "no_numbers" / "checkpoints").glob("step-10.*"):
        shutil.copy(path, saved / path.name.replace("-10.", "-12."))

    process = server.start("evaluate", *flags(run, data, "--run_once"))
    assert process.wait() == 2, process.stderr
    assert "Traceback" not in process.stderr
    *lines, told = process.stderr.replace("\r", "\n").splitlines()
    left_out = [line for line in lines if "left out until its files change" in line]
    for line, message in zip(
        left_out,
        (
            "step-10: does not hold the weights of this model",
            "Checksum does not match",
            "at step 12 on 'eval': the score of /m/00 in frame 0 of clip toy",
        ),
        strict=True,
    ):
        assert message in line
    assert told.startswith("error: left out: ")
    assert "step-10: does not hold the weights of this model" in told
    assert told.endswith(", and 2 more, told above; all else is evaluated")
    assert "1 checkpoints evaluated, step 20 is selected" in process.stdout
    assert {(row.step, row.set) for row in results(run).itertuples()} == {(20, s) for s in SETS}


@pytest.mark.parametrize(
    ("name", "framed", "message"),
    [
        ("one_class", [], "weak_eval: no usable class: none of 4 has both"),
        ("cut", [], "eval set 'eval': a shard is damaged or cut off; convert it again"),
        ("eval", ["other_clips.tsv"], "other_clips.tsv: has rows of none of the 30 clips of eval"),
    ],
)
def test_what_shows_only_in_scoring_is_one_line_and_leaves_no_results(
    bad, data, run, name, framed, message
):
    directory = data if name == "eval" else bad
    sets = {"eval_sets": {"eval": str(directory / name)}, "intervals": False}
    with pytest.raises(errors.InputError, match=message) as told:
        evaluate(run, data, framed_tsvs={"eval": [str(bad / path) for path in framed]}, **sets)
    assert "\n" not in str(told.value)
    assert not list(run.glob("eval/*.json"))
    assert not (run / "selection.json").exists()


@pytest.mark.parametrize(
    ("workdir", "eval_data", "message"),
    [
        ("not_writable", "eval", "{bad}/not_writable/eval: cannot be written ("),
        ("older", "eval", "{bad}/older/eval: results of an older version, which do not say what"),
        (
            "odd_results",
            "eval",
            "odd_results/eval/results.csv: not results of audioset_strong_evaluate",
        ),
        ("odd_datasets", "eval", "odd_datasets/eval/datasets.json: not a JSON object"),
        ("run", "other_order", "{run}: trained with 4 classes, but eval set 'eval' has 4 or anoth"),
        ("run", "unlabelled", "{bad}/unlabelled: no clip with labels to evaluate on"),
        ("run", None, "no eval set: give --eval_data"),
    ],
)
def test_bad_runs_and_bad_data_are_one_line_and_exit_code_2(
    server, bad, data, run, workdir, eval_data, message
):
    directory = data if eval_data == "eval" else bad
    process = server.start(
        "evaluate",
        f"--workdir={run if workdir == 'run' else bad / workdir}",
        *([f"--eval_data={directory / eval_data}"] if eval_data else []),
        "--run_once",
    )
    assert process.wait() == 2, process.stderr
    assert told(process) == 1
    assert message.format(bad=bad, run=run) in process.stderr
    assert not list(run.glob("eval/*.json"))  # a mistake leaves no claim behind


def told(process):
    """How many lines of its stderr tell of a mistake; the others are progress."""
    assert "Traceback" not in process.stderr
    lines = process.stderr.replace("\r", "\n").splitlines()
    assert lines[-1].startswith("error: ")
    return sum("error" in line for line in lines)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"eval_sets": {}}, "no eval set"),
        ({"eval_sets": {"a/b": "eval"}}, "eval set 'a/b': its name must consist of letters"),
        ({"eval_sets": {"eval": []}}, "no dataset given"),
        ({"intervals": 200}, "intervals = 200: must be True or False"),
    ],
)
def test_bad_arguments_are_told(trained, data, settings, message):
    with pytest.raises(errors.InputError, match=message):
        evaluate(trained, data, **settings)
    with pytest.raises(errors.InputError, match="no workdir given"):
        following.evaluate_workdirs([], eval_sets(data))
    assert not (trained / "eval").exists()


def test_a_metric_that_is_not_measured_is_told_with_the_first_checkpoint(run, data):
    metric = "strong_validation/auc_complementary"
    settings = {"select_metric": metric, "eval_sets": only(data, "validation")}
    told = rf"run: select.metric = '{metric}': not measured[^\n]*$"
    with pytest.raises(errors.InputError, match=told):
        evaluate(run, data, intervals=False, **settings)
    assert not (run / "selection.json").exists()


def test_other_weights_under_the_same_step_are_evaluated_anew(run, evaluated, data, caplog):
    shutil.copytree(evaluated / "eval", run / "eval")
    before, digests = results(run), json.loads((run / "eval" / "checkpoints.json").read_text())
    assert sorted(digests) == [str(step) for step in STEPS]
    for path in (run / "checkpoints").glob("step-10.*"):  # another training wrote these
        shutil.copy(path, path.with_name(path.name.replace("step-10", "step-20")))
    evaluate(run, data, eval_sets=only(data, "eval"))
    assert f"{run}: its checkpoint of step 20 has changed, and is evaluated again" in caplog.text
    now = results(run).query("set in ['weak_eval', 'strong_eval']").set_index(["set", "metric"])
    pd.testing.assert_series_equal(
        now.loc[now["step"] == 20, "value"], now.loc[now["step"] == 10, "value"]
    )
    # No number of the old weights is left, not even on sets that were not asked for this time.
    assert set(results(run).query("step == 20")["set"]) == {"weak_eval", "strong_eval"}
    pd.testing.assert_frame_equal(results(run).query("step == 10"), before.query("step == 10"))
    again = json.loads((run / "eval" / "checkpoints.json").read_text())
    assert again == {"10": digests["10"], "20": digests["10"]}


def test_only_held_out_data_are_selected_on_unless_asked_for_by_name(
    run, evaluated, data, tmp_path
):
    def selected(validation, **given):
        sets = only(data, "eval") | {"validation": str(validation)}
        evaluate(run, data, **{"eval_sets": sets, "intervals": False} | given)
        found = json.loads((run / "selection.json").read_text())
        return found["set"], found["held_out"]

    of_training = write_dataset(tmp_path / "other", toy_clips(8, 4000), 1, split="train")
    for validation, why in (
        (data / "train", f"the run was trained on {data / 'train'}"),
        (of_training, f"{of_training} is of the split 'train', not 'validation'"),
        (data / "eval", f"{data / 'eval'} is of the split 'all', not 'validation'"),
    ):
        with pytest.raises(errors.InputError, match=re.escape(f"the model: {why}; give held-out")):
            selected(validation)
        assert not (run / "eval").exists()
    asked = {"select_on": "strong_validation", "eval_sets": {"validation": of_training}}
    assert selected(of_training, **asked) == ("strong_validation", False)
    shutil.rmtree(run / "eval")
    shutil.copytree(evaluated / "eval", run / "eval")
    assert selected(data / "validation") == ("strong_validation", True)
    # What was measured in an earlier call is known for what it is.
    evaluate(run, data, eval_sets=only(data, "eval"), select_on="strong_eval")
    found = json.loads((run / "selection.json").read_text())
    assert (found["set"], found["metric"], found["held_out"]) == ("strong_eval", "d_prime", False)


def test_what_a_run_was_trained_on_is_no_eval_set(run, data):
    train = str(data / "train")
    with pytest.raises(
        errors.InputError, match=r"was trained on .*train, which cannot be its eval"
    ):
        evaluate(run, data, eval_sets={"eval": [str(data / "eval"), train]})
    assert not (run / "eval").exists()
    evaluate(run, data, eval_sets={"train": train}, intervals=False, checkpoint="step-10")
    assert set(results(run)["set"]) == {"weak_train", "strong_train"}


def test_without_explicit_negatives_selection_falls_back_under_its_true_name(
    run, data, tmp_path, caplog
):
    clips = [dataclasses.replace(clip, negatives=None) for clip in confusing_clips(20, 2000)]
    validation = write_dataset(tmp_path / "validation", clips, 1, split="validation")
    evaluate(run, data, intervals=False, eval_sets={"validation": validation})
    selected = json.loads((run / "selection.json").read_text())
    assert (selected["set"], selected["metric"]) == ("strong_validation", "d_prime_complementary")
    values = {s: value(run, s, "strong_validation", "d_prime_complementary") for s in STEPS}
    assert selected["step"] == max(values, key=values.get)
    table = results(run)
    assert "d_prime" not in set(table[table["set"] == "strong_validation"]["metric"])
    assert (
        f"{run}: selected by strong_validation/d_prime_complementary, because no class has explicit"
    ) in caplog.text
