"""A text that runs code in a page if it is not escaped, and a parser that finds the elements of a page."""

from html.parser import HTMLParser

HOSTILE = (
    "k\"><img src=x onerror=\"document.title='hit'\"><script>document.title='hit'</script>"
    "</title></style></svg>'& $a$ \\d {{ 7 * 7 }} <!-- | `x`"
)


class Elements(HTMLParser):
    """The elements of a page with their attributes, and its text.

    Attributes:
        found: (tag, attributes) of every element.
        text: all text outside of style and script.
        code: the contents of the style and script elements, by tag.
    """

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.code: dict[str, list[str]] = {"style": [], "script": []}
        self._open = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        self._open = tag
        if tag in self.code:
            self.code[tag].append("")

    def handle_endtag(self, tag: str) -> None:
        self._open = ""

    def handle_data(self, data: str) -> None:
        if self._open in self.code:
            self.code[self._open][-1] += data
        else:
            self.text += data
