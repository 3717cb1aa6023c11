"""The report in Chromium: no errors or requests, sorted tables, players, small screens and printing."""

import base64
import json

import pytest

from dramaeval.evaluation.report.run_page import render


def requests_of(browser):
    """The addresses of all requests of the page, from the browser's network log."""
    urls = []
    for entry in browser.get_log("performance"):
        message = json.loads(entry["message"])["message"]
        if message["method"] == "Network.requestWillBeSent":
            urls.append(message["params"]["request"]["url"])
    return urls


@pytest.fixture
def page(chromium, findings, tmp_path):
    file = tmp_path / "report.html"
    file.write_text(render(findings), encoding="utf-8")
    chromium.get_log("performance")
    chromium.get_log("browser")
    chromium.get(file.as_uri())
    return chromium


def rows(browser, table):
    script = "return [...arguments[0].tBodies[0].rows].map(r => [...r.cells].map(c => c.innerText))"
    return browser.execute_script(script, table)


def click(browser, head):
    button = head.find_element("css selector", "button")
    browser.execute_script(
        "arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", button
    )
    button.click()


def find_all(browser, css):
    return browser.find_elements("css selector", css)


@pytest.mark.slow
def test_the_page_opens_without_errors_and_sends_no_request(page):
    assert page.get_log("browser") == []
    assert "run <1>" in page.title
    outside = [url for url in requests_of(page) if not url.startswith(("file:", "data:"))]
    assert outside == []
    (own,) = {url for url in requests_of(page) if url.startswith("file:")} or {page.current_url}
    assert own == page.current_url
    result = page.execute_script(
        "return [...document.querySelectorAll('[src],[href]')].map("
        "e => e.getAttribute('src') || e.getAttribute('href'))"
    )
    assert all(entry.startswith(("#", "data:")) for entry in result)
    assert find_all(page, "svg")
    assert "<script>document.title" in page.find_element("css selector", "article").text


@pytest.mark.slow
def test_a_request_of_a_page_is_detected(page):
    """The test above can fail: the content policy blocks a picture from outside, which the log reports."""
    page.execute_script("new Image().src = 'http://127.0.0.1:9/x.png'")
    assert any("Content Security Policy" in entry["message"] for entry in page.get_log("browser"))


@pytest.mark.slow
def test_ids_are_unique_and_links_have_targets(page):
    ids = page.execute_script("return [...document.querySelectorAll('[id]')].map(e => e.id)")
    assert len(ids) == len(set(ids))
    for link in find_all(page, "nav a"):
        assert link.get_attribute("href").partition("#")[2] in ids
    used = page.execute_script(
        "return [...document.querySelectorAll('svg use')].map(e => e.href.baseVal.slice(1))"
    )
    assert set(used) <= set(ids)


@pytest.mark.slow
def test_tables_sort_by_value_both_ways_and_back(page):
    table = find_all(page, "table.sortable")[0]
    heads = table.find_elements("css selector", "thead th")
    at = next(n for n, head in enumerate(heads) if head.text.startswith("Pearson"))
    values = {}
    for row in table.find_elements("css selector", "tbody tr"):
        name, *cells = row.find_elements("css selector", "th, td")
        values[name.text] = float(cells[at - 1].get_attribute("data-sort"))
        assert f"{values[name.text]:.2f}" == cells[at - 1].text.split()[0].replace("−", "-")
    click(page, heads[at])
    assert heads[at].get_attribute("aria-sort") == "descending"
    after = [row[0] for row in rows(page, table)]
    assert after == sorted(values, key=values.get, reverse=True)
    # The Enter key sorts too.
    heads[at].find_element("css selector", "button").send_keys("\ue007")
    assert heads[at].get_attribute("aria-sort") == "ascending"
    assert [row[0] for row in rows(page, table)] == after[::-1]
    click(page, heads[0])
    assert [row[0] for row in rows(page, table)] == sorted(values)
    assert heads[at].get_attribute("aria-sort") is None


@pytest.mark.slow
def test_rows_without_a_value_are_last_in_both_directions(page):
    table = next(t for t in find_all(page, "table.sortable") if "silence" in t.text)
    head = next(h for h in table.find_elements("css selector", "thead th") if "Gain" in h.text)
    for _ in range(2):
        click(page, head)
        assert [row[0] for row in rows(page, table)] == ["silence", "phrasing"]


@pytest.mark.slow
def test_a_clip_of_the_page_plays_to_its_end(page):
    assert len(find_all(page, "audio")) == 10
    played = page.execute_async_script(
        """
        const done = arguments[arguments.length - 1];
        const clip = document.querySelector("audio");
        clip.muted = true;
        clip.addEventListener("ended", () => done([clip.duration, clip.currentTime, clip.error]));
        clip.addEventListener("error", () => done(["error", String(clip.error && clip.error.message)]));
        clip.play().catch((error) => done(["error", String(error)]));
        """
    )
    assert played[0] != "error", played
    # MP3 pads to whole frames.
    assert 0.4 < played[0] < 1.6
    assert played[1] == pytest.approx(played[0], abs=0.1)


@pytest.mark.slow
def test_the_page_fits_the_width_of_a_phone(page):
    size = {"width": 390, "height": 844, "deviceScaleFactor": 2, "mobile": True}
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        page.refresh()
        assert page.execute_script("return document.documentElement.scrollWidth") <= 390
        wide = page.execute_script(
            "return [...document.querySelectorAll('svg, audio, article')].filter("
            "e => e.getBoundingClientRect().right > 391).length"
        )
        assert wide == 0
    finally:
        page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


@pytest.mark.slow
def test_the_page_can_be_printed(page):
    printed = page.execute_cdp_cmd("Page.printToPDF", {"printBackground": True})["data"]
    pdf = base64.b64decode(printed)
    assert pdf.startswith(b"%PDF")
    assert (
        2
        <= pdf.count(b"/Type /Page\n") + pdf.count(b"/Type /Page ") + pdf.count(b"/Type/Page/")
        <= 40
    )


@pytest.mark.slow
def test_text_has_enough_contrast(page):
    """WCAG AA requires a contrast of 4.5 to 1 for text; the colours are those that the browser computes."""
    colours = page.execute_script(
        """
        const found = new Set();
        for (const one of document.querySelectorAll("body *")) {
          const own = [...one.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
          if (own && !one.closest("svg")) found.add(getComputedStyle(one).color);
        }
        return [...found];
        """
    )

    def luminance(colour):
        channels = [int(part) / 255 for part in colour[colour.index("(") + 1 : -1].split(",")[:3]]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    background = luminance("rgb(244, 246, 248)")  # the darkest background of text
    for colour in colours:
        assert (background + 0.05) / (luminance(colour) + 0.05) >= 4.5, colour
