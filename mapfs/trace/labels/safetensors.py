"""safetensors: a header of JSON that names each tensor and the bytes of it.

https://github.com/huggingface/safetensors#format: 8 bytes little-endian, the length of the header; the header; the
tensors, whose offsets count from behind the header. There is no magic number: the header begins with `{`, and says
of each entry a type, a shape and offsets.
"""

import msgspec

from mapfs.trace.labels.content import Content, UnreadableError
from mapfs.trace.labels.ranges import Labels

_LONGEST_HEADER = 100_000_000  # bytes, as the library has it


class _Tensor(msgspec.Struct, gc=False):
    dtype: str
    shape: list[int]
    data_offsets: tuple[int, int]


def recognised(head: bytes, content: Content) -> bool:
    """Whether the file may be one."""
    length = int.from_bytes(head[:8], "little")
    return head[8:9] == b"{" and 2 <= length <= min(_LONGEST_HEADER, content.size - 8)


def labels(content: Content) -> Labels:
    """A tensor a label. Raises UnreadableError, ValueError."""
    length = int.from_bytes(content.read(0, 8), "little")
    entries = msgspec.json.decode(content.read(8, length), type=dict[str, msgspec.Raw])
    entries.pop("__metadata__", None)
    data = 8 + length
    names, spans = ["(header)"], [(0, data, 0)]
    decoder = msgspec.json.Decoder(_Tensor)
    for name, raw in entries.items():
        start, end = decoder.decode(raw).data_offsets
        if not 0 <= start <= end:
            raise UnreadableError(f"the tensor {name!r} ends before it begins")
        spans.append((data + start, data + end, len(names)))
        names.append(name)
    return Labels(content.size, spans, names.__getitem__)
