"""
Make the README's pictures of the console: ``python docs/screenshots.py [DIRECTORY]``.

It runs the servers and the console, plays a little of the demo in the machine's chromium, and looks at it.
"""

import asyncio
import sys
from pathlib import Path

from playwright.async_api import Page, async_playwright

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from tests.console.stage import Stage, seeded  # noqa: E402 - found only now

FLAGS = ["--no-sandbox", "--disable-gpu", "--force-color-profile=srgb", "--no-first-run"]
CHROMIUM = "/usr/bin/chromium"
SIZE = {"width": 1280, "height": 720}
BYTES_MAX = 150_000
# What is shown → where it is, and what it is called.
PICTURES = {"console": ""}


async def play(page: Page, stage: Stage, address: str) -> None:
    """
    Lose two signals, and bring them back.
    """
    stage.kill("riskcast_server")
    for _ in range(2):
        await page.goto(f"{address}ingest")
        await page.click("button:has-text('Send 1')")
    stage.start("riskcast_server")
    await page.goto(address)
    await page.wait_for_selector("[data-live=verdict]:has-text('2 not at RiskCast')")
    await page.click("button:has-text('Run Reconcile')")
    await page.wait_for_selector("output:has-text('Replayed 2')")
    await page.goto(f"{address}ingest")
    await page.click("button:has-text('Send 1')")
    await page.wait_for_selector("#log-rows >> text=DELIVERED")


async def take(stage: Stage, place: Path) -> None:
    """
    Take every picture in both themes.
    """
    address = stage.console()
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = await browser.new_page(viewport=SIZE, reduced_motion="reduce")
        await play(page, stage, address)
        for name, path in PICTURES.items():
            for theme in ("light", "dark"):
                await page.emulate_media(color_scheme=theme)
                await page.goto(address + path)
                await page.wait_for_selector("#link:has-text('live')")
                picture = place / f"{name}-{theme}.png"
                size_bytes = len(await page.screenshot(path=picture))
                if size_bytes > BYTES_MAX:
                    raise SystemExit(f"{picture} has {size_bytes} bytes, {BYTES_MAX} at most")
        await browser.close()


def main() -> None:
    """
    Set the stage, and take the pictures.
    """
    stage = Stage()
    try:
        stage.start("riskcast_server", "omen_server", "reconciler")
        seeded(stage.address("omen_server"))
        asyncio.run(take(stage, Path(sys.argv[1]) if len(sys.argv) > 1 else HERE))
    finally:
        stage.close()


if __name__ == "__main__":
    main()
