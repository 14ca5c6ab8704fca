"""The page in a real browser, on real images."""

import csv
import io
from pathlib import Path

import pytest
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait
from serving import Running

from anomem import AnoMem


def told(browser: Chrome, name: str) -> str:
    return browser.find_element(By.ID, name).text


def rows(browser: Chrome) -> list[list[str]]:
    cells = "row => [...row.cells].map(cell => cell.innerText)"
    told: list[list[str]] = browser.execute_script(
        f"return [...document.getElementById('rows').rows].map({cells})"
    )
    return told


def give(browser: Chrome, *files: Path) -> None:
    """Choose files on the page, and wait until it has looked at all of them."""
    wanted = len(rows(browser)) + len(files)
    browser.find_element(By.ID, "files").send_keys("\n".join(map(str, files)))
    WebDriverWait(browser, 60).until(lambda _: len(rows(browser)) == wanted)


def press(browser: Chrome, name: str, keys: str) -> None:
    browser.find_element(By.ID, name).send_keys(keys)


@pytest.fixture(params=[360, 1200])
def page(service: Running, browser: Chrome, request: pytest.FixtureRequest) -> Chrome:
    """The page on a telephone and on a desk."""
    browser.set_window_size(request.param, 900)
    browser.get(service.address)
    WebDriverWait(browser, 30).until(lambda _: told(browser, "at"))
    return browser


def test_images_are_judged_shown_and_kept_as_a_table(
    page: Chrome, model: AnoMem, folders: dict[str, Path], tmp_path: Path
) -> None:
    normal, odd = (sorted(folders[kind].iterdir())[0] for kind in ("normal", "anomalous"))
    (broken := tmp_path / "=cut.png").write_bytes(odd.read_bytes()[:60])
    give(page, broken, normal, odd)
    score, threshold = model.decision_function([odd])[0], model.threshold()
    assert told(page, "verdict") == "Anomalous" and score > threshold
    assert f"score {score:.2f}, threshold {threshold:.2f}; p-value" in told(page, "words")
    shown = "return ['picture', 'heat'].map(name => document.getElementById(name).naturalWidth)"
    assert page.execute_script(shown) == [16, 16]
    assert [row[0] for row in rows(page)] == [odd.name, normal.name, "=cut.png"]
    assert rows(page)[2][1].startswith("the image is damaged or cut short")
    page.get_log("browser")  # which tells that this one was refused
    press(page, "threshold", Keys.END)
    assert told(page, "verdict") == "Normal" and rows(page)[0][3] == "normal"
    press(page, "reset", Keys.ENTER)
    press(page, "opacity", Keys.HOME)
    assert page.find_element(By.ID, "heat").value_of_css_property("opacity") == "0"
    page.find_elements(By.CSS_SELECTOR, "#rows button")[1].send_keys(Keys.ENTER)
    assert normal.name in told(page, "words")
    text = page.execute_script("return import('./page.js').then(page => page.table())")
    table = list(csv.DictReader(io.StringIO(text, newline="")))
    assert [row["image"] for row in table] == ["./=cut.png", normal.name, odd.name]
    assert [row["verdict"] for row in table[::2]] == ["unreadable", "anomalous"]
    assert float(table[2]["score"]) == score and table[0]["score"] == ""


def test_a_picture_of_the_camera_is_judged(page: Chrome) -> None:
    press(page, "camera", Keys.ENTER)
    seen = "return document.getElementById('video').videoWidth"
    WebDriverWait(page, 30).until(lambda _: page.execute_script(seen))
    press(page, "shoot", Keys.ENTER)
    WebDriverWait(page, 30).until(lambda _: rows(page))
    assert rows(page)[0][0] == "camera-1.png" and told(page, "verdict") == "Anomalous"
    press(page, "camera", Keys.ENTER)
    assert not page.find_element(By.ID, "live").is_displayed()


def test_all_of_it_has_a_name_and_fits(page: Chrome, folders: dict[str, Path]) -> None:
    give(page, sorted(folders["anomalous"].iterdir())[0])
    assert page.execute_script("return document.documentElement.scrollWidth <= innerWidth")
    unnamed = """const all = "button, input, select, img:not(#heat), video";
        const named = each => each.ariaLabel || each.labels?.length || each.textContent || each.alt;
        const seen = [...document.querySelectorAll(all)].filter(each => each.checkVisibility());
        return seen.filter(each => !named(each)).map(each => each.outerHTML)"""
    assert page.execute_script(unnamed) == []
