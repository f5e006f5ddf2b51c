// What the routers did with a picture, and where its time went.

import {css, expertColour} from './colours.js';
import {element, styled} from './dom.js';
import {durationSeconds, figure, number, percent, seconds} from './format.js';

export const STAGES = ['decode', 'queue', 'infer', 'blend', 'encode'];

function shareCell(share, largest, expert) {
  const bar = styled(element('span', {class: 'bar'}),
                     {width: `${largest > 0 ? (100 * share) / largest : 0}%`, background: css(expertColour(expert))});
  return element('td', {}, element('div', {class: 'share'}, element('span', {class: 'track'}, bar), percent(share, 1)));
}

function row(name, cells) {
  return element('tr', {}, element('th', {scope: 'row'}, ...[name].flat()), ...cells);
}

// A row for each expert, a column for each layer: the share of the layer's units that kept it.
export function routingTable(routing) {
  const layers = routing.layers ?? [];
  const tokens = layers.map((layer) => (layer.tokens ?? []).map(number));
  const units = number(routing.units);
  const experts = Math.max(0, ...tokens.map((counts) => counts.length));
  const share = (layer, expert) => (units > 0 ? (tokens[layer][expert] ?? 0) / units : 0);
  const largest = Math.max(...tokens.flat().map((count) => (units > 0 ? count / units : 0)), 0);

  const head = element('tr', {}, element('th', {scope: 'col'}, 'Expert'),
                       ...layers.map((_, i) => element('th', {scope: 'col'}, `Layer ${i + 1}`)));
  const body = element('tbody');
  for (let expert = 0; expert < experts; ++expert) {
    const chip = styled(element('span', {class: 'chip'}), {background: css(expertColour(expert))});
    body.append(row([chip, String(expert)], layers.map((_, layer) => shareCell(share(layer, expert), largest, expert))));
  }
  const foot = element('tfoot', {}, row('Entropy', layers.map((l) => element('td', {}, percent(number(l.entropyRatio), 1)))));
  if (layers.some((layer) => number(layer.uncertainty) > 0)) {
    foot.append(row('Uncertainty', layers.map((l) => element('td', {}, figure(number(l.uncertainty))))));
  }
  const unit = routing.unit === 'UNIT_IMAGE' ? 'tiles' : 'tokens';
  return element('table', {}, element('caption', {}, `${number(routing.kept)} of ${experts} experts work on each of ${
      units.toLocaleString('en')} ${unit}; share of the ${unit} that kept an expert`), element('thead', {}, head), body, foot);
}

// The stages beside each other, as long as they took.
export function timingsBar(timings) {
  const parts = STAGES.map((stage) => ({stage, time: durationSeconds(timings[stage])}));
  const sum = parts.reduce((all, {time}) => all + time, 0);
  const bar = element('div', {class: 'stages', 'aria-hidden': 'true'});
  const list = element('ul', {class: 'legend'});
  for (const {stage, time} of parts) {
    bar.append(styled(element('span', {class: `stage-${stage}`}), {'flex-grow': sum > 0 ? time / sum : 0}));
    list.append(element('li', {}, element('span', {class: `chip stage-${stage}`}), stage,
                        element('span', {class: 'muted'}, seconds(time))));
  }
  const total = element('p', {class: 'total'}, element('strong', {}, seconds(durationSeconds(timings.total))),
                        ' on the server');
  return element('div', {}, total, bar, list);
}
