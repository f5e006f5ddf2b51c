// The maps of a reply as colours: which expert weighed most on a token, and how unsure the routers were.

import {css, expertColour, heatColour} from './colours.js';
import {element, styled} from './dom.js';
import {figure, percent} from './format.js';

const FULL_SCALE = 65535;  // of the uncertainty map: 1

function coloured({width, height, values}, colourOf) {
  const pixels = new ImageData(width, height);
  values.forEach((value, i) => pixels.data.set([...colourOf(value), 255], 4 * i));
  return pixels;
}

// {pixels, legend} of a map from grey_png.js.
export function expertOverlay(map) {
  const counts = new Map();
  for (const expert of map.values) counts.set(expert, (counts.get(expert) ?? 0) + 1);
  const legend = element('ul', {class: 'legend'});
  for (const [expert, count] of [...counts].sort(([, a], [, b]) => b - a)) {
    const chip = styled(element('span', {class: 'chip'}), {background: css(expertColour(expert))});
    legend.append(element('li', {}, chip, `Expert ${expert}`, element('span', {class: 'muted'}, percent(count / map.values.length))));
  }
  const colours = new Map([...counts.keys()].map((expert) => [expert, expertColour(expert)]));
  return {pixels: coloured(map, (expert) => colours.get(expert)), legend};
}

// The scale ends at the picture's largest value: uncertainties are small.
export function uncertaintyOverlay(map) {
  const largest = map.values.reduce((most, value) => Math.max(most, value), 1);
  const scale = element('span', {class: 'scale', role: 'img', 'aria-label': 'Colour scale from dark, certain, to light, uncertain'});
  const stops = Array.from({length: 9}, (_, i) => css(heatColour(i / 8)));
  styled(scale, {background: `linear-gradient(to right, ${stops.join(', ')})`});
  const legend = element('p', {class: 'legend'}, '0', scale, figure(largest / FULL_SCALE),
                         element('span', {class: 'muted'}, 'standard deviation of the kept experts’ probability'));
  return {pixels: coloured(map, (value) => heatColour(value / largest)), legend};
}
