"""Composed and generated sources for the contract tests."""

from mapfs.sources.base import Source
from mapfs.testing import FakeSource
from tests.contract.places import AT_ONCE, CONTENT, DISK, KINDS, Place, Served, pages_content, random_content, spec_of

DATA = "'head' (u32le:n*3+1 'abc' u8:n)*30000 %4K:ff (ff 00)~777 @300K"


def data_content() -> bytes:
    """DATA, item by item."""
    made = b"head" + b"".join((n * 3 + 1).to_bytes(4, "little") + b"abc" + bytes([n % 256]) for n in range(30_000))
    made += b"\xff" * (-len(made) % 4096)
    made += (b"\xff\0" * 389)[:777]
    return made + bytes(300 * 1024 - len(made))


def part(spec: str) -> str:
    """A spec as a part."""
    return spec.replace("|", "||")


def of_concat(place: Place) -> Served:
    parts = [spec_of("file", place.file("a, |b")), "text:,,|", "random:9000,seed=3", "text:", "pages:20001",
             spec_of("shm", place.shm().name)]  # fmt: skip
    content = CONTENT + b",|" + random_content(9000, 3) + pages_content(20_001) + CONTENT
    return Served(place.open(spec_of("concat", "|".join(map(part, parts)))), content)


def of_concat_in_memory(place: Place) -> Served:
    inner = spec_of("concat", "|".join(map(part, ["text:a||b", "data:ff*10"])))
    return Served(place.open(spec_of("concat", f"{part(inner)}|zero:5000")), b"a||b" + b"\xff" * 10 + bytes(5000))


def of_sparse(place: Place) -> Served:
    at = 20_000 + len(CONTENT)
    parts = [f"20000={part(spec_of('file', place.file()))}", "0=text:begin", f"{at}=data:'next'"]
    content = b"begin" + bytes(20_000 - 5) + CONTENT + b"next" + bytes(100_001)
    return Served(place.open(spec_of("sparse", "|".join([str(len(content)), *parts]))), content)


def of_sparse_alone(place: Place) -> Served:
    return Served(place.open("sparse:300001|4K=pages:8K"), bytes(4096) + pages_content(8192) + bytes(300_001 - 12288))


def fake(size: str = "0") -> Source:
    """What `python:` is asked to make."""
    return FakeSource(DISK[: int(size)])


def plain_bytes() -> bytes:
    """The same, as content alone."""
    return DISK[:100_001]


def of_python(place: Place) -> Served:
    return Served(place.open(f"python:{__name__}:fake,size=100001"), DISK[:100_001])


KINDS.update(
    {
        "data": lambda place: Served(place.open(spec_of("data", DATA)), data_content()),
        "data-none": lambda place: Served(place.open("data:"), b""),
        "concat": of_concat,
        "concat-in-memory": of_concat_in_memory,
        "sparse": of_sparse,
        "sparse-alone": of_sparse_alone,
        "sparse-none": lambda place: Served(place.open("sparse:0"), b""),
        "python": of_python,
        "python-bytes": lambda place: Served(place.open(f"python:{__name__}:plain_bytes"), DISK[:100_001]),
    }
)
AT_ONCE |= {"data", "data-none", "concat-in-memory", "sparse-alone", "sparse-none", "python", "python-bytes"}
