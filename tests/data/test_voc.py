"""data/voc.py, voc_xml.py and voc_images.py: which image an XML file annotates, its shapes, and layouts of tools."""

import pytest

from tests.annotations import GOOD, SOUND, image, voc_folder, xml
from tests.annotations import broken as rows_of
from tests.places import ROOT
from ultralytics_diffattn.data.conversion import convert

pytestmark = pytest.mark.usefixtures("own_datasets_dir")
DOG = xml([("dog", GOOD)])


def broken(data_yaml):
    return [(row["file"], row["problem"], row["done"]) for row in rows_of(data_yaml)]


def rows(data_yaml):
    """Return split and classes of each image by its name."""
    return {
        f"{file.parent.name}/{file.stem}": [int(line.split()[0]) for line in file.read_text().splitlines()]
        for file in sorted((data_yaml.parent / "labels").rglob("*.txt"))
    }


def images(data_yaml):
    return sorted(f.name for f in (data_yaml.parent / "images").rglob("*.*"))


def write(root, files):
    """Write files by path: an XML, a list, or None for an image."""
    for name, content in files.items():
        if content is None:
            image(root / name)
        else:
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(content)
    return root


SEVERAL = {f"Annotations/{s}.xml": SOUND for s in "bcde"} | {f"JPEGImages/{s}.jpg": None for s in "bcde"}


@pytest.mark.parametrize(
    ("files", "expected", "problem"),
    [
        (  # a backup takes nothing from the file of the image's own name
            {
                "Annotations/a.xml": xml([("cat", GOOD)], filename="a.jpg"),
                "Annotations/a_old.xml": xml([("dog", GOOD)], filename="a.jpg"),
                "JPEGImages/a.jpg": None,
            },
            ["a.jpg"],
            ("Annotations/a_old.xml", "image a.jpg not found", "left out"),
        ),
        (  # nor does one whose image is gone
            {"Annotations/gone.xml": xml([("dog", GOOD)], filename="b.png")},
            [],
            ("Annotations/gone.xml", "image b.png not found", "left out"),
        ),
        (  # an image of another name that nobody else has is a guess
            {"Annotations/1.xml": xml([("cat", GOOD)], filename="photo.jpg"), "JPEGImages/photo.jpg": None},
            ["photo.jpg"],
            ("Annotations/1.xml", "no image of its own name: photo.jpg, which no other file has, is taken", "kept"),
        ),
        (
            {"Annotations/1.xml": xml([("cat", GOOD)], filename="C:\\x\\photo.jpg"), "JPEGImages/photo.jpg": None},
            ["photo.jpg"],
            ("Annotations/1.xml", "no image of its own name: photo.jpg, which no other file has, is taken", "kept"),
        ),
        (
            {"Annotations/1.xml": xml([("cat", GOOD)], filename="photo"), "JPEGImages/photo.jpg": None},
            ["photo.jpg"],
            ("Annotations/1.xml", "no image of its own name: photo.jpg, which no other file has, is taken", "kept"),
        ),
        (  # two that claim it get nothing
            {
                "Annotations/1.xml": xml([("cat", GOOD)], filename="photo.jpg"),
                "Annotations/2.xml": xml([("dog", GOOD)], filename="photo.jpg"),
                "JPEGImages/photo.jpg": None,
            },
            [],
            ("Annotations/1.xml", "2 annotations claim the image photo.jpg: none gets it", "left out"),
        ),
        (  # the same stem in two folders is two images
            {
                "Annotations/s/b.xml": xml([("cat", GOOD)], filename="b.jpg"),
                "JPEGImages/s/b.jpg": None,
            },
            ["s_b.jpg"],
            None,
        ),
        (  # an annotation in a folder, its image at the top
            {"Annotations/s/f.xml": xml([("cat", GOOD)], filename="f.jpg"), "JPEGImages/f.jpg": None},
            ["f.jpg"],
            ("Annotations/s/f.xml", "no image of its own name: f.jpg, which no other file has, is taken", "kept"),
        ),
        (  # which is another's
            {"Annotations/s/b.xml": xml([("cat", GOOD)], filename="b.jpg")},
            [],
            ("Annotations/s/b.xml", "image b.jpg not found", "left out"),
        ),
    ],
)
def test_an_image_belongs_to_who_has_the_best_claim(tmp_path, files, expected, problem):
    data_yaml = convert(write(tmp_path / "v", SEVERAL | files))
    assert images(data_yaml) == sorted([*expected, "b.jpg", "c.jpg", "d.jpg", "e.jpg"])
    assert {c for classes in rows(data_yaml).values() for c in classes} == {0}, "every box is a cat, or not there"
    assert problem is None or problem in broken(data_yaml)
    assert problem is not None or not broken(data_yaml)


OBJECT = SOUND.partition("</filename>")[2].rpartition("</annotation>")[0]  # size and object


@pytest.mark.parametrize(
    ("text", "boxes", "problem"),
    [
        (SOUND, 1, None),
        (SOUND.replace("<annotation>", '<annotation xmlns="http://x.org/voc">'), 1, None),
        (SOUND.replace("<annotation>", '<v:annotation xmlns:v="http://x.org/voc">').replace("</an", "</v:an"), 1, None),
        (f"<ANNOTATION>{OBJECT.upper().replace('CAT', 'cat')}</ANNOTATION>", 1, None),
        (f"<root>{OBJECT}</root>", 1, None),
        ("<annotation><filename>x.jpg</filename></annotation>", 0, "no size annotated"),  # background
        (xml([]), 0, None),
        (xml([]).replace("</annotation>", "<segmented>0</segmented><source><a/></source></annotation>"), 0, None),
        (f"<annotations>{SOUND}{SOUND}</annotations>", None, "it holds 2 annotations: give each image a file"),
        (f"<annotation><objects>{OBJECT}</objects></annotation>", None, "no <object>, but <objects>, which"),
        ("<annotation><item><name>cat</name></item></annotation>", None, "no <object>, but <item>"),
        ("<doc><page/></doc>", None, "its root is <doc> without any <object>"),
    ],
)
def test_shapes_of_xml(tmp_path, text, boxes, problem):
    data_yaml = convert(write(tmp_path / "v", SEVERAL | {"Annotations/x.xml": text, "JPEGImages/x.jpg": None}))
    assert (
        len(next((r for n, r in rows(data_yaml).items() if n.endswith("/x")), []))
        if "x.jpg" in images(data_yaml)
        else None
    ) == boxes
    problems = [p for file, p, _ in broken(data_yaml) if file == "Annotations/x.xml"]
    assert (problem is None and not problems) or problem in problems[0]


@pytest.mark.parametrize(
    ("flag", "count"),
    [
        ("1", 0),
        (" 1 ", 0),
        ("true", 0),
        ("Yes", 0),
        ("1.0", 0),
        ("0", 1),
        ("", 1),
        ("false", 1),
        ("0.0", 1),
        ("Unspecified", 1),
    ],
)
def test_difficult_by_truth(tmp_path, flag, count):
    text = xml([("cat", GOOD, f"<difficult>{flag}</difficult>")])
    data_yaml = convert(write(tmp_path / "v", SEVERAL | {"Annotations/x.xml": text, "JPEGImages/x.jpg": None}))
    assert len(next((r for n, r in rows(data_yaml).items() if n.endswith("/x")), [])) == count


def test_names_by_truth(tmp_path):
    text = xml([(" cat ", GOOD), ("0", (1, 1, 9, 9)), ("cat\n", (2, 2, 9, 9))])
    data_yaml = convert(write(tmp_path / "v", SEVERAL | {"Annotations/x.xml": text, "JPEGImages/x.jpg": None}))
    assert "names:\n  0: '0'\n  1: cat\n" in data_yaml.read_text()


@pytest.mark.parametrize(
    "line",
    [
        "my image 1",
        "my image 1.jpg",
        "my image 1 1",
        "my image 1 -1",
        "JPEGImages/my image 1.jpg",
        "./my image 1",
        "data\\JPEGImages\\my image 1.jpg",
        "/home/me/JPEGImages/my image 1.jpg",
        "  my image 1  ",
    ],
)
def test_lines_of_lists(tmp_path, line):
    root = voc_folder(tmp_path / "v", {"my image 1": SOUND, "my": DOG, "b": SOUND}, {"train": [line], "val": ["b"]})
    assert list(rows(convert(root))) == ["train/my image 1", "val/b"]


def test_a_line_of_a_list_in_a_sub_folder(tmp_path):
    files = {f"Annotations/s/{n}.xml": SOUND for n in "ab"} | {f"JPEGImages/s/{n}.jpg": None for n in "ab"}
    files |= {"ImageSets/Main/train.txt": "s/a\n", "ImageSets/Main/val.txt": "s\\b.jpg\n"}
    assert images(convert(write(tmp_path / "v", files))) == ["s_a.jpg", "s_b.jpg"]


def test_a_change_in_a_sub_folder_is_another_data_set(tmp_path):
    root = write(tmp_path / "v", SEVERAL | {"Annotations/s/x.xml": SOUND, "JPEGImages/s/x.jpg": None})
    first = convert(root)
    write(root, {"Annotations/s/x.xml": DOG + "<!-- -->"})
    assert convert(root) != first


def test_links_to_other_folders_are_not_followed(tmp_path):
    write(tmp_path / "elsewhere", {"Annotations/p.xml": DOG, "JPEGImages/p.jpg": None})
    root = write(tmp_path / "v", SEVERAL)
    (root / "Annotations" / "s").symlink_to(tmp_path / "elsewhere" / "Annotations")
    (root / "JPEGImages" / "s").symlink_to(tmp_path / "elsewhere" / "JPEGImages")
    assert images(convert(root)) == ["b.jpg", "c.jpg", "d.jpg", "e.jpg"]


def several(pattern_xml, pattern_image, stems):
    """Return an XML with one box, and an image, for each stem."""
    return {pattern_xml.format(s): SOUND for s in stems} | {pattern_image.format(s): None for s in stems}


LAYOUTS = {  # as each tool exports: files, images (and as many boxes) of train, val and test
    "PASCAL VOC": (
        several("Annotations/{}.xml", "JPEGImages/{}.jpg", "abcde")
        | {
            f"ImageSets/Main/{n}.txt": t
            for n, t in (
                ("train", "a\nb\n"),
                ("val", "c\n"),
                ("trainval", "a\nb\nc\n"),
                ("test", "d\ne\n"),
                ("cat_train", "a  1\nb -1\n"),
            )
        },
        (2, 1, 2),
    ),
    "CVAT": (
        several("Annotations/{}.xml", "JPEGImages/{}.jpg", "abcde")
        | {"ImageSets/Main/default.txt": "a\nb\nc\nd\ne\n", "labelmap.txt": "cat:::\n"},
        (4, 1, 0),
    ),
    "Datumaro": (
        several("Annotations/{}.xml", "JPEGImages/{}.jpg", "abcde")
        | {
            "ImageSets/Main/train.txt": "a\nb\nc\n",
            "ImageSets/Main/validation.txt": "d\ne\n",
            "labelmap.txt": "cat:::\n",
        },
        (3, 2, 0),
    ),
    "Label Studio": (several("Annotations/{}.xml", "images/{}.jpg", "abcde"), (4, 1, 0)),
    "labelImg": (several("{}.xml", "{}.jpg", "abcde") | {"classes.txt": "cat\n"}, (4, 1, 0)),
    "Roboflow": (
        several("train/{}.xml", "train/{}.jpg", "abc")
        | several("valid/{}.xml", "valid/{}.jpg", "de")
        | several("test/{}.xml", "test/{}.jpg", "f")
        | {"README.dataset.txt": "x"},
        (3, 2, 1),
    ),
    "Supervisely": (
        several("Annotations/{}.xml", "JPEGImages/{}.jpg", "abcde")
        | {
            "ImageSets/Segmentation/train.txt": "a\n",
            "ImageSets/Main/train.txt": "a\nb\nc\n",
            "ImageSets/Main/val.txt": "d\ne\n",
        },
        (3, 2, 0),
    ),
    "folders": (
        several("Annotations/train/{}.xml", "JPEGImages/train/{}.jpg", "abc")
        | several("Annotations/val/{}.xml", "JPEGImages/val/{}.jpg", "ab"),
        (3, 2, 0),
    ),
}


@pytest.mark.parametrize("tool", LAYOUTS)
def test_layouts_of_tools(tmp_path, tool):
    files, counts = LAYOUTS[tool]
    data_yaml = convert(write(tmp_path / "v", files))
    found = rows(data_yaml)
    assert all(classes == [0] for classes in found.values())
    assert tuple(sum(n.startswith(f"{s}/") for n in found) for s in ("train", "val", "test")) == counts
    assert not broken(data_yaml)


def test_the_docs_list_these_layouts():
    text = (ROOT / "docs" / "how-to" / "voc.md").read_text().partition("| tool |")[2].partition("\n\n")[0]
    listed = [line.split(" | ")[0].removeprefix("| ") for line in text.splitlines()[2:]]
    assert sorted(listed) == sorted(tool for tool in LAYOUTS if tool != "folders")
