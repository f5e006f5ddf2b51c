// Numbers as people read them. A field that protobuf's JSON leaves out is 0.

// A number of protobuf's JSON: int64 are strings, what is 0 is missing, "NaN" stays NaN.
export const number = (value) => Number(value ?? 0);

// Seconds of protobuf's Duration: "0.120s".
export const durationSeconds = (value) => (value ? Number.parseFloat(value) : 0);

// Three digits that count, without trailing noise: 1234 -> "1,234", 0.012345 -> "0.0123".
export function figure(value) {
  if (!Number.isFinite(value)) return '–';
  const size = Math.abs(value);
  if (size >= 100) return Math.round(value).toLocaleString('en');
  if (size !== 0 && size < 0.001) return value.toExponential(1);
  return Number(value.toPrecision(3)).toString();
}

export function seconds(value) {
  if (!Number.isFinite(value)) return '–';
  if (value < 1) return `${figure(value * 1000)} ms`;
  const whole = Math.round(value);
  if (whole < 60) return `${figure(value)} s`;
  const minutes = Math.floor(whole / 60);
  return minutes < 60 ? `${minutes} min ${whole % 60} s` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

export function bytes(value) {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let unit = 0;
  for (; value >= 1024 && unit < units.length - 1; ++unit) value /= 1024;
  return `${unit === 0 ? Math.round(value) : figure(value)} ${units[unit]}`;
}

// With a space that does not break.
export const percent = (share, digits = 0) => `${(share * 100).toFixed(digits)}\u00a0%`;

// A protobuf Timestamp in the reader's own time.
export function moment(timestamp) {
  if (!timestamp) return '–';
  const options = {month: 'short', day: 'numeric', hour: '2-digit', minute: '2-digit'};
  return new Date(timestamp).toLocaleString('en', {...options, hourCycle: 'h23'});
}
