// Calls of the server: Connect's unary calls and server streams, and plain text.
//
// Errors   ServerError, in the server's own words where it has some; AbortError where the caller gave up
// Token    kept for this tab's session only, never in a URL

import {END_OF_STREAM, envelope, envelopes} from './envelopes.js';

const TOKEN_KEY = 'deweather.token';
const BROKEN_OFF = 'The connection broke off.';
// What a status means that comes from a proxy, without Connect's own code: as Connect's specification has it.
const CODES = {
  400: 'internal', 401: 'unauthenticated', 403: 'permission_denied', 404: 'unimplemented',
  429: 'unavailable', 502: 'unavailable', 503: 'unavailable', 504: 'unavailable',
};

export const token = {
  // What a header can carry.
  allows: (value) => /^[\x21-\x7e]+$/.test(value),
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
  if (error.name === 'AbortError') return error;
  if (error.name === 'TimeoutError') return new ServerError({code: 'deadline_exceeded', message: 'The server does not answer.'});
  return new ServerError({code: 'unavailable', message});
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

const bodyOf = (response) => response.text().catch((error) => { throw ofNetwork(error, BROKEN_OFF); });

function parsed(body) {
  try {
    return JSON.parse(body);
  } catch {
    return null;
  }
}

const requestIdOf = (response) => response.headers.get('x-request-id') ?? '';

async function failure(response) {
  const {status} = response;
  const error = parsed(await bodyOf(response));
  const told = typeof error?.code === 'string';
  return new ServerError(told ? error : {code: CODES[status], message: `The server answered ${status}.`}, status, requestIdOf(response));
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
  const reply = parsed(await bodyOf(response));
  if (reply === null) throw new ServerError({code: 'unavailable', message: 'What came is no answer of this server.'});
  return {message: reply, requestId: requestIdOf(response)};
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
      refuse(new ServerError(next.error, response.status, requestIdOf(response)), secret);
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
  return bodyOf(response);
}
