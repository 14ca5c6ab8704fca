"""The page as a person has it: the command, a real server, a real browser."""

import csv
import json
import os
import signal
import socket
import urllib.error
import urllib.request
import warnings
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from running import Command, run
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from anomem.detector.estimator import load_trained


class Page:
    """The command running, and the address that it printed."""

    def __init__(self, folder: Path, model: Path, out: Path) -> None:
        self.labels = folder / "labels.csv"
        words = ["label", model, folder, "--out", out, "--device", "cpu", "--json"]
        self.command = Command(*words)
        self.command.wait_for(lambda: b"\n" in self.command.out)
        self.address = self.command.out.decode().splitlines()[0]

    def answers(self) -> list[tuple[str, str]]:
        with self.labels.open(newline="") as text:
            return [(row["image"], row["answer"]) for row in csv.DictReader(text)]


@pytest.fixture
def page(unlabelled: Path, model_folder: Path, tmp_path: Path) -> Iterator[Page]:
    started = Page(unlabelled, model_folder, tmp_path / "adapted")
    yield started
    started.command.killed()


def told(browser: Chrome, name: str) -> str:
    return browser.find_element(By.ID, name).text


def wait(browser: Chrome) -> None:
    WebDriverWait(browser, 30).until(lambda b: b.execute_script("return !busy"))


def opened(browser: Chrome, page: Page) -> None:
    browser.get(page.address)
    wait(browser)


def press(browser: Chrome, keys: str) -> None:
    for key in keys:
        browser.find_element(By.TAG_NAME, "body").send_keys(key)
        wait(browser)


def status(address: str, **headers: str) -> int:
    try:
        with urllib.request.urlopen(urllib.request.Request(address, headers=headers)) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def test_only_this_machine_and_only_who_knows_the_address(page: Page) -> None:
    parts = urlsplit(page.address)
    assert parts.hostname == "127.0.0.1" and len(parts.path) > 20
    assert status(page.address) == 200
    for path in ("/", "/standing", "/docs", parts.path[:-2] + "/"):
        assert status(f"http://127.0.0.1:{parts.port}{path}") == 404
    assert status(page.address, Host="attacker.example") == 400
    assert status(f"{page.address}images/50") == 404
    assert parts.port is not None
    addresses = {str(a[4][0]) for a in socket.getaddrinfo(socket.gethostname(), None)}
    for other in addresses - {"127.0.0.1"}:
        with pytest.raises(OSError, match=r"refused|timed out|unreachable|Invalid argument"):
            socket.create_connection((other, parts.port), timeout=1)


def test_one_key_an_answer_and_one_to_take_it_back(page: Page, browser: Chrome) -> None:
    opened(browser, page)
    first = told(browser, "name")
    assert "anomalous-" in first and "50 not looked at" in told(browser, "state")
    shown = browser.execute_script("return [...document.images].map(i => i.naturalWidth)")
    assert len(shown) == 2 and min(shown) == 16
    press(browser, "a")
    second = told(browser, "name")
    press(browser, "ns")
    assert "1 normal and 1 anomalous so far. 47 not" in told(browser, "state")
    press(browser, "uu")
    assert told(browser, "name") == second
    press(browser, "u")
    assert told(browser, "name") == first
    assert "0 normal and 0 anomalous so far. 50 not" in told(browser, "state")
    answers = [answer for _, answer in page.answers()]
    assert answers == ["anomalous", "normal", "skipped", *["undone"] * 3]


def test_killed_at_once_it_goes_on_where_it_was(
    page: Page, browser: Chrome, unlabelled: Path, model_folder: Path, tmp_path: Path
) -> None:
    opened(browser, page)
    press(browser, "aana")
    assert page.command.killed()
    assert [answer for _, answer in page.answers()] == [
        *("anomalous", "anomalous", "normal", "anomalous")
    ]
    press(browser, "n")
    assert "start anomem label again, every answer is kept" in told(browser, "message")
    browser.get_log("browser")  # the refused connection is an error on the console
    again = Page(unlabelled, model_folder, tmp_path / "adapted")
    try:
        opened(browser, again)
        assert "1 normal and 3 anomalous so far. 46 not" in told(browser, "state")
        press(browser, "u")
        assert "1 normal and 2 anomalous so far. 47 not" in told(browser, "state")
    finally:
        again.command.killed()


def test_two_pages_lose_nothing(page: Page, browser: Chrome) -> None:
    opened(browser, page)
    one = browser.current_window_handle
    browser.switch_to.new_window("tab")
    opened(browser, page)
    other = browser.current_window_handle
    for window in (one, other, one, other):
        browser.switch_to.window(window)
        press(browser, "a")
    given = page.answers()
    assert len(given) == 4 and {answer for _, answer in given} == {"anomalous"}
    assert f"{len({image for image, _ in given})} anomalous so far" in told(browser, "state")
    browser.close()
    browser.switch_to.window(one)


def test_it_learns_at_a_key_and_ends_with_a_summary(
    page: Page, browser: Chrome, tmp_path: Path
) -> None:
    opened(browser, page)
    press(browser, "l")
    assert not browser.find_element(By.ID, "adapt").is_enabled()
    for _ in range(6):
        press(browser, "a" if "anomalous-" in told(browser, "name") else "n")
    press(browser, "l")
    assert "Learnt from" in told(browser, "message")
    labels = [answer == "anomalous" for _, answer in sorted(page.answers())]
    assert load_trained(tmp_path / "adapted").bank_.labelled.label.tolist() == labels
    browser.get("about:blank")
    page.command.signal(signal.SIGINT)
    assert page.command.ended() == 0
    ended = json.loads(page.command.out.splitlines()[-1])
    assert (ended["normal"] + ended["anomalous"], ended["left"]) == (6, 44)


def test_what_is_wrong_with_the_file_of_answers_is_told_on_the_page(
    page: Page, browser: Chrome
) -> None:
    opened(browser, page)
    first = told(browser, "name")
    press(browser, "n")
    kept = page.labels.read_text()
    for table, message in (
        (kept + '"unclosed.png,normal,x\n', "labels.csv, line 3 cannot be read, as where a quote"),
        (kept + "x.png,maybe,x\n", "labels.csv, line 3 says 'maybe', which is not one of"),
    ):
        page.labels.write_text(table)
        press(browser, "a")
        assert message in told(browser, "message")
        assert page.labels.read_text() == table
    page.labels.unlink()
    page.labels.mkdir()
    press(browser, "a")
    assert "labels.csv: the answer was not kept (Is a directory)" in told(browser, "message")
    page.labels.rmdir()
    page.labels.write_text(kept)
    press(browser, "ua")
    assert told(browser, "message") == "" and told(browser, "name") != first
    assert [answer for _, answer in page.answers()] == ["normal", "undone", "anomalous"]
    browser.get_log("browser")  # each refusal is an error on the console


def test_an_image_that_is_gone_is_told_and_can_only_be_skipped(
    page: Page, browser: Chrome, unlabelled: Path
) -> None:
    opened(browser, page)
    press(browser, "a")
    for file in unlabelled.glob("*.png"):
        file.rename(file.with_suffix(".away"))
    press(browser, "a")
    gone = told(browser, "name")
    assert "there is no such file; check the path" in told(browser, "message")
    assert not browser.find_element(By.ID, "image").get_attribute("src")
    press(browser, "na")
    assert told(browser, "name") == gone
    press(browser, "s")
    assert told(browser, "name") != gone
    assert [answer for _, answer in page.answers()] == ["anomalous", "anomalous", "skipped"]
    browser.get_log("browser")


def test_the_file_of_answers_adapts_a_model(
    unlabelled: Path, model_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = sorted(unlabelled.iterdir())
    rows = [f"{files[0].name},anomalous,", f"{files[-1].name},normal,", f"{files[5].name},skipped,"]
    (unlabelled / "labels.csv").write_text("\n".join(["image,answer,time", *rows, ""]))
    words = ["adapt", model_folder, "--labels", unlabelled / "labels.csv", "--out", tmp_path / "m"]
    assert run(*words) == 0
    assert "1 anomaly and 1 normal labelled" in capsys.readouterr().out


def test_of_a_table_the_images_that_are_gone_are_told_and_left_out(
    unlabelled: Path, model_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [file.name for file in sorted(unlabelled.iterdir())[:3]]
    table = unlabelled / "labels.csv"
    table.write_text("\ufeffimage;answer\n" + "".join(f"{f};Anomaly\n" for f in [*files, "x.png"]))
    words = ["adapt", model_folder, "--labels", table, "--out", tmp_path / "m"]
    with warnings.catch_warnings():
        warnings.simplefilter("always")  # as on the command line
        assert run(*words) == 0
    assert "anomem: 1 labelled images are left out, as " in capsys.readouterr().err
    assert load_trained(tmp_path / "m").bank_.labelled.label.tolist() == [1, 1, 1]
    table.write_text("image,answer\nx.png,0\n")
    assert run(*words) == 1
    assert "labels.csv: no image can be read, as" in capsys.readouterr().err
    table.write_text("image,answer\nx.png,maybe\n")
    assert run(*words) == 1
    assert "labels.csv, line 2 says 'maybe'" in capsys.readouterr().err
    table.unlink()
    assert run(*words) == 1
    assert "labels.csv: there is no such file; check the path" in capsys.readouterr().err


def test_a_table_that_cannot_be_understood_is_told_before_images_are_read(
    unlabelled: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (unlabelled / "labels.csv").write_text("image,answer\nx.png,maybe\n")
    assert run("label", tmp_path / "no model", unlabelled) == 1
    assert "labels.csv, line 2 says 'maybe'" in capsys.readouterr().err


def test_a_port_in_use_is_told(
    page: Page, unlabelled: Path, model_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("label", model_folder, unlabelled, "--port", urlsplit(page.address).port) == 1
    assert "anomem: " in capsys.readouterr().err
    assert os.path.exists(model_folder)
