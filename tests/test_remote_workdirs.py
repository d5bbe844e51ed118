"""Workdirs on remote file systems: everything is read and written there, nothing on this machine.

ram:// is TensorFlow's file system in memory, which only its own process sees; file:// is the local
disk, reached as a remote one.
"""

import contextlib
import dataclasses
import os

import numpy as np
import pandas as pd
import pytest
import soundfile
import tensorflow as tf
from tensorboard.backend.event_processing import event_accumulator

import audioset_strong as ast
from audioset_strong.analysis import report, sweep_tables
from audioset_strong.conversion import converter
from audioset_strong.core import errors, files
from audioset_strong.evaluation import following, score_files, selection
from audioset_strong.evaluation.settings import EvaluationSettings
from audioset_strong.experiments import sweeps
from audioset_strong.inference import event_detection, export, recordings
from audioset_strong.training import checkpoints, workdirs
from audioset_strong.training.run_info import RunInfo
from tests import toy_training
from tests.datasets import conversion_request, toy_clips, write_dataset


class _Killed(BaseException):
    pass


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    """Datasets with strong labels only: one set of results for each dataset is enough."""
    directory = tmp_path_factory.mktemp("data")
    for name, first, split in (
        ("train", 0, "train"),
        ("eval", 1000, "all"),
        ("validation", 2000, "validation"),
    ):
        clips = [dataclasses.replace(clip, weak_labels=None) for clip in toy_clips(24, first)]
        write_dataset(directory / name, clips, 2, split=split)
    return str(directory)


@pytest.fixture(scope="module", params=["ram", "file"])
def root(request, tmp_path_factory):
    directory = tmp_path_factory.mktemp("remote")
    return f"{request.param}://{'' if request.param == 'ram' else '/'}{str(directory).strip('/')}"


@contextlib.contextmanager
def _nothing_written_here(here):
    here.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(here)
        yield
    assert not list(here.iterdir())


@pytest.fixture(autouse=True)
def _nothing_is_written_here(tmp_path):
    with _nothing_written_here(tmp_path / "here"):
        yield


def _train(workdir, data_dir, **settings):
    workdirs.claim(workdir, "train.seed = 0\n")
    options = {"total_steps": 10, "checkpoint_every": 5, "batch_size": 8}
    return toy_training.train(workdir, data_dir, **(options | settings))


def _train_until_killed(workdir, data_dir):
    """Trains until the second checkpoint to resume from is to be saved, at step 10."""
    save = checkpoints.save

    def dying(saved, workdir, *, step, keep, **arguments):
        if step == 10 and not keep:
            raise _Killed
        save(saved, workdir, step=step, keep=keep, **arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoints, "save", dying)
        with pytest.raises(_Killed):
            _train(workdir, data_dir)
    assert checkpoints.newest(workdir)[0] == 5


@pytest.fixture(scope="module")
def local(data_dir, tmp_path_factory):
    """A run on the local disk."""
    return _train(str(tmp_path_factory.mktemp("local") / "run"), data_dir)


@pytest.fixture(scope="module")
def runs(root, data_dir, tmp_path_factory):
    """Two evaluated runs.

    The first one was killed, and has gone on. The second one is fine-tuned from it.
    """
    runs = f"{root}/runs"
    with _nothing_written_here(tmp_path_factory.mktemp("nothing") / "here"):
        _train_until_killed(f"{runs}/weak_1_8m", data_dir)
        _train(f"{runs}/weak_1_8m", data_dir)
        _evaluate(f"{runs}/weak_1_8m", data_dir, plot_classes=("class 0",))
        _train(f"{runs}/plus_strong", data_dir, init_from=f"{runs}/weak_1_8m", ema_decay=0.9)
        _evaluate(f"{runs}/plus_strong", data_dir, validation=None)
    return runs


def _evaluate(workdir, data_dir, *, validation="validation", **settings):
    names = {"eval": "eval"} | ({"validation": validation} if validation else {})
    sets = {name: os.path.join(data_dir, directory) for name, directory in names.items()}
    settings = EvaluationSettings(save_scores="npz", **settings)
    following.evaluate_workdirs([workdir], sets, settings=settings, run_once=True)


def test_a_run_leaves_there_what_it_leaves_on_a_local_disk(runs, local):
    remote = f"{runs}/weak_1_8m"
    for name in ("config.gin", "model.json", "run.json", "finished.json"):
        assert files.read_text(f"{remote}/{name}") == files.read_text(f"{local}/{name}")
    assert [step for step, _ in checkpoints.list_checkpoints(remote)] == [5, 10]
    assert files.names(f"{remote}/checkpoints") == files.names(f"{local}/checkpoints")
    (events,) = files.names(f"{runs}/plus_strong/train")
    with files.local_copy(f"{runs}/plus_strong/train/{events}") as path:
        logged = event_accumulator.EventAccumulator(path)
        logged.Reload()
        assert [event.step for event in logged.Tensors("Training/loss")] == [5, 10]
    for name in ("weak_1_8m", "plus_strong"):
        assert not files.exists(f"{runs}/{name}/.lock")  # the lease is given back


def test_a_run_killed_there_ends_as_one_that_was_never_stopped(runs, local):
    remote = f"{runs}/weak_1_8m"
    for left, right in zip(
        *(checkpoints.load_model(path).model.get_weights() for path in (remote, local)),
        strict=True,
    ):
        np.testing.assert_array_equal(left, right)
    with pytest.raises(errors.InputError, match="holds a run of another config"):
        workdirs.claim(remote, "train.seed = 1\n")


def test_evaluation_writes_results_scores_curves_and_the_selection_there(runs):
    workdir = f"{runs}/weak_1_8m"
    with files.local_copy(f"{workdir}/eval/results.csv") as path:
        table = pd.read_csv(path)
    assert set(table["step"]) == {5, 10}
    assert files.read_json(f"{workdir}/selection.json")["step"] in (5, 10)
    scores = score_files.load(f"{workdir}/eval/scores/eval-10.npz")
    assert len(scores.clip_ids) == 24
    for folder in ("per_class", "curves"):
        picture = tf.io.decode_png(files.read_bytes(f"{workdir}/eval/{folder}/strong_eval-10.png"))
        assert picture.numpy().std() > 1


def test_fine_tuning_starts_from_there_and_the_report_reads_and_writes_there(runs, root):
    assert RunInfo.read(f"{runs}/plus_strong").init_from == f"{runs}/weak_1_8m"
    written = report.write(runs, f"{root}/report")
    assert {path.name for path in written} >= {"table1.md", "index.html", "checkpoints.png"}
    assert all(files.exists(path) for path in written)
    text = files.read_text(f"{root}/report/table1.md")
    assert "| weak_1_8m |" in text
    assert "data:image/png;base64," in files.read_text(f"{root}/report/index.html")


def test_a_model_there_predicts_and_is_exported_and_used_from_there(runs, root):
    waveform = np.random.default_rng(0).normal(scale=0.1, size=32_000).astype(np.float32)
    wanted = ast.load_model(f"{runs}/weak_1_8m").predict(waveform, 16_000).scores
    exported = f"{root}/exported"
    export.export(f"{runs}/weak_1_8m", exported, with_tflite=False)
    for name in ("run.json", "model_card.md", "saved_model.pb", "assets/class_map.csv"):
        assert files.exists(f"{exported}/{name}")
    got = ast.load_model(exported).predict(waveform, 16_000).scores
    np.testing.assert_allclose(got, wanted, atol=1e-6)
    scores = tf.saved_model.load(exported)(tf.constant(waveform))[0]
    np.testing.assert_allclose(scores[:2], wanted[:2], atol=1e-4)
    with pytest.raises(errors.InputError, match="exists already"):
        export.export(f"{runs}/weak_1_8m", exported, with_tflite=False)


def test_predictions_are_written_there(runs, root, tmp_path):
    recording = tmp_path / "noise.wav"
    soundfile.write(recording, np.random.default_rng(0).normal(scale=0.1, size=32_000), 16_000)
    model = ast.load_model(f"{runs}/weak_1_8m")
    settings = event_detection.settings_for(
        model.vocabulary, threshold=0.5, hysteresis=0.8, median_hops=1
    )
    formats = ("csv", "jsonl", "events", "audacity", "text", "png")
    request = recordings.PredictionRequest(settings, f"{root}/predicted", formats)
    assert not recordings.predict(model, [str(recording)], request=request)
    written = files.names(f"{root}/predicted")
    assert len(written) == len(formats)
    for name in written:
        assert files.read_bytes(f"{root}/predicted/{name}")


@pytest.fixture
def recordings_dir(tmp_path):
    """Audio files and their metadata, of clips that a tiny network can learn."""
    corpus = tmp_path / "corpus"
    (corpus / "audio").mkdir(parents=True)
    for name, clips in (("train", toy_clips(32)), ("eval", toy_clips(12, first=100))):
        weak = ["# a", "# b", "# YTID, ..."]
        strong = ["segment_id\tstart_time_seconds\tend_time_seconds\tlabel"]
        for clip in clips:
            video, (label,) = clip.clip_id[:-2], clip.weak_labels
            soundfile.write(corpus / "audio" / f"{video}.wav", clip.audio, clip.sample_rate)
            weak.append(f'{video}, 0.000, 4.000, "/m/{label}"')
            ((start, end, _),) = clip.segments
            strong.append(f"{video}_0\t{start / 1000}\t{end / 1000}\t/m/{label}")
        (corpus / f"{name}_weak.csv").write_text("\n".join(weak) + "\n")
        (corpus / f"{name}_strong.tsv").write_text("\n".join(strong) + "\n")
    (corpus / "classes.csv").write_text(
        'index,mid,display_name\n0,/m/0,"class 0"\n1,/m/1,"class 1"\n'
    )
    return corpus


def _from_convert_to_report(root, corpus):
    """The whole way below a directory; returns table1.csv and the names of all files."""
    for name in ("train", "eval"):
        converter.convert(
            conversion_request(
                audio_dirs=(str(corpus / "audio"),),
                weak_csvs=(str(corpus / f"{name}_weak.csv"),),
                strong_tsvs=(str(corpus / f"{name}_strong.tsv"),),
                class_labels=(str(corpus / "classes.csv"),),
                output_dir=f"{root}/data",
                name=name,
                num_shards=2,
                num_workers=1,
                validation_share=0.3 if name == "train" else 0.0,
            )
        )
    data, runs, sweep_dir = f"{root}/data", f"{root}/runs", f"{root}/sweep"
    _train_until_killed(f"{runs}/weak_1_8m", data)
    _train(f"{runs}/weak_1_8m", data)
    _evaluate(f"{runs}/weak_1_8m", data, validation="train_validation")
    _train(f"{runs}/plus_strong", data, init_from=f"{runs}/weak_1_8m")
    _evaluate(f"{runs}/plus_strong", data, validation="train_validation")
    export.export(f"{runs}/plus_strong", f"{root}/exported", with_tflite=False)
    model = ast.load_model(f"{root}/exported")
    detection = event_detection.settings_for(
        model.vocabulary, threshold=0.5, hysteresis=0.8, median_hops=1
    )
    asked = recordings.PredictionRequest(detection, f"{root}/predicted", ("csv", "events"))
    (recording, *_) = sorted((corpus / "audio").iterdir())
    assert not recordings.predict(model, [str(recording)], request=asked)
    sweep = sweeps.Sweep(
        output_dir=sweep_dir, vary=sweeps.parse_vary(["train.seed = 0, 1"]), data_dir=data
    )
    for seed, point in enumerate(sweep.points()):
        workdir = f"{sweep_dir}/{sweeps.RUNS_DIR}/{sweeps.point_name(point)}"
        _train(workdir, data, seed=seed, total_steps=5)
        _evaluate(workdir, data, validation="train_validation")
    table = sweeps.collect(sweep)
    files.write_text(f"{sweep_dir}/{sweep_tables.RESULTS_FILE}", table.to_csv(index=False))
    selection.write(sweep_dir, sweeps.select(sweep, table))
    sweeps.write_hparams(sweep, table)
    report.write(runs, f"{root}/report", sweep_dirs=[sweep_dir])
    assert "data:image/png;base64," in files.read_text(f"{root}/report/index.html")
    written = {
        os.path.relpath(f"{folder}/{name.partition('.tfevents')[0]}", root)
        for folder, _, names in tf.io.gfile.walk(root)
        for name in names
        if files.exists(f"{folder}/{name}")  # ram:// lists parts of names of other folders as well
    }
    return files.read_text(f"{root}/report/table1.csv"), written


@pytest.mark.slow
def test_from_convert_to_report_a_remote_disk_holds_what_a_local_one_does(recordings_dir, tmp_path):
    remote_root = f"ram://{tmp_path}/chain".replace(":///", "://")
    remote, there = _from_convert_to_report(remote_root, recordings_dir)
    local, here = _from_convert_to_report(str(tmp_path / "chain"), recordings_dir)
    assert remote.replace(remote_root, str(tmp_path / "chain")) == local
    assert "plus_strong" in local
    assert {n for n in here if not n.endswith(".lock")} == there
    assert not list(tmp_path.rglob("ram:*"))


@pytest.mark.slow
def test_the_binaries_take_a_remote_sweep_from_training_to_the_report(server, data_dir, tmp_path):
    root = f"file://{tmp_path}/remote"
    sweep = server.start(
        "sweep",
        f"--output_dir={root}/runs/strong_67k",
        f"--data_dir={data_dir}",
        "--gin_file=table1/strong_67k.gin",
        "--gin_file=demo/train.gin",
        "--gin_file=demo/small.gin",
        "--gin_param=train.total_steps = 4",
        "--gin_param=single_source.datasets = ('train',)",
        "--gin_param=resnet.depths = (1,)",
        "--vary=train.seed = 0, 1",
        f"--validation_data={data_dir}/validation",
        f"--eval_data={data_dir}/eval",
    )
    assert sweep.wait() == 0, sweep.stderr
    written = server.start(
        "report",
        f"--runs_dir={root}/runs",
        f"--output_dir={root}/report",
        f"--sweep_dir={root}/runs/strong_67k",
    )
    assert written.wait() == 0, written.stderr
    assert "| Strong-67k |" in written.stdout
    assert (tmp_path / "remote" / "report" / "index.html").exists()
