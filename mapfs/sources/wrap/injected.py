"""placeholder until merge"""

from mapfs.sources.base import Source
from mapfs.sources.wrap.base import Wrapper


class Rules:
    def parse(self, t: str) -> object:
        return None

    def add(self, t: object) -> None: ...
    def clear(self) -> None: ...
    def describe(self) -> list[str]:
        return []


class Injected(Wrapper):
    def __init__(self, inner: Source, rules: Rules) -> None:
        super().__init__(inner)
