"""One task in a real browser: log in, open the stream, say which picture is shown, choose a class, submit.

Run by the Python in which playwright is installed: browse.py URL PROJECT CLASS USER PASSWORD CHROMIUM SCREENSHOT
"""

from __future__ import annotations

import json
import sys

from playwright.sync_api import sync_playwright

PATIENCE = 180_000  # milliseconds; a machine that is busy takes its time


def main(url: str, project: str, name: str, user: str, password: str, chromium: str, screenshot: str) -> None:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        page.set_default_timeout(PATIENCE)
        page.goto(f"{url}/user/login/", timeout=PATIENCE)
        page.fill("input[name=email]", user)
        page.fill("input[name=password]", password)
        page.click("button[type=submit]")
        page.wait_for_url(lambda address: "/login" not in address)
        page.goto(f"{url}/projects/{project}/data?labeling=1", timeout=PATIENCE)
        picture = page.locator("img[src*='/data/']").first
        picture.wait_for()
        page.get_by_text(name, exact=True).first.wait_for()
        page.wait_for_timeout(1500)  # the picture fades in
        shown = picture.get_attribute("src")
        chosen = page.locator("input[type=checkbox]:checked, input[type=radio]:checked")
        before = [chosen.nth(i).get_attribute("name") for i in range(chosen.count())]
        page.screenshot(path=screenshot)
        page.get_by_text(name, exact=True).first.click()
        with page.expect_response(lambda r: "/annotations" in r.url and r.request.method == "POST") as answered:
            page.get_by_role("button", name="Submit").click()
        print(json.dumps({"shown": shown, "checked before": before, "status": answered.value.status}))
        browser.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
