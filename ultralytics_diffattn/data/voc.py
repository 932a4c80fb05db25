# Ultralytics DiffAttn - AGPL-3.0 License
"""Reads folders in PASCAL VOC layout: Annotations/*.xml, JPEGImages/ and the splits of ImageSets/Main/, if it exists.

`xmin, ymin, xmax, ymax` are taken as the edges of the box as they are, as most annotation tools write them. (VOC's own
files of 2007 and 2012 count pixels from 1; ultralytics' VOC.yaml converts those.)
"""

from __future__ import annotations

import os
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from pathlib import Path

from ultralytics.data.utils import IMG_FORMATS
from ultralytics.utils import LOGGER, TQDM

from ultralytics_diffattn.data import splits
from ultralytics_diffattn.data.annotations import AnnotatedImage, Annotations, Box, Issue, numbers, plain, size_of
from ultralytics_diffattn.errors import UserError


def is_voc(folder: Path) -> bool:
    """Return whether a folder is in PASCAL VOC layout: it has Annotations/*.xml."""
    return next((folder / "Annotations").glob("*.xml"), None) is not None


def files(folder: Path) -> list[str]:
    """Return the files that a data set consists of: annotations, lists and images.

    Args:
        folder (Path): Folder with Annotations/ and JPEGImages/.

    Returns:
        (list[str]): Paths; a change of one makes another data set.
    """
    return [os.fspath(f) for f in (*_xml_files(folder), *_list_files(folder), *_image_files(folder))]


def read(folder: Path, task: str = "detect") -> Annotations:
    """Return the annotations of a folder in PASCAL VOC layout.

    Args:
        folder (Path): Folder with Annotations/ and JPEGImages/.
        task (str): `detect`; the layout has boxes only.

    Returns:
        (Annotations): Classes in the order of the alphabet, and what stands in the XML files; `difficult` objects are
            left out, as ultralytics does with those of VOC.

    Raises:
        UserError: If the task needs more than boxes.

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
        raise UserError(f"{folder} is in PASCAL VOC layout, which has boxes only: use task=detect, not task={task}.")
    by_stem: dict[str, list[Path]] = {}
    for path in _image_files(folder):
        by_stem.setdefault(path.stem, []).append(path)
    issues: list[Issue] = []
    images: dict[str, AnnotatedImage] = {}  # by the stem of the XML file
    xml_files = _xml_files(folder)
    for file in TQDM(xml_files, desc=f"Annotations of {folder.name}", disable=len(xml_files) < 1000):
        image, image_issues = _read_image(file, by_stem)
        issues += image_issues
        if image:
            images[file.stem] = image
    used = {image.path for image in images.values()}
    issues += (
        Issue(f"{folder.name}/{path.parent.name}/{path.name}", "", "image without an annotation file")
        for paths in by_stem.values()
        for path in paths
        if used.isdisjoint(paths)
    )
    listed, list_issues = _apply_lists(folder, images)
    return Annotations(sorted({box.name for image in listed for box in image.boxes}), listed, issues + list_issues)


def _xml_files(folder: Path) -> list[Path]:
    """Return the annotation files of a folder."""
    return sorted((folder / "Annotations").glob("*.xml"))


def _image_files(folder: Path) -> list[Path]:
    """Return the images of a folder."""
    return sorted(f for f in (folder / "JPEGImages").glob("*.*") if f.suffix[1:].lower() in IMG_FORMATS)


def _short(file: Path) -> str:
    """Return a file for a message, with its folder alone."""
    return f"{file.parent.name}/{file.name}"


def _read_image(file: Path, by_stem: Mapping[str, list[Path]]) -> tuple[AnnotatedImage | None, list[Issue]]:
    """Return the image that an XML file annotates, None if the file cannot be read, and what is wrong with it."""
    try:
        root = _root(file)
    except (ET.ParseError, ValueError, LookupError, OSError) as error:  # LookupError: unknown encoding
        return None, [Issue(_short(file), "", f"not readable as XML: {error}")]
    issues: list[Issue] = []
    name = Path((root.findtext("filename") or "").strip().replace("\\", "/")).name
    candidates = by_stem.get(file.stem) or by_stem.get(Path(name).stem) or []
    path = next((p for p in candidates if p.name == name), candidates[0] if candidates else None)
    if path and len(candidates) > 1:
        others = ", ".join(p.name for p in candidates if p != path)
        issues.append(Issue(_short(file), "", f"{path.name} has the same name as {others}, which is not used"))
    boxes, box_issues = _boxes(file, root)
    size = size_of(root.findtext("size/width"), root.findtext("size/height"))
    name = path.name if path else name or file.stem
    return AnnotatedImage(_short(file), name, path, size, None, boxes), issues + box_issues


def _root(file: Path) -> ET.Element:
    """Return the root of an XML file."""
    if not file.is_file():
        raise ValueError("it is a broken link, or no file")  # such as a pipe, which one would wait for
    content = file.read_bytes()
    if b"<!ENTITY" in content.replace(b"\0", b""):  # in UTF-16, too; before expat 2.4.1 a few lines fill the memory
        raise ValueError("it declares entities, which no annotation needs")
    return ET.fromstring(content)


def _boxes(file: Path, root: ET.Element) -> tuple[list[Box], list[Issue]]:
    """Return the boxes of an XML file, and what is wrong with its other objects."""
    boxes: list[Box] = []
    issues: list[Issue] = []
    for i, element in enumerate(root.findall("object"), 1):
        name = plain(element.findtext("name") or "")
        item = f"object {i} {name}".strip()
        bndbox = element.find("bndbox")
        edges = [bndbox.findtext(k) for k in ("xmin", "ymin", "xmax", "ymax")] if bndbox is not None else None
        xyxy = numbers(edges, 4)
        difficult = (element.findtext("difficult") or "").strip() == "1"
        if not name:
            issues.append(Issue(_short(file), item, "empty name"))
        elif edges is None:
            issues.append(Issue(_short(file), item, "no <bndbox>"))
        elif xyxy is None:
            issues.append(Issue(_short(file), item, "<bndbox> is not four finite numbers"))
        elif difficult:
            issues.append(Issue(_short(file), item, "marked as difficult"))
        else:
            x1, y1, x2, y2 = xyxy
            boxes.append(Box(item, name, (x1, y1, x2, y2)))
    return boxes, issues


def _list_files(folder: Path) -> list[Path]:
    """Return the lists of images of a folder."""
    return sorted((folder / "ImageSets" / "Main").glob("*.txt"))


def _apply_lists(folder: Path, images: Mapping[str, AnnotatedImage]) -> tuple[list[AnnotatedImage], list[Issue]]:
    """Return the images that the lists name, each with its split; all of them without one if there are no lists."""
    lists, issues = _read_lists(folder, images)
    listed = [images[stem]._replace(split=split) for split, stems in lists.items() for stem in stems]
    if not listed:
        return list(images.values()), issues
    resolved, split_issues = splits.resolve(listed, f"{folder}, by the lists in ImageSets/Main,")
    issues += split_issues
    stems = {stem for stems in lists.values() for stem in stems}
    issues += (
        Issue(image.file, "", "in no list of ImageSets/Main") for stem, image in images.items() if stem not in stems
    )
    return resolved, issues


def _read_lists(folder: Path, images: Mapping[str, AnnotatedImage]) -> tuple[dict[str, list[str]], list[Issue]]:
    """Return the stems of the images of each split in ImageSets/Main, and the lines that name none."""
    lists: dict[str, dict[str, None]] = {}
    issues: list[Issue] = []
    for file in _list_files(folder):
        split = splits.split_of(file.stem)
        if split is None:
            if not splits.split_of(file.stem.rpartition("_")[2]):  # cat_train.txt says which images hold cats
                LOGGER.warning(f"{file} is no list that is known ({', '.join(splits.SPELLINGS)}): it is not read.")
                issues.append(Issue(f"ImageSets/Main/{file.name}", "", "not the name of a split: not read"))
            continue
        stems = lists.setdefault(split, {})
        for line in dict.fromkeys(file.read_text(encoding="utf-8-sig", errors="replace").splitlines()):
            line = line.strip()
            if not line:
                continue
            stem = next((s for s in (line, Path(line).stem, line.split()[0]) if s in images), None)
            if stem is None:
                issues.append(Issue(f"ImageSets/Main/{file.name}", line, "no readable annotation of that name"))
            else:
                stems[stem] = None
    return {split: list(stems) for split, stems in lists.items()}, issues
