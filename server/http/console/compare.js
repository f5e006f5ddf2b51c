// Two pictures over each other and a divider between them: an input of type range lies over the whole stage, so
// that mouse, touch and keys move it, and screen readers know what it is.

import {percent} from './format.js';

export class Compare {
  // `root` holds .before, .after, canvas.overlay and input.split.
  constructor(root) {
    this.root = root;
    this.before = root.querySelector('.before');
    this.after = root.querySelector('.after');
    this.overlay = root.querySelector('.overlay');
    this.split = root.querySelector('.split');
    this.urls = {};
    this.split.addEventListener('input', () => this.#move());
    this.#move();
  }

  #move() {
    const share = this.split.value / this.split.max;
    this.root.style.setProperty('--split', `${100 * share}%`);
    this.split.setAttribute('aria-valuetext', `${percent(share)} of the width shows the picture before`);
  }

  // Shows a picture's file at a place; answers whether this browser can.
  async #show(name, blob) {
    const image = this[name];
    if (this.urls[name]) URL.revokeObjectURL(this.urls[name]);
    this.urls[name] = URL.createObjectURL(blob);
    image.src = this.urls[name];
    return image.decode().then(() => true, () => false);
  }

  async showBefore(blob) {
    this.clearAfter();
    const shown = await this.#show('before', blob);
    this.before.hidden = !shown;
    if (shown) this.#shape(this.before.naturalWidth, this.before.naturalHeight);
    return shown;
  }

  async showAfter(blob, {width, height}) {
    this.#shape(width, height);
    const shown = await this.#show('after', blob);
    this.root.classList.toggle('compared', shown && !this.before.hidden);
    this.after.hidden = !shown;
    return shown;
  }

  clearAfter() {
    this.root.classList.remove('compared');
    this.after.hidden = true;
    this.clearOverlay();
  }

  #shape(width, height) {
    this.root.style.setProperty('--ratio', width / height);
    this.size = {width, height};
  }

  // Lays a map of colours over the picture; each of its pixels covers unitPx pixels of it, the last ones less.
  showOverlay(pixels, unitPx) {
    [this.overlay.width, this.overlay.height] = [pixels.width, pixels.height];
    this.overlay.getContext('2d').putImageData(pixels, 0, 0);
    const {width, height} = this.size;
    this.overlay.style.setProperty('width', `${(100 * pixels.width * unitPx) / width}%`);
    this.overlay.style.setProperty('height', `${(100 * pixels.height * unitPx) / height}%`);
    this.overlay.hidden = false;
  }

  clearOverlay() {
    this.overlay.hidden = true;
  }

  set opacity(share) {
    this.overlay.style.setProperty('opacity', share);
  }
}
