"""What the server answers, without a browser: users apart, limits, and whom it does not answer."""

import json
import re

import pytest
from starlette.testclient import TestClient

from tests.demo.conftest import encoded, noise
from ultralytics_diffattn.demo import app as application
from ultralytics_diffattn.demo import detectors, images, serve

LOCAL = serve.hosts("127.0.0.1")


@pytest.fixture
def client(pair):
    return TestClient(application.build(pair, LOCAL), base_url="http://127.0.0.1:7860", raise_server_exceptions=False)


def loaded_by(text):
    """Return what a page, a style or a script loads."""
    return re.findall(r'(?:src|href)="([^"]+)"|^import .* from "([^"]+)"|url\(([^)]+)\)|@import ([^;]+)', text, re.M)


def post(client, path, body=b"", **query):
    return client.post(f"/api/{path}", params=query, content=body)


def look(client, view, **asked):
    return post(client, "look", json.dumps({"view": view, **asked}))


def test_the_page_loads_its_own_files_alone(client):
    page = client.get("/")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in page.headers["content-security-policy"]
    texts = {"/": page.text}
    waiting = ["/"]
    while waiting:
        for target in map("".join, loaded_by(texts[waiting.pop()])):
            assert target.startswith("data:") or not target.startswith(("http:", "https:", "//")), target
            if not target.startswith("data:") and (name := f"/{target.removeprefix('./')}") not in texts:
                answer = client.get(name)
                assert answer.status_code == 200, name
                assert answer.headers["content-security-policy"] == page.headers["content-security-policy"]
                texts[name] = answer.text
                waiting.append(name)
    assert len(texts) == 2 + len(list(application.PAGE.glob("*.js")))
    assert "image: 64e6, model: 256e6" in texts["/server.js"]
    assert (application.LIMITS["image"], application.LIMITS["model"]) == (64e6, 256e6)


def test_two_users_do_not_see_each_other(client):
    first = post(client, "image", encoded(images.example(0)[..., ::-1]), name="a.png").json()
    second = post(client, "image", encoded(noise(100, 200)), name="b.png").json()
    assert first["view"] != second["view"]
    assert [(s["width"], s["height"]) for s in (first, second)] == [(320, 320), (200, 100)]
    by_hand = look(client, first["view"], point=[150, 90], **{"lambda": 2.0}).json()
    assert "λ = 2.000" in by_hand["notes"]
    assert "λ = 2.000" not in look(client, first["view"], point=[150, 90]).json()["notes"]
    assert look(client, second["view"], point=[150, 90]).status_code == 200
    assert look(client, second["view"], point=[90, 150]).status_code == 400  # outside this one, inside the other


@pytest.mark.skipif(not hasattr(detectors.tasks, "_SafeLoad"), reason="this ultralytics has no safe loading")
def test_an_uploaded_model_is_its_users_own(client, bomb):
    data = detectors.BUNDLED[1].read_bytes()
    uploaded = post(client, "model", data, name="mine.pt", role="model").json()
    assert (uploaded["model"], uploaded["baseline"], uploaded["differential"]) == ("mine", "shapes-stock", False)
    mine = post(client, "example", models=uploaded["models"]).json()
    others = post(client, "example").json()
    assert (mine["model"], others["model"]) == ("mine", "shapes-split")
    both = post(client, "model", data, name="b.pt", role="baseline", models=uploaded["models"]).json()
    assert (both["model"], both["baseline"]) == ("mine", "b")
    refused = post(client, "model", bomb[0].read_bytes(), name="bomb.pt", role="model")
    assert (refused.status_code, refused.json()["error"][:20]) == (400, "bomb.pt was refused:")
    assert not bomb[1].exists()
    assert post(client, "model", data, name="a.pt", role="judge").json()["error"].startswith("role=judge must be")


def test_frames_of_a_video_leave_no_more_than_one(client):
    frame, view = encoded(noise(48, 64), "JPEG"), ""
    still = post(client, "example").json()["view"]
    for _ in range(5):
        shown = post(client, "image", frame, name="frame.jpg", frame=1, instead_of=view).json()
        assert "image" not in shown
        view = shown["view"]
    assert len(client.app.state.views) == 2
    assert look(client, still, point=[1, 1]).status_code == 200


def test_what_is_not_kept_any_more(client):
    assert look(client, "never", point=[1, 1]).status_code == 410
    assert post(client, "example", models="never").status_code == 410


def test_too_large(client, monkeypatch):
    monkeypatch.setitem(application.LIMITS, "image", 2_000_000)
    answer = post(client, "image", bytes(2_000_001), name="large.jpg")
    assert (answer.status_code, answer.json()["error"]) == (413, "large.jpg is too large: 2 MB are allowed.")


REFUSED = [
    ("image", b"these are words", {"name": "../../etc/text.jpg"}, "text.jpg is no image that can be read"),
    ("image", b"", {}, "the file is no image"),
    ("look", b"no json", {}, "no JSON object"),
    ("look", b"[1]", {}, "no JSON object"),
]


@pytest.mark.parametrize(("path", "body", "query", "message"), REFUSED)
def test_refused(path, body, query, message, client):
    answer = post(client, path, body, **query)
    assert answer.status_code == 400
    assert answer.json()["error"].startswith(message) or message in answer.json()["error"]


def test_a_public_server_has_whatever_name_a_proxy_gives_it(pair):
    client = TestClient(application.build(pair, serve.hosts("0.0.0.0")), base_url="http://10.0.0.1")
    assert client.post("/api/example", headers={"origin": "https://demo.hf.space"}).status_code == 200


def test_other_sites_are_not_answered(client):
    """Neither a page elsewhere that asks for this server, nor a name elsewhere that leads to it."""
    elsewhere = client.post("/api/image", content=encoded(noise(9, 9)), headers={"origin": "http://elsewhere.org"})
    assert elsewhere.status_code == 400
    assert "may not ask this server" in elsewhere.json()["error"]
    own = client.post("/api/image", content=encoded(noise(9, 9)), headers={"origin": "http://127.0.0.1:7860"})
    assert own.status_code == 200
    example = client.post("/api/example", headers={"origin": "http://127.0.0.1:3000"})
    assert "may not ask this server" in example.json()["error"]
    assert client.get("/", headers={"host": "elsewhere.org"}).status_code == 400
    assert client.get("/", headers={"host": "localhost:7860"}).status_code == 200
