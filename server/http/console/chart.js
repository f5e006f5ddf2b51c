// Small charts as SVG, drawn anew each time in the pixels that they have. Colours are the style sheet's.

import {element, svg} from './dom.js';
import {figure} from './format.js';

const MOST_POINTS = 2000;
const MARGIN = {top: 8, right: 10, bottom: 22, left: 56};

// Round steps for an axis, at most `count` or so, that cover low to high; of what is counted, `least` is 1.
export function ticks(low, high, count, least = 0) {
  const span = high - low || Math.abs(high) || 1;
  const rough = Math.max(span / count, least);
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((candidate) => candidate >= rough * 0.999);
  const first = Math.floor(low / step + 1e-9);
  const last = Math.max(first + 1, Math.ceil(high / step - 1e-9));
  return Array.from({length: last - first + 1}, (_, i) => (first + i) * step);
}

// Path of the points; a value that is none leaves a gap.
function pathOf(points, place) {
  let pen = 'M';
  let path = '';
  for (const [x, y] of points) {
    if (Number.isFinite(y)) {
      const [left, top] = place(x, y);
      // A point alone is a dot: a line of no length with round ends.
      path += `${pen}${left.toFixed(1)} ${top.toFixed(1)}${pen === 'M' ? 'h0' : ''}`;
      pen = 'L';
    } else {
      pen = 'M';
    }
  }
  return path;
}

// No more points than a screen shows: of neighbours the lowest and the highest, so that no peak is lost.
export function thinned(points, most = MOST_POINTS) {
  if (points.length <= most) return points;
  const size = Math.ceil((2 * points.length) / most);
  const kept = [];
  for (let begin = 0; begin < points.length; begin += size) {
    const end = Math.min(begin + size, points.length);
    let [low, high] = [begin, begin];
    for (let i = begin; i < end; ++i) {
      if (points[i][1] < points[low][1]) low = i;
      if (points[i][1] > points[high][1]) high = i;
    }
    kept.push(points[Math.min(low, high)]);
    if (low !== high) kept.push(points[Math.max(low, high)]);
  }
  return kept;
}

function rangeOf(series, index) {
  let [low, high] = [Infinity, -Infinity];
  for (const point of series.flatMap(({points}) => points)) {
    if (!Number.isFinite(point[index])) continue;
    low = Math.min(low, point[index]);
    high = Math.max(high, point[index]);
  }
  return low <= high ? [low, high] : [0, 1];
}

function axisY(values, place, width, format) {
  return values.map((value) => {
    const [, y] = place(0, value);
    return svg('g', {}, svg('line', {class: 'grid', x1: MARGIN.left, x2: width - MARGIN.right, y1: y, y2: y}),
               svg('text', {x: MARGIN.left - 6, y: y + 4, 'text-anchor': 'end'}, format(value)));
  });
}

function axisX([low, high], width, height, format) {
  const ends = [[low, MARGIN.left, 'start'], [high, width - MARGIN.right, 'end']];
  return ends.map(([value, x, anchor]) => svg('text', {x, y: height - 5, 'text-anchor': anchor}, format(value)));
}

// Puts lines into `place`. series: [{name, points: [[x, y], ...]}], x ascending; `label` says in words what is seen.
// The vertical axis begins at 0, or below.
export function drawLines(place, {series, label, formatX = figure, formatY = figure, height = 170, least = 0, rangeX}) {
  const width = Math.max(200, place.clientWidth);
  const x = rangeX ?? rangeOf(series, 0);
  const [low, high] = rangeOf(series, 1);
  const values = ticks(Math.min(0, low), high, 3, least);
  const [bottom, top] = [values[0], values.at(-1)];
  const at = (horizontal, vertical) => [
    MARGIN.left + ((horizontal - x[0]) / (x[1] - x[0] || 1)) * (width - MARGIN.left - MARGIN.right),
    height - MARGIN.bottom - ((vertical - bottom) / (top - bottom)) * (height - MARGIN.top - MARGIN.bottom),
  ];
  const chart = svg('svg', {class: 'chart', role: 'img', 'aria-label': label, width, height, viewBox: `0 0 ${width} ${height}`});
  chart.append(...axisY(values, at, width, formatY), ...axisX(x, width, height, formatX));
  series.forEach(({points}, i) => chart.append(svg('path', {class: `line line-${i}`, d: pathOf(thinned(points), at)})));
  place.replaceChildren(chart, ...(series.length > 1 ? [keyOf(series)] : []));
}

function keyOf(series) {
  const items = series.map(({name}, i) => element('li', {}, element('span', {class: `chip line-${i}`}), name));
  return element('ul', {class: 'legend'}, ...items);
}

// Puts columns into `place`: columns: [{name, value, colour?}].
export function drawColumns(place, {columns, label, height = 150, format = figure, least = 0, named = true}) {
  const width = Math.max(160, place.clientWidth);
  const values = ticks(0, Math.max(...columns.map((column) => column.value), 0), 3, least);
  const top = values.at(-1);
  const floor = height - (named ? MARGIN.bottom : 6);
  const at = (_, value) => [0, floor - (value / top) * (floor - MARGIN.top)];
  const chart = svg('svg', {class: 'chart', role: 'img', 'aria-label': label, width, height, viewBox: `0 0 ${width} ${height}`});
  chart.append(...axisY(values, at, width, format));
  const step = (width - MARGIN.left - MARGIN.right) / Math.max(1, columns.length);
  columns.forEach(({name, value, colour}, i) => {
    const [, y] = at(0, value);
    const left = MARGIN.left + i * step;
    chart.append(svg('rect', {class: 'column', x: left + step * 0.12, width: step * 0.76, y, height: Math.max(0, floor - y), fill: colour},
                     svg('title', {}, `${name}: ${format(value)}`)));
    if (named) chart.append(svg('text', {x: left + step / 2, y: height - 6, 'text-anchor': 'middle'}, name));
  });
  place.replaceChildren(chart);
}
