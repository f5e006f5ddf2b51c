// Checks of a page as its reader meets it, in one function each: what they return is what is wrong.
// Run by console_test.py inside the page.

const visible = (node) => node.checkVisibility({visibilityProperty: true}) && node.getClientRects().length > 0;

function luminance([r, g, b]) {
  const linear = [r, g, b].map((value) => {
    const share = value / 255;
    return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2];
}

const colourOf = (text) => (text.match(/[\d.]+/g) ?? []).map(Number);

// The colour that a node's text stands on.
function groundOf(node) {
  for (; node; node = node.parentElement) {
    const colour = colourOf(getComputedStyle(node).backgroundColor);
    if (colour.length === 3) return colour;
  }
  return [255, 255, 255];
}

function contrast(node) {
  const [lighter, darker] = [colourOf(getComputedStyle(node).color), groundOf(node)].map(luminance).sort((a, b) => b - a);
  return (lighter + 0.05) / (darker + 0.05);
}

const ownText = (node) => [...node.childNodes].filter((child) => child.nodeType === Node.TEXT_NODE)
    .map((child) => child.textContent.trim()).join(' ').trim();

// WCAG 1.4.3, and 4.5:1 for large text too. Letters over pictures and in charts are not HTML text on a ground.
function weakContrast() {
  return [...document.querySelectorAll('body *')]
      .filter((node) => visible(node) && ownText(node) && !node.closest('svg, .stage, option') && contrast(node) < 4.5)
      .map((node) => `${node.tagName} "${ownText(node).slice(0, 30)}" has ${contrast(node).toFixed(2)}`);
}

function structure() {
  const problems = [];
  const ids = [...document.querySelectorAll('[id]')].map((node) => node.id);
  ids.filter((id, i) => ids.indexOf(id) !== i).forEach((id) => problems.push(`id ${id} twice`));
  for (const name of ['aria-controls', 'aria-labelledby', 'for']) {
    for (const node of document.querySelectorAll(`[${name}]`)) {
      if (!document.getElementById(node.getAttribute(name))) problems.push(`${name}=${node.getAttribute(name)} leads nowhere`);
    }
  }
  for (const image of document.querySelectorAll('img')) if (!image.hasAttribute('alt')) problems.push(`${image.src} has no alt`);
  for (const picture of document.querySelectorAll('svg')) {
    if (!picture.getAttribute('aria-label')) problems.push('a chart has no label');
  }
  const levels = [...document.querySelectorAll('h1, h2, h3, h4')].filter(visible).map((node) => Number(node.tagName[1]));
  levels.forEach((level, i) => { if (level > (levels[i - 1] ?? 0) + 1) problems.push(`h${level} behind h${levels[i - 1]}`); });
  if (!document.documentElement.lang) problems.push('no language');
  if (document.querySelectorAll('script:not([src]), style').length > 0) problems.push('inline script or style');
  return problems;
}

// WCAG 2.5.8: targets of at least 24 pixels, or that far from each other; those of native size in a label count with it.
function smallTargets() {
  return [...document.querySelectorAll('button, a[href], select, summary, input:not([type=hidden])')]
      .filter((node) => visible(node) && !node.classList.contains('unseen') && !node.classList.contains('skip'))
      .map((node) => ({node, box: (node.closest('label') ?? node).getBoundingClientRect()}))
      .filter(({node, box}) => Math.min(box.width, box.height) < (node.type === 'range' ? 16 : 24))
      .map(({node, box}) => `${node.tagName}#${node.id} is ${box.width.toFixed()}x${box.height.toFixed()}`);
}

const tooWide = () => document.documentElement.scrollWidth - document.documentElement.clientWidth;

return {contrast: weakContrast(), structure: structure(), targets: smallTargets(), tooWide: tooWide()};
