"""Values that cannot be: each is one line that names binding, value and what would be right."""

import ast

import pytest

from audioset_strong.configuration import evaluation_bindings, gin_files, training_bindings
from audioset_strong.core import errors

_MIXTURE = (
    "train.batch_size = 4",
    "train.total_steps = 10",
    "train.checkpoint_every = 5",
    "train.sources = @weak_strong_mixture",
    "weak_strong_mixture.weak_datasets = ('a',)",
    "weak_strong_mixture.strong_datasets = ('b',)",
    "weak_strong_mixture.policy = 'strong'",
    "weak_strong_mixture.mu = 0.5",
)
_SINGLE = (
    *_MIXTURE[:3],
    "train.sources = @single_source",
    "single_source.datasets = ('a',)",
    "single_source.policy = 'weak'",
)
_TRUTH, _WHOLE, _NUMBER, _STRING = (
    "True or False",
    "a whole number",
    "a number",
    "a string in quotes",
)


def run_with(*bindings):
    """Everything that a run makes of its bindings before it reads any data."""
    gin_files.parse([], bindings)
    run = training_bindings.training_run("data")
    training_bindings.check_functions(run)
    run.settings.model(num_classes=2, input_shape=(96, 64), class_priors=None)


def evaluated_with(binding):
    gin_files.parse([], [binding])
    evaluation_bindings.evaluation_arguments()


_WRONG = [
    # (binding, what would be right)
    ("train.batch_size = '128'", _WHOLE),
    ("train.batch_size = True", _WHOLE),
    ("train.batch_size = 12.0", _WHOLE),
    ("train.batch_size = None", _WHOLE),
    ("train.batch_size = (1, 2)", _WHOLE),
    ("train.batch_size = @adam", _WHOLE),
    ("train.total_steps = 1e5", _WHOLE),
    ("train.checkpoint_every = '5'", _WHOLE),
    ("train.steps_per_call = [20]", _WHOLE),
    ("train.seed = 'zero'", _WHOLE),
    ("train.seed = None", _WHOLE),
    ("train.inputs_every = False", _WHOLE),
    ("train.histograms_every = 0.5", _WHOLE),
    ("train.resume_every_s = '600'", _NUMBER),
    ("train.resume_every_s = None", _NUMBER),
    ("train.clip_norm = '1'", "a number or None"),
    ("train.clip_norm = True", "a number or None"),
    ("train.ema_decay = '0.9'", "a number or None"),
    ("train.ema_decay = (0.9,)", "a number or None"),
    ("train.precision = None", _STRING),
    ("train.precision = 16", _STRING),
    ("train.jit_compile = 'yes'", _TRUTH),
    ("train.jit_compile = 1", _TRUTH),
    ("train.prior_bias = 'no'", _TRUTH),
    ("train.prior_bias = 0", _TRUTH),
    ("train.framing_rule = True", _STRING),
    ("train.model = @constant_schedule", "a function, like @resnet"),
    ("train.model = 'resnet'", "a function, like @resnet"),
    ("train.model = @resnet()", "a function, like @resnet"),
    ("train.model = None", "a function, like @resnet"),
    ("train.learning_rate = 3e-4", "a function, like @constant_schedule or @warmup_cosine"),
    ("train.learning_rate = @adam", "a function, like @constant_schedule"),
    ("train.optimizer = @warmup_cosine", "a function, like @adam"),
    ("train.optimizer = 'adam'", "a function, like @adam"),
    ("train.loss = @resnet", "a function, like @SigmoidCrossEntropy"),
    ("train.sources = @resnet", "a function, like @single_source or @weak_strong_mixture"),
    ("train.sources = ('train',)", "a function, like @single_source"),
    ("adam.weight_decay = None", _NUMBER),
    ("adam.weight_decay = '1e-4'", _NUMBER),
    ("adam.beta_1 = True", _NUMBER),
    ("adam.epsilon = (1e-7,)", _NUMBER),
    ("constant_schedule.learning_rate = '3e-4'", _NUMBER),
    ("constant_schedule.learning_rate = None", _NUMBER),
    ("constant_schedule.learning_rate = 1e999", _NUMBER),
    ("SigmoidCrossEntropy.unknown_weight = '0'", _NUMBER),
    ("SigmoidCrossEntropy.label_smoothing = None", _NUMBER),
    ("resnet.depths = 3", "a list of whole numbers"),
    ("resnet.depths = '34'", "a list of whole numbers"),
    ("resnet.depths = (1, 1.5)", "a list of whole numbers"),
    ("resnet.width = 8.0", _WHOLE),
    ("resnet.bottleneck = 'False'", _TRUTH),
    ("resnet.first_stride = True", _WHOLE),
    ("resnet.batch_norm_momentum = '0.9'", _NUMBER),
    ("resnet.synchronized_batch_norm = 1", _TRUTH),
    ("resnet.input_mean = None", _NUMBER),
    ("FrontEnd.num_bands = 64.0", _WHOLE),
    ("FrontEnd.offset = '0.01'", _NUMBER),
    ("FrontEnd.upper_hz = None", _NUMBER),
    ("train_patches.exact_shares = 'False'", _TRUTH),
    ("train_patches.patches_per_clip = 2.0", _WHOLE),
    ("train_patches.features_on_device = 1", _TRUTH),
    ("Augmentation.gain_db = '3'", _NUMBER),
    ("Augmentation.gain_db = True", _NUMBER),
    ("Augmentation.time_masks = True", _WHOLE),
    ("Augmentation.mixup_domain = None", _STRING),
    ("weak_strong_mixture.mu = '0.5'", _NUMBER),
    ("weak_strong_mixture.mu = True", _NUMBER),
    ("weak_strong_mixture.weak_datasets = 'train'", "a list of strings"),
    ("weak_strong_mixture.strong_datasets = (1, 2)", "a list of strings"),
    ("weak_strong_mixture.policy = None", _STRING),
    ("weak_strong_mixture.balanced = 'no'", _TRUTH),
    ("weak_strong_mixture.strong_video_fraction = None", _NUMBER),
    # Of the right type, but out of range.
    ("adam.weight_decay = -1.0", "must not be negative"),
    ("adam.beta_2 = 1.0", "[0, 1)"),
    ("adam.epsilon = 0.0", "positive"),
    ("constant_schedule.learning_rate = -1.0", "finite, at least 0"),
    ("SigmoidCrossEntropy.unknown_weight = 2.0", "[0, 1]"),
    ("SigmoidCrossEntropy.label_smoothing = 1.0", "[0, 1)"),
    ("resnet.depths = ()", "positive depths"),
    ("resnet.width = 0", "positive depths, width"),
    ("resnet.batch_norm_momentum = 1.5", "[0, 1)"),
    ("resnet.input_scale = 0.0", "must not be zero"),
    ("train.batch_size = -4", "at least 1"),
    ("train.ema_decay = 0.0", "(0, 1)"),
    ("weak_strong_mixture.mu = 1.5", "[0, 1]"),
    ("weak_strong_mixture.policy = 'wide'", "must be one of weak, diffuse, strong"),
    ("weak_strong_mixture.strong_video_fraction = 0.0", "(0, 1]"),
    ("Augmentation.mixup_alpha = -0.5", "[0, 1e+06]"),
]


@pytest.mark.parametrize(("binding", "right"), _WRONG)
def test_a_wrong_value_is_one_line_with_binding_value_and_what_is_right(binding, right):
    with pytest.raises(errors.InputError) as caught:
        run_with(*_MIXTURE, binding)
    message = str(caught.value)
    name, _, value = binding.partition(" = ")
    shown = value if "@" in value else repr(ast.literal_eval(value))
    assert (name if not right.startswith("positive depths") else "resnet needs") in message
    assert shown in message
    assert right in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("binding", "right"),
    [
        ("single_source.datasets = 'train'", "a list of strings"),
        ("single_source.datasets = ('a', 3)", "a list of strings"),
        ("single_source.mask_unlabelled_classes = 'no'", _TRUTH),
        ("single_source.video_fraction = '1'", _NUMBER),
        ("single_source.policy = 3", _STRING),
    ],
)
def test_a_wrong_value_of_a_single_source_is_one_line_too(binding, right):
    with pytest.raises(errors.InputError) as caught:
        run_with(*_SINGLE, binding)
    assert str(caught.value).startswith(binding.partition(" =")[0])
    assert str(caught.value).endswith(f"must be {right}")


@pytest.mark.parametrize(
    ("name", "bindings"),
    [
        ("warmup_cosine", ["warmup_cosine.learning_rate = '3e-4'"]),
        ("warmup_cosine", ["warmup_cosine.warmup_share = None"]),
        ("warmup_cosine", ["warmup_cosine.final_share = 2.0"]),
        ("step_schedule", ["step_schedule.boundaries = 0.5"]),
        ("step_schedule", ["step_schedule.boundaries = ('a',)"]),
        ("step_schedule", ["step_schedule.factor = 'ten'"]),
        ("step_schedule", ["step_schedule.learning_rate = True"]),
    ],
)
def test_a_wrong_value_of_a_schedule_is_one_line_too(name, bindings):
    with pytest.raises(errors.InputError, match=bindings[0].partition(" =")[0]) as caught:
        run_with(*_MIXTURE, f"train.learning_rate = @{name}", *bindings)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("binding", "right"),
    [
        ("evaluate_workdirs.batch_size = True", _WHOLE),
        ("evaluate_workdirs.cache_clips = '10'", _WHOLE),
        ("evaluate_workdirs.ema = 'no'", _TRUTH),
        ("evaluate_workdirs.run_once = 1", _TRUTH),
        ("evaluate_workdirs.timeout_s = '60'", "a number or None"),
        ("evaluate_workdirs.save_scores = True", "a string in quotes or None"),
        ("evaluate_workdirs.plot_classes = '/m/09x0r'", "a list of strings"),
        ("evaluate_workdirs.eval_sets = 'data/eval'", "a dict from strings to strings or lists"),
        ("evaluate_workdirs.eval_sets = {'a': 3}", "a dict from strings to strings or lists"),
        ("evaluate_workdirs.checkpoint = 7", "a string in quotes or None"),
        ("select.metric = 5", _STRING),
        ("select.metric = None", _STRING),
    ],
)
def test_a_wrong_value_for_evaluation_is_one_line_too(binding, right):
    with pytest.raises(errors.InputError) as caught:
        evaluated_with(binding)
    assert str(caught.value).startswith(binding.partition(" =")[0])
    assert f"must be {right}" in str(caught.value)


@pytest.mark.parametrize(
    "binding", ["train.seed = [", "train.seed = 'a", "train.seed = ", "= 3", "train = 3", "x", "@"]
)
def test_text_that_is_no_binding_is_one_line(binding):
    with pytest.raises(errors.InputError) as caught:
        run_with(*_MIXTURE, binding)
    assert binding.split(" ")[0] in str(caught.value)
    assert "\n" not in str(caught.value)


def test_values_behind_macros_and_scopes_are_checked_too():
    with pytest.raises(errors.InputError, match=r"train\.seed = 'one': must be a whole number"):
        run_with(*_MIXTURE, "SEED = 'one'", "train.seed = %SEED")
    with pytest.raises(errors.InputError, match=r"slow/adam\.beta_1 = 'x': must be a number"):
        run_with(*_MIXTURE, "train.optimizer = @slow/adam", "slow/adam.beta_1 = 'x'")


def test_right_values_pass():
    run_with(
        *_MIXTURE,
        "RATE = 1",  # a whole number is a number
        "train.learning_rate = @fast/warmup_cosine",
        "fast/warmup_cosine.learning_rate = %RATE",
        "train.clip_norm = None",
        "resnet.depths = [1]",
        "resnet.width = 2",
        "weak_strong_mixture.mu = 1",
        "train.optimizer = @adam",
        "train.loss = @SigmoidCrossEntropy",
    )
