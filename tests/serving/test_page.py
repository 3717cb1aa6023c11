"""The web page in a real Chromium: it scores and compares clips and sends requests only to its own server."""

import base64
import json
import socket
import threading
import time

import numpy as np
import pytest
import soundfile
from browser import MICROPHONE_HZ
from serving_clips import RATE, TASK, texts, wave

pytest.importorskip("fastapi", reason="the extra serve is not installed")
pytest.importorskip("selenium", reason="selenium is not installed")

import uvicorn
from selenium.webdriver.support.ui import WebDriverWait

from dramaeval.data.audio import decode
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
def test_the_page_scores_and_compares_uploaded_clips(address, chromium, judge, tmp_path):
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
    of_judge = judge.score(wave(1), TASK, **texts(1))
    rows = chromium.find_elements("css selector", "#rows tr")
    assert [row.get_attribute("data-key") for row in rows] == list(of_judge)
    cells = chromium.find_elements("css selector", f"tr[data-key={KEY}] td")
    assert [cell.text for cell in cells[:2]] == [
        f"{of_judge[KEY].expected:.2f}",
        f"{of_judge[KEY].spread:.2f}",
    ]
    assert len(cells[2].find_elements("css selector", "rect")) == 5
    heights = [
        float(bar.get_attribute("height")) for bar in cells[2].find_elements("css selector", "rect")
    ]
    assert heights == pytest.approx([28 * share for share in of_judge[KEY].distribution], abs=1e-3)

    by_id("compare").click()
    wait.until(lambda _: by_id("head").text.startswith("Dimension A is better"))
    compared = judge.compare(wave(1), wave(7), TASK, **texts(1))[KEY]
    cells = chromium.find_elements("css selector", f"tr[data-key={KEY}] td")
    expected_cells = [
        f"{100 * each:.1f} %" for each in (compared.p_a, compared.p_tie, compared.p_b)
    ]
    assert [cell.text for cell in cells[:3]] == expected_cells

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


#: Sends the bytes of clip A in base64 to the last argument, a callback.
BYTES_OF_A = """
const done = arguments[0], reader = new FileReader();
reader.onload = () => done(reader.result.split(",")[1]);
reader.readAsDataURL(clips.a.blob);
"""


@pytest.mark.slow
@pytest.mark.browser
def test_a_recording_is_scored(address, chromium, judge, tmp_path):
    def by_id(name):
        return chromium.find_element("id", name)

    chromium.get(address)
    wait = WebDriverWait(chromium, 60)
    by_id("token").send_keys("secret")
    by_id("record-a").click()
    wait.until(lambda _: by_id("record-a").text == "Stop")
    time.sleep(1)
    by_id("record-a").click()
    wait.until(lambda _: by_id("name-a").text == "recording")
    assert by_id("player-a").is_displayed()
    by_id("score").click()  # the first answer loads the fields of the texts
    wait.until(lambda _: "missing text" in by_id("message").text)
    for name, text in texts(1).items():
        by_id(f"text-{name}").send_keys(text)
    by_id("score").click()
    wait.until(lambda _: by_id("result").is_displayed())

    recording = tmp_path / "recording.webm"
    recording.write_bytes(base64.b64decode(chromium.execute_async_script(BYTES_OF_A)))
    samples = decode(recording, RATE, max_seconds=30)
    middle_half = samples[len(samples) // 4 : -len(samples) // 4]
    loudest_hz = (
        np.abs(np.fft.rfft(middle_half * np.hanning(len(middle_half)))).argmax()
        * RATE
        / len(middle_half)
    )
    assert loudest_hz == pytest.approx(MICROPHONE_HZ, rel=0.02)
    expected = judge.score(samples, TASK, **texts(1))
    rows = chromium.find_elements("css selector", "#rows tr")
    assert [row.get_attribute("data-key") for row in rows] == list(expected)
    for row, score in zip(rows, expected.values(), strict=True):
        assert row.find_element("css selector", "td").text == f"{score.expected:.2f}"
        bars = row.find_elements("css selector", "rect")
        heights = [float(bar.get_attribute("height")) for bar in bars]
        assert heights == pytest.approx([28 * share for share in score.distribution], abs=1e-3)
