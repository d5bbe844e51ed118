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

# How much of the experiment the demo runs, see `experiments.demo.SIZES`.
DEMO_SIZES = SMALL, STANDARD, FULL = ("small", "standard", "full")

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

# The formats of annotations that are imported, see `labels.annotation_files`.
ANNOTATION_FORMATS = AUDACITY, DCASE, RAVEN, JAMS, LABEL_STUDIO = (
    "audacity",
    "dcase",
    "raven",
    "jams",
    "label_studio",
)

# What clips are chosen for, see `annotation.selection`.
SELECTION_POLICIES = FOR_STRONG, FOR_NEGATIVES, UNCERTAIN = ("strong", "negatives", "uncertain")

# What an annotator is asked about a clip: to mark all sounds, or whether it has one class.
ASKS = EVENTS, PRESENCE = ("events", "presence")

# How an annotator is asked, beside a table of questions.
TASK_FORMATS = TO_LABEL_STUDIO, TO_AUDACITY = ("label_studio", "audacity")
