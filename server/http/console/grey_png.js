// Reads grey PNG files of 8 or 16 bits, not interlaced: the server's maps. A canvas would do, but for 16 bits, of
// which it keeps 8, and uncertainties are small.

const SIGNATURE = [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a];

function* chunks(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let at = SIGNATURE.length; at + 12 <= bytes.length;) {
    const length = view.getUint32(at);
    const type = String.fromCharCode(...bytes.subarray(at + 4, at + 8));
    yield {type, data: bytes.subarray(at + 8, at + 8 + length)};
    at += 12 + length;
  }
}

async function inflate(parts) {
  const stream = new Blob(parts).stream().pipeThrough(new DecompressionStream('deflate'));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

function paeth(left, up, corner) {
  const guess = left + up - corner;
  const [a, b, c] = [left, up, corner].map((value) => Math.abs(guess - value));
  if (a <= b && a <= c) return left;
  return b <= c ? up : corner;
}

// What a filter of a row adds to a byte, from its neighbours.
const PREDICTORS = [
  () => 0,
  (left) => left,
  (left, up) => up,
  (left, up) => (left + up) >> 1,
  paeth,
];

// Rows of [filter, bytes...] to plain rows.
function unfiltered(data, rowBytes, height, sampleBytes) {
  const rows = new Uint8Array(rowBytes * height);
  for (let y = 0; y < height; ++y) {
    const predict = PREDICTORS[data[y * (rowBytes + 1)]];
    if (!predict) throw new Error(`A PNG row has the unknown filter ${data[y * (rowBytes + 1)]}.`);
    for (let x = 0; x < rowBytes; ++x) {
      const at = y * rowBytes + x;
      const left = x >= sampleBytes ? rows[at - sampleBytes] : 0;
      const up = y > 0 ? rows[at - rowBytes] : 0;
      const corner = x >= sampleBytes && y > 0 ? rows[at - rowBytes - sampleBytes] : 0;
      rows[at] = data[y * (rowBytes + 1) + 1 + x] + predict(left, up, corner);
    }
  }
  return rows;
}

// {width, height, values}: each sample as the file has it.
export async function readGreyPng(bytes) {
  if (SIGNATURE.some((byte, i) => bytes[i] !== byte)) throw new Error('This is no PNG file.');
  let header;
  const parts = [];
  for (const {type, data} of chunks(bytes)) {
    if (type === 'IHDR') header = data;
    if (type === 'IDAT') parts.push(data);
  }
  const view = new DataView(header.buffer, header.byteOffset, header.byteLength);
  const [width, height, depth, colour, interlaced] =
      [view.getUint32(0), view.getUint32(4), header[8], header[9], header[12]];
  if (colour !== 0 || (depth !== 8 && depth !== 16) || interlaced !== 0) {
    throw new Error(`This PNG is not plain grey: colour type ${colour}, ${depth} bits.`);
  }
  const sampleBytes = depth / 8;
  const rows = unfiltered(await inflate(parts), width * sampleBytes, height, sampleBytes);
  if (depth === 8) return {width, height, values: rows};
  const values = new Uint16Array(width * height);
  for (let i = 0; i < values.length; ++i) values[i] = (rows[2 * i] << 8) | rows[2 * i + 1];
  return {width, height, values};
}
