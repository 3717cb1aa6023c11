"""A fixture with a headless Chromium; conftest.py files import it."""

import shutil

import numpy as np
import pytest
import soundfile

#: The frequency of the tone that the browser's simulated microphone records.
MICROPHONE_HZ = 440


@pytest.fixture(scope="session")
def chromium(tmp_path_factory):
    """A browser driver whose microphone records a tone; tests are skipped if Chromium is not installed."""
    pytest.importorskip("selenium", reason="selenium is not installed")
    binary = next(
        filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
    )
    driver = shutil.which("chromedriver")
    if not binary or not driver:
        pytest.skip(
            "no Chromium and chromedriver here (Debian: apt-get install chromium chromium-driver)"
        )
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    tone = tmp_path_factory.mktemp("microphone") / "tone.wav"
    samples = 0.3 * np.sin(2 * np.pi * MICROPHONE_HZ * np.arange(48_000) / 48_000)
    soundfile.write(tone, samples, 48_000)
    options = webdriver.ChromeOptions()
    options.binary_location = binary
    for word in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu",
                 "--autoplay-policy=no-user-gesture-required", "--window-size=1280,1000",
                 "--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream",
                 f"--use-file-for-fake-audio-capture={tone}"):  # fmt: skip
        options.add_argument(word)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    browser = webdriver.Chrome(options=options, service=Service(driver))
    yield browser
    browser.quit()
