"""SQLite: to which table or index a page of the database belongs.

https://www.sqlite.org/fileformat2.html. The virtual table dbstat says the same, where it was compiled in, but reads
every page of the database; here the inner pages of each tree are read, which name the leaves below them: one page in
some hundred. Only where pages are left over, which rows too long for a leaf may continue in, the leaves are read too,
until all pages are accounted for, or the budget is spent: the rest has no label. A database in WAL mode is labelled as
its main file has it.
"""

import contextlib
import struct
from array import array
from collections.abc import Iterator

from mapfs.trace.labels.content import Content, UnreadableError
from mapfs.trace.labels.ranges import Labels, Span
from mapfs.trace.labels.sqlite_pages import (
    INDEX_INNER,
    INDEX_LEAF,
    TABLE_INNER,
    TABLE_LEAF,
    Page,
    schema_row,
)

_MOST_PAGES = 1 << 24
_LOCK_BYTE = 1 << 30  # the offset whose page holds nothing
_NONE, _SCHEMA, _FREE, _MAP, _LOCK = range(5)
_NAMES = ["", "sqlite_schema", "(free)", "(pointer map)", "(lock byte)"]
_MOST_DEEP = 20


class _Database:
    """The pages, and whose they are. Pages count from 1."""

    def __init__(self, content: Content) -> None:
        head = content.read(0, 100)
        self.content = content
        self.page_size = int.from_bytes(head[16:18], "big")
        if self.page_size == 1:
            self.page_size = 1 << 16
        self.usable = self.page_size - head[20]
        if self.page_size < 512 or self.page_size & (self.page_size - 1) or self.usable < 480:
            raise UnreadableError("its page size is none")
        self.encoding = {1: "utf-8", 2: "utf-16-le", 3: "utf-16-be"}.get(int.from_bytes(head[56:60], "big"), "utf-8")
        self.count = content.size // self.page_size
        if head[24:28] == head[92:96]:  # the size in the header is valid
            self.count = min(self.count, int.from_bytes(head[28:32], "big") or self.count)
        if not 0 < self.count <= _MOST_PAGES:
            raise UnreadableError("it has too many pages")
        self.owners = array("I", bytes(4 * (self.count + 1)))
        self.left = self.count  # pages without an owner
        self.names = list(_NAMES)
        self._leaves = array("I")
        self._trunk = int.from_bytes(head[32:36], "big")
        if int.from_bytes(head[52:56], "big"):  # auto_vacuum
            for number in range(2, self.count + 1, self.usable // 5 + 1):
                self._take(number + (number == self._lock_page), _MAP)
        self._take(self._lock_page, _LOCK)

    @property
    def _lock_page(self) -> int:
        return _LOCK_BYTE // self.page_size + 1

    def _take(self, number: int, owner: int) -> bool:
        """Lets the page be of `owner`. False: there is no such page, or it belongs to somebody."""
        if not 0 < number <= self.count or self.owners[number]:
            return False
        self.owners[number] = owner
        self.left -= 1
        return True

    def page(self, number: int) -> Page:
        """A page of a tree. Raises UnreadableError."""
        data = self.content.read((number - 1) * self.page_size, self.page_size)
        return Page(data, self.usable, 100 if number == 1 else 0)

    def walk(self) -> None:
        """Finds an owner for each page, as far as the budget reaches: it raises UnreadableError then."""
        self._tree(1, _SCHEMA)
        roots = []
        for leaf in list(self._leaves):
            self._overflow_of(leaf)
            for payload in self._payloads(leaf):
                row = schema_row(payload, self.encoding)
                if row is not None:
                    roots.append((len(self.names), row[1]))
                    self.names.append(row[0])
        self._leaves = array("I")
        for owner, root in roots:
            self._tree(root, owner)
        self._free()
        for leaf in self._leaves:
            if not self.left:
                return
            self._overflow_of(leaf)

    def _tree(self, root: int, owner: int) -> None:
        """The tree below `root`. Its leaves are all equally deep, so they need not be read to be known."""
        if not self._take(root, owner):
            return
        page, depth = self.page(root), 0
        while page.kind in (INDEX_INNER, TABLE_INNER):
            depth += 1
            children = page.children()
            if depth > _MOST_DEEP or not 0 < children[0] <= self.count:
                return
            page = self.page(children[0])
        if page.kind not in (INDEX_LEAF, TABLE_LEAF):
            return
        pages, chains = [(root, depth)], page.kind == INDEX_LEAF
        while pages:
            number, height = pages.pop()
            if not height:
                self._leaves.append(number)
                continue
            page = self.page(number)
            if page.kind not in (INDEX_INNER, TABLE_INNER):
                continue
            pages += [(child, height - 1) for child in page.children() if self._take(child, owner)]
            if chains:
                self._overflow_of(number, page)

    def _overflow_of(self, number: int, page: Page | None = None) -> None:
        owner = self.owners[number]
        for _, first, count in (page or self.page(number)).overflowing():
            for _ in range(count):
                if not self._take(first, owner):
                    break
                first = int.from_bytes(self.content.read((first - 1) * self.page_size, 4), "big")

    def _payloads(self, number: int) -> Iterator[bytes]:
        """The rows of a leaf of the schema, whole."""
        for local, following, count in self.page(number).payloads():
            parts = [local]
            for _ in range(count):
                if not 0 < following <= self.count:
                    break
                data = self.content.read((following - 1) * self.page_size, self.usable)
                following = int.from_bytes(data[:4], "big")
                parts.append(data[4:])
            yield b"".join(parts)

    def _free(self) -> None:
        trunk = self._trunk
        while self._take(trunk, _FREE):
            data = self.content.read((trunk - 1) * self.page_size, self.usable)
            trunk, count = struct.unpack_from(">II", data)
            for leaf in struct.unpack_from(f">{min(count, self.usable // 4 - 2)}I", data, 8):
                self._take(leaf, _FREE)


def labels(content: Content) -> Labels:
    """Tables and indexes. Raises UnreadableError, ValueError, struct.error."""
    database = _Database(content)
    with contextlib.suppress(UnreadableError):  # what is known by then is true
        database.walk()
    size = database.page_size

    def spans() -> Iterator[Span]:
        first = 1
        owners = database.owners
        for number in range(2, len(owners) + 1):
            if number == len(owners) or owners[number] != owners[first]:
                if owners[first]:
                    yield (first - 1) * size, (number - 1) * size, owners[first]
                first = number

    return Labels(content.size, spans(), database.names.__getitem__)
