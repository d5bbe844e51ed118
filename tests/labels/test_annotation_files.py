"""Each format of annotations is read as its own programs write it; what is wrong is named."""

import json

import pytest

from audioset_strong.core import choices, errors
from audioset_strong.labels import annotation_files
from audioset_strong.labels.annotation_files import ReadOptions
from tests import label_studio

_RAVEN = "Selection\tView\tChannel\tBegin Time (s)\tEnd Time (s)\tLow Freq (Hz)\tHigh Freq (Hz)"


def _read(path, content, *, format=None, **options):
    text = content if isinstance(content, str) else json.dumps(content)
    path.write_text(text, encoding="utf-8")
    return annotation_files.read(str(path), ReadOptions(**options), format=format)


def _labels(annotation):
    columns = annotation.labels[["start_ms", "end_ms", "name"]]
    return list(columns.itertuples(index=False, name=None))


def test_an_audacity_track_is_complete(tmp_path):
    text = "0.500000\t2.718809\tDog bark\r\n\\\t200.000000\t4000.000000\r\n3.0\t12.25\tSpeech  \r\n"
    (found,) = _read(tmp_path / "a.txt", text).annotations
    assert _labels(found) == [(500, 2719, "Dog bark"), (3000, 12250, "Speech")]
    assert (found.recording, found.looked_for, found.complete) == (None, None, True)
    for text in ("", "\n"):
        (found,) = _read(tmp_path / "a.txt", text).annotations
        assert len(found.labels) == 0
        assert list(found.labels.columns) == ["start_ms", "end_ms", "name", "where"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("1.0\t2.0", r"a.txt, line 2: '1.0\\t2.0' must be start, end, name"),
        ("1.0\t2.0\t ", "line 2: .* must be start, end, name"),
        ("1,0\t2,0\tBark", "line 2: '1,0' is not a time in seconds"),
        ("-1\t2\tBark", "line 2: '-1' is not a time"),
        ("nan\t2\tBark", "line 2: 'nan' is not a time"),
        (
            "2.0\t2.0\tBark",
            "line 2: 'Bark' must end after it starts: from 2.0 to 2.0 s; point labels",
        ),
    ],
)
def test_a_line_of_another_form_is_named(tmp_path, line, message):
    with pytest.raises(errors.InputError, match=message):
        _read(tmp_path / "a.txt", f"0.0\t1.0\tBark\n{line}\n")
    with pytest.raises(errors.InputError, match=r"missing.txt: cannot be read"):
        annotation_files.read(str(tmp_path / "missing.txt"), ReadOptions())


def test_a_dcase_table_is_of_many_recordings(tmp_path):
    """DESED lists recordings without an event, too; other columns are passed over."""
    text = (
        "filename\tonset\toffset\tevent_label\tscore\n"
        "Y-0X_30.000_40.000.wav\t2.585\t10.000\tRunning_water\t1\n"
        "audio/quiet.wav\t\t\t\n"
        "Y-0X_30.000_40.000.wav\t0\t0.25\tDog\t1\n"
    )
    water, quiet = _read(tmp_path / "a.tsv", text).annotations
    assert water.recording == "Y-0X_30.000_40.000.wav"
    assert _labels(water) == [(2585, 10_000, "Running_water"), (0, 250, "Dog")]
    assert (quiet.recording, _labels(quiet)) == ("quiet.wav", [])
    assert (water.looked_for, water.complete) == (None, False)
    assert water.labels["where"].tolist()[1].endswith("a.tsv, line 4")


def test_a_raven_table_repeats_its_selections_in_each_view(tmp_path):
    text = f"{_RAVEN}\tSpecies\n" + "".join(
        f"1\t{view} 1\t1\t0.178095911\t3.390418452\t1340.5\t2899.9\tNOCA\n"
        for view in ("Waveform", "Spectrogram")
    )
    (found,) = _read(tmp_path / "yard.Table.1.selections.txt", text).annotations
    assert set(_labels(found)) == {(178, 3390, "NOCA")}
    assert (found.recording, found.looked_for, found.complete) == (None, None, False)
    assert "yard" in annotation_files.recording_names("x/yard.Table.1.selections.txt")
    assert "yard" in annotation_files.recording_names("x/yard.selections.txt")
    (found,) = _read(tmp_path / "a.txt", text, label_column="View").annotations
    assert {name for *_, name in _labels(found)} == {"Waveform 1", "Spectrogram 1"}


def test_raven_s_times_are_those_in_the_file_that_a_selection_begins_in(tmp_path):
    header = f"{_RAVEN}\tAnnotation\tBegin Path\tFile Offset (s)\n"
    rows = (
        "1\tS\t1\t1.0\t2.5\t0\t9\tbark\tC:\\day\\one.wav\t1.0\n"
        "2\tS\t1\t61.0\t62.5\t0\t9\tbark\tC:\\day\\two.wav\t1.0\n"
    )
    one, two = _read(tmp_path / "a.txt", header + rows).annotations
    assert (one.recording, two.recording) == ("one.wav", "two.wav")
    assert _labels(one) == _labels(two) == [(1000, 2500, "bark")]
    header = f"{_RAVEN}\tAnnotation\tBegin File\n"
    rows = rows.replace("\t1.0\n", "\n")
    with pytest.raises(errors.InputError, match="several recordings need the column 'File Offset"):
        _read(tmp_path / "a.txt", header + rows)
    header = f"{_RAVEN}\tAnnotation\tBegin File\tEnd File\n"
    with pytest.raises(errors.InputError, match=r"line 2: .* another file, 'two.wav'; split it"):
        _read(tmp_path / "a.txt", f"{header}1\tS\t1\t1\t2\t0\t9\tbark\tone.wav\ttwo.wav\n")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"{_RAVEN}\n1\tS\t1\t0\t1\t0\t9\n", "line 1: name the column of the class with --label_c"),
        (f"{_RAVEN}\tSpecies\n1\tS\t1\t0\t1\t0\t9\t\n", "line 2: '' is not the name of a class"),
        (f"{_RAVEN}\tSpecies\n1\tS\t1\t0\t1\t0\t9\ta\tb\n", "line 2: 9 columns, but .* names 8"),
        (f"{_RAVEN}\tSpecies\n1\tS\t1\tx\t1\t0\t9\ta\n", "line 2: 'x' is not a time"),
        ("filename\tonset\toffset\tevent_label\n\t1\t2\ta\n", "line 2: no filename"),
        ("filename\tonset\toffset\tevent_label\na.wav\t1\t\ta\n", "line 2: '' is not a time"),
        ("filename\tonset\toffset\tevent_label\na.wav\t1\t2\t\n", "line 2: '' is not the name"),
        ("segment_id\tstart_time_seconds\tend_time_seconds\tlabel\n", "AudioSet's own format"),
        ("[1, 2", "line 1: not JSON"),
        ('{"a": 1}', "neither JAMS nor an export of Label Studio"),
        ('[{"audio": "a.wav", "label": []}]', "task 1: no data and annotations; .* not as JSON-M"),
    ],
)
def test_what_is_wrong_with_a_table_is_named(tmp_path, text, message):
    with pytest.raises(errors.InputError, match=message):
        _read(tmp_path / "a.txt", text)


def test_the_format_that_is_given_holds(tmp_path):
    track = "0.5\t1.5\tbark\n"
    assert _read(tmp_path / "a.txt", track, format=choices.AUDACITY).annotations[0].complete
    for format, message in (
        (choices.DCASE, "line 1: no column 'filename'; it has 0.5, 1.5, bark"),
        (choices.RAVEN, "line 1: no column 'begin time"),
        (choices.JAMS, "line 1: not JSON"),
        (choices.LABEL_STUDIO, "line 1: not JSON"),
    ):
        with pytest.raises(errors.InputError, match=message):
            _read(tmp_path / "a.txt", track, format=format)
    for name in ("a.tsv", "a.json"):
        with pytest.raises(errors.InputError, match="empty file"):
            _read(tmp_path / name, "")


def _observation(time, duration, **value):
    return {"time": time, "duration": duration, "value": value, "confidence": 1.0}


def _jams(namespace="scaper", data=None, **sandbox):
    """A file as Scaper writes it; its first versions call the namespace "sound_event"."""
    if data is None:
        data = [
            _observation(0.0, 10.0, label="park", role="background", snr=0),
            _observation(5.0, 0.6875056689342404, label="car_horn", role="foreground", snr=20),
        ]
    annotation = {"namespace": namespace, "data": data, "time": 0, "duration": 10.0}
    annotation |= {"annotation_metadata": {}, "sandbox": sandbox}
    file = {"file_metadata": {"duration": 10.0, "jams_version": "0.3.4"}, "sandbox": {}}
    return file | {"annotations": [annotation]}


@pytest.mark.parametrize("namespace", ["scaper", "sound_event"])
def test_scaper_knows_which_of_its_classes_are_absent(tmp_path, namespace):
    jams = _jams(namespace, scaper={"fg_labels": ["car_horn", "siren"], "bg_labels": ["park"]})
    read = _read(tmp_path / "a.jams", jams)
    (found,) = read.annotations
    assert _labels(found) == [(5000, 5688, "car_horn")]
    assert (found.looked_for, found.complete) == (frozenset({"car_horn", "siren"}), False)
    assert read.left_out == {"background sounds": 1}


def test_a_class_of_the_background_is_not_absent(tmp_path):
    """The list of classes may come from the same bank of sounds as the background."""
    data = [
        _observation(0.0, 10.0, label=" cafe\u0301", role="background", snr=0),
        _observation(5.0, 1.0, label="siren", role="foreground", snr=20),
    ]
    jams = _jams(data=data, scaper={"fg_labels": ["caf\u00e9", "siren", "horn"]})
    (found,) = _read(tmp_path / "a.jams", jams).annotations
    assert found.looked_for == {"siren", "horn"}


def test_one_class_is_one_however_json_writes_its_accents(tmp_path):
    data = [_observation(0.0, 1.0, label="cafe\u0301"), _observation(2.0, 1.0, label="caf\u00e9")]
    (found,) = _read(tmp_path / "a.jams", _jams(data=data)).annotations  # ASCII, with escapes
    assert _labels(found) == [(0, 1000, "caf\u00e9"), (2000, 3000, "caf\u00e9")]


def test_labels_of_two_recordings_of_one_name_are_not_mixed(tmp_path):
    head = "filename\tonset\toffset\tevent_label\n"
    same = "home\\a.wav\t0\t1\tDog\nhome/a.wav\t2\t3\tDog\n"
    (found,) = _read(tmp_path / "a.tsv", head + same).annotations
    assert len(found.labels) == 2
    other = "home/a.wav\t0\t1\tDog\nstreet/a.wav\t2\t3\tCar\n"
    with pytest.raises(errors.InputError, match=r"line 3: 'street/a\.wav' has the file name of 'h"):
        _read(tmp_path / "a.tsv", head + other)
    raven = f"{_RAVEN}\tAnnotation\tBegin Path\tFile Offset (s)\n" + "".join(
        f"1\tS\t1\t1.0\t2.5\t0\t9\tbark\t/{day}/one.wav\t1.0\n" for day in ("mon", "tue")
    )
    with pytest.raises(errors.InputError, match=r"line 3: '/tue/one\.wav' has the file name of '"):
        _read(tmp_path / "a.txt", raven)


@pytest.mark.parametrize("column", ["", "\tBegin Path"])
def test_birdnet_s_row_of_no_call_is_no_class(tmp_path, column):
    header = f"{_RAVEN}\tCommon Name\tSpecies Code{column}\n"
    row = "1\tSpectrogram 1\t1\t0\t3.0\t150\t15000\tnocall\tnocall"
    row += "\t/a/yard.wav" if column else ""
    (found,) = _read(tmp_path / "yard.BirdNET.selection.table.txt", f"{header}{row}\n").annotations
    assert _labels(found) == []


def test_raven_s_running_time_is_not_taken_for_that_of_a_file(tmp_path):
    row = "1\tS\t1\t61.0\t62.5\t0\t9\tbark"
    header = f"{_RAVEN}\tAnnotation\tBegin File\tFile Offset (s)\n"
    with pytest.raises(errors.InputError, match=r"line 2: begin time .* must be seconds"):
        _read(tmp_path / "a.txt", f"{header}{row}\ttwo.wav\t\n")
    header = f"{_RAVEN}\tAnnotation\tFile Offset (s)\n"
    with pytest.raises(errors.InputError, match="line 2: which file is it in"):
        _read(tmp_path / "a.txt", f"{header}{row}\t1.0\n")
    (found,) = _read(tmp_path / "a.txt", f"{header}{row}\t61.0\n").annotations
    assert _labels(found) == [(61_000, 62_500, "bark")]


@pytest.mark.parametrize("sandbox", [{}, {"scaper": None}, {"scaper": [1]}, {"scaper": {}}])
def test_a_jams_file_without_a_list_of_classes_says_nothing_of_absence(tmp_path, sandbox):
    (found,) = _read(tmp_path / "a.jams", _jams(**sandbox)).annotations
    assert found.looked_for is None


def test_tags_of_jams_say_nothing_of_other_classes(tmp_path):
    rows = [{"time": 1.0, "duration": 2.0, "value": "bark", "confidence": None}]
    columns = {"time": [1.0], "duration": [2.0], "value": ["bark"], "confidence": [None]}
    for data in (rows, columns):
        jams = _jams("tag_open", data)
        jams["annotations"].append({"namespace": "beat", "data": [{}, {}]})
        read = _read(tmp_path / "a.jams", jams)
        assert _labels(read.annotations[0]) == [(1000, 3000, "bark")]
        assert read.annotations[0].looked_for is None
        assert read.left_out == {"observations of namespace 'beat'": 2}


@pytest.mark.parametrize(
    ("jams", "message"),
    [
        (_jams("beat"), "no annotation of sounds"),
        (_jams(data=[_observation(0, 1, role="foreground")]), "annotation 1, observation 1: None"),
        (_jams(data=[{"time": 0, "value": {"label": "a"}}]), "observation 1: 'duration' is missin"),
        (_jams(data=[_observation(0, 0, label="a")]), "observation 1: 'a' must end after it start"),
        (_jams(data="x"), "annotation 1: its data is no list"),
        (_jams(data={"time": [1], "value": []}), "annotation 1: the lists of its data differ"),
    ],
)
def test_what_is_wrong_with_a_jams_file_is_named(tmp_path, jams, message):
    with pytest.raises(errors.InputError, match=message):
        _read(tmp_path / "a.jams", jams)
    both = _jams()
    both["annotations"] *= 2
    with pytest.raises(errors.InputError, match="annotations 1 and 2 are both of sounds; keep one"):
        _read(tmp_path / "a.jams", both)


def _audio(name, **data):
    return {"audio": f"/data/local-files/?d=audio/{name}", **data}


def test_an_export_of_label_studio_tells_who_looked_for_what(tmp_path):
    classes = [{"value": "Bark"}, {"value": "Door bell"}]
    bark = label_studio.region("Bark", 1.0, 2.5004)
    tasks = [
        label_studio.task(
            1,
            _audio("yard.wav", classes=classes),
            label_studio.annotation(bark, label_studio.choice("noisy")),
        ),
        label_studio.task(2, _audio("hall.wav"), label_studio.annotation(skipped=True)),
        label_studio.task(3, _audio("lawn.wav")),
        label_studio.task(4, _audio("my%20lane.wav"), label_studio.annotation()),
    ]
    read = _read(tmp_path / "a.json", tasks)
    yard, lane = read.annotations
    assert (yard.recording, _labels(yard)) == ("yard.wav", [(1000, 2500, "Bark")])
    assert (yard.looked_for, yard.complete) == (frozenset({"Bark", "Door bell"}), False)
    assert (lane.recording, _labels(lane), lane.looked_for) == ("my lane.wav", [], None)
    assert read.left_out == {
        "results of type 'choices'": 1,
        "skipped annotations": 1,
        "tasks that nobody annotated": 1,
    }


@pytest.mark.parametrize(
    ("data", "name"),
    [
        ({"audio": "/data/upload/3/d3adbeef-yard.wav"}, "yard.wav"),
        ({"audio": "s3://bucket/day%201/yard.wav"}, "yard.wav"),
        ({"sound": "https://host/yard.wav?token=1", "length": 3}, "yard.wav"),
        ({"audio": "C:\\sounds\\d3adbeef-yard.wav", "note": "windy"}, "d3adbeef-yard.wav"),
    ],
)
def test_the_recording_of_a_task_is_its_audio(tmp_path, data, name):
    tasks = [label_studio.task(1, data, label_studio.annotation())]
    assert _read(tmp_path / "a.json", tasks).annotations[0].recording == name


def test_two_annotators_are_not_mixed(tmp_path):
    annotations = [
        label_studio.annotation(label_studio.region("Bark", 1, 2), by=1),
        label_studio.annotation(
            label_studio.region("Bark", 1, 3), by={"id": 2, "email": "b@example.com"}
        ),
    ]
    tasks = [label_studio.task(7, _audio("yard.wav"), *annotations)]
    with pytest.raises(errors.InputError, match=r"task 7: 2 annotations \(of 1, b@example.com\)"):
        _read(tmp_path / "a.json", tasks)
    for annotator, end_ms in (("1", 2000), ("2", 3000), ("b@example.com", 3000)):
        read = _read(tmp_path / "a.json", tasks, annotator=annotator)
        assert _labels(read.annotations[0]) == [(1000, end_ms, "Bark")]
        assert read.left_out == {"annotations of others": 1}
    assert _read(tmp_path / "a.json", tasks, annotator="c").annotations == ()


@pytest.mark.parametrize(
    ("data", "result", "message"),
    [
        (_audio("a.wav"), label_studio.region("", 1, 2), "task 5, region abc: '' is not the name"),
        (_audio("a.wav"), label_studio.region("a", None, 2), "region abc: None is not a time"),
        (_audio("a.wav"), {"type": "labels", "value": {}}, "the region has no label"),
        (_audio("a.wav"), {"value": {}}, "'type' is missing"),
        ({"left": "a.wav", "right": "b.wav"}, label_studio.choice("x"), "name its audio 'audio'"),
        (_audio("a.wav", classes="Bark"), label_studio.choice("x"), "'classes' in its data is no"),
    ],
)
def test_what_is_wrong_with_a_task_is_named(tmp_path, data, result, message):
    tasks = [label_studio.task(5, data, label_studio.annotation(result))]
    with pytest.raises(errors.InputError, match=message):
        _read(tmp_path / "a.json", tasks)
