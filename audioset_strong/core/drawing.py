"""How every figure begins and ends: without a window, and as a complete PNG file."""

import os

import matplotlib.figure
from matplotlib.backends import backend_agg

from audioset_strong.core import files


def new_figure(width: float, height: float) -> matplotlib.figure.Figure:
    """An empty figure that is drawn without a display.

    Args:
      width: in inches.
      height: in inches.
    """
    figure = matplotlib.figure.Figure(figsize=(width, height), layout="constrained")
    backend_agg.FigureCanvasAgg(figure)
    return figure


def save(figure: matplotlib.figure.Figure, path: str | os.PathLike[str]) -> None:
    """Writes a figure as a PNG of 130 dots an inch.

    Args:
      figure: of `new_figure`.
      path: of the file; a viewer never sees half of it.

    Raises:
      errors.InputError: the path cannot be written.
    """
    with files.writing(path), files.replacing(path) as file:
        figure.savefig(file, dpi=130, format="png")
