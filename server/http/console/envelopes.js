// The envelopes of Connect's streams: a byte of flags, the length in four bytes (big endian), a message.

export const END_OF_STREAM = 2;
const HEADER_BYTES = 5;

// One message as an envelope.
export function envelope(message) {
  const body = new TextEncoder().encode(JSON.stringify(message));
  const bytes = new Uint8Array(HEADER_BYTES + body.length);
  new DataView(bytes.buffer).setUint32(1, body.length);
  bytes.set(body, HEADER_BYTES);
  return bytes;
}

function joined(first, second) {
  if (first.length === 0) return second;
  const bytes = new Uint8Array(first.length + second.length);
  bytes.set(first);
  bytes.set(second, first.length);
  return bytes;
}

// Takes whole envelopes off the front: what they hold, and the bytes that are left.
export function takeEnvelopes(bytes) {
  const taken = [];
  let at = 0;
  while (bytes.length - at >= HEADER_BYTES) {
    const length = new DataView(bytes.buffer, bytes.byteOffset + at).getUint32(1);
    if (bytes.length - at - HEADER_BYTES < length) break;
    const body = bytes.subarray(at + HEADER_BYTES, at + HEADER_BYTES + length);
    taken.push({flags: bytes[at], message: JSON.parse(new TextDecoder().decode(body) || '{}')});
    at += HEADER_BYTES + length;
  }
  return {taken, rest: bytes.subarray(at)};
}

// Yields {flags, message} of a response's body, however its bytes are cut.
export async function* envelopes(body) {
  const reader = body.getReader();
  let rest = new Uint8Array();
  try {
    for (;;) {
      const {done, value} = await reader.read();
      if (done) return;
      const next = takeEnvelopes(joined(rest, value));
      rest = next.rest;
      yield* next.taken;
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}
