// Colours of the maps. Pixels are [r, g, b], 0 to 255.

// Ends of a scale that rises in lightness, so that it reads without colour too.
const HEAT = [[13, 12, 46], [72, 23, 105], [156, 45, 107], [222, 84, 72], [249, 152, 51], [252, 243, 168]];
// Twelve hues, neighbouring numbers far apart; then the same lighter, then darker, then between the hues.
const HUES = 12;
const LIGHTNESSES = [0.64, 0.8, 0.47];
const CHROMA = 0.14;

const gamma = (value) => 255 * (value <= 0.0031308 ? 12.92 * value : 1.055 * value ** (1 / 2.4) - 0.055);
const byte = (value) => Math.round(Math.max(0, Math.min(255, value)));

// Oklch, in which equal steps look equal, to sRGB. `hue` in degrees.
function oklch(lightness, chroma, hue) {
  const [a, b] = [Math.cos, Math.sin].map((f) => chroma * f((hue * Math.PI) / 180));
  const l = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3;
  const m = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3;
  const s = (lightness - 0.0894841775 * a - 1.291485548 * b) ** 3;
  return [
    4.0767416621 * l - 3.3077115913 * m + 0.2309699292 * s,
    -1.2684380046 * l + 2.6097574011 * m - 0.3413193965 * s,
    -0.0041960863 * l - 0.7034186147 * m + 1.707614701 * s,
  ].map((value) => byte(gamma(Math.max(0, value))));
}

export function expertColour(expert) {
  const tier = Math.floor(expert / HUES);
  const between = 4 * Math.floor(tier / LIGHTNESSES.length);
  return oklch(LIGHTNESSES[tier % LIGHTNESSES.length], CHROMA, 250 + 150 * (expert % HUES) + between);
}

// `share`: 0 to 1.
export function heatColour(share) {
  const place = Math.max(0, Math.min(1, share)) * (HEAT.length - 1);
  const low = Math.min(Math.floor(place), HEAT.length - 2);
  return HEAT[low].map((from, i) => Math.round(from + (HEAT[low + 1][i] - from) * (place - low)));
}

export const css = ([r, g, b]) => `rgb(${r} ${g} ${b})`;
