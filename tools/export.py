"""Exports a trained model: SavedModel, TensorFlow Lite, Keras file, model card.

Example:
  export.py --model=runs/plus_strong --output_dir=export/plus_strong

The SavedModel takes a waveform and returns scores, embeddings and log-mel, as YAMNet's does:

  model = tf.saved_model.load("export/plus_strong")
  scores, embeddings, log_mel = model(waveform)      # float32 [samples], 16 kHz by default
  class_map = model.class_map_path().numpy()         # CSV: index, mid, display_name
"""

from absl import flags

from audioset_strong.core import cli

_MODEL = cli.model_flags(exported=False)
_OUTPUT_DIR = flags.DEFINE_string("output_dir", None, "Directory of the files.", required=True)
_TFLITE = flags.DEFINE_bool("tflite", True, "Convert to TensorFlow Lite too.")


def main(argv: list[str]) -> None:
    """Exports, then lists what was written."""
    del argv
    from absl import logging

    from audioset_strong.inference import export

    logging.set_verbosity(logging.WARNING)  # TensorFlow logs every file and argument of a save

    model, ema = _MODEL()
    out = export.export(model, _OUTPUT_DIR.value, with_tflite=_TFLITE.value, ema=ema)
    for path in sorted(path for path in out.rglob("*") if path.is_file()):
        print(f"{path.stat().st_size:>12,}  {path}")


def run() -> None:
    """Entry point of the console script."""
    cli.run(main)


if __name__ == "__main__":
    run()
