// What is told to people: a call's error as the server words it, with what helps to find it in the log.

import {element} from './dom.js';
import {durationSeconds, seconds} from './format.js';

// A line for screen readers too; `kind` is 'info', 'error' or ''.
export function tell(place, text, kind = '') {
  place.className = `status ${kind}`.trim();
  place.replaceChildren(text);
}

function facts(error) {
  const known = [['Reason', error.reason || error.code], ['Request', error.requestId]];
  if (error.retryDelay) known.push(['Try again in', seconds(durationSeconds(error.retryDelay))]);
  return known.filter(([, value]) => value);
}

// Errors of the page itself have only their words.
export function tellError(place, error) {
  place.className = 'status error';
  const list = element('dl', {class: 'facts'});
  for (const [name, value] of facts(error)) {
    list.append(element('div', {}, element('dt', {}, name), element('dd', {}, value)));
  }
  place.replaceChildren(element('p', {}, error.message), list);
}
