"""The web page in a real Chromium: it scores and compares uploaded clips and requests nothing from elsewhere."""

import json
import socket
import threading
import time

import pytest
import soundfile
from serving_clips import RATE, TASK, texts, wave

pytest.importorskip("fastapi", reason="the extra serve is not installed")
pytest.importorskip("selenium", reason="selenium is not installed")

import uvicorn
from selenium.webdriver.support.ui import WebDriverWait

from dramaeval.serving.app import Server, ServerSettings, make_app
from dramaeval.serving.batching import BatchScorer
from dramaeval.serving.intake import Intake
from dramaeval.serving.metrics import ServerMetrics

KEY = "trait_embodiment"
TITLE = "<script>document.title='broken'</script>"


@pytest.fixture
def address(judge):
    """The address of a server with a token."""
    settings = ServerSettings(title=TITLE, token="secret")
    server = Server(BatchScorer(judge, TASK), Intake(judge, TASK), settings, ServerMetrics())
    running = uvicorn.Server(uvicorn.Config(make_app(server), log_config=None))
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=running.run, kwargs={"sockets": [listening]})
        thread.start()
        while not running.started:
            time.sleep(0.01)
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        running.should_exit = True
        thread.join(60)


@pytest.mark.slow
@pytest.mark.browser
def test_the_page_scores_records_and_compares(address, chromium, judge, tmp_path):
    def by_id(name):
        return chromium.find_element("id", name)

    chromium.get_log("performance")
    chromium.get_log("browser")
    chromium.get(address)
    wait = WebDriverWait(chromium, 60)
    assert chromium.title == TITLE

    by_id("token").send_keys("secret")
    by_id("score").click()
    wait.until(lambda _: "Clip A is missing" in by_id("message").text)
    for name, text in texts(1).items():
        by_id(f"text-{name}").send_keys(text)
    for name, number in (("a", 1), ("b", 7)):
        file = tmp_path / f"{name}.wav"
        soundfile.write(file, wave(number), RATE, subtype="FLOAT")
        by_id(f"file-{name}").send_keys(str(file))
    by_id("score").click()
    wait.until(lambda _: by_id("result").is_displayed())
    own = judge.score(wave(1), TASK, **texts(1))
    rows = chromium.find_elements("css selector", "#rows tr")
    assert [row.get_attribute("data-key") for row in rows] == list(own)
    cells = chromium.find_elements("css selector", f"tr[data-key={KEY}] td")
    assert [cell.text for cell in cells[:2]] == [
        f"{own[KEY].expected:.2f}",
        f"{own[KEY].spread:.2f}",
    ]
    assert len(cells[2].find_elements("css selector", "rect")) == 5
    heights = [
        float(bar.get_attribute("height")) for bar in cells[2].find_elements("css selector", "rect")
    ]
    assert heights == pytest.approx([28 * share for share in own[KEY].distribution], abs=1e-3)

    by_id("compare").click()
    wait.until(lambda _: by_id("head").text.startswith("Dimension A is better"))
    compared = judge.compare(wave(1), wave(7), TASK, **texts(1))[KEY]
    cells = chromium.find_elements("css selector", f"tr[data-key={KEY}] td")
    shown = [f"{100 * each:.1f} %" for each in (compared.p_a, compared.p_tie, compared.p_b)]
    assert [cell.text for cell in cells[:3]] == shown

    by_id("text-scene").clear()
    by_id("score").click()
    wait.until(lambda _: "scene" in by_id("message").text)
    assert "missing text: scene" in by_id("message").text
    messages = [
        json.loads(entry["message"])["message"] for entry in chromium.get_log("performance")
    ]
    urls = {
        message["params"]["request"]["url"]
        for message in messages
        if message["method"] == "Network.requestWillBeSent"
    }
    assert {url for url in urls if not url.startswith((address, "blob:", "data:"))} == set()
    errors = [entry["message"] for entry in chromium.get_log("browser")]
    assert [error for error in errors if "/v1/" not in error] == []
