"""The values of options that have only a few; the flags of the tools offer them.

Nothing is imported here, so that a tool lists them in its `--help` at once. The modules that act on
an option take its values from here.
"""

# How several class lists become one vocabulary.
COMBINATIONS = UNION, INTERSECTION = ("union", "intersection")

# What makes a frame positive, see `labels.framing.frame_labels`.
FRAMING_RULES = RELEASED, PAPER = ("released", "paper")

# Which clips are converted: those of any metadata file, of a weak one, of a strong one, of both.
SELECTIONS = ALL, WEAK, STRONG, BOTH = ("all", "weak", "strong", "both")

# How the explicit and the complementary negatives of a class count, see `evaluation.eval_metrics`.
NEGATIVE_WEIGHTINGS = POOLED, EQUAL = ("pooled", "equal")

# What a record holds of a clip's audio.
ENCODINGS = PCM16, FLAC, LOG_MEL = ("pcm16", "flac", "log_mel")

# What decodes files of common formats; FFmpeg decodes the rest.
DECODERS = LIBSNDFILE, TENSORFLOW_IO = ("libsndfile", "tensorflow_io")

# Where a model is trained.
STRATEGIES = ONE_DEVICE, MIRRORED, MULTI_WORKER, TPU = (
    "one_device",
    "mirrored",
    "multi_worker",
    "tpu",
)

# Files of saved scores.
SCORE_FORMATS = NPZ, PARQUET = ("npz", "parquet")

# How the frame scores of a recording become one score of a class.
POOLINGS = MEAN, MAX = ("mean", "max")

# On which clips and classes event metrics are measured, see `evaluation.event_protocols`.
EVENT_PROTOCOLS = EVERY_EVENT, PRETRAINED_SED = ("every_event", "pretrained_sed")

# What pairs of labels are ranked by, see `analysis.label_statistics.odds_ratios`.
RANKINGS = ODDS_RATIO, LOWER_BOUND = ("odds_ratio", "lower_bound")
