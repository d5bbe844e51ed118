"""Exports a trained model: SavedModel, TensorFlow Lite, Keras file, model card.

Example:
  export.py --model=runs/plus_strong --output_dir=export/plus_strong

The SavedModel takes a waveform and returns scores, embeddings and log-mel, as YAMNet's does:

  model = tf.saved_model.load("export/plus_strong")
  scores, embeddings, log_mel = model(waveform)      # float32 [samples] at 16 kHz
  class_map = model.class_map_path().numpy()         # CSV: index, mid, display_name
"""

from absl import flags

from audioset_strong.core import cli

_MODEL = flags.DEFINE_string(
    "model", None, "Checkpoint, or workdir with a selected one.", required=True
)
_OUTPUT_DIR = flags.DEFINE_string("output_dir", None, "Directory of the files.", required=True)
_EMA = flags.DEFINE_bool("ema", False, "Export the moving average of the weights.")
_TFLITE = flags.DEFINE_bool("tflite", True, "Convert to TensorFlow Lite too.")


def main(argv: list[str]) -> None:
    """Exports, then says what was written."""
    del argv
    from absl import logging

    from audioset_strong.inference import export

    logging.set_verbosity(logging.WARNING)  # TensorFlow tells every file and argument of a save

    out = export.export(_MODEL.value, _OUTPUT_DIR.value, _TFLITE.value, _EMA.value)
    for path in sorted(path for path in out.rglob("*") if path.is_file()):
        print(f"{path.stat().st_size:>12,}  {path}")


def run() -> None:
    """Entry point of the console script."""
    cli.run(main)


if __name__ == "__main__":
    run()
