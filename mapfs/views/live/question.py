"""A line that asks for words, and is not there otherwise."""

from typing import Any

from textual import events
from textual.message import Message
from textual.widgets import Input


class Question(Input):
    """Asks one question at a time; escape takes it back."""

    class Answered(Message):
        """`answer` to `what` was asked."""

        def __init__(self, what: str, answer: str) -> None:
            super().__init__()
            self.what = what
            self.answer = answer

    def __init__(self, **options: Any) -> None:
        super().__init__(compact=True, select_on_focus=False, **options)
        self._what = ""

    def ask(self, what: str, value: str, placeholder: str) -> None:
        """Takes the keys until it is answered."""
        self._what = what
        self.value, self.placeholder = value, placeholder
        self.cursor_position = len(value)
        self.add_class("-asked")
        self.focus()

    def on_input_submitted(self, message: Input.Submitted) -> None:
        """Tells the answer."""
        message.stop()
        self.remove_class("-asked")
        self.post_message(self.Answered(self._what, message.value.strip()))

    def on_key(self, event: events.Key) -> None:
        """Escape: no answer."""
        if event.key == "escape":
            event.stop()
            event.prevent_default()
            self.remove_class("-asked")
            self.screen.focus_next()
