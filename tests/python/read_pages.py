"""Pages as a browser reads them: nested as they must be, whole in themselves, and for those who cannot see them."""

import html.parser
import re


class Page(html.parser.HTMLParser):
    """A page's elements, nested as they must be; and its tables as texts."""

    VOID = ("meta", "br", "link", "img", "input", "hr")

    def __init__(self, text):
        super().__init__()
        self.open, self.elements, self.ids, self.tables = [], [], [], []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.elements.append((tag, attributes))
        self.ids += [attributes["id"]] if "id" in attributes else []
        if tag not in self.VOID:
            self.open.append(tag)
        if tag == "table":
            self.tables.append({"caption": "", "rows": []})
        elif tag == "tr":
            self.tables[-1]["rows"].append([])
        elif tag in ("td", "th"):
            self.tables[-1]["rows"][-1].append("")

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in self.VOID:
            self.handle_endtag(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] in ("td", "th"):
            self.tables[-1]["rows"][-1][-1] += data
        elif self.open and self.open[-1] == "caption":
            self.tables[-1]["caption"] += data

    def all(self, tag):
        return [attributes for found, attributes in self.elements if found == tag]


def check_self_contained(text):
    """No script, and nothing that a browser would fetch."""
    page = Page(text)
    names = {tag for tag, _ in page.elements}
    assert not names & {"script", "link", "img", "iframe", "object", "embed", "image", "foreignobject", "base", "form"}
    for tag, attributes in page.elements:
        assert not [name for name in attributes if name.startswith("on") or name in ("src", "srcset", "action", "data")]
        if "href" in attributes:
            assert attributes["href"].startswith("#") and attributes["href"][1:] in page.ids, tag
    assert "@import" not in text and not re.search(r"url\((?!#)", text)
    assert "http:" not in text and "https:" not in text
    assert len(set(page.ids)) == len(page.ids)
    assert all(f"#{id}" for id in re.findall(r"url\(#([^)]+)\)", text) if id in page.ids)
    return page


def check_accessible(page):
    headings = [tag for tag, _ in page.elements if re.fullmatch("h[1-6]", tag)]
    assert headings[0] == "h1" and set(headings[1:]) == {"h2"}
    assert page.all("html") == [{"lang": "en"}] and len(page.all("title")) >= 1 and len(page.all("main")) == 1
    assert all(table["caption"].strip() for table in page.tables)
    assert all(cell.get("scope") in ("col", "row") for cell in page.all("th"))
    assert all(svg.get("role") == "img" and svg["aria-label"].strip() for svg in page.all("svg"))
