// Makes elements. What a server says goes in as text, never as markup.

const SVG = 'http://www.w3.org/2000/svg';

export const byId = (id) => document.getElementById(id);

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith('on')) {
      node.addEventListener(name.slice(2), value);
    } else if (value === true) {
      node.setAttribute(name, '');
    } else if (value !== false && value !== null && value !== undefined) {
      node.setAttribute(name, value);
    }
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

// element('p', {class: 'note', onclick: f}, 'text', otherElement). Attributes that are false or null are left out.
export function element(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

export function svg(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

// Takes no second click; one that is disabled would lose the focus, and with it the place of who uses keys alone.
export const setBusy = (button, busy) => button.setAttribute('aria-disabled', busy);
export const isBusy = (button) => button.getAttribute('aria-disabled') === 'true';

// A property that only code may set: the page's policy allows no style attributes.
export function styled(node, properties) {
  for (const [name, value] of Object.entries(properties)) node.style.setProperty(name, value);
  return node;
}
