"""Evaluated workdirs written by hand, so that a test knows every figure in them."""

import dataclasses
import json

import numpy as np
import pandas as pd

from audioset_strong.evaluation.measured_on import MeasuredOn
from audioset_strong.inputs.training_sources import Source
from audioset_strong.training.run_info import DatasetFacts
from tests import trained

SETS = ("weak_eval", "strong_eval")


def measured_on(clips=500, **facts):
    """An eval set, as data; equal for equal arguments."""
    dataset = DatasetFacts("data/eval", "eval", f"{clips:04d}", clips, split="all")
    given = {"fingerprint": f"{clips:04d}-{sorted(facts.items())}", "classes": 3} | facts
    shared = {"vocabulary": "abcd", "framing_rule": "released", "datasets": (dataset,)}
    return MeasuredOn(**{**shared, "clips": clips, **given})


def write_run(
    runs_dir, name, values, selected=None, mu=None, init_from=None, chosen=None, eval_set=None
):
    """A workdir with the results of two checkpoints.

    Args:
      runs_dir: the workdir's parent.
      name: of the workdir.
      values: "<set>/<metric>" -> value at step 20; at step 10 it is 0.5 less.
      selected: step in selection.json; None writes no such file.
      mu: share of strong examples in a mixture; None for a run without a mixture.
      init_from: what its weights started from; None for a run from scratch.
      chosen: more of selection.json, instead of a choice on held-out validation data.
      eval_set: what it was measured on, instead of `measured_on()`.
    """
    workdir = runs_dir / name
    (workdir / "eval" / "per_class").mkdir(parents=True)
    lines = ["step,set,metric,value"]
    for step, offset in ((10, -0.5), (20, 0.0)):
        for key, value in values.items():
            set_name, metric = key.split("/")
            lines += [
                f"{step},{set_name},{metric},{value + offset}",
                f"{step},{set_name},{metric}_low,{value + offset - 0.1}",
                f"{step},{set_name},{metric}_high,{value + offset + 0.2}",
            ]
        for set_name in SETS:
            table = pd.DataFrame(
                {
                    "mid": ["/m/a", "/m/b", "/m/c"],
                    "display_name": ["Bark", "Meow", "Never heard"],
                    "d_prime": [values.get("strong_eval/d_prime", 1.0), 0.5, np.nan],
                }
            )
            table.to_csv(workdir / "eval" / "per_class" / f"{set_name}-{step}.csv", index=False)
    (workdir / "eval" / "results.csv").write_text("\n".join(lines) + "\n")
    # As gin writes a macro: the value of mu cannot be read out of this text.
    binding = "weak_strong_mixture.mu = %MU" if mu is not None else "single_source.policy = 'weak'"
    (workdir / "config.gin").write_text(f"# Parameters:\n{binding}\n")
    dataclasses.replace(run_info(mu), init_from=init_from).write(str(workdir))
    if selected is not None:
        chosen = chosen or {"set": "strong_validation", "metric": "d_prime", "held_out": True}
        (workdir / "selection.json").write_text(json.dumps({"step": selected} | chosen))
    facts = {"eval": (eval_set or measured_on()).to_json()}
    (workdir / "eval" / "datasets.json").write_text(json.dumps(facts))


def run_info(mu=None):
    """The facts of a run on weak clips, mixed with a share `mu` of strong ones."""
    sources = [Source(("data/train_weak",), "weak", weight=1.0 if mu is None else 1.0 - mu)]
    if mu is not None:
        sources.append(Source(("data/train_strong",), "strong", weight=mu))
    return trained.run_info(sources=tuple(sources))
