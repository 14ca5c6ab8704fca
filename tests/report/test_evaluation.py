from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pytest
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from skimage import data

from anomem import AnoMem
from anomem.detector.estimator import load_trained
from anomem.evaluation.evaluate import MOST_SHOWN, Evaluation, by_folder, evaluate, groups
from anomem.evaluation.localisation import Localisation
from anomem.images.combined import choose
from anomem.images.open import open_images
from anomem.report.evaluation import write_report

Folders = dict[str, Path]


@pytest.fixture(scope="module")
def fitted(model_folder: Path) -> AnoMem:
    return load_trained(model_folder, device="cpu")


@pytest.fixture(scope="module")
def evaluation(fitted: AnoMem, folders: Folders) -> Evaluation:
    return evaluate(
        fitted,
        open_images(folders["normal"]),
        open_images(folders["anomalous"]),
        rule="0.2",
        masks=sorted(folders["anomalous"].iterdir()),
    )


@pytest.fixture(scope="module")
def page(fitted: AnoMem, evaluation: Evaluation, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("page") / "deep" / "report.html"
    maps = list(fitted.heat_maps(evaluation.images))
    localisation = Localisation(maps, {"aupro": 0.5}, mean_map={}, by_kind={})
    write_report(fitted, evaluation, file, title="zeros <&>", rule="0.2", localisation=localisation)
    return file


@pytest.fixture
def opened(page: Path, browser: Chrome) -> Iterator[Chrome]:
    browser.get(page.as_uri())
    yield browser
    browser.get("about:blank")


def cells(browser: Chrome, table: str, column: int) -> list[str]:
    found = browser.find_elements(By.CSS_SELECTOR, f"#{table} td:nth-child({column})")
    return [cell.text for cell in found]


def confusion(browser: Chrome) -> dict[str, int]:
    names = ("tn", "fp", "fn", "tp")
    return {name: int(browser.find_element(By.ID, name).text.split()[0]) for name in names}


def counted(evaluation: Evaluation, threshold: float) -> dict[str, int]:
    fp = int((evaluation.normal > threshold).sum())
    tp = int((evaluation.anomalous > threshold).sum())
    return {
        **{"tn": len(evaluation.normal) - fp, "fp": fp},
        **{"fn": len(evaluation.anomalous) - tp, "tp": tp},
    }


def test_page_stands_alone(page: Path) -> None:
    text = page.read_text()
    assert f"Evaluated on {date.today().isoformat()}." in text
    assert "None of these images is known to the model, and none is there twice." in text
    assert "A map may glow on an image that is called normal" in text
    assert "zeros &lt;&amp;&gt;" in text
    assert text.count("src=") == text.count('src="data:image/jpeg;base64,')
    assert not any(word in text for word in ("<link", "@import", 'src="http', "fetch("))


def test_every_picture_loads_and_has_a_text(opened: Chrome) -> None:
    pictures = opened.execute_script(
        "const all = [...document.images]; all.forEach(image => image.loading = 'eager');"
        "return Promise.all(all.map(image => image.decode())).then("
        "() => all.map(image => [image.naturalWidth, image.alt]))"
    )
    assert len(pictures) > 40
    assert all(width > 0 and alt for width, alt in pictures)


def test_a_picture_enlarges_by_a_click_and_by_the_keyboard(opened: Chrome) -> None:
    links = opened.find_elements(By.CSS_SELECTOR, ".card .open")
    link, small = links[1], links[1].size["width"]
    opened.execute_script("arguments[0].scrollIntoView()", link)
    window = opened.execute_script(
        "const page = document.documentElement; return [page.clientWidth, page.clientHeight]"
    )
    for enlarge in (link.click, lambda: link.send_keys(Keys.ENTER)):
        enlarge()
        shown = opened.find_elements(By.CSS_SELECTOR, "figure:target")
        assert [shown[0].size[side] for side in ("width", "height")] == window
        picture = shown[0].find_element(By.TAG_NAME, "img")
        assert picture.size["width"] > 2 * small and picture.size["height"] < window[1]
        opened.switch_to.active_element.send_keys(Keys.TAB)
        close = opened.switch_to.active_element
        assert close.text == "close"
        close.send_keys(Keys.ENTER)
        assert not opened.find_elements(By.CSS_SELECTOR, "figure:target")
        assert link.size["width"] == small
    link.click()
    body, told = opened.find_element(By.TAG_NAME, "body"), []
    for key in (Keys.NULL, Keys.ARROW_RIGHT, Keys.ARROW_LEFT):
        body.send_keys(key)
        told.append(opened.find_element(By.CSS_SELECTOR, "figure:target figcaption").text)
    assert [words.split()[0] for words in told] == ["heat", "overlay", "heat"]
    assert told[0].endswith(".png")
    body.send_keys(Keys.ESCAPE)
    assert not opened.find_elements(By.CSS_SELECTOR, "figure:target")


def test_the_slider_counts_again(opened: Chrome, evaluation: Evaluation) -> None:
    assert confusion(opened) == counted(evaluation, evaluation.threshold)
    slider = opened.find_element(By.ID, "threshold")
    slider.send_keys(Keys.HOME)
    assert confusion(opened) == counted(evaluation, float(evaluation.score.min()))
    slider.send_keys(Keys.ARROW_RIGHT * 9)
    assert confusion(opened) == counted(evaluation, float(np.unique(evaluation.score)[9]))
    slider.send_keys(Keys.END)
    assert confusion(opened)["fp"] == confusion(opened)["tp"] == 0


def test_columns_are_sorted_up_and_down(opened: Chrome) -> None:
    column = opened.find_elements(By.CSS_SELECTOR, "#folders th button")[2]
    for order in (1, -1):
        column.click()
        images = [int(text) for text in cells(opened, "folders", 3)]
        assert images == sorted(images)[::order] and len(set(images)) == 2


def test_nothing_is_wider_than_a_small_screen(opened: Chrome) -> None:
    size = {"width": 400, "height": 800, "deviceScaleFactor": 1, "mobile": True}
    opened.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    width = opened.execute_script("return document.documentElement.scrollWidth")
    opened.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    assert width == 400


def test_research_terms_are_one_click_away(opened: Chrome) -> None:
    research = opened.find_element(By.CSS_SELECTOR, "#research table")
    assert not research.is_displayed()
    opened.find_element(By.CSS_SELECTOR, "#research summary").click()
    assert research.is_displayed()
    assert "auroc" in research.text and "aupro, heat maps 0.500" in research.text


def test_a_thousand_images_stay_small(
    fitted: AnoMem, evaluation: Evaluation, tmp_path: Path
) -> None:
    times = 1000 // len(evaluation.score) + 1
    many = np.tile(np.arange(len(evaluation.score)), times)
    side = data.grass()[:320, :320]  # hardly compressible, and as wide as pictures of the page
    grass = np.broadcast_to(side, (len(many), *side.shape))
    large = Evaluation(
        open_images(grass),
        [evaluation.names[i] for i in many],
        evaluation.label[many],
        np.random.default_rng(0).normal(size=len(many)).astype(np.float32),
        0.0,
        lambda _: None,
        evaluation.known,
    )
    write_report(fitted, large, tmp_path / "large.html", title="grass", rule="0.05")
    assert len(many) >= 1000 and all(group.total >= MOST_SHOWN for group in groups(large))
    assert (tmp_path / "large.html").stat().st_size < 20 * 2**20


def test_folders_are_counted(evaluation: Evaluation) -> None:
    good, odd = by_folder(evaluation)
    assert (good.folder, good.label, good.images) == ("normal", "normal", 58)
    assert (odd.folder, odd.label) == ("anomalous", "anomalous")
    assert odd.called == (evaluation.anomalous > evaluation.threshold).sum()


def test_the_share_that_is_decided_at_is_told(
    fitted: AnoMem, evaluation: Evaluation, page: Path, tmp_path: Path
) -> None:
    few = replace(
        evaluation,
        label=evaluation.label[[0, -1]],
        score=evaluation.score[[0, -1]],
        names=[evaluation.names[0], evaluation.names[-1]],
        images=choose(evaluation.images, np.array([0, len(evaluation.names) - 1])),
    )
    assert "the least that the held-out normals support" not in page.read_text()
    write_report(fitted, few, tmp_path / "page.html", title="few", rule="0.01")
    text = (tmp_path / "page.html").read_text()
    assert "<b>0.01</b> at <b>0.05</b>, the least that" in text
    assert "at alpha=0.05, 0.3% to 15% of new normals will be called anomalous, nine times" in text
    assert "99 held-out normals would make it 0.1% to 3%" in text
