"""Airflow's pages as a person meets them, in a Chromium without a window."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import FrameLocator, Page, expect, sync_playwright

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
QUIET = ("--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--no-proxy-server")
SECONDS = 60

expect.set_options(timeout=SECONDS * 1000)


class AirflowPage:
    """A person who is logged in.

    Args:
        page: Page. Of the browser.
        url: str. Of Airflow.

    Attributes:
        asked: set of str. Every address that the browser has asked for.
    """

    def __init__(self, page: Page, url: str) -> None:
        self.page = page
        self.url = url
        self.asked: set[str] = set()
        page.set_default_timeout(SECONDS * 1000)
        page.on("request", lambda request: self.asked.add(request.url))

    def log_in(self, password: str) -> None:
        self.page.goto(f"{self.url}/auth/login/")
        self.page.fill("input[name=username]", "admin")
        self.page.fill("input[name=password]", password)
        self.page.click("button[type=submit]")
        self.page.wait_for_url(lambda url: "/auth/" not in url)

    def open_form(self, dag: str) -> None:
        self.page.goto(f"{self.url}/dags/{dag}")
        self.page.get_by_role("button", name="Trigger").first.click()
        expect(self.field("seed")).to_be_visible()

    def field(self, name: str):
        return self.page.locator(f"[name='element_{name}']")

    def trigger(self) -> str:
        """Send the form; return the id of the run."""
        self.page.get_by_role("dialog").get_by_role("button", name="Trigger", exact=True).click()
        self.page.wait_for_url(lambda url: "/runs/" in url)
        return self.page.url.split("/runs/")[1].split("/")[0].split("?")[0]

    def open_question(self, dag: str, run: str, task: str) -> None:
        self.page.goto(f"{self.url}/dags/{dag}/runs/{run}/tasks/{task}/mapped/0/required_actions")

    def answer(self, choice: str, reason: str) -> None:
        field, button = self.field("reason"), self.button(choice)
        field.fill(reason)
        field.blur()  # the page moves its buttons when the field has been left
        expect(button).to_be_enabled()
        self.page.wait_for_timeout(500)
        with self.page.expect_response(lambda response: response.request.method == "PATCH") as answered:
            button.click()
        assert answered.value.ok, answered.value.text()

    def button(self, name: str):
        return self.page.get_by_role("button", name=name, exact=True)

    def open_report(self, dag: str, run: str) -> FrameLocator:
        self.page.goto(f"{self.url}/dags/{dag}/runs/{run}/plugin/run_report")
        return self.page.frame_locator("iframe")

    def open_models(self, theme: str) -> FrameLocator:
        self.page.evaluate(f"localStorage.theme = '{theme}'")
        self.page.goto(f"{self.url}/plugin/models")
        return self.page.frame_locator("iframe")


@contextmanager
def browse(url: str) -> Iterator[AirflowPage | None]:
    """Yield a page of Airflow, None where no Chromium is installed."""
    if CHROMIUM is None:
        yield None
        return
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(QUIET))
        context = browser.new_context(viewport={"width": 1400, "height": 1000}, color_scheme="light")
        yield AirflowPage(context.new_page(), url)
        browser.close()
