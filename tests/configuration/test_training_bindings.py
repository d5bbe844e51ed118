"""The training run that gin bindings describe."""

import math
import pathlib

import gin
import pytest

from audioset_strong.analysis import paper_table
from audioset_strong.audio.features import FrontEnd
from audioset_strong.configuration import gin_files, training_bindings
from audioset_strong.core import errors
from audioset_strong.inputs import training_sources
from audioset_strong.inputs.augmentation import Augmentation
from audioset_strong.inputs.training_stream import StreamSettings
from audioset_strong.models import resnet
from audioset_strong.training import losses, optimizers, schedules
from audioset_strong.training.settings import TrainSettings

_ROWS = ("weak_67k", "diffuse_67k", "strong_67k", "weak_1_8m", "plus_diffuse", "plus_strong")
_BEYOND = tuple(row.name for row in paper_table.BEYOND_ROWS)
_REQUIRED = (
    "train.batch_size = 4",
    "train.total_steps = 10",
    "train.checkpoint_every = 5",
    "train.sources = @single_source",
    "single_source.datasets = ('a',)",
    "single_source.policy = 'weak'",
)


def parsed_run(bindings):
    gin_files.parse([], bindings)
    return training_bindings.training_run("data")


def run_of(*bindings):
    return parsed_run([*_REQUIRED, *bindings])


def tiny_network(settings):
    return settings.model(num_classes=3, input_shape=(96, 64), class_priors=None)


@pytest.mark.parametrize("row", _ROWS)
def test_every_row_of_table_1_binds_a_full_run_of_resnet_50(row, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # the files are found from anywhere
    gin_files.parse([f"table1/{row}.gin"], [])
    run = training_bindings.training_run("data")
    assert (run.settings.batch_size, run.settings.seed) == (128, 0)
    assert gin.query_parameter("resnet.depths") == (3, 4, 6, 3)
    assert gin.query_parameter("resnet.first_stride") == 1
    for kind in ("pretrain", "train", "fine_tune"):
        gin_files.parse([f"table1/{row}.gin", f"demo/{kind}.gin"], [])
        assert training_bindings.training_run("data").settings.batch_size == 64
        assert gin.query_parameter("resnet.width") == 8


@pytest.mark.parametrize("row", _ROWS)
@pytest.mark.parametrize("batch_size", [32, 128, 2048])
def test_a_row_is_as_long_and_keeps_as_many_checkpoints_at_every_batch_size(row, batch_size):
    gin_files.parse([f"table1/{row}.gin"], [f"train.batch_size = {batch_size}"])
    settings = training_bindings.training_run("data").settings
    clips = 1_800_000 if row == "weak_1_8m" else 67_000
    epochs, checkpoints = {"weak_1_8m": (70, 50)}.get(row, (380, 40))
    if row.startswith("plus"):
        clips, epochs, checkpoints = 1_867_000, 7, 20
    length = settings.length(clips)
    assert length.total_epochs == pytest.approx(epochs, rel=1e-3)
    assert len(length.kept_steps) == pytest.approx(checkpoints, abs=1)
    peak = 1e-4 if row.startswith("plus") else 3e-4
    at = math.ceil(0.05 * length.total_steps)
    rate = float(settings.rate(length.total_steps)(at))
    assert rate == pytest.approx(peak * math.sqrt(batch_size / 128), rel=1e-3)


def test_a_length_given_later_replaces_one_given_before_in_whatever_unit(tmp_path):
    gin_files.parse(["table1/strong_67k.gin"], ["train.total_steps = 9"])
    settings = training_bindings.training_run("data").settings
    assert (settings.total_steps, settings.total_epochs) == (9, None)
    gin_files.parse(["table1/strong_67k.gin", "debug.gin"], ["train.total_examples = 640"])
    settings = training_bindings.training_run("data").settings
    assert settings.length(1).total_steps == 20
    with pytest.raises(errors.InputError, match=r"total_steps = 9 and .*epochs = 2: give one"):
        gin_files.parse([], ["train.total_epochs = 2", "train.total_steps = 9"])


@pytest.mark.parametrize("row", _ROWS)
def test_every_row_s_file_opens_with_the_command_that_trains_it(row):
    text = (gin_files.gin_directory() / "table1" / f"{row}.gin").read_text()
    assert f"--gin_file=table1/{row}.gin" in text.partition("include")[0]
    assert ("--init_from" in text) == row.startswith("plus")


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ("weak_67k", [("train_strong", "weak", 1.0)]),
        ("diffuse_67k", [("train_strong", "diffuse", 1.0)]),
        ("strong_67k", [("train_strong", "strong", 1.0)]),
        ("weak_1_8m", [("train_weak", "weak", 1.0)]),
        ("plus_diffuse", [("train_weak", "weak", 0.3), ("train_strong", "diffuse", 0.7)]),
        ("plus_strong", [("train_weak", "weak", 0.2), ("train_strong", "strong", 0.8)]),
    ],
)
def test_rows_train_on_the_paper_s_sets(row, expected):
    gin_files.parse([f"table1/{row}.gin"], [])
    sources = training_bindings.training_run("data").sources
    got = [(pathlib.Path(s.datasets[0]).name, s.policy, pytest.approx(s.weight)) for s in sources]
    assert got == expected


class TestBeyondThePaper:
    @pytest.mark.parametrize("row", _BEYOND)
    def test_every_row_beyond_it_is_plus_strong_but_for_one_thing(self, row):
        gin_files.parse(["table1/plus_strong.gin", "demo/fine_tune.gin"], [])
        plain = training_bindings.training_run("data")
        gin_files.parse([f"beyond/{row}.gin", "demo/fine_tune.gin"], [])
        run = training_bindings.training_run("data")
        training_bindings.check_functions(run)
        assert run.settings.fine_tune
        for name in ("batch_size", "total_steps", "prior_bias", "ema_decay"):
            assert getattr(run.settings, name) == getattr(plain.settings, name)
        different = run.sources != plain.sources
        pooled = run.settings.pooling is not None
        assert different != pooled
        assert (run.stream.windows_per_bag > 1) == pooled
        text = (gin_files.gin_directory() / "beyond" / f"{row}.gin").read_text()
        head = text.partition("include")[0]
        for words in (f"--gin_file=beyond/{row}.gin", f"--workdir=runs/{row} ", "--init_from"):
            assert words in head

    def test_mu_may_be_a_schedule_and_a_number_again(self):
        gin_files.parse(["beyond/mu_schedule.gin"], [])
        weak, strong = training_bindings.training_run("data").sources
        assert strong.weight.points == ((0.0, 0.2), (1.0, 0.9))
        assert weak.weight.points == ((0.0, 0.8), (1.0, pytest.approx(0.1)))
        assert training_sources.mu([weak, strong]) == pytest.approx(0.55)
        gin_files.parse(["beyond/mu_schedule.gin"], ["weak_strong_mixture.mu = 0.5"])
        assert training_bindings.training_run("data").sources[1].weight == 0.5

    @pytest.mark.parametrize(
        ("binding", "message"),
        [
            ("mu_schedule.points = ((0.0, 1.2),)", r"mu_schedule.points = .*lie in \[0, 1\]"),
            ("mu_schedule.points = ((0.5, 0.2), (0.1, 0.2))", r"mu_schedule.points: .*must rise"),
            ("mu_schedule.points = ()", r"mu_schedule.points: .*must be pairs"),
            ("mu_schedule.points = 0.5", r"mu_schedule.points = 0.5: must be a list"),
            ("weak_strong_mixture.mu = @warmup_cosine", r"must .*a number or .*@mu_schedule"),
            ("weak_strong_mixture.mu = 'a'", r"mu = 'a': must"),
            ("weak_strong_mixture.teacher = 3", r"teacher = 3: must be a string"),
            ("train.pooling = @adam", r"train.pooling = @adam: must .*@autopool"),
            ("train.pooling = 'max'", r"train.pooling = 'max': must"),
            ("autopool.initial_alpha = 2.0", r"has no effect without train.pooling = @autopool"),
            ("single_source.teacher = 'a'", r"has no effect, because train.sources"),
        ],
    )
    def test_wrong_bindings_are_one_line(self, binding, message):
        def parse_and_make():
            gin_files.parse(["beyond/mu_schedule.gin"], [binding])
            training_bindings.training_run("data")

        with pytest.raises(errors.InputError, match=message) as caught:
            parse_and_make()
        assert "\n" not in str(caught.value)


def test_without_bindings_everything_has_its_own_defaults():
    run = run_of()
    assert run.settings.precision == "float32"
    assert run.front_end == FrontEnd()
    assert run.augmentation == Augmentation()
    assert run.stream == StreamSettings()
    assert run.framing_rule == "released"
    assert [source.datasets for source in run.sources] == [("data/a",)]


def test_bindings_reach_functions_that_train_was_not_bound_to():
    settings = run_of(
        "resnet.depths = (1,)",
        "resnet.width = 2",
        "resnet.bottleneck = False",
        "constant_schedule.learning_rate = 0.25",
        "adam.beta_1 = 0.5",
        "SigmoidCrossEntropy.unknown_weight = 0.5",
    ).settings
    assert tiny_network(settings).get_layer("embedding").output.shape[-1] == 2
    assert settings.learning_rate(100) == 0.25
    assert settings.optimizer(0.1).beta_1 == 0.5
    assert settings.loss() == losses.SigmoidCrossEntropy(unknown_weight=0.5)


@pytest.mark.parametrize(
    ("name", "at_half_time"),
    [("constant_schedule", 0.5), ("warmup_cosine", 0.25), ("step_schedule", 0.05)],
)
def test_each_schedule_can_be_bound_by_its_name(name, at_half_time):
    bindings = [f"train.learning_rate = @{name}", f"{name}.learning_rate = 0.5"]
    if name == "warmup_cosine":
        bindings.append("warmup_cosine.warmup_share = 0.0")
    rate = run_of(*bindings).settings.learning_rate(1000)
    got = float(rate(501) if callable(rate) else rate)
    assert got == pytest.approx(at_half_time, rel=0.01)


def test_bindings_give_instances_of_the_classes_themselves():
    run = run_of(
        "FrontEnd.num_bands = 32",
        "Augmentation.gain_db = 3.0",
        "train_patches.patches_per_clip = 9",
    )
    assert type(run.front_end) is FrontEnd
    assert type(run.augmentation) is Augmentation
    assert type(run.stream) is StreamSettings
    assert type(run.settings) is TrainSettings
    assert type(run.settings.loss()) is losses.SigmoidCrossEntropy
    assert run.front_end.patch_shape == (96, 32)
    assert (run.augmentation.gain_db, run.stream.patches_per_clip) == (3.0, 9)


def test_bindings_do_not_reach_what_is_called_plainly():
    run_of("resnet.depths = (1,)", "adam.beta_1 = 0.5", "constant_schedule.learning_rate = 0.25")
    assert optimizers.adam(0.1).beta_1 == pytest.approx(0.9)
    assert schedules.constant_schedule(10) == 1e-3
    assert FrontEnd().num_bands == 64
    with pytest.raises(errors.InputError):
        resnet.resnet(3, depths=())


@pytest.mark.parametrize(
    ("bindings", "message"),
    [
        ([], r"no binding of train\.batch_size, .*train\.sources: give a --gin_file"),
        (_REQUIRED[:4], r"no binding of single_source\.datasets, single_source\.policy"),
        ([*_REQUIRED, "train.precision = 'int8'"], r"train\.precision = 'int8': must be one of"),
        ([*_REQUIRED, "train.framing_rule = 'half'"], "train.framing_rule = 'half': must be one"),
        (
            [*_REQUIRED, "train.sources = 'train'"],
            "a function, like @single_source or @weak_strong",
        ),
        ([*_REQUIRED, "FrontEnd.fft_length = 256"], "FrontEnd.fft_length = 256: must be at least"),
        ([*_REQUIRED, "FrontEnd.num_bands = 0"], "FrontEnd.num_bands = 0"),
        ([*_REQUIRED, "FrontEnd.upper_hz = 9000.0"], "at most half the sample rate"),
        ([*_REQUIRED, "Augmentation.gain_db = -1.0"], "Augmentation.gain_db = -1.0"),
        ([*_REQUIRED, "train_patches.patches_per_clip = 0"], "train_patches.patches_per_clip = 0"),
        ([*_REQUIRED, "single_source.policy = 'storng'"], "single_source.policy = 'storng'"),
    ],
)
def test_mistakes_are_one_line_that_names_the_binding(bindings, message):
    with pytest.raises(errors.InputError, match=message) as caught:
        parsed_run(bindings)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("binding", ["resnet.input_shape = (96, 64)", "resnet.num_classes = 3"])
def test_what_follows_from_the_data_and_the_front_end_cannot_be_bound(binding):
    with pytest.raises(errors.InputError, match=binding.partition(" ")[0].partition(".")[2]):
        gin_files.parse([], [binding])
