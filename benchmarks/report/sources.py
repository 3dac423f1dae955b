"""Which records a report is made of: found in files and folders, checked, and given a label."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from nnx.benchmarks.environment import hardware_line
from nnx.benchmarks.fields import Field, read_json
from nnx.benchmarks.peers.record import SCHEMA as PEERS
from nnx.benchmarks.peers.record import read_peers
from nnx.benchmarks.record import FIRST_SCHEMA, SCHEMA, read_record
from nnx.benchmarks.scale.record import SCHEMA as SCALE
from nnx.benchmarks.scale.record import read_study
from nnx.benchmarks.teacher_law.record import SCHEMA as TEACHER_LAW
from nnx.benchmarks.teacher_law.record import read_teacher_law
from nnx.errors import DataError

# Kind of record by schema, and what reads it.
_READERS: Mapping[str, tuple[str, Callable[[str | Path], Any]]] = {
    SCHEMA: ("bench", read_record),
    FIRST_SCHEMA: ("bench", read_record),
    PEERS: ("peers", read_peers),
    SCALE: ("scale", read_study),
    TEACHER_LAW: ("laws", read_teacher_law),
}
KINDS = ("scale", "bench", "laws", "peers")
COMMANDS: Mapping[str, tuple[str, str]] = {
    "scale": ("nnx scale --out bench-out", "accuracy over data, and the scaling laws"),
    "bench": ("nnx bench --out bench-out", "throughput against the limits of the hardware"),
    "laws": (
        "python -m nnx.benchmarks.teacher_law --out bench-out",
        "the slope of Sharma and Kaplan's law",
    ),
    "peers": ("nnx peers --out bench-out", "nnx beside other libraries"),
}


@dataclass(frozen=True)
class Source:
    """One record.

    Attributes
    ----------
    kind : {"scale", "bench", "laws", "peers"}
    path : Path
    schema : str
    record : Any
        What its reader made of it.
    plain : Mapping[str, Any]
        The JSON as it lies in the file.
    label : str
        What tells it from the others of its kind; "" for the only one.
    place : str
        What tells its folder from the others; "" for the only one.
    """

    kind: str
    path: Path
    schema: str
    record: Any
    plain: Mapping[str, Any]
    label: str = ""
    place: str = ""

    @property
    def environment(self) -> Mapping[str, Any]:
        """Where it was measured."""
        found: Mapping[str, Any] = self.plain["environment"]
        return found

    @property
    def devices(self) -> list[str]:
        """The devices that its environment tells of."""
        return list(self.environment.get("devices", {})) or ["cpu"]


def find_sources(paths: Sequence[str | Path]) -> list[Source]:
    """Read every record that `paths` name.

    Parameters
    ----------
    paths : sequence of path
        Records, and folders whose records are all read; a folder without records may have
        folders with them (one below it).

    Raises
    ------
    DataError
        For a file that is no record, whole and of a known schema, naming the file and the field;
        for a folder that holds none. Other JSON in a folder is passed over.
    """
    found: list[Source] = []
    for path in map(Path, paths):
        if path.is_dir():
            here = list(_in_folder(path))
            for folder in () if here else sorted(filter(Path.is_dir, path.iterdir())):
                here += _in_folder(folder)
            if not here:
                raise DataError(
                    f"{path}: no record in this folder; these write them: "
                    f"{', '.join(command for command, _ in COMMANDS.values())}"
                )
            found += here
        else:
            top = read_json(path)
            found.append(_read(path, top, _schema(top)))
    different = {source.path.resolve(): source for source in found}
    return _labelled(list(different.values()))


def _schema(top: Field) -> str:
    """The schema of a file that was named, which must be a known one."""
    schema = top.get("schema", str)
    if schema.value not in _READERS:
        raise schema.error(f"wanted one of {', '.join(_READERS)}, got {schema.value!r:.60}")
    return str(schema.value)


def _in_folder(folder: Path) -> Iterable[Source]:
    """The records of a folder; what is whole JSON of another kind is none of the report's."""
    for path in sorted(folder.glob("*.json"), key=lambda path: path.stem):
        top = read_json(path)
        schema = top.value.get("schema") if isinstance(top.value, dict) else None
        if isinstance(schema, str) and schema in _READERS:
            yield _read(path, top, schema)


def _read(path: Path, top: Field, schema: str) -> Source:
    kind, reader = _READERS[schema]
    record = reader(path)
    _check_environment(top.get("environment", dict))
    return Source(kind, path, schema, record, top.value)


def _check_environment(where: Field) -> None:
    """Check the parts of an environment that the page shows by name."""
    for name, kind in (("cpu", dict), ("devices", dict), ("gpus", list), ("commit", dict)):
        where.maybe(name, kind)
    if commit := where.maybe("commit", dict):
        commit.text("id")


# -- labels ---------------------------------------------------------------------------------------


def _labelled(sources: list[Source]) -> list[Source]:
    """Give each folder of records the shortest label that tells it from the other folders."""
    folders = list(dict.fromkeys(source.path.resolve().parent for source in sources))
    first = {
        folder: max(
            (source for source in sources if source.path.resolve().parent == folder),
            key=lambda source: len(source.devices),
        )
        for folder in folders
    }
    tells: tuple[Callable[[Source], str], ...] = (
        lambda one: machine(one.environment),
        lambda one: commit(one.environment),
        lambda one: one.path.resolve().parent.name,
        lambda one: str(one.path.parent),
    )
    labels = dict.fromkeys(folders, "")
    if len(folders) > 1:
        for tell in tells:
            labels = {folder: tell(source) for folder, source in first.items()}
            if all(labels.values()) and len(set(labels.values())) == len(folders):
                break
    named = []
    for source in sources:
        place = label = labels[source.path.resolve().parent]
        twins = [
            other
            for other in sources
            if other.kind == source.kind
            and other.path.resolve().parent == source.path.resolve().parent
        ]
        if len(twins) > 1:
            label = f"{label}, {source.path.stem}" if label else source.path.stem
        named.append(replace(source, label=label, place=place))
    return named


def machine(where: Mapping[str, Any]) -> str:
    """The hardware in a few words: the GPU where there was one, else the processor."""
    names = [
        device.get("name")
        for name, device in where.get("devices", {}).items()
        if name != "cpu" and isinstance(device, dict)
    ]
    cpu = where.get("cpu") or {}
    cores = f", {cpu['usable_cores']} cores" if cpu.get("usable_cores") else ""
    model = f"{cpu['model']}{cores}" if cpu.get("model") else ""
    return " + ".join(filter(None, (model, *map(str, filter(None, names)))))


def commit(where: Mapping[str, Any]) -> str:
    """The commit in a few letters, marked where the checkout had changes."""
    found = where.get("commit") or {}
    return f"{found['id'][:7]}{' + changes' if found.get('dirty') else ''}" if found else ""


def hardware(source: Source) -> list[str]:
    """A line for each device of a record."""
    return [f"{name}: {hardware_line(source.environment, name)}" for name in source.devices]
