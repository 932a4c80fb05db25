"""The page in Chromium, as users meet it: one server and one browser for all of these."""

import re
import threading
import time

import cv2
import numpy as np
import pytest

from tests.browser import BROWSER
from tests.demo.conftest import encoded, noise
from ultralytics_diffattn.demo import app as application
from ultralytics_diffattn.demo import detectors, images, serve

playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")
uvicorn = pytest.importorskip("uvicorn")
pytestmark = pytest.mark.skipif(BROWSER is None, reason="needs Chromium")
FLAGS = ["--no-sandbox", "--disable-gpu", "--autoplay-policy=no-user-gesture-required"]
WAIT = 60_000  # milliseconds, for slow machines


@pytest.fixture(scope="module")
def app(pair):
    return application.build(pair, serve.hosts("127.0.0.1"))


@pytest.fixture(scope="module")
def address(app):
    """Serve in a thread."""
    with serve.bind("127.0.0.1", 0) as bound:
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=1))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]})
        thread.start()
        yield serve.url(bound)
        server.should_exit = True
        thread.join(20)
        assert not thread.is_alive()


@pytest.fixture(scope="module")
def chromium():
    with playwright.sync_playwright() as engine:
        browser = engine.chromium.launch(executable_path=BROWSER, args=FLAGS)
        yield browser
        browser.close()


class User:
    """A browser of one's own, at the page."""

    def __init__(self, chromium, address, width=1000, **options):
        self.context = chromium.new_context(viewport={"width": width, "height": 800}, **options)
        self.page = self.context.new_page()
        self.page.set_default_timeout(WAIT)
        self.asked, self.wrong = [], []
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.on("pageerror", lambda error: self.wrong.append(str(error)))
        self.page.goto(address)
        self.boxes("model").first.wait_for()

    def boxes(self, figure):
        return self.page.locator(f"#{figure} .stage button")

    def panels(self):
        """Wait for maps, and return their titles and pictures."""
        self.page.locator("#panels figure").first.wait_for()
        figures = "all => all.map(f => [f.innerText.trim(), f.querySelector('img').src])"
        return dict(self.page.eval_on_selector_all("#panels figure", figures))

    def upload(self, name, data, field="file"):
        kind = "video/webm" if name.endswith(".webm") else "image/jpeg"
        self.page.set_input_files(f"#{field}", {"name": name, "mimeType": kind, "buffer": data})

    def says(self, message):
        playwright.expect(self.page.locator("#error")).to_contain_text(re.compile(message), timeout=WAIT)

    def shows(self, message):
        playwright.expect(self.page.locator("#status")).to_contain_text(re.compile(message), timeout=WAIT)

    def slide(self, name, value):
        self.page.eval_on_selector(f"#{name}", f"e => {{ e.value = {value}; e.dispatchEvent(new Event('input')); }}")

    def until(self, condition):
        """Wait for a condition; Playwright's own way needs eval, which the page forbids."""
        end = time.monotonic() + WAIT / 1000
        while not self.page.evaluate(condition):
            assert time.monotonic() < end, condition
            self.page.wait_for_timeout(20)

    def looks(self, action):
        """Do something, and wait for the maps that follow."""
        before = self.page.get_attribute("#panels", "data-shown") or "0"
        action()
        self.until(f"Number(document.getElementById('panels').dataset.shown ?? 0) > {before}")
        return self.panels()


@pytest.fixture
def user(chromium, address):
    one = User(chromium, address)
    yield one
    one.context.close()
    assert not one.wrong


TITLES = ["shapes-stock: A", "A1", "A2", "λ·A2", "A1 − λ·A2"]


def test_a_box_a_point_and_the_sliders(user, address):
    seen = user.looks(user.boxes("model").first.click)
    assert list(seen) == TITLES
    assert re.fullmatch(r"From \w+ 0\.\d\d", user.page.inner_text("#maps-title"))
    head = user.looks(lambda: user.slide("head", 1))
    assert head["A1"] != seen["A1"]
    assert user.looks(lambda: user.slide("block", 0))["A1"] != head["A1"]
    labels = user.boxes("model").all_inner_texts()
    user.looks(lambda: user.slide("lambda", 2))
    assert "λ = 2.000" in user.page.inner_text("#notes")
    assert user.boxes("model").all_inner_texts() != labels  # the boxes follow lambda, too
    user.looks(user.page.locator("#learned").click)
    assert user.boxes("model").all_inner_texts() == labels
    user.slide("confidence", 0.95)
    assert user.boxes("baseline").count() < len(labels) + 1
    user.page.check("input[value=point]")
    user.looks(lambda: user.page.locator("#model .stage").click(position={"x": 30, "y": 40}))
    assert user.page.inner_text("#maps-title").startswith("From the point ")
    with user.page.expect_download() as got:
        user.page.locator("#download").click()
    assert cv2.imread(str(got.value.path())).shape[0] > 400
    assert {url.partition("?")[0] for url in user.asked if not url.startswith(("data:", "blob:"))} <= {
        f"{address}/{name}" for name in ("", "page.css", "api/example", "api/look", "api/picture")
    } | {f"{address}/{file.name}" for file in application.PAGE.glob("*.js")}


def test_by_keyboard_on_a_narrow_screen(chromium, address):
    for scheme in ("dark", "light"):
        one = User(chromium, address, width=390, color_scheme=scheme)
        page = one.page
        assert page.evaluate("document.documentElement.scrollWidth") == 390
        text, ground = page.evaluate(
            "[getComputedStyle(document.body).color, getComputedStyle(document.body).backgroundColor]"
        )
        bright = [np.mean([int(n) for n in re.findall(r"\d+", colour)[:3]]) for colour in (text, ground)]
        assert (bright[0] > bright[1]) == (scheme == "dark")
        page.locator("#model .stage").focus()
        for _ in range(3):
            page.keyboard.press("ArrowRight")
        one.looks(lambda page=page: page.keyboard.press("Enter"))
        assert page.inner_text("#maps-title") == "From the point 179, 160"
        page.keyboard.press("Tab")
        one.looks(lambda page=page: page.keyboard.press("Enter"))
        assert re.match(r"From \w+ 0", page.inner_text("#maps-title"))
        assert page.evaluate("document.documentElement.scrollWidth") == 390
        one.context.close()


def test_two_users_at_once(chromium, address):
    one, two = User(chromium, address), User(chromium, address)
    two.upload("flat.png", encoded(np.full((100, 200, 3), 90, np.uint8)))
    two.shows("0 boxes by shapes-split")
    one.looks(one.boxes("model").first.click)
    one.slide("lambda", 2)
    two.page.check("input[value=point]")
    two.looks(lambda: two.page.locator("#model .stage").click(position={"x": 9, "y": 9}))
    playwright.expect(one.page.locator("#notes")).to_contain_text("λ = 2.000")
    assert "λ = 2.000" not in two.page.inner_text("#notes")
    assert one.boxes("model").count() > 0
    for user in (one, two):
        user.context.close()


def test_uploads_that_are_refused_lose_nothing(user, bomb):
    before = user.page.get_attribute("#model img", "src")
    user.upload("words.jpg", b"these are words")
    user.says("words.jpg is no image that can be read")
    user.page.locator("summary").click()
    user.upload("bomb.pt", bomb[0].read_bytes(), "model-file")
    user.says("bomb.pt was refused")
    assert not bomb[1].exists()
    user.page.context.grant_permissions([])
    user.page.locator("#camera").click()
    user.says("No camera was found|does not allow the camera")
    assert user.page.get_attribute("#model img", "src") == before
    user.looks(user.boxes("model").first.click)
    assert user.page.locator("#error").is_hidden()


def test_a_large_image_and_a_plain_model(user, tmp_path):
    large = tmp_path / "large.bmp"
    assert large.write_bytes(encoded(noise(3700, 3700), "BMP")) > 40_000_000
    user.page.set_input_files("#file", large)
    user.until("document.querySelector('#model img').naturalWidth === 1280")
    user.upload("mine.pt", detectors.BUNDLED[1].read_bytes(), "model-file")
    user.shows("by mine")
    assert "mine (plain attention)" in user.page.inner_text("#model figcaption")
    assert user.page.locator("#lambda-label").is_hidden()
    user.page.check("input[value=point]")
    seen = user.looks(lambda: user.page.locator("#model .stage").click(position={"x": 50, "y": 50}))
    assert list(seen) == ["shapes-stock: A", "A"]
    assert "plain attention" in user.page.inner_text("#legend")


def test_what_the_server_has_dropped_is_sent_again(user, app):
    user.looks(user.boxes("model").first.click)
    for _ in range(application.VIEWS):
        app.state.views.add(None)
    user.looks(lambda: user.slide("head", 0))


@pytest.fixture
def film(tmp_path):
    """Return a video of examples that Chromium plays."""
    file = tmp_path / "film.webm"
    writer = cv2.VideoWriter(str(file), cv2.VideoWriter_fourcc(*"VP80"), 4, (320, 320))
    for i in range(40):
        writer.write(images.example(i // 4))
    writer.release()
    assert file.stat().st_size > 1000
    return file.read_bytes()


def test_a_video_that_is_left_in_the_middle(chromium, address, app, film):
    one = User(chromium, address)
    one.upload("film.webm", film)
    one.page.locator("#player").wait_for()
    one.page.locator("#play").click()
    one.until("Number(document.getElementById('time').value) > 0.05")
    one.looks(one.boxes("model").first.click)  # which stops it
    assert one.page.inner_text("#play") == "Play"
    kept = len(app.state.views)
    one.page.locator("#play").click()
    one.until("Number(document.getElementById('time').value) > 0.2")
    assert len(app.state.views) <= kept  # frames take each other's place
    assert not one.wrong
    one.context.close()  # in the middle
    time.sleep(0.2)
    two = User(chromium, address)
    two.looks(two.boxes("model").first.click)
    two.context.close()
