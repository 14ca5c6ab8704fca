"""The page in a real browser, on real images."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait
from serving import Running

from anomem import AnoMem

Digits = dict[str, npt.NDArray[np.uint8]]


def told(browser: Chrome, name: str) -> str:
    return browser.find_element(By.ID, name).text


def rows(browser: Chrome) -> list[list[str]]:
    found = browser.find_elements(By.CSS_SELECTOR, "#rows tr")
    return [[cell.text for cell in row.find_elements(By.TAG_NAME, "td")] for row in found]


def give(browser: Chrome, *files: Path) -> None:
    """Choose files on the page, and wait until it has looked at all of them."""
    wanted = len(rows(browser)) + len(files)
    browser.find_element(By.ID, "files").send_keys("\n".join(map(str, files)))
    WebDriverWait(browser, 60).until(lambda _: len(rows(browser)) == wanted)


def press(browser: Chrome, name: str, keys: str) -> None:
    browser.find_element(By.ID, name).send_keys(keys)


@pytest.mark.parametrize("width", [360, 1200])
def test_images_are_judged_shown_and_kept_as_a_table(
    service: Running, browser: Chrome, model: AnoMem, folders: dict[str, Path], width: int
) -> None:
    normal, odd = (sorted(folders[kind].iterdir())[0] for kind in ("normal", "anomalous"))
    browser.set_window_size(width, 900)
    browser.get(service.address)
    WebDriverWait(browser, 30).until(lambda _: told(browser, "at"))
    drop(browser, odd, normal)
    scores = model.decision_function([normal, odd])
    assert told(browser, "verdict") == ("Anomalous" if scores[0] > model.threshold() else "Normal")
    assert f"score {scores[0]:.2f}, threshold {model.threshold():.2f}" in told(browser, "words")
    wide = "return document.documentElement.scrollWidth <= innerWidth"
    assert browser.execute_script(wide)
    sizes = browser.execute_script(
        "return ['picture', 'heat'].map(i => document.getElementById(i).naturalWidth)"
    )
    assert sizes == [16, 16]
    unnamed = """return [...document.querySelectorAll("button, input, select, img, video")].filter(
        e => e.checkVisibility() && !(e.ariaLabel || e.labels?.length || e.textContent || e.alt
                                      || e.id == "heat")).map(e => e.outerHTML)"""
    assert browser.execute_script(unnamed) == []
