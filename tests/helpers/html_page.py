"""A page of HTML, taken apart, and text that a page must escape."""

from html.parser import HTMLParser

NASTY = "<script>alert('&\"</script>"
VOID = {"meta", "img", "link", "br", "input"}


class Parsed(HTMLParser):
    """Tags in order, text, and whether each tag that was opened was closed."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.open, self.text, self.scripts = [], [], "", []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag == "script":
            self.scripts.append("")
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] == "script":
            self.scripts[-1] += data
        else:
            self.text += data

    def all(self, name):
        return [attributes for tag, attributes in self.tags if tag == name]
