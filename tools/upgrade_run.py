"""Makes a run or an export of the first version readable: writes its run.json.

Example:
  upgrade_run.py --workdir=runs/plus_strong

The first version kept the facts of a run in config.gin. They are read once and written to run.json,
as data; config.gin gets the present names of its bindings, and its old text is kept in
config_before_upgrade.gin. After that the run can be evaluated, used, exported and continued.
"""

from absl import flags

from audioset_strong.core import cli

_WORKDIR = flags.DEFINE_string(
    "workdir", None, "Directory of the run, or of the export.", required=True
)
_DATA_DIR = flags.DEFINE_string(
    "data_dir", None, "Directory of the run's datasets, if they were moved."
)


def main(argv: list[str]) -> None:
    """Upgrades, then says what was written and what the user should know."""
    del argv
    from audioset_strong.configuration import upgrading

    notes = upgrading.upgrade(_WORKDIR.value, data_dir=_DATA_DIR.value)
    print("\n".join([f"{_WORKDIR.value}: run.json is written.", *notes]))


def run() -> None:
    """Entry point of the console script."""
    cli.run(main)


if __name__ == "__main__":
    run()
