"""The directory that `kcap rewrite` fills: a Parquet file for each block of people, all or none.

OUT/_rewrite.json                     what it was made with; another model or seed is refused
OUT/people-00000000-00000100.parquet  biographies of people 0..99
"""

import io
import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

from kcap_ray.config.errors import UserError
from kcap_ray.rewriting.job import RewriteJob, Tally
from kcap_ray.runs.files import write_atomically

_PART = re.compile(r"people-(\d+)-(\d+)\.parquet")
_TALLY = b"kcap.rewrite"


class RewriteOutput:
    """An output directory, new or partly filled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def begin(self, job: RewriteJob) -> None:
        """Make the directory, or make sure that it belongs to this job; `UserError` if not."""
        if self.path.is_file():
            raise UserError(f"--out {self.path} is a file; write the name of a directory")
        identity = job.identity()
        if not self._manifest.is_file():
            if self.path.is_dir() and any(self.path.iterdir()):
                raise UserError(
                    f"--out {self.path} has other files in it; write the name of a new directory"
                )
            self.path.mkdir(parents=True, exist_ok=True)
            write_atomically(self._manifest, json.dumps(identity, indent=1))
            return
        before = json.loads(self._manifest.read_text())
        for key, value in identity.items():
            if before.get(key) != value:
                raise UserError(
                    f"--out {self.path} was written with {key} {before.get(key)!r}, not {value!r}; "
                    "write another --out, or what it was written with"
                )

    @property
    def _manifest(self) -> Path:
        return self.path / "_rewrite.json"

    def parts(self) -> list[tuple[int, int]]:
        """People that are done: first person, and the one behind the last."""
        found = [_PART.fullmatch(path.name) for path in self.path.glob("people-*.parquet")]
        return sorted((int(match[1]), int(match[2])) for match in found if match)

    def missing(self, n_people: int, people_per_part: int) -> list[tuple[int, int]]:
        """People 0..n_people-1 that are not done, in blocks."""
        gaps, behind = [], 0
        for start, stop in [*self.parts(), (n_people, n_people)]:
            gaps.append((behind, min(start, n_people)))
            behind = max(behind, stop)
        return [
            (first, min(first + people_per_part, end))
            for start, end in gaps
            for first in range(start, end, people_per_part)
        ]

    def n_done(self, n_people: int) -> int:
        """How many of people 0..n_people-1 are done."""
        return n_people - sum(stop - start for start, stop in self.missing(n_people, n_people))

    def write_part(self, start: int, stop: int, content: bytes) -> None:
        """Keep the biographies of a block of people; a part is there whole or not at all."""
        write_atomically(self.path / f"people-{start:08}-{stop:08}.parquet", content)

    def tally(self) -> Tally:
        """What became of all texts of the parts that are done."""
        import pyarrow.parquet as pq

        total = Tally()
        for path in sorted(self.path.glob("people-*.parquet")):
            total.add(_tally(pq.read_schema(path).metadata[_TALLY]))
        return total


def part_content(rows: list[dict[str, Any]], tally: Tally) -> bytes:
    """A part as the bytes of a Parquet file; the tally lies in its metadata."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    span = pa.struct({"attribute": pa.string(), "start": pa.int32(), "end": pa.int32()})
    columns = {
        "person_id": pa.int64(),
        "variant": pa.int32(),
        "use": pa.string(),
        "text": pa.string(),
        "spans": pa.list_(span),
        "prompt_seed": pa.int64(),
        "model": pa.string(),
        "doubt": pa.string(),
    }
    schema = pa.schema(columns, metadata={_TALLY: json.dumps(vars(tally)).encode()})
    content = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, schema), content, compression="zstd")
    return content.getvalue()


def _tally(content: bytes) -> Tally:
    fields = json.loads(content)
    counters = {key: Counter(fields.pop(key)) for key in ("rejected", "train_only")}
    return Tally(**(fields | counters))


def summary(tally: Tally) -> str:
    """What became of the texts, in lines for people to read."""
    n_kept = tally.n_wanted - tally.n_given_up
    lines = [
        f"{n_kept} biographies of {tally.n_people} people; of the {tally.n_written} texts of the "
        f"model {tally.rejected_frac:.1%} were rejected"
    ]
    lines += [f"  {n:8} {reason}" for reason, n in tally.rejected.most_common()]
    if tally.train_only:
        n = tally.train_only.total()
        lines.append(f"{n} of those for training would not do for evaluation")
        lines += [f"  {n:8} {reason}" for reason, n in tally.train_only.most_common()]
    if tally.n_given_up:
        lines.append(f"{tally.n_given_up} biographies were given up after all attempts")
    if tally.n_people_without:
        lines.append(
            f"{tally.n_people_without} people have no biography for training and cannot be "
            "trained on; a better model or more --retries is needed"
        )
    return "\n".join(lines)
