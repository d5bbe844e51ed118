"""Archives of every kind, written by the libraries that users have; the bytes of each member."""

import contextlib
import functools
import gzip
import io
import os
import pickle
import sys
import tarfile
import zipfile

import numpy as np
import pyarrow as pa
import pytest
import soundfile
from pyarrow import parquet

from audioset_strong.audio import decoding, finding, naming, readers
from audioset_strong.audio.archives import catalogues, members
from audioset_strong.core import errors
from tests.archives import packed_hdf5, packed_panns, packed_parquet, packed_tar, packed_zip
from tests.audio_files import melody, write
from tests.optional import needs_tensorflow_io


@pytest.fixture(scope="module")
def contents():
    """Name -> bytes: some that compress, some that do not, one that is empty, one of 1 byte."""
    rng = np.random.default_rng(0)
    made = {f"clip{i:02d}.flac": rng.bytes(int(rng.integers(2, 250_000))) for i in range(12)}
    made |= {
        f"dull{i:02d}.flac": bytes(rng.integers(0, 3, 30_000 * i + 1, np.uint8)) for i in range(8)
    }
    return {"none.flac": b""} | dict(sorted(made.items()))


def read_all(path, **arguments):
    """(the catalogue, name -> bytes of each member), each read as a worker does."""
    found = catalogues.catalogue(str(path), **arguments)
    read = {}
    for row, name in enumerate(found.names):
        member = members.MemberPath(f"{path}/{name}", str(path), found.places, row)
        read[name] = catalogues.read(pickle.loads(pickle.dumps(member)))
    return found, read


@pytest.mark.parametrize("pages", ["1.0", "2.0"])
@pytest.mark.parametrize("codec", ["none", "snappy", "zstd"])
@pytest.mark.parametrize(
    "layout",
    [
        {"use_dictionary": True},  # as Hugging Face writes
        {
            "use_dictionary": False,
            "row_group_size": 7,
            "write_batch_size": 1,
            "data_page_size": 9000,
        },
        {"use_dictionary": True, "write_batch_size": 2, "dictionary_pagesize_limit": 300_000},
    ],
    ids=["one page", "a page a row", "dictionary that is given up"],
)
def test_parquet_gives_the_bytes_whatever_its_pages(contents, tmp_path, pages, codec, layout):
    path = tmp_path / "x.parquet"
    packed_parquet(path, contents, data_page_version=pages, compression=codec, **layout)
    found, read = read_all(path)
    assert read == contents
    by_offset = {members.STORED, members.SNAPPY}
    assert set(found.places[:, 0].tolist()) <= by_offset | (
        {members.PARQUET_ROW} if codec == "zstd" else set()
    )
    assert len(found.problems) == (codec == "zstd")  # told once: each clip takes a row group


def snappy_literal(content):
    """Bytes as they are, as an element of a Snappy stream."""
    size = len(content) - 1
    if size < 60:
        return bytes([size << 2]) + content
    width = (size.bit_length() + 7) // 8
    return bytes([(59 + width) << 2]) + size.to_bytes(width, "little") + content


def test_snappy_whose_parts_refer_to_each_other_is_read_by_row_groups(tmp_path):
    """The format allows it. No writer at hand does it, so the stream in a file is replaced."""
    rng = np.random.default_rng(0)
    content = bytearray(rng.bytes(70_000))
    copied = slice(65_600, 65_664)
    content[copied] = content[65_100:65_164]  # on both sides of the boundary at 65,536
    schema = pa.schema([("id", pa.string()), pa.field("audio", pa.binary(), nullable=False)])
    rows = [{"id": "a.wav", "audio": bytes(content)}]
    options = {"use_dictionary": False, "compression": {"id": "none", "audio": "snappy"}}
    parquet.write_table(pa.Table.from_pylist(rows, schema), tmp_path / "x.parquet", **options)
    page = len(content).to_bytes(4, "little") + bytes(content)
    usual = pa.compress(page, codec="snappy", asbytes=True)
    begin = copied.start + 4
    back = bytes([63 << 2 | 2]) + (500).to_bytes(2, "little")  # 64 bytes from 500 bytes before
    head = usual[:3] + snappy_literal(page[:65_536]) + snappy_literal(page[65_536:begin]) + back
    singles = 0  # of one byte each, so that the streams are of one length
    while True:
        rest = begin + 64 + singles
        stream = head + b"".join(snappy_literal(page[i : i + 1]) for i in range(begin + 64, rest))
        stream += snappy_literal(page[rest:])
        if len(stream) >= len(usual):
            break
        singles += 1
    assert pa.decompress(stream, len(page), codec="snappy", asbytes=True) == page
    assert len(stream) == len(usual)
    whole = (tmp_path / "x.parquet").read_bytes()
    assert whole.count(usual) == 1
    (tmp_path / "x.parquet").write_bytes(whole.replace(usual, stream))
    found, read = read_all(tmp_path / "x.parquet")
    assert read == {"a.wav": bytes(content)}
    assert found.places[0, 0] == members.PARQUET_ROW
    assert "Snappy in parts that need each other" in found.problems[0]


@pytest.mark.parametrize("damage", ["the names", "the size of a page"])
def test_a_damaged_row_group_costs_its_rows_alone(tmp_path, damage):
    contents = {f"a{i}.wav": bytes([i]) * 3000 for i in range(6)}
    path = packed_parquet(tmp_path / "x.parquet", contents, row_group_size=2, compression="none")
    group = parquet.ParquetFile(path).metadata.row_group(1)
    columns = {group.column(i).path_in_schema: group.column(i) for i in range(group.num_columns)}
    data = bytearray(path.read_bytes())
    if damage == "the names":
        chunk = columns["video_id"]
        begin = chunk.dictionary_page_offset
        data[begin : begin + chunk.total_compressed_size] = b"\xff" * chunk.total_compressed_size
    else:
        begin = columns["audio.bytes"].dictionary_page_offset
        # Thrift's numbers of fields are those of the ones before: type, size, size as stored.
        assert data[begin] == data[begin + 2] == 0x15
        data[begin + 3] |= 1  # negative
    path.write_bytes(data)
    found = catalogues.catalogue(str(path))
    read = {}
    for row, name in enumerate(found.names):
        with contextlib.suppress(members.DamagedMemberError):
            read[name] = catalogues.read(members.MemberPath("x", str(path), found.places, row))
    assert read == {name: contents[name] for name in ("a0.wav", "a1.wav", "a4.wav", "a5.wav")}
    (problem,) = found.problems
    assert ("row group 1 is damaged" in problem) == (damage == "the names")


def test_parquet_with_rows_that_have_no_audio(contents, tmp_path):
    rows = [
        {"id": "a", "sound": b"abc"},
        {"id": None, "sound": b"nameless"},
        {"id": "b", "sound": None},
        {"id": "c.wav", "sound": b"defg"},
    ]
    parquet.write_table(pa.Table.from_pylist(rows), tmp_path / "x.parquet")
    assert read_all(tmp_path / "x.parquet")[1] == {"a": b"abc", "c.wav": b"defg"}
    parquet.write_table(pa.Table.from_pylist(rows), tmp_path / "z.parquet", compression="zstd")
    found = catalogues.catalogue(str(tmp_path / "z.parquet"))
    missing = members.MemberPath("z/b", str(tmp_path / "z.parquet"), found.places, 1)
    with pytest.raises(members.DamagedMemberError, match="there is no audio in row 2"):
        catalogues.read(missing)


@pytest.mark.parametrize("layout", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT])
def test_tar_of_every_format(contents, tmp_path, layout):
    long = {f"./{'folder/' * 12}Müller {name}": content for name, content in contents.items()}
    packed_tar(tmp_path / "x.tar", long, format=layout)
    want = {name.removeprefix("./"): content for name, content in long.items()}
    assert read_all(tmp_path / "x.tar")[1] == want


def test_links_in_a_tar_are_told(tmp_path):
    (tmp_path / "a.wav").write_bytes(b"abc")
    (tmp_path / "b.wav").hardlink_to(tmp_path / "a.wav")
    (tmp_path / "c.wav").symlink_to("a.wav")
    (tmp_path / "notes.txt").symlink_to("a.wav")
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        for name in ("a.wav", "b.wav", "c.wav", "notes.txt"):
            tar.add(tmp_path / name, name)
    found, read = read_all(tmp_path / "x.tar")
    assert read == {"a.wav": b"abc"}
    assert found.problems == ["2 links, such as b.wav, are left out: not followed"]


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_zip_stored_and_deflated(contents, tmp_path, method):
    packed_zip(
        tmp_path / "x.zip", {f"train/{name}": content for name, content in contents.items()}, method
    )
    read = read_all(tmp_path / "x.zip")[1]
    assert read == {f"train/{name}": content for name, content in contents.items()}


def test_remote_archives_are_read_in_the_same_way(contents, tmp_path):
    packed_tar(tmp_path / "x.tar", contents)
    packed_zip(tmp_path / "x.zip", contents)
    packed_parquet(tmp_path / "x.parquet", contents)
    for name in ("x.tar", "x.zip", "x.parquet"):
        assert read_all(f"file://{tmp_path}/{name}")[1] == contents


def test_hdf5_of_passt_and_of_panns(contents, tmp_path):
    pytest.importorskip("h5py", reason="needs the extra hdf5")
    sounds = {f"00/Y{name}": content for name, content in contents.items() if content}
    targets = np.random.default_rng(0).random((len(sounds), 527)) < 0.01
    packed_hdf5(tmp_path / "passt.hdf", sounds, targets)
    found, read = read_all(tmp_path / "passt.hdf", labels=True)
    assert read == sounds
    want = [tuple(map(str, np.flatnonzero(row))) or None for row in targets]
    assert (found.labels, found.classes) == (want, (521, 528))

    waveforms = np.random.default_rng(1).integers(-32768, 32768, (3, 32_000), np.int16)
    packed_panns(tmp_path / "panns.h5", ["Ya.wav", "", "Yb.wav"], waveforms, 32_000)
    _, read = read_all(tmp_path / "panns.h5")
    assert sorted(read) == ["Ya.wav", "Yb.wav"]  # the second one could not be downloaded
    samples, rate = soundfile.read(io.BytesIO(read["Yb.wav"]), dtype="int16")
    assert rate == 32_000
    np.testing.assert_array_equal(samples, waveforms[2])
    packed_panns(tmp_path / "unknown.h5", ["Ya.wav"], waveforms[:1], None)
    with pytest.raises(errors.InputError, match="set the attribute sample_rate"):
        catalogues.catalogue(str(tmp_path / "unknown.h5"))
    packed_panns(tmp_path / "few.h5", ["Ya.wav", "Yb.wav"], waveforms[:2], 32_000, targets[:1])
    with pytest.raises(errors.InputError, match=r"audio_name 2, waveform 2, target 1\)$"):
        catalogues.catalogue(str(tmp_path / "few.h5"), labels=True)


def test_labels_of_each_kind_of_json():
    for text, want in {
        '{"labels": ["/m/a", "/m/b", "/m/a"]}': ("/m/a", "/m/b"),
        '{"labels": "/m/a,/m/b"}': ("/m/a", "/m/b"),
        '{"tag": ["Male speech, man speaking"]}': ("Male speech, man speaking",),
        '{"text": "x", "original_data": {"class_labels": ["/m/a"]}}': ("/m/a",),
        '{"tag": []}': None,
        '{"labels": [3, 5]}': None,  # of which list of classes?
        "[]": None,
        "{": None,
    }.items():
        assert members.labels_in_json(text.encode()) == want, text


def test_labels_lie_before_or_behind_the_audio(tmp_path):
    entries = {
        "a.json": b'{"tag": ["A"]}',
        "a.wav": b"1",
        "d/b.wav": b"2",
        "d/b.json": b'{"tag": ["B"]}',
        "c.wav": b"3",
    }
    packed_tar(tmp_path / "x.tar", entries)
    packed_zip(tmp_path / "x.zip", entries)
    for name in ("x.tar", "x.zip"):
        found = catalogues.catalogue(str(tmp_path / name), labels=True)
        assert dict(zip(found.names, found.labels, strict=True)) == {
            "a.wav": ("A",),
            "d/b.wav": ("B",),
            "c.wav": None,
        }


def test_a_damaged_header_of_a_tar_costs_its_member(contents, tmp_path):
    path = tmp_path / "x.tar"
    packed_tar(path, contents)
    intact = catalogues.catalogue(str(path))
    data = bytearray(path.read_bytes())
    header = int(intact.places[5, 1]) - tarfile.BLOCKSIZE
    data[header : header + 100] = b"\xff" * 100
    path.write_bytes(data)
    found, read = read_all(path)
    lost = intact.names[5]
    assert read == {name: content for name, content in contents.items() if name != lost}
    assert len(found.problems) == 1
    assert f"damaged behind {intact.names[4]}" in found.problems[0]


def test_joined_tars_are_read_to_the_end(contents, tmp_path):
    names = list(contents)
    for i, part in enumerate((names[:9], names[9:])):
        packed_tar(tmp_path / f"{i}.tar", {name: contents[name] for name in part})
    joined = (tmp_path / "0.tar").read_bytes() + (tmp_path / "1.tar").read_bytes()
    (tmp_path / "x.tar").write_bytes(joined)
    found, read = read_all(tmp_path / "x.tar")
    assert (read, found.problems) == (contents, [])


@pytest.mark.parametrize("where", ["in a member", "between two members", "in a header"])
def test_a_tar_that_is_cut_off_says_what_is_lost(contents, tmp_path, where):
    path = tmp_path / "x.tar"
    packed_tar(path, contents)
    found = catalogues.catalogue(str(path))
    begin, size = found.places[7, 1:3].tolist()
    padded = -(-size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
    cut = {"in a member": 100, "between two members": padded, "in a header": padded + 100}[where]
    with open(path, "r+b") as file:
        file.truncate(begin + cut)
    cut_off = catalogues.catalogue(str(path))
    assert cut_off.names == found.names[:8]
    name = found.names[7]
    if where == "in a member":
        assert f"cut off after 100 of the {size} bytes of {name}" in cut_off.problems[0]
        member = members.MemberPath("x", str(path), cut_off.places, 7)
        with pytest.raises(members.DamagedMemberError, match="the archive ends after 100 of"):
            catalogues.read(member)
    else:
        assert f"it may be cut off behind {name}" in cut_off.problems[0]


def test_a_zip_without_its_end_gives_what_is_whole(contents, tmp_path):
    path = tmp_path / "x.zip"
    packed_zip(path, contents)
    found = catalogues.catalogue(str(path))
    with open(path, "r+b") as file:
        file.truncate(int(found.places[9, 1]) + 40)
    cut_off, read = read_all(path)
    assert read == {name: contents[name] for name in found.names[:9]}
    assert f"9 were found from its beginning, the last one {found.names[8]}" in cut_off.problems[0]


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_damaged_member_of_a_zip_is_refused(contents, tmp_path, method):
    path = tmp_path / "x.zip"
    packed_zip(path, contents, method)
    found = catalogues.catalogue(str(path))
    row = found.names.index("clip03.flac")
    data = bytearray(path.read_bytes())
    data[int(found.places[row, 1]) + 200] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(members.DamagedMemberError, match="damaged in the zip file"):
        catalogues.read(members.MemberPath("x", str(path), found.places, row))


@pytest.mark.parametrize("suffix", [".parquet", ".tar", ".zip", ".h5", ".tar.gz", ".tgz"])
def test_a_file_that_is_no_archive_is_refused_in_one_line(tmp_path, suffix):
    if suffix == ".h5":
        pytest.importorskip("h5py", reason="needs the extra hdf5")
    path = tmp_path / f"x{suffix}"
    compressed = suffix in (".tar.gz", ".tgz")
    path.write_bytes(gzip.compress(b"a" * 2000) if compressed else b"no archive" * 200)
    with pytest.raises(
        errors.InputError, match="with gzip as a whole" if compressed else "not a"
    ) as raised:
        finding.AudioIndex([str(path)])
    assert "\n" not in str(raised.value)
    assert str(raised.value).startswith(f"{path}: ")


def test_hdf5_without_h5py_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "h5py", None)
    (tmp_path / "x.h5").touch()
    with pytest.raises(errors.InputError, match="pip install 'h5py"):
        finding.AudioIndex([str(tmp_path)])


def test_folders_globs_and_archives_are_mixed_and_follow_one_rule_of_names(tmp_path):
    def named(*names):
        return {name: name.encode() for name in names}

    for name, content in named("loose/a_0.wav", "loose/._b.wav").items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
    packed_tar(
        tmp_path / "deep" / "x.tar", named("s/Yb_30_40.flac", "s/._c.flac", "a_0.flac", "notes.txt")
    )
    packed_zip(tmp_path / "x.zip", named("c 1.opus", "__MACOSX/._c.opus"))
    packed_parquet(tmp_path / "x.parquet", named("d.flac"))
    parquet.write_table(pa.table({"score": [1.0]}), tmp_path / "deep" / "scores.parquet")
    (tmp_path / "deep" / "other.tar.gz").write_bytes(gzip.compress(b""))
    index = finding.AudioIndex(
        [f"{tmp_path}/loose", f"{tmp_path}/deep", f"{tmp_path}/*.zip", f"{tmp_path}/x.parquet"]
    )
    assert len(index) == 4
    for clip, name, by_start in (
        (("a", 0, 10), "loose/a_0.wav", True),
        (("b", 30_000, 40_000), "deep/x.tar/s/Yb_30_40.flac", True),
        (("c_1", 0, 10), "x.zip/c 1.opus", False),
        (("d", 5000, 6000), "x.parquet/d.flac", False),
    ):
        assert index.find(*clip) == (f"{tmp_path}/{name}", by_start)
    assert index.find("c", 0, 10) is None
    with pytest.raises(errors.InputError, match=r"scores\.parquet: there is no audio in it"):
        finding.AudioIndex([f"{tmp_path}/deep/*.parquet"])
    by_path = finding.AudioIndex([f"{tmp_path}/deep"], "s/Y{ytid}_{start_s:.0f}_{end_s:.0f}.flac")
    assert by_path.find("b", 30_000, 40_000) == (f"{tmp_path}/deep/x.tar/s/Yb_30_40.flac", True)
    assert by_path.find("a", 0, 10_000) is None


def test_places_that_overlap_are_listed_once(tmp_path, monkeypatch, caplog):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "x_0.wav").touch()
    packed_tar(tmp_path / "a" / "y.tar", {"y_0.wav": b""})
    index = finding.AudioIndex(["a", f"{tmp_path}/a/b", "./a/y.tar", "a/*.tar"])
    assert len(index) == 2
    assert caplog.text == ""
    packed_tar(tmp_path / "z.tar", {"x_0.wav": b""})
    finding.AudioIndex(["a", "z.tar"])
    assert "1 audio files are ignored, because others have the same name: z.tar/x_0" in caplog.text


def test_the_list_of_a_large_archive_is_kept_and_made_again_when_the_archive_changed(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(catalogues, "_KEPT_FROM", 3)
    path, kept_in = tmp_path / "x.tar", tmp_path / "kept"
    entries = {f"clip{i}.wav": bytes([i]) for i in range(4)} | {"clip0.json": b'{"tag": ["A"]}'}
    packed_tar(path, entries)
    listed = functools.partial(catalogues.catalogue, str(path), kept_in=str(kept_in))
    first = listed()
    assert len(os.listdir(kept_in)) == 1
    monkeypatch.setitem(catalogues._KINDS, ".tar", None)  # whoever lists it again fails
    again = listed()
    assert again.names == first.names
    np.testing.assert_array_equal(again.places, first.places)
    monkeypatch.undo()
    monkeypatch.setattr(catalogues, "_KEPT_FROM", 3)
    assert listed(labels=True).labels == [("A",), None, None, None]
    assert listed(labels=True).labels == [("A",), None, None, None]
    packed_tar(path, {"other.wav": b"1234"} | entries)
    assert listed().names == ["other.wav", *first.names]
    (kept,) = kept_in.iterdir()
    kept.write_bytes(kept.read_bytes()[:-20])
    assert listed().names == ["other.wav", *first.names]
    packed_tar(tmp_path / "small.tar", {"a.wav": b"1"})
    catalogues.catalogue(str(tmp_path / "small.tar"), kept_in=str(kept_in))
    assert len(os.listdir(kept_in)) == 1


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".mp3", ".ogg", ".opus", ".m4a", ".webm"])
@pytest.mark.parametrize(
    "decoder",
    [decoding.LIBSNDFILE, pytest.param(decoding.TENSORFLOW_IO, marks=needs_tensorflow_io)],
)
def test_members_are_decoded_as_loose_files_are(tmp_path, suffix, decoder):
    rate = 48_000 if suffix in (".opus", ".webm") else 44_100
    loose = write(tmp_path / f"a{suffix}", melody(3, rate, 7), rate)
    packed_tar(tmp_path / "x.tar", {loose.name: loose.read_bytes()})
    member, _ = finding.AudioIndex([str(tmp_path / "x.tar")]).find("a", 0, 10)
    assert isinstance(member, members.MemberPath)
    for start_s in (0.0, 1.5):
        decode = functools.partial(decoding.load, start_s=start_s, duration_s=1.0, decoder=decoder)
        np.testing.assert_array_equal(decode(member), decode(str(loose)))
    assert readers.AudioFile(member).exact_s == readers.AudioFile(str(loose)).exact_s


def test_the_clip_of_a_name_is_the_one_that_is_found_under_it():
    for stem, want in {
        "--4gqARaEJE": ("--4gqARaEJE", None, None),
        "Y--4gqARaEJE": ("--4gqARaEJE", None, None),
        "abc_4567_90": ("abc_4567_90", None, None),  # eleven letters are an id
        "Yabcdefghijk_30.000_40.000": ("abcdefghijk", 30_000, 40_000),
        "abcdefghijk_30000": ("abcdefghijk", 30_000, None),
        "abcdefghijk_30": ("abcdefghijk", 30_000, None),
        "my dog_7.5": ("my_dog", 7500, None),
        "dog": ("dog", None, None),
    }.items():
        assert naming.clip_of(stem) == want


def test_names_that_are_not_utf8_are_kept(tmp_path, monkeypatch):

    monkeypatch.setattr(catalogues, "_KEPT_FROM", 1)
    name = os.fsdecode(b"M\xfcller.wav")
    with tarfile.open(tmp_path / "x.tar", "w", errors="surrogateescape") as tar:
        info = tarfile.TarInfo(name)
        info.size = 3
        tar.addfile(info, io.BytesIO(b"abc"))
    for _ in range(2):
        found = catalogues.catalogue(str(tmp_path / "x.tar"), kept_in=str(tmp_path / "kept"))
        assert found.names == [name]
