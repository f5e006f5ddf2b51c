// Follows a stream of the server for as long as it has something to tell, over broken connections too.

import {stream} from './api.js';

const FIRST_PAUSE_MS = 1000;
const LONGEST_PAUSE_MS = 15000;

function pause(time, signal) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, time);
    signal.addEventListener('abort', () => { clearTimeout(timer); resolve(); }, {once: true});
  });
}

// `request()` makes the message anew each time, so that the stream goes on behind what `each(message)` has had.
// Answers at the end of the stream or when `signal` says so; throws what no second try would mend.
export async function follow(method, request, each, {signal, broken = () => {}, pauseMs = FIRST_PAUSE_MS}) {
  let time = pauseMs;
  while (!signal.aborted) {
    try {
      for await (const message of stream(method, request(), {signal})) {
        if (signal.aborted) return;
        time = pauseMs;
        each(message);
      }
      return;
    } catch (error) {
      if (signal.aborted) return;
      if (!error.mayPass) throw error;
      broken(error);
      await pause(time, signal);
      time = Math.min(2 * time, LONGEST_PAUSE_MS);
    }
  }
}
