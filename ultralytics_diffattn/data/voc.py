# Ultralytics DiffAttn - AGPL-3.0 License
"""Reads folders in PASCAL VOC layout: Annotations/*.xml, JPEGImages/ and the splits of ImageSets/Main/, if it is there.

`xmin, ymin, xmax, ymax` are taken as the edges of the box as they are, as most annotation tools write them. (VOC's own
files of 2007 and 2012 count pixels from 1; ultralytics' VOC.yaml converts those.)
"""

from __future__ import annotations

import os
import xml.etree.ElementTree as ET
from pathlib import Path

from ultralytics.data.utils import IMG_FORMATS
from ultralytics.utils import TQDM

from ultralytics_diffattn.data.cleaning import Box, Broken, Picture, Source, numbers, plain

LISTS = "train", "val", "test", "trainval"


def is_voc(folder: Path) -> bool:
    """Return whether a folder is in PASCAL VOC layout."""
    return next((folder / "Annotations").glob("*.xml"), None) is not None


def files(folder: Path) -> list[str]:
    """Return the files whose change makes another data set: annotations, lists and images."""
    lists = [folder / "ImageSets" / "Main" / f"{name}.txt" for name in LISTS]
    return [os.fspath(f) for f in (*_annotations(folder), *(f for f in lists if f.is_file()), *_images(folder))]


def read(folder: Path, task: str = "detect") -> Source:
    """Read a folder in PASCAL VOC layout.

    Args:
        folder (Path): Folder with Annotations/ and JPEGImages/.
        task (str): `detect`; the layout has boxes only.

    Returns:
        (Source): Classes in the order of the alphabet, and what stands in the XML files; `difficult` objects are left
            out, as ultralytics does with those of VOC.

    Raises:
        ValueError: If the task needs more than boxes.

    Examples:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> (folder / "Annotations").mkdir()
        >>> box = "<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>9</xmax><ymax>9</ymax></bndbox>"
        >>> text = f"<annotation><object><name>cat</name>{box}</object></annotation>"
        >>> _ = (folder / "Annotations" / "1.xml").write_text(text)
        >>> read(folder).names
        ['cat']
    """
    if task != "detect":
        raise ValueError(f"{folder} is in PASCAL VOC layout, which has boxes only: use task=detect, not task={task}.")
    images: dict[str, list[Path]] = {}
    for path in _images(folder):
        images.setdefault(path.stem, []).append(path)
    broken: list[Broken] = []
    pictures = {}  # by the XML's stem
    annotations = _annotations(folder)
    for file in TQDM(annotations, desc=f"Annotations of {folder.name}", disable=len(annotations) < 1000):
        try:
            root = _root(file)
        except (ET.ParseError, ValueError, LookupError, OSError) as error:  # LookupError: unknown encoding
            broken.append(Broken(_short(file), "", f"not readable as XML: {error}"))
            continue
        name = Path((root.findtext("filename") or "").strip().replace("\\", "/")).name
        found = images.get(file.stem) or images.get(Path(name).stem) or []
        path = next((p for p in found if p.name == name), found[0] if found else None)
        if len(found) > 1:
            others = ", ".join(p.name for p in found if p != path)
            broken.append(Broken(_short(file), "", f"{path.name} has the same name as {others}, which is not used"))
        size = numbers((root.findtext("size/width"), root.findtext("size/height")), 2)
        size = size if size and min(size) > 0 else None  # some tools write 0
        boxes = _boxes(file, root, broken)
        name = path.name if path else name or file.stem
        pictures[file.stem] = Picture(_short(file), name, path, size, None, boxes)
    used = {p.path for p in pictures.values()}
    broken += (
        Broken(f"{folder.name}/{path.parent.name}/{path.name}", "", "image without an annotation file")
        for paths in images.values()
        for path in paths
        if used.isdisjoint(paths)
    )
    pictures = _split(folder, pictures, broken)
    return Source(sorted({box.name for p in pictures for box in p.boxes}), pictures, broken)


def _root(file: Path) -> ET.Element:
    """Return the root of an XML file."""
    if not file.is_file():
        raise ValueError("it is a broken link, or no file")  # such as a pipe, which one would wait for
    content = file.read_bytes()
    if b"<!ENTITY" in content.replace(b"\0", b""):  # in UTF-16, too; before expat 2.4.1 a few lines fill the memory
        raise ValueError("it declares entities, which no annotation needs")
    return ET.fromstring(content)


def _annotations(folder: Path) -> list[Path]:
    return sorted((folder / "Annotations").glob("*.xml"))


def _images(folder: Path) -> list[Path]:
    return sorted(f for f in (folder / "JPEGImages").glob("*.*") if f.suffix[1:].lower() in IMG_FORMATS)


def _short(file: Path) -> str:
    return f"{file.parent.name}/{file.name}"


def _boxes(file: Path, root: ET.Element, broken: list[Broken]) -> list[Box]:
    """Return the boxes of an XML file; what is no box is added to `broken`."""
    boxes = []
    for i, element in enumerate(root.findall("object"), 1):
        name = plain(element.findtext("name") or "")
        item = f"object {i} {name}".strip()
        corners = element.find("bndbox")
        xyxy = (
            numbers([corners.findtext(k) for k in ("xmin", "ymin", "xmax", "ymax")], 4) if corners is not None else ()
        )
        problem = (
            "empty name"
            if not name
            else "no <bndbox>"
            if corners is None
            else "<bndbox> is not four finite numbers"
            if xyxy is None
            else "marked as difficult"
            if (element.findtext("difficult") or "").strip() == "1"
            else ""
        )
        if problem:
            broken.append(Broken(_short(file), item, problem))
        else:
            boxes.append(Box(item, name, xyxy))
    return boxes


def _split(folder: Path, pictures: dict[str, Picture], broken: list[Broken]) -> list[Picture]:
    """Return the pictures that the lists name, each with its split; all of them without one if there are no lists."""
    lists: dict[str, list[str]] = {}
    for name in LISTS:
        file = folder / "ImageSets" / "Main" / f"{name}.txt"
        if not file.is_file():
            continue
        lists[name] = []
        for line in dict.fromkeys(file.read_text(encoding="utf-8-sig", errors="replace").splitlines()):
            line = line.strip()
            stem = next((s for s in (line, Path(line).stem, line.split()[0]) if s in pictures), None) if line else None
            if stem is not None:
                lists[name].append(stem)
            elif line:
                broken.append(Broken(f"ImageSets/Main/{name}.txt", line, "no readable annotation of that name"))
    val = list(dict.fromkeys(lists.get("val", []) + lists.get("test", [])))
    train = lists.get("train") or [s for s in lists.get("trainval", []) if s not in set(val)]
    listed = {stem for stems in lists.values() for stem in stems}
    if not listed:
        return list(pictures.values())
    used = {*train, *val} if train and val else listed
    broken += (
        Broken(p.file, "", "in none of the lists used of ImageSets/Main") for s, p in pictures.items() if s not in used
    )
    if not train or not val:
        return [pictures[s] for s in sorted(listed)]
    broken += (Broken(pictures[s].file, "", "both in train and in val", "kept") for s in sorted(set(train) & set(val)))
    return [pictures[s]._replace(split=split) for split, stems in (("train", train), ("val", val)) for s in stems]
