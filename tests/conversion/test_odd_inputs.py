"""Names, labels and files that people have and no clean corpus has: nothing goes in silence."""

import csv
import os
import pathlib
import shutil
import subprocess
import sys

import pytest

from audioset_strong.conversion import converter
from audioset_strong.core import errors
from audioset_strong.records import dataset_info, inspection, shard_reading
from tests.audio_files import lag, melody, write
from tests.datasets import conversion_request

RATE = 16_000
_ROOT = pathlib.Path(__file__).resolve().parents[2]


def convert(folder, weak, strong=None, **changes):
    """Converts folder/audio; returns (info, clips by id, manifest rows by id)."""
    (folder / "classes.csv").write_text("mid,display_name\n/m/0a,A\n/m/0b,B\n")
    files = [folder / f"weak{i}.csv" for i in range(len(weak))]
    for path, text in zip(files, weak, strict=True):
        path.write_text(text)
    strong_tsvs = ()
    if strong:
        (folder / "strong.tsv").write_text(strong)
        strong_tsvs = (str(folder / "strong.tsv"),)
    request = {
        "audio_dirs": (str(folder / "audio"),),
        "class_labels": (str(folder / "classes.csv"),),
        "output_dir": str(folder / "data"),
        "name": "d",
        "weak_csvs": tuple(map(str, files)),
        "strong_tsvs": strong_tsvs,
        "num_shards": 1,
        "num_workers": 1,
    }
    (info,) = converter.convert(conversion_request(**(request | changes)))
    directory = folder / "data" / "d"
    (shard,) = info.shard_paths(str(directory))
    clips = {clip.clip_id: clip for clip in shard_reading.read_clips(shard, info.encoding)}
    with open(directory / "manifest.csv", newline="", encoding="utf-8") as file:
        return info, clips, {row["clip_id"]: row for row in csv.DictReader(file)}


@pytest.mark.parametrize("other", ["dog_10", "dog_10_20"])
def test_a_recording_is_not_taken_for_a_clip_of_another(tmp_path, other):
    for name in ("dog", other):
        write(tmp_path / "audio" / f"{name}.wav", melody(30, RATE), RATE)
    weak = f'dog, 10.000, 20.000, "/m/0a"\n{other}, 0.000, 10.000, "/m/0b"\n'
    message = rf"{other}.wav: rename it, .* the clip of dog at 10"
    with pytest.raises(errors.InputError, match=message):
        convert(tmp_path, [weak])
    assert not (tmp_path / "data").exists()


def test_a_clip_has_one_end(tmp_path):
    write(tmp_path / "audio" / "dog.wav", melody(30, RATE), RATE)
    weak = ['dog, 0.000, 10.000, "/m/0a"\n', 'dog, 0.000, 9.000, "/m/0b"\n']
    message = r"clip dog_0 ends at 10 s in .*weak0.csv and at 9 s in .*weak1.csv: it must have one"
    with pytest.raises(errors.InputError, match=message):
        convert(tmp_path, weak)
    _, clips, _ = convert(tmp_path, [weak[0], weak[0].replace("0a", "0b")])
    assert clips["dog_0"].weak_labels == (0, 1)


def test_segments_behind_the_end_of_the_audio_are_left_out_and_told(tmp_path):
    content = write(tmp_path / "whole.wav", melody(10, RATE), RATE).read_bytes()
    (tmp_path / "audio").mkdir()
    (tmp_path / "audio" / "dog_0.wav").write_bytes(content[: 44 + 2 * 4 * RATE])
    strong = "dog_0\t1.0\t2.0\t/m/0a\ndog_0\t3.0\t6.0\t/m/0a\ndog_0\t4.0\t5.0\t/m/0b\n"
    info, clips, rows = convert(tmp_path, ['dog, 0.000, 10.000, "/m/0a,/m/0b"\n'], strong)
    assert clips["dog_0"].segments == ((1000, 2000, 0), (3000, 6000, 0))
    assert rows["dog_0"]["reason"] == (
        "ends after 4.000 of 10 s (cut off: the header claims 320000 bytes of samples, there are "
        "128000); segments behind the end that are left out: 1"
    )
    assert inspection.verify(str(tmp_path / "data" / "d"), info) == []


def test_a_video_that_was_cut_off_is_not_taken_for_the_clip(tmp_path):
    content = write(tmp_path / "whole.wav", melody(60, RATE), RATE).read_bytes()
    (tmp_path / "audio").mkdir()
    (tmp_path / "audio" / "dog.wav").write_bytes(content[: 44 + 2 * 8 * RATE])
    write(tmp_path / "audio" / "cat.wav", melody(8, RATE), RATE)
    weak = 'dog, 30.000, 40.000, "/m/0a"\ncat, 30.000, 40.000, "/m/0a"\n'
    _, clips, rows = convert(tmp_path, [weak])
    assert set(clips) == {"cat_30000"}
    assert rows["dog_30000"]["status"] == "undecodable"
    assert rows["dog_30000"]["reason"].endswith("it may be the clip or the whole video")


def test_names_that_are_not_utf_8_or_not_in_one_form(tmp_path):
    folder = tmp_path / "audio" / os.fsdecode(b"M\xfcller")
    write(tmp_path / "made" / "dog_0.wav", melody(10, RATE), RATE)
    write(tmp_path / "made" / "zoe\u0308 one.m4a", melody(10, RATE, 1), RATE)
    (tmp_path / "audio").mkdir()
    (tmp_path / "made").rename(folder)
    shutil.copy(folder / "zoe\u0308 one.m4a", folder / "cat_0.m4a")
    (folder / "._dog_0.flac").write_bytes(bytes(100))
    weak = "".join(f'{ytid}, 0.000, 10.000, "/m/0a"\n' for ytid in ("dog", "zo\u00eb_one", "cat"))
    _, clips, rows = convert(tmp_path, [weak])
    assert {row["status"] for row in rows.values()} == {"written"}
    assert rows["dog_0"]["file"].endswith(r"audio/M\xfcller/dog_0.wav")
    assert lag(clips["zo\u00eb_one_0"].audio / 32768, melody(10, RATE, 1)) == 0
    assert lag(clips["cat_0"].audio / 32768, melody(10, RATE, 1)) == 0


def test_workers_use_the_code_of_their_parent(tmp_path):
    """The working directory holds another copy of the package, and that is broken."""
    write(tmp_path / "audio" / "dog_0.wav", melody(3, RATE), RATE)
    (tmp_path / "classes.csv").write_text("mid,display_name\n/m/0a,A\n")
    (tmp_path / "weak.csv").write_text('dog, 0.000, 10.000, "/m/0a"\n')
    other = tmp_path / "audioset_strong"
    for name in ("", "audio", "conversion", "core"):
        (other / name).mkdir(exist_ok=True)
        (other / name / "__init__.py").write_text("raise RuntimeError('the other copy')\n")
    code = (
        "import sys; sys.path[0] = sys.argv.pop(1)\n"
        "if __name__ == '__main__':\n"
        "    from audioset_strong.core import jobs\n"
        "    from audioset_strong.tools import convert\n"
        "    import subprocess\n"
        "    subprocess.run(jobs.tool_command('train', '--help'), stdout=subprocess.DEVNULL)\n"
        "    convert.run()\n"
    )
    flags = ["--audio_dir=audio", "--weak_csv=weak.csv", "--class_labels=classes.csv"]
    done = subprocess.run(
        [sys.executable, "-c", code, str(_ROOT), *flags, "--output_dir=data", "--name=d"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "the other copy" not in done.stderr
    assert dataset_info.DatasetInfo.load(str(tmp_path / "data" / "d")).statuses == {"written": 1}
