"""A page as a parser and as a headless browser see it."""

import html as stdlib_html
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser

import numpy as np

VOID = {"meta", "img", "br", "link", "input", "hr", "base"}


class Page(HTMLParser):
    """A page as a parser that knows nothing of ours sees it."""

    def __init__(self, source):
        super().__init__()
        self.tags, self.open, self.words, self.css = [], [], [], ""
        self.feed(source)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        assert len(dict(attrs)) == len(attrs)
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] == "style":
            self.css += data
        else:
            self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())

    def all(self, tag):
        return [attrs for name, attrs in self.tags if name == tag]


BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
MEASURE = """<script>onload = () => {
  for (const folded of f.contentDocument.querySelectorAll("details")) folded.open = true;
  const page = f.contentDocument, root = page.documentElement, style = f.contentWindow.getComputedStyle(page.body);
  const outside = [...page.querySelectorAll("svg text")].filter(text => {
    const a = text.getBoundingClientRect(), b = text.closest("svg").getBoundingClientRect(), slack = b.width / 100;
    return a.left < b.left - slack || a.right > b.right + slack || a.top < b.top - slack || a.bottom > b.bottom + slack;
  });
  measured.textContent = JSON.stringify({
    inner: f.contentWindow.innerWidth, scroll: root.scrollWidth, height: root.scrollHeight,
    images: page.images.length, broken: [...page.images].filter(i => !i.naturalWidth).length,
    text: style.color, background: style.backgroundColor, outside: outside.map(t => t.textContent),
    smallest: Math.min(...[...page.querySelectorAll("svg text")].map(t => t.getBoundingClientRect().height)),
  });
}</script>"""


def look(source, folder, width, height, dark):
    """Open a page in a headless browser and return what was measured.

    The page stands in a frame, since Chromium makes no window narrower than 500 pixels.
    """
    frame = f'<iframe id=f style="width:{width}px;height:{height}px;border:0" srcdoc="{stdlib_html.escape(source)}">'
    head = '<!DOCTYPE html><html style="color-scheme: light dark"><meta charset="utf-8">'  # a frame has its parent's
    (folder / "frame.html").write_text(f"{head}{frame}</iframe><pre id=measured></pre>{MEASURE}", encoding="utf-8")
    flags = ["--no-sandbox", "--headless=new", "--disable-gpu", f"--user-data-dir={folder / 'profile'}"]
    flags += [f"--window-size={max(width, 500)},{height}", "--virtual-time-budget=5000", "--dump-dom"]
    flags += ["--blink-settings=preferredColorScheme=0"] if dark else []
    dom = subprocess.run(
        [BROWSER, *flags, (folder / "frame.html").as_uri()], capture_output=True, encoding="utf-8", timeout=180
    )
    measured = re.search(r'<pre id="measured">(.+?)</pre>', dom.stdout, re.DOTALL)
    assert measured, dom.stderr[-2000:]
    return json.loads(stdlib_html.unescape(measured[1]))


def brightness(colour):
    return np.mean([int(n) for n in re.findall(r"\d+", colour)[:3]])
