"""zip: the members of an archive, and so of wheels, jars, .npz and what torch.save writes.

The central directory says where the header of each member begins; the name, the extra field and the bytes follow it.
How long the extra field is stands in that header, which is read of the first few thousand members; of more, whose
headers lie all over the file, the last bytes (as many as the extra field has) have no label.
"""

import zipfile

from mapfs.trace.labels.content import Content, ContentFile, UnreadableError
from mapfs.trace.labels.ranges import MOST_RANGES, Labels

MAGIC = b"PK\x03\x04"
_END = b"PK\x05\x06"  # end of the central directory
_END_SIZE = 22
_HEADER = 30
_MOST_HEADERS = 4096


def recognised(head: bytes, content: Content) -> bool:
    """Whether the file may be one; what stands before the first member does not matter."""
    if head.startswith((MAGIC, _END)):
        return True
    return content.size >= _END_SIZE and content.read(content.size - _END_SIZE, 4) == _END


def labels(content: Content) -> Labels:
    """A member a label. Raises UnreadableError, ValueError, OSError, and what zipfile does."""
    with zipfile.ZipFile(ContentFile(content)) as archive:
        members, directory = archive.infolist(), archive.start_dir
    if len(members) > MOST_RANGES:
        raise UnreadableError("it has too many members")
    names = ["(central directory)", *[member.filename for member in members]]
    spans = [(directory, content.size, 0)]
    for number, member in enumerate(members, 1):
        start = member.header_offset
        end = start + _HEADER + len(member.orig_filename) + member.compress_size
        if number <= _MOST_HEADERS:
            header = content.read(start, _HEADER)
            if not header.startswith(MAGIC):
                raise UnreadableError(f"{member.filename!r} has no header")
            lengths = int.from_bytes(header[26:28], "little"), int.from_bytes(header[28:30], "little")
            end = start + _HEADER + sum(lengths) + member.compress_size
        if end > directory:
            raise UnreadableError(f"{member.filename!r} reaches into the central directory")
        spans.append((start, end, number))
    return Labels(content.size, spans, names.__getitem__)
