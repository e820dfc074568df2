class Pages:
    @classmethod
    def parse(cls, text: str) -> "Pages":
        return cls()

    def ranges(self, count: int) -> list[range]:
        return []
