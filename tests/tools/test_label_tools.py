"""The label tools as a user runs them, on a small corpus in the release's formats."""

import csv

import matplotlib.image
import numpy as np
import pandas as pd
import pytest
import soundfile

from tests.datasets import make_clip, write_dataset

WEAK = """\
# Segments csv
# num_ytids=4
# YTID, start_seconds, end_seconds, positive_labels
aaa, 30.000, 40.000, "/m/dog,/m/bark"
b_b, 0.000, 10.000, "/m/dog"
-cc, 0.000, 9.000, "/m/cat"
ddd, 5.000, 15.000, "/m/cat,/m/strange"
"""
STRONG = """\
segment_id\tstart_time_seconds\tend_time_seconds\tlabel
aaa_30000\t1.0\t3.0\t/m/bark
aaa_30000\t5.28\t5.76\t/m/dog
b_b_0\t0.0\t10.0\t/m/bark
-cc_0\t2.0\t2.001\t/m/meow
ddd_5000\t2.0\t4.0\t/m/meow
"""
CLASSES = "/m/dog\tDog\n/m/bark\tBark\n/m/cat\tCat\n/m/meow\tMeow\n"


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "weak.csv").write_text(WEAK)
    (tmp_path / "strong.tsv").write_text(STRONG)
    (tmp_path / "negatives.tsv").write_text("aaa_30000\t/m/cat,/m/meow\n")
    (tmp_path / "classes.tsv").write_text(CLASSES)
    return tmp_path


@pytest.fixture
def run(server, folder):
    def run(tool, *arguments, code=0):
        """Runs a tool on files of the folder, written as {name}; (its output, its complaints)."""
        filled = [argument.replace("@", f"{folder}/") for argument in arguments]
        process = server.start(tool, *filled)
        assert process.wait() == code, process.stderr
        return process.stdout, process.stderr

    return run


def refused(run, tool, *arguments):
    """The one line with which a tool refuses its arguments."""
    stdout, stderr = run(tool, *arguments, code=2)
    assert not stdout
    (line,) = stderr.splitlines()
    assert line.startswith("error: ")
    return line


def test_frame_labels_writes_the_release_s_format(run, folder):
    stdout, _ = run(
        "frame_labels",
        "--strong_tsv=@strong.tsv",
        "--negatives=@negatives.tsv",
        "--output=@out.tsv",
    )
    assert "out.tsv: 4 clips, 4 classes, 16 rows PRESENT, 54 NOT_PRESENT" in stdout
    lines = (folder / "out.tsv").read_text().splitlines()
    assert len(lines) == 1 + 70
    assert lines[0] == "segment_id\tstart_time_seconds\tend_time_seconds\tlabel\tpresent"
    assert lines[1] == "-cc_0\t0.0\t0.96\t/m/meow\tNOT_PRESENT"
    assert lines[3] == "-cc_0\t1.92\t2.88\t/m/meow\tPRESENT"
    keys = [(f[0], f[3], float(f[1])) for f in (line.split("\t") for line in lines[1:])]
    assert keys == sorted(keys)


def test_frame_labels_takes_other_frames_rules_and_clips(run, folder):
    (folder / "clips.txt").write_text("aaa_30000\nzzz_0\n")
    _, stderr = run(
        "frame_labels",
        "--strong_tsv=@strong.tsv",
        "--clip_list=@clips.txt",
        "--frame_ms=1000",
        "--hop_ms=500",
        "--rule=paper",
        "--positives_only",
        "--output=@out.tsv",
    )
    assert "clips of the list without a row: 1, the first zzz_0" in stderr
    assert (folder / "out.tsv").read_text().splitlines()[1:] == [
        *(f"aaa_30000\t{s}\t{s + 1}\t/m/bark\tPRESENT" for s in (0.5, 1.0, 1.5, 2.0, 2.5)),
        "aaa_30000\t5.0\t6.0\t/m/dog\tPRESENT",
        "aaa_30000\t5.5\t6.5\t/m/dog\tPRESENT",
    ]


def test_frame_labels_refuses_or_skips_bad_rows(run, folder):
    with open(folder / "strong.tsv", "a") as file:
        file.write("ddd_5000\t4.0\t2.0\t/m/meow\n")
    files = ("--strong_tsv=@strong.tsv", "--output=@out.tsv")
    line = refused(run, "frame_labels", *files)
    assert "strong.tsv, line 7: end_time_seconds 2.0 is not after start_time_seconds 4.0" in line
    assert not (folder / "out.tsv").exists()
    stdout, stderr = run("frame_labels", *files, "--skip_bad_rows")
    assert "4 clips" in stdout
    assert "strong.tsv, line 7: end_time_seconds 2.0 is not after" in stderr
    assert "strong.tsv: 1 bad rows skipped" in stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--output=@out.tsv"], "--strong_tsv must have a value"),
        (["--strong_tsv=@nowhere.tsv", "--output=@o"], "nowhere.tsv: cannot be read (No such file"),
        (["--strong_tsv=@weak.csv", "--output=@o"], "weak.csv, line 4: 'aaa, 30.000"),
        (["--strong_tsv=@strong.tsv", "--output=@no/o"], "no/o: cannot be written (No such file"),
        (
            ["--strong_tsv=@strong.tsv", "--output=@o", "--frame_ms=0"],
            "frame length 0 ms: must lie",
        ),
        (["--strong_tsv=@strong.tsv", "--output=@o", "--rule=mine"], "released|paper"),
        (
            ["--strong_tsv=@strong.tsv", "--strong_tsv=@./strong.tsv", "--output=@o"],
            "strong.tsv are the same file; give each file once",
        ),
    ],
)
def test_frame_labels_refuses_mistakes_in_one_line(run, arguments, message):
    assert message in refused(run, "frame_labels", *arguments)


def test_label_stats_writes_tables_and_figures_of_all_kinds(run, folder):
    with open(folder / "weak.csv", "a") as weak, open(folder / "strong.tsv", "a") as strong:
        for i in range(20):
            label, event = (("dog", "bark"), ("cat", "meow"))[i % 2]
            weak.write(f'x{i}, 0.000, 10.000, "/m/{label}"\n')
            strong.write(f"x{i}_0\t9.7\t9.9\t/m/{event}\n")  # in no frame
    run(
        "frame_labels", "--strong_tsv=@strong.tsv", "--negatives=@negatives.tsv", "--output=@framed"
    )
    stdout, stderr = run(
        "label_stats",
        "--weak_csv=@weak.csv",
        "--strong_tsv=@strong.tsv",
        "--framed_tsv=@framed",
        "--negatives=@negatives.tsv",
        "--class_labels=@classes.tsv",
        "--output_dir=@new/stats",
    )
    assert "in no class list: 1 label of 1 class: /m/strange (1)" in stderr
    out = folder / "new" / "stats"
    names = ("items_per_clip", "segment_durations", "classes", "priors", "odds_ratios_by_weak")
    drawn = {*names, "odds_ratios_by_strong"}
    written = {f"{n}.png" for n in drawn} | {f"{n}.csv" for n in drawn | {"summary", "odds_ratios"}}
    assert {path.name for path in out.iterdir()} == written
    assert {line for line in stdout.splitlines() if "/" in line} == {
        str(out / name) for name in written
    }
    for path in out.glob("*.png"):
        picture = matplotlib.image.imread(path)
        assert picture.shape[0] > 200
        assert picture[..., :3].std() > 0.02
    summary = pd.read_csv(out / "summary.csv", index_col="set")
    assert summary["items"].to_dict() == {
        "weak": 26,
        "strong": 25,
        "strong_segments": 25,
        "negatives": 2,
        "framed_present": 16,
        "framed_not_present": 54,
        "framed_negatives": 2,  # clips, not frames: the two of the list
    }
    classes = pd.read_csv(out / "classes.csv", index_col="mid")
    assert classes.loc["/m/bark", ["display_name", "weak", "strong"]].tolist() == ["Bark", 1, 12]
    assert classes.loc["/m/bark", "total_seconds"] == pytest.approx(2 + 10 + 10 * 0.2)
    assert np.isnan(classes.loc["/m/cat", "total_seconds"])
    ratios = pd.read_csv(out / "odds_ratios.csv")
    row = ratios[(ratios["weak_name"] == "Dog") & (ratios["strong_name"] == "Bark")].iloc[0]
    assert row[["both", "weak_only", "strong_only", "neither"]].tolist() == [12, 0, 0, 12]
    assert row["odds_ratio"] == pytest.approx(25**2)  # a half added to each count
    top = pd.read_csv(out / "odds_ratios_by_weak.csv")
    assert top[top["rank"] == 1].set_index("weak_name")["strong_name"].to_dict() == {
        "Dog": "Bark",
        "Bark": "Dog",
        "Cat": "Meow",
    }


def test_label_stats_counts_each_file_and_all_together_for_the_clips_asked_for(run, folder):
    (folder / "more.csv").write_text(
        'eee, 0.000, 10.000, "/m/cat"\naaa, 30.000, 40.000, "/m/cat"\n'
    )
    (folder / "clips.txt").write_text("aaa_30000\neee_0\n")
    run(
        "label_stats",
        "--weak_csv=@weak.csv",
        "--weak_csv=@more.csv",
        "--clip_list=@clips.txt",
        "--output_dir=@stats",
    )
    summary = pd.read_csv(folder / "stats" / "summary.csv", index_col="set")
    assert summary["items"].to_dict() == {"weak: weak.csv": 2, "weak: more.csv": 2, "weak": 4}
    assert summary["clips"].to_dict() == {"weak: weak.csv": 1, "weak: more.csv": 2, "weak": 2}
    assert not (folder / "stats" / "priors.csv").exists()


def test_label_stats_says_where_no_clip_has_both_kinds(run, folder):
    (folder / "other.tsv").write_text("zzz_0\t0.0\t1.0\t/m/dog\n")
    _, stderr = run(
        "label_stats", "--weak_csv=@weak.csv", "--strong_tsv=@other.tsv", "--output_dir=@stats"
    )
    assert "no clip has weak and strong labels: no priors and no odds ratios" in stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--output_dir=@s"], "no file to count: give --weak_csv, --strong_tsv"),
        (["--weak_csv=@weak.csv", "--output_dir=@weak.csv"], "cannot be written (File exists)"),
        (["--weak_csv=@weak.csv", "--output_dir=@s", "--top_k=0"], "top_k = 0: must be at least 1"),
        (["--weak_csv=@strong.tsv", "--output_dir=@s"], "strong.tsv, line 1: 'segment_id"),
        (["--weak_csv=@weak.csv", "--output_dir=@s", "--clip_list=@others"], "nothing to count"),
        (["--weak_csv=@weak.csv", "--output_dir=@s", "--ontology=@weak.csv"], "line 1: not JSON"),
        (["--weak_csv=@w", "--weak_csv=@w", "--output_dir=@s"], "w is given twice; give each file"),
    ],
)
def test_label_stats_refuses_mistakes_in_one_line(run, folder, arguments, message):
    (folder / "others").write_text("nobody_0\n")
    assert message in refused(run, "label_stats", *arguments)


def test_plot_clip_draws_a_clip_from_its_files(run, folder):
    soundfile.write(folder / "video.flac", np.sin(np.arange(44_100 * 50) / 9) / 2, 44_100)
    run(
        "plot_clip",
        "--audio=@video.flac",
        "--clip=aaa_30000",
        "--weak_csv=@weak.csv",
        "--strong_tsv=@strong.tsv",
        "--negatives=@negatives.tsv",
        "--class_labels=@classes.tsv",
        "--output=@clip.png",
    )
    picture = matplotlib.image.imread(folder / "clip.png")
    assert picture.shape[0] > 400
    assert picture[..., :3].std() > 0.1


def test_plot_clip_draws_a_clip_of_a_dataset(run, folder):
    clips = [make_clip(i) for i in range(3)]
    write_dataset(folder / "data", clips)
    run("plot_clip", "--dataset=@data", f"--clip={clips[1].clip_id}", "--output=@clip.png")
    assert matplotlib.image.imread(folder / "clip.png").shape[0] > 400


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give either --dataset, or --audio with metadata files"),
        (["--dataset=@x", "--audio=@y"], "give either --dataset, or --audio"),
        (["--dataset=@nowhere"], "nowhere: no converted dataset"),
        (["--audio=@a.wav"], "clip aaa_30000: in none of the metadata files given"),
        (["--audio=@none.wav", "--weak_csv=@weak.csv"], "none.wav: "),
        (["--audio=@weak.csv", "--weak_csv=@weak.csv"], "weak.csv: "),
        (["--audio=@a.wav", "--weak_csv=@weak.csv", "--output=@no/x.png"], "x.png: cannot be writ"),
        (["--audio=@a.wav", "--weak_csv=@weak.csv", "--clip=aaa"], "'aaa': must be YTID_STARTMS"),
    ],
)
def test_plot_clip_refuses_mistakes_in_one_line(run, folder, arguments, message):
    soundfile.write(folder / "a.wav", np.zeros(16_000), 16_000)
    line = refused(run, "plot_clip", "--clip=aaa_30000", "--output=@clip.png", *arguments)
    assert message in line
    assert not (folder / "clip.png").exists()


def test_the_csv_files_can_be_read_without_pandas(run, folder):
    run("label_stats", "--weak_csv=@weak.csv", "--output_dir=@stats")
    with open(folder / "stats" / "classes.csv", newline="") as file:
        rows = {row["mid"]: row for row in csv.DictReader(file)}
    assert rows["/m/dog"]["weak"] == "2"
    assert rows["/m/dog"]["display_name"] == "/m/dog"  # in no list of classes
