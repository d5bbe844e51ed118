"""Chooses which clips to label, and writes the questions for annotators.

Examples:
  select_clips.py --dataset=data/train_weak --policy=strong --target=250 --output_dir=ask
  select_clips.py --dataset=data/train_weak --policy=negatives --scores=scores.parquet \\
      --per_class=100 --control_per_class=10 --output_dir=ask
  select_clips.py --dataset=data/train_weak --policy=uncertain --scores=scores.parquet \\
      --embeddings=embeddings.npz --num_clips=200 --output_dir=ask

  strong     as few clips as possible, so that --target clips with strong labels contain each class
             by their weak labels (section 3.1 of the paper); all sounds of a clip are to be marked
  negatives  for each class the clips that a model scores highest and that are not labelled with it
             (section 3.2), and a random control group; is the class in the clip?
  uncertain  the clips of which a model is least sure; with --embeddings such of them that differ

--output_dir gets questions.csv, the clips' audio, tasks for Label Studio with the model's events to
correct, and label tracks for Audacity. import_answers.py reads the answers back.
"""

from absl import flags

from audioset_strong.core import choices, cli, errors

_DATASET = cli.dataset_flag()
_OUTPUT_DIR = flags.DEFINE_string("output_dir", None, "Directory of the tasks.", required=True)
_POLICY = flags.DEFINE_enum(
    "policy", None, choices.SELECTION_POLICIES, "What the clips are chosen for.", required=True
)
_SCORES = flags.DEFINE_string(
    "scores", None, "Saved scores of a model on the dataset (npz or Parquet)."
)
_LOGITS = flags.DEFINE_bool("logits", False, "The scores are logits, though the file is silent.")
_EMBEDDINGS = flags.DEFINE_string(
    "embeddings", None, "npz of clip_ids and embeddings, one a clip; policy uncertain."
)
_TARGET = flags.DEFINE_integer(
    "target",
    None,
    "Clips with strong labels that each class is to reach; policy strong. By default the largest "
    "number that --num_clips reach, or 250 without them.",
)
_NUM_CLIPS = flags.DEFINE_integer(
    "num_clips", None, "Most clips to choose; policies strong and uncertain."
)
_PER_CLASS = flags.DEFINE_integer(
    "per_class", None, "Clips to ask about for each class; policy negatives, 100 by default."
)
_CONTROL_PER_CLASS = flags.DEFINE_integer(
    "control_per_class",
    None,
    "Random clips to ask about for each class; policy negatives, 10 by default.",
)
_QUESTIONS_PER_CLIP = flags.DEFINE_integer(
    "questions_per_clip", None, "Classes to ask about in each clip; policy uncertain, 3 by default."
)
_POOL = flags.DEFINE_integer(
    "pool",
    None,
    "Out of how many of the least sure clips those that differ are chosen; by default ten times "
    "--num_clips.",
)
_ASK = flags.DEFINE_enum(
    "ask",
    None,
    choices.ASKS,
    "Mark all sounds of a clip, or say whether it has a class; by default as the policy has it.",
)
_EARLIER = flags.DEFINE_multi_string(
    "earlier",
    [],
    "questions.csv of an earlier selection, which is not asked again and counts towards the "
    "target; may be repeated.",
)
_FORMATS = flags.DEFINE_list(
    "formats",
    None,
    "Comma-separated: label_studio, audacity. By default both, or label_studio for questions of "
    "presence. Empty for questions.csv alone, without audio.",
)
_AUDIO_URL = flags.DEFINE_string(
    "audio_url",
    None,
    "What stands before the names of audio files in Label Studio's tasks; by default where Label "
    "Studio serves local files, with --output_dir as its document root.",
)
_THRESHOLD = flags.DEFINE_float("threshold", 0.5, "From which score on the model finds an event.")
_SEED = flags.DEFINE_integer("seed", 0, "Decides among equal clips; draws the control group.")


def main(argv: list[str]) -> None:
    """Chooses, writes the tasks, and prints what came out."""
    del argv
    formats = _FORMATS.value
    for name in formats or ():
        if name not in choices.TASK_FORMATS:
            raise errors.InputError(
                f"--formats: {name!r} must be one of {', '.join(choices.TASK_FORMATS)}"
            )
    from audioset_strong.annotation import choosing, tasks

    chosen = choosing.choose(
        choosing.SelectionRequest(
            dataset=_DATASET.value,
            policy=_POLICY.value,
            ask=_ASK.value,
            target=_TARGET.value,
            num_clips=_NUM_CLIPS.value,
            per_class=_PER_CLASS.value,
            control_per_class=_CONTROL_PER_CLASS.value,
            questions_per_clip=_QUESTIONS_PER_CLIP.value,
            pool=_POOL.value,
            scores=_SCORES.value,
            logits=_LOGITS.value,
            embeddings=_EMBEDDINGS.value,
            earlier=tuple(_EARLIER.value),
            seed=_SEED.value,
        )
    )
    written = tasks.write(
        _OUTPUT_DIR.value,
        chosen,
        formats=formats,
        audio_url=_AUDIO_URL.value or tasks.AUDIO_URL,
        threshold=_THRESHOLD.value,
        seed=_SEED.value,
    )
    print(chosen.summary())
    print("\n".join(written))


def run() -> None:
    """Entry point of the console script."""
    cli.run(main)


if __name__ == "__main__":
    run()
