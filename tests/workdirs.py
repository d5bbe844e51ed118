"""Evaluated workdirs written by hand, so that a test knows every figure in them."""

import json

import numpy as np
import pandas as pd


def write_run(runs_dir, name, values, selected=None, mu=None):
    """A workdir with results of two checkpoints; `values` are those of step 20."""
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
        for set_name in ("weak_eval", "strong_eval"):
            table = pd.DataFrame(
                {
                    "mid": ["/m/a", "/m/b", "/m/c"],
                    "display_name": ["Bark", "Meow", "Never heard"],
                    "d_prime": [values["strong_eval/d_prime"], 0.5, np.nan],
                }
            )
            table.to_csv(workdir / "eval" / "per_class" / f"{set_name}-{step}.csv", index=False)
    (workdir / "eval" / "results.csv").write_text("\n".join(lines) + "\n")
    binding = (
        f"weak_strong_mixture.mu = {mu}\n" if mu is not None else "single_source.policy = 'weak'\n"
    )
    (workdir / "config.gin").write_text("# Parameters:\n" + binding)
    if selected is not None:
        (workdir / "selection.json").write_text(json.dumps({"step": selected}))
