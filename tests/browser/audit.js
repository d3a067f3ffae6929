// Look over a page as someone does who can't see it, or not well; return what is wrong with it, in words.
() => {
  const wrong = [];
  const say = (what, element) => wrong.push(`${what}: ${element.outerHTML.slice(0, 120)}`);
  const visible = (element) => element.checkVisibility({ visibilityProperty: true, opacityProperty: true });

  // --- Structure: what a screen reader finds its way by
  if (!document.documentElement.lang) wrong.push("no language");
  if (!document.title.trim()) wrong.push("no title");
  if (document.querySelectorAll("h1").length !== 1) wrong.push("not exactly one h1");
  if (document.querySelectorAll("main").length !== 1) wrong.push("not exactly one main");
  if (document.querySelectorAll("body > header").length !== 1) wrong.push("not exactly one header");
  let level = 0;
  for (const heading of document.querySelectorAll("h1, h2, h3, h4")) {
    const next = Number(heading.tagName[1]);
    if (next > level + 1) say(`heading after h${level}`, heading);
    level = next;
  }
  const ids = [...document.querySelectorAll("[id]")].map((element) => element.id);
  for (const id of new Set(ids.filter((id, position) => ids.indexOf(id) !== position))) wrong.push(`id twice: ${id}`);
  for (const element of document.querySelectorAll("[aria-labelledby], [aria-describedby]")) {
    const named = `${element.getAttribute("aria-labelledby") || ""} ${element.getAttribute("aria-describedby") || ""}`;
    for (const id of named.split(/\s+/).filter(Boolean)) if (!document.getElementById(id)) say(`no #${id}`, element);
  }

  // --- Names: what each control and picture is called
  const nameOf = (element) =>
    (element.getAttribute("aria-label") || element.textContent || element.getAttribute("title") || "").trim();
  for (const image of document.querySelectorAll("img")) if (!image.hasAttribute("alt")) say("no alt", image);
  for (const control of document.querySelectorAll("a[href], button")) if (!nameOf(control)) say("no name", control);
  for (const section of document.querySelectorAll("nav, section"))
    if (!section.hasAttribute("aria-label") && !section.hasAttribute("aria-labelledby")) say("no name", section);
  for (const field of document.querySelectorAll("input:not([type=hidden]), select, progress"))
    if (!field.labels?.length && !field.getAttribute("aria-label")) say("no label", field);

  // --- Reach: fingers need 24 px (WCAG 2.5.8), unless a link stands in a sentence
  for (const control of document.querySelectorAll("button, input:not([type=hidden]), select, a.button, nav a")) {
    const box = control.getBoundingClientRect();
    if (visible(control) && (box.width < 24 || box.height < 24)) say(`only ${box.width}x${box.height}`, control);
  }

  // --- Sight: text stands out from its ground by 4.5 to 1, large text by 3 to 1 (WCAG 1.4.3)
  const channels = (colour) => colour.match(/[\d.]+/g).map(Number);
  const luminance = ([r, g, b]) => {
    const linear = [r, g, b].map((c) => (c / 255 <= 0.04045 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2];
  };
  const groundOf = (element) => {
    for (let each = element; each; each = each.parentElement) {
      const colour = channels(getComputedStyle(each).backgroundColor);
      if (colour.length === 3 || colour[3] === 1) return colour;
    }
    return [255, 255, 255];
  };
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const element = texts.currentNode.parentElement;
    if (!texts.currentNode.data.trim() || !visible(element) || element.closest(".visually-hidden, .skip, noscript, progress"))
      continue;
    const style = getComputedStyle(element);
    const [ink, ground] = [luminance(channels(style.color)), luminance(groundOf(element))];
    const ratio = (Math.max(ink, ground) + 0.05) / (Math.min(ink, ground) + 0.05);
    const pixels = parseFloat(style.fontSize);
    const isLarge = pixels >= 24 || (pixels >= 18.66 && Number(style.fontWeight) >= 700);
    if (ratio < (isLarge ? 3 : 4.5)) say(`contrast of ${ratio.toFixed(2)}`, element);
  }
  return wrong;
}
