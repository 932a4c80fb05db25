"""Data sets that somebody made to do harm: converted with rows in broken.csv or refused in one sentence, no more."""

import csv
import json
import math
import os
import re
import signal
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from ultralytics.data.utils import check_det_dataset
from ultralytics.utils import SETTINGS

from tests.annotations import GOOD, SOUND, H, W, coco, coco_folder, image, voc_with, xml
from ultralytics_diffattn.data import annotations as annotated
from ultralytics_diffattn.data import cleaning, coco_images, coco_json, voc
from ultralytics_diffattn.data.conversion import convert
from ultralytics_diffattn.errors import MissingFileError, UserError

pytestmark = pytest.mark.usefixtures("own_datasets_dir")

NAMES = [  # of classes and files
    "=HYPERLINK(1)",
    "<script>alert(1)</script>",
    "{{ 7*7 }}",
    "$\\frac{",
    "!!python/object/apply:os.system [id]",
    "x: 1\ndownload: evil",
    "- a # b",
    "null",
    "\x1b]0;title\x07",
    "\ud800",
    "\u2028download: evil",
    "../../../etc/passwd",
    "a" * 100_000,
    "💥" * 60,
]


def tree(folder):
    """Return what lies below a folder, but for what conversions may write."""
    entries = {}
    for directory, folders, files in os.walk(folder):
        if Path(directory) == Path(SETTINGS["datasets_dir"]):
            folders[:] = [f for f in folders if f != "diffattn"]
        for name in (*folders, *files):
            path = os.path.join(directory, name)
            stat = os.lstat(path)
            entries[path] = stat.st_mode, (stat.st_size, stat.st_mtime_ns) if name in files else None
    return entries


def hold(source, data_yaml, task="detect"):
    """Assert that a converted data set holds labels and links to images of its source, and return the broken rows."""
    data = yaml.safe_load(data_yaml.read_text(encoding="utf-8"))
    assert set(data) <= {"train", "val", "names", "kpt_shape", "flip_idx"}
    assert (data["train"], data["val"]) == ("images/train", "images/val")
    assert sorted(f.name for f in data_yaml.parent.iterdir()) == sorted(
        ["broken.csv", "counts.json", "data.yaml", "images", "labels"]
    )
    for split in ("train", "val"):
        images = list((data_yaml.parent / "images" / split).iterdir())
        assert images
        assert all(f.resolve().is_relative_to(source.resolve()) for f in images)
        labels = list((data_yaml.parent / "labels" / split).iterdir())
        assert {f.stem for f in labels} <= {f.stem for f in images}
        for row in (row for f in labels for row in f.read_text(encoding="ascii").splitlines()):
            label, *values = map(float, row.split())
            assert label in data["names"]
            values = values if task != "pose" else values[:4] + [v for i, v in enumerate(values[4:]) if i % 3 < 2]
            assert all(math.isfinite(v) and 0 <= v <= 1 for v in values), row
    with open(data_yaml.parent / "broken.csv", newline="", encoding="utf-8") as file:
        return [row["problem"] for row in csv.DictReader(file)]


@pytest.fixture
def harmless(tmp_path):
    """Return a function that converts, and asserts that nothing else changed and that the result is sound."""
    Path(SETTINGS["datasets_dir"]).mkdir()

    def converted(source, task="detect"):
        before = tree(tmp_path)
        try:
            return hold(source if source.is_dir() else source.parent.parent, convert(source, task), task)
        finally:
            assert tree(tmp_path) == before
            made = Path(SETTINGS["datasets_dir"], "diffattn")
            assert not made.exists() or not [f for f in made.iterdir() if f.name.startswith(".")]  # no draft

    return converted


def entities(*declared, content="&e;"):
    return xml([(content, GOOD)], head=f"<!DOCTYPE a [{''.join(declared)}]>")


def encoded(text, encoding):
    return f'<?xml version="1.0" encoding="{encoding}"?>{text}'.encode(encoding)


QUADRATIC = f'<!ENTITY e "{"x" * 50_000}">'
LAUGHS = "".join(f'<!ENTITY e{i} "{f"&e{i - 1};" * 10}">' for i in range(1, 11))
DEEP = "<a>" * 100_000 + "</a>" * 100_000


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (entities('<!ENTITY e0 "ha">', LAUGHS, content="&e10;"), "declares entities"),
        (entities(QUADRATIC, content="&e;" * 20_000), "declares entities"),
        (entities('<!ENTITY e "cat">'), "declares entities"),
        (entities('<!ENTITY e SYSTEM "file:///etc/passwd">'), "declares entities"),
        (entities('<!ENTITY e SYSTEM "http://127.0.0.1:9/">'), "declares entities"),
        (entities('<!ENTITY % p SYSTEM "file:///etc/passwd">%p;'), "declares entities"),
        (encoded(entities('<!ENTITY e "cat">'), "utf-16"), "declares entities"),
        (xml([("&e;", GOOD)], head='<!DOCTYPE a SYSTEM "file:///etc/passwd">'), "not readable as XML"),
        (xml([("cat", GOOD)], head='<!DOCTYPE annotation SYSTEM "http://127.0.0.1:9/a.dtd">'), None),
        (encoded(SOUND, "utf-16"), None),
        (encoded(SOUND, "utf-7"), "not readable as XML"),
        (SOUND.encode().replace(b"cat", b"c\0t"), "not readable as XML"),
        (SOUND.encode().replace(b"cat", b"c\xfft"), "not readable as XML"),
        (SOUND.replace("cat", "c" * 10_000_000), None),
        (SOUND.replace("<annotation>", f"<annotation b='{'c' * 10_000_000}'>"), None),
        (SOUND.replace("<filename>", f"{DEEP}<filename>"), None),
        (SOUND.replace("<object>", "<object><xi:include xmlns:xi='http://www.w3.org/2001/XInclude' href='/a'/>"), None),
    ],
    ids=lambda value: str(value)[:24] if isinstance(value, str) else None,
)
def test_xml(tmp_path, harmless, content, problem):
    root = voc_with(SOUND, tmp_path / "v")
    (root / "Annotations" / "x.xml").write_bytes(content if isinstance(content, bytes) else content.encode())
    problems = harmless(root)
    assert [problem in p for p in problems[:1]] == ([True] if problem else [])  # then that of its image and list
    assert not any("root:" in p for p in problems)


@pytest.mark.parametrize(
    "name", ["../../outside.jpg", "{outside}", "..\\..\\outside.jpg", "C:\\x.jpg", "\\\\host\\x.jpg"]
)
def test_names_in_xml_lead_nowhere(tmp_path, harmless, name):
    outside = image(tmp_path / "outside.jpg")
    text = xml([("cat", GOOD)], filename=name.format(outside=outside))
    text = text.replace("<filename>", f"<folder>{tmp_path}</folder><path>{outside}</path><filename>")
    root = voc_with(text, tmp_path / "v")
    (root / "JPEGImages" / "x.jpg").unlink()
    (root / "ImageSets" / "Main" / "train.txt").write_text(f"a\nx\n{outside}\n../../../outside\n")
    assert sorted(harmless(root)) == [
        f"image {Path(name.format(outside=outside).replace(chr(92), '/')).name} not found",
        "no readable annotation of that name",
        "no readable annotation of that name",
    ]


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("../../../../outside.jpg", "not found"),
        ("../../../outside.jpg", "not found"),
        ("images/train2017/../../../outside.jpg", "not found"),
        ("images/../../outside.jpg", "not found"),
        ("..\\..\\..\\outside.jpg", "not found"),
        ("{tmp}/outside.jpg", "not found"),
        ("{tmp}/c/../outside.jpg", "not found"),
        ("file://{tmp}/outside.jpg", "not found"),
        ("http://127.0.0.1:9/outside.jpg", "not found"),
        ("~/outside.jpg", "not found"),
        ("x" * 5000, "not found"),
        ("a\0.jpg", "not found"),
        ("\ud800.jpg", "not found"),
        (".", "not found"),
        ("/", "not found"),
        ("{tmp}/c/images/train2017/a.jpg", ""),
        ("../images/train2017/a.jpg", ""),
        ("somebody's/a.jpg", "not found as it is named; a.jpg is taken"),
        ("C:\\somebody's\\a.jpg", "not found as it is named; a.jpg is taken"),
        ("/somebody's/a.jpg", "not found as it is named; a.jpg is taken"),
        ("../../../a.jpg", "not found as it is named; a.jpg is taken"),
    ],
    ids=lambda value: ascii(value)[:40],
)
def test_names_in_json_lead_nowhere(tmp_path, harmless, name, problem):
    image(tmp_path / "outside.jpg")
    data = coco([{}, {"image_id": 8}], [("a.jpg", 7), ("b.jpg", 8)])
    root = coco_folder(tmp_path / "c", data)
    data["images"][0]["file_name"] = name.format(tmp=tmp_path)
    (root / "annotations" / "instances_train2017.json").write_text(json.dumps(data))
    problems = harmless(root)
    assert [p for p in problems if not p.endswith(problem or "nothing")] == []
    assert len(problems) == bool(problem)


def test_a_json_beside_the_root_of_the_file_system_opens_no_other_folder(monkeypatch, tmp_path):
    """All files are below /, the folder above /data."""
    secret = image(tmp_path / "secret.jpg")
    assert coco_images.find(str(secret), [Path("/data"), Path("/")]) is None
    assert coco_images.find(str(secret), [tmp_path, Path("/")]).path == secret


def test_links_of_the_source_are_followed(tmp_path):
    """Many data sets are farms of links; who unpacks a stranger's archive decides what its links show."""
    root = voc_with(SOUND, tmp_path / "v")
    real = image(tmp_path / "elsewhere" / "real.jpg")
    for stem, target in {"x": real, "a": "/etc/passwd"}.items():
        (root / "JPEGImages" / f"{stem}.jpg").unlink()
        (root / "JPEGImages" / f"{stem}.jpg").symlink_to(target)
    data_yaml = convert(root)
    assert [f.name for f in (data_yaml.parent / "images" / "train").iterdir()] == ["x.jpg"]
    assert (data_yaml.parent / "images" / "train" / "x.jpg").samefile(real)
    assert "image a.jpg not readable" in (data_yaml.parent / "broken.csv").read_text()


@pytest.mark.parametrize("name", NAMES, ids=lambda name: ascii(name)[:24])
def test_names_of_classes_stay_names(tmp_path, harmless, name):
    classes = [{"id": 5, "name": name}, {"id": 3, "name": "cat"}]
    val = coco([{"category_id": 3}], [("v.jpg", 7)], classes)
    root = coco_folder(tmp_path / "c", coco([{}], categories=classes), val)
    assert ("of an unknown category 5" in harmless(root)) is (name == "\ud800")
    names = check_det_dataset(str(convert(root)))["names"].values()
    assert len(names) == (1 if name == "\ud800" else 2)
    assert not any(re.search(r"[\x00-\x1f\x7f-\x9f\u2028\ud800-\udfff]", n) or len(n) > 200 for n in names)


@pytest.mark.parametrize("kind", ["voc", "coco"])
def test_the_name_of_a_folder_adds_no_key(tmp_path, harmless, kind):
    """Ultralytics executes what stands under `download:` in a data YAML."""
    parent = tmp_path / "x\ndownload: import os\u2028nc: 7\r#"
    root = voc_with(SOUND, parent) if kind == "voc" else coco_folder(parent, coco([{}]))
    harmless(root)


@pytest.mark.parametrize(
    "row",
    [{"keypoints": ["a", "b", "c"], "download": "x", "path": "/", "kpt_shape": "x"}, {"keypoints": [["left"]] * 3}],
    ids=str,
)
def test_a_json_adds_no_key(tmp_path, harmless, row):
    train = coco([{"keypoints": [10, 10, 2] * 3}], categories=[{"id": 5, "name": "dog", **row}]) | {"download": "x"}
    names = "person_keypoints_train2017.json", "person_keypoints_val2017.json"
    assert not harmless(coco_folder(tmp_path / "c", train, train | {"images": train["images"][:1]}, names), "pose")


def test_names_of_files(tmp_path, harmless):
    """One image and one label file for each, whatever it is called."""
    stems = ["a\nb", "A", "a", "con", "x" * 251, "é" * 120, "é" * 119 + "f", "a/b", "a_b", os.fsdecode(b"\xff")]
    stems += ["a.jpg", " ", "-rf", "%s", "'\"", "\x1b[2J"]
    root = tmp_path / "c"
    rows = [(f"{stem}.jpg", i) for i, stem in enumerate(stems)]
    rows += [("y" * 100 + "/" + "y" * 100 + "/" + "y" * 100 + end, 90 + i) for i, end in enumerate(("1.jpg", "2.jpg"))]
    assert not harmless(coco_folder(root, coco([{"image_id": i} for _, i in rows], rows)))
    made = convert(root).parent
    for kind in ("images", "labels"):
        assert len(list((made / kind / "train").iterdir())) == len(rows)


@pytest.mark.parametrize("kind", ["a broken link", "a folder", "a pipe", "a link to itself"])
@pytest.mark.parametrize("file", ["Annotations/x.xml", "JPEGImages/x.jpg"])
def test_what_is_no_file(tmp_path, harmless, file, kind):
    root = voc_with(SOUND, tmp_path / "v")
    not_a_file(root / file, kind)
    assert len(harmless(root)) >= 1


def not_a_file(path, kind):
    path.unlink()
    if kind == "a folder":
        path.mkdir()
    elif kind == "a pipe":
        signal.signal(signal.SIGALRM, signal.default_int_handler)
        signal.alarm(20)  # if somebody waits for it
        os.mkfifo(path)
    else:
        path.symlink_to(path if "itself" in kind else "nowhere")


@pytest.fixture(autouse=True)
def no_alarm():
    """Switch the alarm off."""
    yield
    signal.alarm(0)


@pytest.mark.parametrize("kind", ["a broken link", "a folder", "a pipe", "a link to itself"])
def test_what_is_no_json(tmp_path, harmless, kind):
    root = coco_folder(tmp_path / "c", coco([{}]))
    file = root / "annotations" / "instances_train2017.json"
    not_a_file(file, kind)
    with pytest.raises((UserError, MissingFileError)) as caught:
        harmless(root)
    assert str(file) in str(caught.value)


LIST = json.dumps(coco([{}]))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not readable as JSON"),
        (b"\0" * 100, "not readable as JSON"),
        (b"[]", "no COCO JSON"),
        (b"null", "no COCO JSON"),
        (LIST.encode().replace(b"dog", b"d\xffg"), "not readable as JSON"),
        (b"\xef\xbb\xbf" + LIST.encode(), None),
        (LIST.encode("utf-16"), None),
        ((LIST[:-1] + ', "images": []}').encode(), "usable images"),  # a key twice: the last one counts
        (LIST.replace("[8, 6, 32, 24]", "[8, 6, 1e400, 24]").encode(), None),
        (LIST.replace("[8, 6, 32, 24]", "[8, 6, 1e308, 1e308]").encode(), None),
        (LIST.replace("[8, 6, 32, 24]", "[-1e308, -1e308, 1.1e308, 1.1e308]").encode(), None),
        (LIST.replace("[8, 6, 32, 24]", "1" * 10_000).encode(), "not readable as JSON|usable"),
        (LIST.replace("[8, 6, 32, 24]", "[" * 100_000).encode(), "not readable as JSON"),
        (LIST.replace("48", "Infinity").encode(), None),
    ],
    ids=lambda value: ascii(value)[:24],
)
def test_json(tmp_path, harmless, content, message):
    root = coco_folder(tmp_path / "c", coco([{}]))
    (root / "annotations" / "instances_train2017.json").write_bytes(content)
    if message is None:
        harmless(root)
        return
    with pytest.raises((UserError, MissingFileError), match=message) as caught:
        harmless(root)
    assert str(root) in str(caught.value)


def nested(depth):
    value: list = []
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(("key", "field"), [("images", "id"), ("annotations", "id"), ("categories", "name")])
def test_values_that_are_too_deep_to_print(tmp_path, key, field):
    """Whatever a JSON may nest, a message about it must not."""
    data = coco([{}])
    data[key][0][field] = nested(100_000)
    rows = {"images": lambda: coco_json._annotated_images(Path("x.json"), data, {5: "dog"}, None)}
    rows |= {"annotations": rows["images"]}
    rows |= {"categories": lambda: coco_json._categories(Path("x.json"), data["categories"], {})}
    rows[key]()


RLE = {"size": [H, W]}


@pytest.mark.parametrize(
    "segmentation",
    [
        {"size": [10**9, 10**9], "counts": [10**18]},
        RLE | {"counts": [10**9, 10**9]},
        RLE | {"counts": [2**70]},
        RLE | {"counts": [-5, W * H + 5]},
        RLE | {"counts": [0.5]},
        RLE | {"counts": []},
        RLE | {"counts": None},
        RLE | {"counts": "PPYo0" * 1000},
        RLE | {"counts": "o" * 50},
        RLE | {"counts": "中"},
        {"size": ["48", None], "counts": "0"},
        {"counts": [1]},
        {},
        [[1, 2, 3, 4, 5]],
        [[1, 2, 3, 4, 5, "x"]],
        [[1, 2, 3, 4, 5, 1e400]],
        [[float("nan")] * 6],
        [{"a": 1}, None, "x", 3],
        "x",
        3,
        nested(500),
    ],
    ids=lambda value: str(value)[:40],
)
def test_outlines(tmp_path, harmless, segmentation):
    root = coco_folder(tmp_path / "c", coco([{"segmentation": segmentation}]))
    (problem,) = [p for p in harmless(root, "segment") if "its box stands for it" in p][:1]
    assert problem


def circle(corners, x):
    angles = np.linspace(0, 2 * np.pi, corners, endpoint=False)
    return np.stack([x + 10 * np.cos(angles), 24 + 10 * np.sin(angles)], 1).ravel().tolist()


def test_outlines_of_many_corners(tmp_path, harmless):
    """Ultralytics computes a distance for each pair of corners of two parts."""
    parts = [circle(5000, 16), circle(5000, 48)]
    root = coco_folder(tmp_path / "c", coco([{"segmentation": parts}, {"segmentation": parts[:1], "iscrowd": 0}]))
    tracemalloc.start()
    problems = harmless(root, "segment")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert any("outline of 5000 corners" in p for p in problems)
    assert peak < 200e6  # 400 MB for the distances, were they all taken


@pytest.mark.parametrize(
    "keypoints",
    [[1], [10, 10, 2] * 2, "abc", {"x": 1}, [[10, 10, 2]] * 3, [math.inf] * 9, [None] * 9, ["x"] * 9, nested(500)],
)
def test_keypoints(tmp_path, harmless, keypoints):
    sound = {"keypoints": [10, 10, 2] * 3}
    train = coco([sound, {"keypoints": keypoints, "bbox": [1, 1, 9, 9]}, sound | {"bbox": [1, 1, 30, 30]}])
    names = "person_keypoints_train2017.json", "person_keypoints_val2017.json"
    root = coco_folder(tmp_path / "c", train, coco([sound], [("v.jpg", 7)]), names)
    assert len(harmless(root, "pose")) >= 1


@pytest.mark.parametrize("value", [("x" * 4), "1234", {"1": 1, "2": 2, "3": 3, "4": 4}, {1, 2, 3, 4}])
def test_only_lists_are_numbers(value):
    assert annotated.numbers(value, 4) is None


# Fuzzing. `pytest --hypothesis-show-statistics` counts the outcomes.
FUZZ = settings(
    max_examples=500,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
NASTY = st.sampled_from([*NAMES[:-2], "", " ", "nan", "inf", "1e999", "-1", "0", "1_0", "٣", "0x10", "&e;", "]]>"])
NUMBERS = st.one_of(
    st.integers(-100, 100),
    st.floats(-100, 100),
    st.sampled_from([0, -0.0, 64, 48, 1e308, -1e308, math.inf, math.nan, 10**30, 2**63, 5e-324, True, None]),
)
JSON = st.recursive(
    st.one_of(NUMBERS, NASTY, st.booleans(), st.text(max_size=8)),
    lambda inner: st.one_of(st.lists(inner, max_size=9), st.dictionaries(st.text(max_size=8), inner, max_size=3)),
    max_leaves=12,
)
CUTS = st.lists(
    st.tuples(
        st.floats(0, 1),
        st.floats(0, 0.2),
        st.one_of(st.binary(max_size=12), NASTY.map(lambda s: s.encode("utf-8", "replace"))),
    ),
    min_size=1,
    max_size=4,
)


def cut(content, cuts):
    """Replace parts of a file."""
    for start, length, new in cuts:
        at = int(start * len(content))
        content = content[:at] + new + content[at + int(length * len(content)) :]
    return content


def escaped(text):
    return str(text).replace("&", "&amp;").replace("<", "&lt;")


@st.composite
def annotations(draw):
    """Draw an XML file: right in form, with any values, or cut up."""
    value = st.one_of(NUMBERS.map(str), NASTY).map(escaped)
    rows = draw(st.lists(st.tuples(NASTY.map(escaped), st.tuples(*[value] * 4)), max_size=4))
    size = draw(st.one_of(st.none(), st.just((W, H)), st.just((W, H)), st.tuples(value, value)))
    content = xml(rows, size, filename=draw(NASTY.map(escaped))).encode("utf-8", "replace")
    return draw(st.one_of(st.just(content), CUTS.map(lambda cuts: cut(content, cuts)), st.binary(max_size=40)))


@st.composite
def jsons(draw):
    """Draw a COCO JSON: right in form with any values here and there, or cut up."""
    task = draw(st.sampled_from(["detect", "segment", "pose"]))
    sound = {"segmentation": [[8, 6, 40, 6, 40, 30]], "keypoints": [10, 10, 2] * 3}
    data = coco([sound, sound | {"image_id": 8, "bbox": [1, 1, 9, 9]}, sound | {"category_id": 3}])
    for _ in range(draw(st.integers(0, 4))):
        rows = data[draw(st.sampled_from(sorted(data)))]
        row = draw(st.sampled_from(rows)) if rows and draw(st.integers(0, 9)) else None
        if isinstance(row, dict):
            field = draw(st.sampled_from([*row, "iscrowd", "name", "coco_url"]))
            old = row.get(field)
            if isinstance(old, list) and draw(st.booleans()):  # numbers in place of numbers
                row[field] = draw(st.lists(NUMBERS, min_size=max(len(old) - 1, 0), max_size=len(old)).map(list))
            else:
                row[field] = draw(st.one_of(JSON, NUMBERS))
        elif rows and draw(st.booleans()):
            rows.append(dict(rows[0]))
        else:
            rows.append(draw(JSON))
    content = json.dumps(data).encode()
    return task, draw(
        st.one_of(st.just(content), st.just(content), CUTS.map(lambda cuts: cut(content, cuts)), st.binary(max_size=40))
    )


def assert_sound(read, task, root):
    """Assert that what was read and cleaned can be trained on, and return its kind."""
    usable, issues = cleaning.clean(read.images, task)
    assert len(set(read.names)) == len(read.names)
    assert not any(re.search(r"[\x00-\x1f\ud800-\udfff]", name) for name in read.names)
    assert set(read.pose or {}) <= {"kpt_shape", "flip_idx"}
    for picture in usable:
        assert picture.path.is_relative_to(root)
        for box in picture.boxes:
            x1, y1, x2, y2 = box.xyxy
            assert 0 <= x1 < x2 <= W
            assert 0 <= y1 < y2 <= H
            assert box.name in read.names
            points = (
                [p for polygon in box.segmentation for p in np.reshape(polygon, (-1, 2))] if task == "segment" else []
            )
            points += [p[:2] for p in np.reshape(box.keypoints, (-1, 3))] if task == "pose" else []
            assert all(0 <= x <= W and 0 <= y <= H for x, y in points)
    rows = len(read.issues) + len(issues)
    return f"converted {'with' if rows else 'without'} rows in broken.csv" if usable else "no usable image"


def assert_refusal(error, root):
    """Assert that an error is a sentence of ours that names the file or folder, and return its kind."""
    assert type(error) in (UserError, MissingFileError), repr(error)
    assert str(root) in str(error) or "No annotation has keypoints" in str(error), error
    return f"refused: {type(error).__name__}"


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Return a VOC folder and a COCO folder, whose annotations the examples write anew."""
    root = tmp_path_factory.mktemp("fuzz")
    return voc_with(SOUND, root / "v"), coco_folder(root / "c", coco([{}]))


@FUZZ
@given(content=annotations())
def test_fuzz_voc(folders, content):
    (folders[0] / "Annotations" / "x.xml").write_bytes(content)
    read = voc.read(folders[0])
    event(assert_sound(read, "detect", folders[0]))
    assert len(read.images) >= 2  # whatever x is, a and b are sound


@FUZZ
@given(drawn=jsons())
def test_fuzz_coco(folders, drawn):
    task, content = drawn
    files = coco_json.family(folders[1])
    files[0].write_bytes(content)
    try:
        event(assert_sound(coco_json.read(files, task), task, folders[1]))
    except UserError as error:
        event(assert_refusal(error, folders[1]))


@settings(FUZZ, max_examples=60)
@given(content=annotations(), drawn=jsons())
def test_fuzz_conversions(tmp_path_factory, content, drawn):
    base = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(SETTINGS, "datasets_dir", str(base / "datasets"))
        (base / "datasets").mkdir()
        task, text = drawn
        roots = voc_with(SOUND, base / "v"), coco_folder(base / "c", coco([{}]))
        (roots[0] / "Annotations" / "x.xml").write_bytes(content)
        (roots[1] / "annotations" / "instances_train2017.json").write_bytes(text)
        before = tree(base)
        for root, wanted in zip(roots, ("detect", task), strict=True):
            try:
                hold(root, convert(root, wanted), wanted)
                event(f"{root.name} converted")
            except UserError as error:
                event(f"{root.name} {assert_refusal(error, base)}")
        assert tree(base) == before


@pytest.mark.parametrize(("folder", "reached"), [("Downloads", False), ("annotations", True), ("train", True)])
def test_a_json_in_any_folder_does_not_reach_beside_it(tmp_path, folder, reached):
    """Its folder may lie in somebody's home."""
    image(tmp_path / "Pictures" / "private.jpg")
    file = tmp_path / folder / "cats.json"
    file.parent.mkdir()
    data = coco([{}], [("Pictures/private.jpg", 7)])
    file.write_text(json.dumps(data))
    assert (coco_json.read([file]).images[0].path is not None) is reached
