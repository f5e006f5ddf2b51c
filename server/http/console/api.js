// Calls of the server: Connect's unary calls and server streams, and plain text.
//
// Errors   ServerError, in the server's own words; AbortError where the caller gave up
// Token    kept for this tab's session only, never in a URL

import {END_OF_STREAM, envelope, envelopes} from './envelopes.js';

const TOKEN_KEY = 'deweather.token';
const BROKEN_OFF = 'The connection broke off.';

export const token = {
  get: () => sessionStorage.getItem(TOKEN_KEY) ?? '',
  set: (value) => sessionStorage.setItem(TOKEN_KEY, value),
  clear: () => sessionStorage.removeItem(TOKEN_KEY),
};

// Tells of 'refused' (detail: the ServerError) when the server wants a token, or another one.
export const access = new EventTarget();

export class ServerError extends Error {
  // `error`: Connect's {code, message, details}.
  constructor(error, status = 0, requestId = '') {
    super(error.message || `The server answered ${status}.`);
    const detail = (name) => (error.details ?? []).find((d) => d.type === `google.rpc.${name}`)?.debug;
    this.name = 'ServerError';
    this.code = error.code ?? 'unknown';
    this.reason = detail('ErrorInfo')?.reason ?? '';
    this.retryDelay = detail('RetryInfo')?.retryDelay ?? '';
    this.status = status;
    this.requestId = requestId;
  }

  get wantsToken() {
    return this.code === 'unauthenticated' || this.status === 401 || this.reason === 'WRONG_GROUP';
  }

  // Whether the same call may succeed later.
  get mayPass() {
    return ['unavailable', 'aborted', 'resource_exhausted', 'deadline_exceeded'].includes(this.code);
  }
}

function headers(more) {
  const secret = token.get();
  return {...more, ...(secret ? {Authorization: `Bearer ${secret}`} : {})};
}

// `secret`: the token that the call had. Of one that has been replaced meanwhile nobody needs to hear.
function refuse(error, secret) {
  if (error.wantsToken && secret === token.get()) access.dispatchEvent(new CustomEvent('refused', {detail: error}));
  throw error;
}

// What the network does is worth another try, what the caller does is not.
function ofNetwork(error, message) {
  return error.name === 'AbortError' ? error : new ServerError({code: 'unavailable', message});
}

async function send(path, options) {
  try {
    return await fetch(path, {cache: 'no-store', credentials: 'omit', ...options});
  } catch (error) {
    throw ofNetwork(error, 'The server cannot be reached.');
  }
}

async function* received(body) {
  try {
    yield* envelopes(body);
  } catch (error) {
    throw ofNetwork(error, BROKEN_OFF);
  }
}

async function failure(response) {
  const requestId = response.headers.get('x-request-id') ?? '';
  const text = await response.text();
  let error;
  try {
    error = JSON.parse(text);
  } catch {
    error = {message: text.trim()};
  }
  return new ServerError(error, response.status, requestId);
}

// One call: call('RestorationService/Restore', {...}). Answers {message, requestId}.
export async function call(method, message = {}, {signal} = {}) {
  const secret = token.get();
  const response = await send(`/deweather.v1.${method}`, {
    method: 'POST',
    headers: headers({'Content-Type': 'application/json', 'Connect-Protocol-Version': '1'}),
    body: JSON.stringify(message),
    signal,
  });
  if (!response.ok) refuse(await failure(response), secret);
  return {message: await response.json(), requestId: response.headers.get('x-request-id') ?? ''};
}

// Yields the messages of a server's stream, and throws what it ends with if that is an error.
export async function* stream(method, message, {signal} = {}) {
  const secret = token.get();
  const response = await send(`/deweather.v1.${method}`, {
    method: 'POST',
    headers: headers({'Content-Type': 'application/connect+json', 'Connect-Protocol-Version': '1'}),
    body: envelope(message),
    signal,
  });
  if (!response.ok) refuse(await failure(response), secret);
  for await (const {flags, message: next} of received(response.body)) {
    if (!(flags & END_OF_STREAM)) {
      yield next;
    } else if (next.error) {
      const requestId = response.headers.get('x-request-id') ?? '';
      refuse(new ServerError(next.error, response.status, requestId), secret);
    } else {
      return;
    }
  }
  throw new ServerError({code: 'unavailable', message: BROKEN_OFF});
}

export async function text(path, {signal} = {}) {
  const secret = token.get();
  const response = await send(path, {headers: headers({}), signal});
  if (!response.ok) refuse(await failure(response), secret);
  return response.text();
}
