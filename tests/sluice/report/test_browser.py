"""The report in headless Chromium, opened from files: what a person sees, hears and reaches by the keyboard."""

import json
import os
import shutil

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from sluice.report import pages
from sluice.report.facts import gather
from tests.sluice.report.planted import DAYS, HOSTILE, ITEMS, long_tail, put, receipt_on_disk, refuse, result

INSTALL = "apt-get install chromium chromium-driver"
CHECKS, MOST_S = 2_000, 3.0


@pytest.fixture(scope="module")
def chromium():
    browser, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not (browser and driver):
        told = f"headless Chromium is not there: {INSTALL}"
        pytest.fail(told) if os.environ.get("CI") == "true" else pytest.skip(told)
    options = webdriver.ChromeOptions()
    options.binary_location = browser
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--window-size=1440,1000"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    started = webdriver.Chrome(options, webdriver.ChromeService(driver))
    started.execute_cdp_cmd("Network.enable", {})
    started.execute_cdp_cmd(  # no page may need the network
        "Network.emulateNetworkConditions", {"offline": True, "latency": 0, "downloadThroughput": 0, "uploadThroughput": 0}
    )
    yield started
    started.quit()


@pytest.fixture(scope="module")
def site(whole, tmp_path_factory):
    """A lake with 10,000 results of one table, hostile values and a refused day; its facts and its pages."""
    folder = tmp_path_factory.mktemp("browser")
    shutil.copytree(whole, folder / "lake")
    many = [result("expect_column_values_to_not_be_null", f"column_{n}") for n in range(CHECKS - 1)]
    bad = result("expect_column_mean_to_be_between", HOSTILE, success=False, severity="warning", note=HOSTILE, observed_value=1.0)
    for day in DAYS[:5]:
        put(folder / "lake", ITEMS, day, results=[*many, bad])
    long_tail(folder / "lake", DAYS[4], query=HOSTILE)
    refuse(folder / "lake", ITEMS, DAYS[5], seen=1)
    facts = gather(str(folder / "lake"), personal=True)
    pages.write(facts, folder / "site")
    return folder / "site", facts


def opened(chromium, site, name):
    """Open a page; nothing may have gone wrong on it."""
    chromium.get((site[0] / name).as_uri())
    wrong = [e for e in chromium.get_log("browser") if e["level"] in ("SEVERE", "WARNING")]
    assert not wrong, (name, wrong)
    assert chromium.execute_script("return window.hacked") is None
    return chromium


def text(chromium, css):
    return chromium.find_element(By.CSS_SELECTOR, css).text


def table(facts, name):
    return next(t for t in facts["tables"] if t["table"] == name)


@pytest.mark.slow
def test_pages_open_without_a_complaint_and_show_the_receipts(chromium, site):
    facts = site[1]
    opened(chromium, site, "index.html")
    receipts = [f["receipt"] for t in facts["tables"] for f in t["days"] if f["receipt"]]
    assert text(chromium, "#table-days") == str(len(receipts)) and text(chromium, "#rows") == f"{sum(r['rows'] for r in receipts):,}"
    assert text(chromium, "#results") == f"{sum(len(r['results']) for r in receipts):,}"
    for name in ("items", "attributions", "entire_space"):
        days = table(facts, name)["days"]
        opened(chromium, site, f"{name}/index.html")
        shown = [c.get_attribute("data-rows") for c in chromium.find_elements(By.CSS_SELECTOR, "#receipts ~ div [data-rows]")]
        assert shown == [str(f["receipt"]["rows"]) for f in reversed(days)]
        opened(chromium, site, f"{name}/{days[0]['day']}.html")
        assert text(chromium, "#content-hash") == days[0]["receipt"]["content_hash"]
        assert text(chromium, "dl.receipt #rows") == f"{days[0]['receipt']['rows']:,}"


@pytest.mark.slow
def test_the_page_of_rare_queries_has_the_numbers_of_the_receipts(chromium, site):
    opened(chromium, site, "index.html")
    chromium.find_element(By.CSS_SELECTOR, "#long-tail ~ p a").send_keys(Keys.ENTER)
    rewrites, pairs = (receipt_on_disk(site[0].parent / "lake", name, DAYS[4]) for name in ("query_rewrites", "synthetic_pairs"))
    fates = rewrites["accounts"][0]["fates"]
    assert text(chromium, "#queries") == str(rewrites["accounts"][0]["in"]) and text(chromium, "#pairs") == str(pairs["rows"])
    assert text(chromium, "#pool") == str(fates["rewritten"] + fates["all_dropped"] + fates["no_rewrite"])
    rows = chromium.find_elements(By.CSS_SELECTOR, "#deciles ~ div tbody tr")
    assert sum(int(row.find_elements(By.TAG_NAME, "td")[-1].text) for row in rows) == pairs["rows"]
    shown = chromium.execute_script("return [...document.querySelectorAll('.example .said')].map(e => e.textContent)")
    assert len(shown) == 2 and all(HOSTILE in each for each in shown)


@pytest.mark.slow
def test_a_red_cell_leads_to_the_day_and_what_to_do(chromium, site):
    opened(chromium, site, "index.html")
    assert text(chromium, "h1") == "One thing is red"
    chromium.find_element(By.CSS_SELECTOR, ".finding.refused a").click()
    assert text(chromium, "h1") == f"items {DAYS[5]}"
    assert f"sluice gate items --day {DAYS[5]}" in text(chromium, ".do")


@pytest.mark.slow
def test_ten_thousand_results_are_shown_a_page_at_a_time(chromium, site):
    opened(chromium, site, "items/results.html")
    took = chromium.execute_script("const t = performance.getEntriesByType('navigation')[0]; return (t.loadEventEnd - t.startTime) / 1000")
    assert 0 < took < MOST_S
    rows = lambda: chromium.find_elements(By.CSS_SELECTOR, ".paged tbody tr")  # noqa: E731
    total = sum(len(f["receipt"]["results"]) for f in table(site[1], "items")["days"])
    assert total == 10_001
    assert (len(rows()), text(chromium, ".paged output")) == (50, "1 to 50 of 10,001")
    button = lambda name: chromium.find_element(By.CSS_SELECTOR, f".paged [name={name}]")  # noqa: E731
    button("last").click()
    assert (len(rows()), text(chromium, ".paged output")) == (1, "10,001 to 10,001 of 10,001") and not button("next").is_enabled()
    button("before").send_keys(Keys.ENTER)
    assert text(chromium, ".paged output") == "9,951 to 10,000 of 10,001"
    button("find").send_keys("column_17) 2026-01-06")
    assert [r.text.split()[0] for r in rows()] == ["2026-01-06"]
    button("find").clear()
    button("failed").click()
    assert text(chromium, ".paged output") == "1 to 5 of 5"
    assert HOSTILE in chromium.execute_script("return document.querySelector('.paged tbody').textContent")


@pytest.mark.slow
def test_the_keyboard_reaches_the_switch_the_calendar_and_the_pages(chromium, site):
    opened(chromium, site, "index.html")
    focus = lambda: chromium.switch_to.active_element  # noqa: E731
    press = lambda *keys: focus().send_keys(*keys)  # noqa: E731
    chromium.execute_script("document.body.focus()")
    chromium.find_element(By.TAG_NAME, "body").send_keys(Keys.TAB)
    assert focus().get_attribute("class") == "skip"
    press(Keys.TAB)
    press(Keys.TAB)
    assert focus().get_attribute("id") == "theme"
    paper = lambda: chromium.execute_script("return getComputedStyle(document.body).backgroundColor")  # noqa: E731
    light, was = paper(), focus().get_attribute("aria-pressed")
    press(Keys.ENTER)
    assert focus().get_attribute("aria-pressed") != was and paper() != light
    chromium.refresh()
    assert paper() != light, "the choice is kept"
    chromium.find_element(By.ID, "theme").click()
    cell = chromium.find_element(By.CSS_SELECTOR, '.calendar a[tabindex="0"]')
    assert len(chromium.find_elements(By.CSS_SELECTOR, '.calendar a[tabindex="0"]')) == 1
    before = cell.get_attribute("aria-label")
    cell.send_keys(Keys.ARROW_LEFT)
    assert focus().get_attribute("aria-label") != before
    told = focus().get_attribute("aria-label").split(":")[0]
    press(Keys.ENTER)
    assert text(chromium, "h1") == told


@pytest.mark.slow
def test_the_page_follows_the_system_and_fits_a_telephone(chromium, site):
    for scheme in ("dark", "light"):
        chromium.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]})
        opened(chromium, site, "index.html")
        chromium.execute_script("delete document.documentElement.dataset.theme")
        red, green, blue = json.loads(
            chromium.execute_script("return getComputedStyle(document.body).backgroundColor").replace("rgb(", "[").replace(")", "]")
        )
        assert (red + green + blue < 200) == (scheme == "dark")
    chromium.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": True})
    for name in ("index.html", "long_tail.html", "entire_space/index.html", "items/2026-01-05.html", "items/results.html"):
        opened(chromium, site, name)
        assert chromium.execute_script("return document.documentElement.scrollWidth") <= 390, name
    chromium.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
