from mapfs.sources.wrap.base import Wrapper


class CopyOnWrite(Wrapper):
    dirty = 0

    def commit(self) -> None: ...
    def discard(self) -> None: ...
