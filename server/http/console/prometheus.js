// Prometheus' text format, and the arithmetic that a page does with it. Pure functions.
//
// A sample is {labels, value}; a scrape is a Map from a series' name to its samples.

const LINE = /^([A-Za-z_:][\w:]*)(?:\{(.*)\})? +(\S+)(?: +-?\d+)?$/;
const LABEL = /([A-Za-z_]\w*)="((?:[^"\\]|\\.)*)"/g;
const ESCAPES = {'\\n': '\n', '\\"': '"', '\\\\': '\\'};

function value(text) {
  const infinities = {'+Inf': Infinity, '-Inf': -Infinity};
  return infinities[text] ?? Number(text);
}

function labels(text) {
  const found = {};
  for (const [, name, raw] of (text ?? '').matchAll(LABEL)) {
    found[name] = raw.replace(/\\[n"\\]/g, (escape) => ESCAPES[escape]);
  }
  return found;
}

export function parse(text) {
  const scrape = new Map();
  for (const line of text.split('\n')) {
    const match = line.startsWith('#') ? null : LINE.exec(line.trim());
    if (!match) continue;
    const samples = scrape.get(match[1]) ?? [];
    samples.push({labels: labels(match[2]), value: value(match[3])});
    scrape.set(match[1], samples);
  }
  return scrape;
}

const matches = (sample, wanted) => Object.entries(wanted).every(([name, value]) => sample.labels[name] === value);

// The samples of a series that have these labels.
export const select = (scrape, name, wanted = {}) => (scrape.get(name) ?? []).filter((s) => matches(s, wanted));

// Their sum; undefined where there is none.
export function total(scrape, name, wanted = {}) {
  const samples = select(scrape, name, wanted);
  return samples.length === 0 ? undefined : samples.reduce((sum, sample) => sum + sample.value, 0);
}

// A histogram, summed over what labels it has besides: [{bound, count}], counts cumulative, bounds ascending.
export function histogram(scrape, name, wanted = {}) {
  const counts = new Map();
  for (const sample of select(scrape, `${name}_bucket`, wanted)) {
    const bound = value(sample.labels.le);
    counts.set(bound, (counts.get(bound) ?? 0) + sample.value);
  }
  return [...counts].sort(([a], [b]) => a - b).map(([bound, count]) => ({bound, count}));
}

// What came to a histogram since; a server that started anew has everything since then.
export function since(now, before) {
  const earlier = new Map(before.map(({bound, count}) => [bound, count]));
  const changes = now.map(({bound, count}) => ({bound, count: count - (earlier.get(bound) ?? 0)}));
  return changes.some(({count}) => count < 0) ? now : changes;
}

// As PromQL's histogram_quantile: linear within a bucket, the last finite bound beyond it. NaN of no observations.
export function quantile(q, buckets) {
  const all = buckets.at(-1)?.count ?? 0;
  if (all === 0) return NaN;
  const rank = q * all;
  const index = buckets.findIndex(({count}) => count >= rank);
  const [lower, below] = index > 0 ? [buckets[index - 1].bound, buckets[index - 1].count] : [0, 0];
  const {bound, count} = buckets[index];
  if (!Number.isFinite(bound)) return lower;
  return count === below ? bound : lower + ((bound - lower) * (rank - below)) / (count - below);
}

// The observations of each bucket alone.
export function perBucket(buckets) {
  return buckets.map(({bound, count}, i) => ({bound, count: count - (i > 0 ? buckets[i - 1].count : 0)}));
}
