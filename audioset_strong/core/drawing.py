"""How every figure begins and ends: without a window, and as a whole PNG file."""

import pathlib

import matplotlib.figure
from matplotlib.backends import backend_agg


def new_figure(width: float, height: float) -> matplotlib.figure.Figure:
    """An empty figure, in inches, drawn without a display."""
    figure = matplotlib.figure.Figure(figsize=(width, height), layout="constrained")
    backend_agg.FigureCanvasAgg(figure)
    return figure


def save(figure: matplotlib.figure.Figure, path: pathlib.Path) -> None:
    """Writes a PNG, by rename, so that no viewer sees half of it."""
    temporary = path.with_name(path.name + ".tmp")
    figure.savefig(temporary, dpi=130, format="png")
    temporary.replace(path)
