"""What the tools of an experiment import, so that it can be imported once for all of them."""

# The modules of `train` and `evaluate`; they import TensorFlow, Keras and matplotlib.
PRELOAD = (
    "keras",
    "audioset_strong.configuration.training_bindings",
    "audioset_strong.evaluation.following",
)
