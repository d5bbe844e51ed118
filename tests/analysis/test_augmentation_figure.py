"""The picture of augmentation, through the binary, on a real dataset."""

import numpy as np
import PIL.Image
import pytest

from audioset_strong.analysis import augmentation_figure
from audioset_strong.audio.features import FrontEnd
from audioset_strong.core import errors
from audioset_strong.inputs.augmentation import Augmentation
from tests.datasets import make_clip, write_dataset


def test_the_binary_draws_each_augmentation_that_is_on(server, tmp_path):
    data = write_dataset(tmp_path / "data", [make_clip(i) for i in range(5)], 1)
    heights = []
    for names in ((), ("Augmentation.gain_db = 12", "Augmentation.mixup_alpha = 0.5")):
        output = tmp_path / f"{len(names)}.png"
        process = server.start(
            "plot_augmentation",
            f"--dataset={data}",
            f"--output={output}",
            "--gin_param=Augmentation.time_masks = 2",
            *(f"--gin_param={name}" for name in names),
        )
        assert process.wait() == 0, process.stderr
        picture = PIL.Image.open(output)
        heights.append(picture.height)
        assert np.asarray(picture.convert("L")).std() > 20
    # Two rows and four: unchanged, time masks; and gain and mixup besides.
    assert heights[1] == pytest.approx(2 * heights[0], rel=0.01)


def test_there_must_be_something_to_draw():
    with pytest.raises(errors.InputError, match="no augmentation is on"):
        augmentation_figure.draw([make_clip(0)], Augmentation())
    with pytest.raises(errors.InputError, match="no clip with audio"):
        augmentation_figure.draw([], Augmentation(gain_db=1.0))


def test_it_follows_the_front_end():
    front_end = FrontEnd(hop_samples=320, num_bands=32)
    masks = Augmentation(time_masks=1)
    figure = augmentation_figure.draw([make_clip(0)], masks, front_end=front_end)
    shapes = {image.get_array().shape for axis in figure.axes for image in axis.images}
    assert shapes == {(32, 48)}
    other = FrontEnd(sample_rate=8000, upper_hz=4000.0)
    with pytest.raises(errors.InputError, match=r"16000 Hz, but FrontEnd.sample_rate = 8000"):
        augmentation_figure.draw([make_clip(0)], masks, front_end=other)
