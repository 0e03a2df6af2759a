"""One task in a real browser: log in, open the stream, say which colour the picture shown has, choose a class, submit.

Run by the Python in which playwright is installed: browse.py URL PROJECT CLASS USER PASSWORD CHROMIUM SCREENSHOT
"""

from __future__ import annotations

import json
import sys

from playwright.sync_api import sync_playwright

# The tool shows a picture from memory, so that its address says nothing: what is on the screen does.
PICTURE = "[...document.images].find(i => i.src.startsWith('blob:') || i.src.includes('/data/'))"
COLOUR = f"""() => {{
    const canvas = document.createElement("canvas"), picture = {PICTURE}, pen = canvas.getContext("2d")
    pen.drawImage(picture, 0, 0)
    return [...pen.getImageData(0, 0, 1, 1).data].slice(0, 3)
}}"""
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
        page.wait_for_function(f"() => {{ const i = {PICTURE}; return i && i.complete && i.naturalWidth > 0 }}")
        choice = page.locator(f"input[name='{name}']")
        choice.wait_for(state="attached")
        page.wait_for_timeout(1500)  # the picture fades in
        colour = page.evaluate(COLOUR)
        chosen = page.locator("label input:checked")
        before = [chosen.nth(place).get_attribute("name") for place in range(chosen.count())]
        page.screenshot(path=screenshot)
        choice.check(force=True)
        with page.expect_response(lambda r: "/annotations" in r.url and r.request.method == "POST") as answered:
            page.locator("button[name='submit']").click()
        print(json.dumps({"colour": colour, "checked before": before, "status": answered.value.status}))
        browser.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
