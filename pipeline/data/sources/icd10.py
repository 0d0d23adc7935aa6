"""The ICD-10-CM classification as rows, from the XML file that the `simple-icd-10-cm` package ships.

The file is parsed directly (0.6 s): importing the package builds its whole object tree first (several seconds).
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Generator, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import SourceError

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

    from pipeline.data.sources.batches import Batch

PACKAGE = "simple_icd_10_cm"
COLUMNS = ("text", "kind", "code", "category", "chapter", "completeness")
NOTES = ("includes", "excludes1", "excludes2", "codeFirst", "useAdditionalCode", "codeAlso", "notes")
FULL_LENGTH = 7


@dataclass(frozen=True)
class _Place:
    """Where in the classification a text stands."""

    chapter: str
    code: str
    category: str
    completeness: str | None = None
    seventh: bool = False


def batches() -> Generator[Batch]:
    """Yield every text of the classification, in the order of the file, numbered from 1.

    Columns, besides `text`: `kind` (description, inclusion_term, note), `code` (with its dot; of a section its range,
    of a chapter `chapter-N`), `category` (the code's first three characters, or the section or chapter), `chapter`
    ("19 Injury, poisoning and ..."), `completeness`: billable; seventh_character, when the code is not valid without
    one; more_detail, when only its subdivisions are valid; null for a section or chapter.

    Raises:
        SourceError: the package or its file is missing.
    """
    from pipeline.data.sources.batches import ROWS, Batch

    rows = _rows()
    done = 0
    while piece := list(islice(rows, ROWS)):
        columns = dict(zip(COLUMNS, zip(*piece, strict=True), strict=True))
        yield Batch(range(done + 1, done + len(piece) + 1), columns)
        done += len(piece)


def _rows() -> Iterator[tuple[str | None, ...]]:
    """Yield the texts with their columns, as `COLUMNS` names them."""
    # The file belongs to a package whose hash is locked, so it needs no hardened parser.
    from xml.etree.ElementTree import parse

    root = parse(xml_path()).getroot()  # noqa: S314
    for chapter in root.iterfind("chapter"):
        for kind, text, place in _chapter(chapter):
            yield text, kind, place.code, place.category, place.chapter, place.completeness


def xml_path() -> Path:
    """Return the path of the package's tabular list, without importing the package.

    Raises:
        SourceError: the package is not installed, or ships no such file, or several.
    """
    spec = importlib.util.find_spec(PACKAGE)
    folders = list(spec.submodule_search_locations or []) if spec else []
    found = [path for folder in folders for path in Path(folder, "data").glob("icd10c-tabular-*.xml")]
    if len(found) != 1:
        raise SourceError(
            f"the source kind icd10cm needs the tabular list of the package simple-icd-10-cm; found {len(found)} files "
            "instead of one. Install it again: pip install simple-icd-10-cm"
        )
    return found[0]


def _chapter(chapter: Element) -> Iterator[tuple[str, str, _Place]]:
    number = int(chapter.findtext("name", ""))
    title = re.sub(r"\s*\([^()]*\)\s*$", "", chapter.findtext("desc", ""))
    place = _Place(f"{number:02d} {title}", f"chapter-{number}", f"chapter-{number}")
    yield from _notes(chapter, place)
    for section in chapter.iterfind("section"):
        name = section.get("id", "")
        yield from _notes(section, replace(place, code=name, category=name))
        for diagnosis in section.iterfind("diag"):
            yield from _diagnosis(diagnosis, place)


def _diagnosis(diagnosis: Element, above: _Place) -> Iterator[tuple[str, str, _Place]]:
    code = diagnosis.findtext("name", "").strip()
    seventh = above.seventh or diagnosis.find("sevenChrDef") is not None
    place = _Place(above.chapter, code, code[:3], _completeness(diagnosis, code, seventh), seventh)
    yield "description", diagnosis.findtext("desc", "").strip(), place
    yield from _notes(diagnosis, place)
    for child in diagnosis.iterfind("diag"):
        yield from _diagnosis(child, place)


def _completeness(diagnosis: Element, code: str, seventh: bool) -> str:
    if diagnosis.find("diag") is not None:
        return "more_detail"
    return "seventh_character" if seventh and len(code.replace(".", "")) < FULL_LENGTH else "billable"


def _notes(element: Element, place: _Place) -> Iterator[tuple[str, str, _Place]]:
    for child in element:
        kind = "inclusion_term" if child.tag == "inclusionTerm" else "note" if child.tag in NOTES else None
        if kind:
            for note in child.iterfind("note"):
                yield kind, (note.text or "").strip(), place
