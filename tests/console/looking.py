"""
What a person would see at once, asked of a page in a real browser: contrast, labels, headings, width.
"""

from typing import Any

from playwright.async_api import Page

CONTRAST = """
() => {
  const parse = (text) => {
    const numbers = text.match(/-?[0-9.]+(e-?[0-9]+)?/g).map(Number);
    const scale = text.startsWith("color(") ? 255 : 1;
    return [...numbers.slice(0, 3).map((each) => each * scale), numbers.length > 3 ? numbers[3] : 1];
  };
  const over = (top, below) => top.slice(0, 3).map((each, at) => each * top[3] + below[at] * (1 - top[3]));
  const light = (color) => {
    const [r, g, b] = color.map((each) => {
      const part = each / 255;
      return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = (element) => {
    const layers = [];
    for (let each = element; each; each = each.parentElement) {
      layers.push(parse(getComputedStyle(each).backgroundColor));
      if (layers.at(-1)[3] === 1) break;
    }
    return layers.reduceRight((below, layer) => over(layer, below), [255, 255, 255]);
  };
  const poor = [];
  let looked = 0;
  for (const element of document.body.querySelectorAll("*")) {
    const text = [...element.childNodes].filter((each) => each.nodeType === 3 && each.data.trim());
    const box = element.getBoundingClientRect();
    if (!text.length || !box.width || !box.height) continue;
    if (element.closest("dialog:not([open]), [disabled], option")) continue;
    const style = getComputedStyle(element);
    if (style.visibility === "hidden" || style.clipPath !== "none") continue;
    looked += 1;
    const below = ground(element);
    const [a, b] = [light(over(parse(style.color), below)), light(below)];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    const size = parseFloat(style.fontSize);
    const large = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
    if (ratio >= (large ? 3 : 4.5)) continue;
    poor.push(`${ratio.toFixed(2)} ${element.tagName} ${text[0].data.trim().slice(0, 40)}`);
  }
  return { looked, poor: [...new Set(poor)] };
}
"""

PROBLEMS = """
() => {
  const found = [];
  const said = (element) => (element.getAttribute("aria-label") || element.textContent || element.title || "").trim();
  const all = (selector) => [...document.querySelectorAll(selector)];
  if (all("h1").length !== 1) found.push(`${all("h1").length} h1`);
  let level = 0;
  for (const each of all("main h1, main h2, main h3, main h4")) {
    const now = Number(each.tagName[1]);
    if (now > level + 1) found.push(`heading ${each.textContent.trim()} is ${level} to ${now}`);
    level = now;
  }
  const ids = all("[id]").map((each) => each.id);
  for (const id of new Set(ids.filter((each, at) => ids.indexOf(each) !== at))) found.push(`id ${id} twice`);
  for (const each of all("input:not([type=hidden]), select")) {
    if (!each.labels.length) found.push(`no label: ${each.name}`);
  }
  for (const each of all("a[href], button, summary")) {
    if (!said(each)) found.push(`nameless: ${each.outerHTML.slice(0, 90)}`);
  }
  for (const each of all("th")) if (!each.scope) found.push(`th without scope: ${each.textContent}`);
  for (const each of all("[aria-labelledby], [aria-describedby]")) {
    for (const name of ["aria-labelledby", "aria-describedby"]) {
      const id = each.getAttribute(name);
      if (id && !document.getElementById(id)) found.push(`${name} of nothing: ${id}`);
    }
  }
  for (const each of all("[role=region]")) if (!said(each)) found.push("a region without a name");
  for (const name of ["main", "nav", "header"]) if (!document.querySelector(name)) found.push(`no ${name}`);
  if (!document.documentElement.lang) found.push("no language");
  if (!document.title.includes(" · OMEN")) found.push(`title ${document.title}`);
  for (const each of all("a, button, input, select, summary")) {
    const box = each.getBoundingClientRect();
    if (box.width && box.left >= 0 && box.right > innerWidth + 1 && !each.closest(".scroll, nav, pre, .skip")) {
      found.push(`out of sight: ${said(each).slice(0, 40)}`);
    }
  }
  for (const each of all(".pipeline li, .figure, .equation, .card")) {
    if (each.scrollWidth > each.clientWidth + 1) found.push(`more than its box: ${said(each).slice(0, 40)}`);
  }
  const wide = document.documentElement.scrollWidth - innerWidth;
  if (wide > 0) found.push(`${wide} px too wide`);
  return found;
}
"""


async def problems(page: Page) -> list[str]:
    """
    Return what is wrong with a page's structure, labels and width.
    """
    found: list[str] = await page.evaluate(PROBLEMS)
    return found


async def poor_contrast(page: Page) -> list[str]:
    """
    Return the texts on a page that are too faint, by the colours that the browser computed.
    """
    found: dict[str, Any] = await page.evaluate(CONTRAST)
    assert found["looked"] > 15
    poor: list[str] = found["poor"]
    return poor
