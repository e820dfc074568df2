"""Files of every format that has labels, made by the tools and libraries that everybody makes them with."""

import sqlite3
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path

import gguf
import numpy as np
import pyarrow as pa  # type: ignore[import-untyped] # it ships no types
import pyarrow.parquet as pq  # type: ignore[import-untyped] # it ships no types
from safetensors.numpy import save_file

_C = """
int puts(const char *);
int table[5000] = {1, 2, 3};
static const char words[] = "words that are long enough to be found in the file";
int first(int x) { return table[x] + 1; }
static int second(int x) { return first(x) * 2; }
int third(int x) { puts(words); return second(x) + second(x + 1); }
int main(void) { return third(1); }
"""


def compiled(path: Path, *options: str) -> Path:
    """A program, a library or an object of C, as cc makes it."""
    source = path.with_suffix(".c")
    source.write_text(_C)
    subprocess.run(["cc", "-o", path, source, *options], check=True, timeout=60, capture_output=True)
    return path


def elf(path: Path) -> None:
    compiled(path, "-O0", "-g", "-shared", "-fPIC")


def sqlite(
    path: Path, *, rows: int = 3000, page_size: int = 4096, vacuum: str = "NONE", encoding: str = "UTF-8"
) -> None:
    """Tables with indexes, rows that overflow, one without rowids, and pages that were freed."""
    db = sqlite3.connect(path)
    with db:
        db.execute(f"PRAGMA page_size = {page_size}")
        db.execute(f"PRAGMA auto_vacuum = {vacuum}")
        db.execute(f"PRAGMA encoding = '{encoding}'")
        db.execute("CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT, mail TEXT UNIQUE)")
        db.execute("CREATE TABLE pictures (id INTEGER PRIMARY KEY, data BLOB)")
        db.execute("CREATE TABLE settings (key TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID")
        db.execute("CREATE TABLE gone (data BLOB)")
        db.execute("CREATE INDEX users_idx ON users (name)")
        db.execute(f"CREATE TABLE {'long_' * 300} (x)")
        db.execute("CREATE VIEW some AS SELECT name FROM users")
        db.executemany(
            "INSERT INTO users (name, mail) VALUES (?, ?)", [(f"name {n * 7919 % rows}", f"{n}@x") for n in range(rows)]
        )
        db.executemany(
            "INSERT INTO pictures (data) VALUES (?)", [(bytes([n % 256]) * (n * 37),) for n in range(rows // 15)]
        )
        db.executemany(
            "INSERT INTO settings VALUES (?, ?)", [(f"key {n}" + "k" * (n * 3), "v") for n in range(rows // 5)]
        )
        db.executemany("INSERT INTO gone VALUES (?)", [(bytes(2000),) for n in range(rows // 10)])
    with db:
        db.execute("DROP TABLE gone")
    db.close()


def safetensors(path: Path) -> None:
    save_file(
        {
            "embed.weight": np.arange(6000, dtype=np.float32).reshape(60, 100),
            "layer.0.bias": np.arange(100, dtype=np.float32),
            "layer.0.weight": np.arange(10_000, dtype=np.float16).reshape(100, 100),
            "nothing": np.zeros((0, 4), dtype=np.float32),
        },
        path, {"format": "np", "data_offsets": "not these"},
    )  # fmt: skip


def gguf_file(path: Path) -> None:
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(2)
    writer.add_token_list([f"token {n}" for n in range(500)])
    writer.add_token_scores([float(n) for n in range(500)])
    writer.add_custom_alignment(64)
    writer.add_tensor("token_embd.weight", np.arange(7001, dtype=np.float32))
    writer.add_tensor("blk.0.attn_q.weight", np.arange(9000, dtype=np.float16).reshape(90, 100))
    writer.add_tensor("output.weight", np.arange(50, dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def npy(path: Path) -> None:
    with path.open("wb") as file:
        np.save(file, np.arange(30_000, dtype=np.int32).reshape(3000, 10))


def npz(path: Path) -> None:
    with path.open("wb") as file:
        np.savez(file, weights=np.arange(5000, dtype=np.float64), bias=np.arange(10, dtype=np.float32))


def zipped(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("stored.txt", b"stored " * 2000)
        archive.writestr("sub/", b"")
        archive.writestr("sub/deflated.txt", b"deflated " * 9000, zipfile.ZIP_DEFLATED)
        archive.writestr("sub/ünï.txt", b"u" * 5000)


def _table(rows: int = 5000) -> pa.Table:
    point = pa.struct([("x", pa.float64()), ("y", pa.int8())])
    return pa.table(
        {
            "id": pa.array(range(rows), pa.int64()),
            "name": pa.array([None if n % 7 == 0 else f"name {n}" for n in range(rows)]),
            "kind": pa.array([("a", "b", "c")[n % 3] for n in range(rows)]).dictionary_encode(),
            "point": pa.array([{"x": n / 2, "y": n % 100} for n in range(rows)], point),
            "tags": pa.array([[f"t{n}"] * (n % 4) for n in range(rows)], pa.list_(pa.large_string())),
            "flag": pa.array([n % 2 == 0 for n in range(rows)]),
            "nothing": pa.nulls(rows),
            "views": pa.array([f"a view that is longer than twelve bytes {n}" for n in range(rows)], pa.string_view()),
            "fixed": pa.array([[n, n + 1] for n in range(rows)], pa.list_(pa.int16(), 2)),
            "map": pa.array([[("k", n)] for n in range(rows)], pa.map_(pa.string(), pa.int32())),
        }
    )


def parquet(path: Path) -> None:
    pq.write_table(
        _table().drop_columns(["views"]), path, row_group_size=2000, write_page_index=True, compression="zstd"
    )


def arrow(path: Path, *, compression: str | None = None) -> None:
    options = pa.ipc.IpcWriteOptions(compression=compression)
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, _table().schema, options=options) as writer:
        for batch in _table().combine_chunks().to_batches(max_chunksize=2000):
            writer.write_batch(batch)


MAKERS: dict[str, Callable[[Path], None]] = {
    "elf": elf,
    "sqlite": sqlite,
    "safetensors": safetensors,
    "gguf": gguf_file,
    "npy": npy,
    "npz": npz,
    "zip": zipped,
    "parquet": parquet,
    "arrow": arrow,
}
