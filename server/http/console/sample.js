// A picture to try the page with: a street in the rain, drawn here, the same each time.

const WIDTH = 768;
const HEIGHT = 512;
const HORIZON = 330;

// Numbers in [0, 1), the same for the same seed (mulberry32).
function randomOf(seed) {
  return () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

const between = (random, low, high) => low + (high - low) * random();

function gradient(paint, top, bottom, stops) {
  const fill = paint.createLinearGradient(0, top, 0, bottom);
  stops.forEach((colour, i) => fill.addColorStop(i / (stops.length - 1), colour));
  return fill;
}

function sky(paint, random) {
  paint.fillStyle = gradient(paint, 0, HORIZON, ['#6f8197', '#98a7b5', '#c9cdcb', '#dccfb8']);
  paint.fillRect(0, 0, WIDTH, HORIZON);
  paint.filter = 'blur(14px)';
  for (let i = 0; i < 26; ++i) {
    const shade = between(random, 150, 215);
    paint.fillStyle = `rgba(${shade}, ${shade + 4}, ${shade + 8}, 0.35)`;
    paint.beginPath();
    paint.ellipse(between(random, 0, WIDTH), between(random, 0, 190), between(random, 40, 150),
                  between(random, 10, 30), 0, 0, 7);
    paint.fill();
  }
  paint.filter = 'none';
}

function ridge(paint, random, base, height, colour) {
  const [a, b, c] = [random(), random(), random()].map((phase) => phase * 7);
  paint.fillStyle = colour;
  paint.beginPath();
  paint.moveTo(0, HORIZON + 2);
  for (let x = 0; x <= WIDTH; x += 4) {
    const wave = Math.sin(x / 130 + a) + 0.5 * Math.sin(x / 57 + b) + 0.2 * Math.sin(x / 19 + c);
    paint.lineTo(x, base - height * wave);
  }
  paint.lineTo(WIDTH, HORIZON + 2);
  paint.fill();
}

function windows(paint, random, x, top, width, bottom) {
  for (let y = top + 16; y < bottom - 30; y += 32) {
    for (let left = x + 10; left + 14 <= x + width - 6; left += 25) {
      const lit = random() < 0.35;
      paint.fillStyle = '#efe9dc';
      paint.fillRect(left - 2, y - 2, 18, 24);
      paint.fillStyle = lit ? gradient(paint, y, y + 20, ['#ffe2a0', '#f0b860']) : gradient(paint, y, y + 20, ['#4d5d6b', '#2f3a45']);
      paint.fillRect(left, y, 14, 20);
      paint.fillStyle = '#efe9dc';
      paint.fillRect(left + 6, y, 2, 20);
    }
  }
}

function house(paint, random, x, width, colour) {
  const top = between(random, 150, 215);
  const bottom = HORIZON + 62;
  paint.fillStyle = gradient(paint, top, bottom, colour);
  paint.fillRect(x, top, width, bottom - top);
  paint.fillStyle = gradient(paint, top - 38, top, ['#5b3a32', '#7d4e40']);
  paint.beginPath();
  paint.moveTo(x - 5, top);
  paint.lineTo(x + width * 0.18, top - 36);
  paint.lineTo(x + width * 0.82, top - 36);
  paint.lineTo(x + width + 5, top);
  paint.fill();
  windows(paint, random, x, top, width, bottom);
  paint.fillStyle = '#3d2f2a';
  paint.fillRect(x + width / 2 - 9, bottom - 34, 18, 34);
}

function houses(paint, random) {
  paint.fillStyle = gradient(paint, HORIZON - 6, HORIZON + 62, ['#6f7d68', '#5d6b58']);
  paint.fillRect(0, HORIZON - 6, WIDTH, 70);
  const colours = [['#b8746a', '#9a5b53'], ['#d9bf8f', '#bd9f6c'], ['#8fa6a1', '#6f8783'], ['#cfc6bb', '#ab9f92'],
                   ['#a9828f', '#8a6472'], ['#c99a6b', '#a97b4e']];
  let x = -18;
  for (let i = 0; x < WIDTH; ++i) {
    const width = between(random, 92, 138);
    house(paint, random, x, width, colours[i % colours.length]);
    x += width + (i % 3 === 2 ? 54 : 3);
  }
}

function tree(paint, random, x, foot) {
  paint.fillStyle = '#4a3a2e';
  paint.fillRect(x - 4, foot - 78, 8, 78);
  for (let i = 0; i < 130; ++i) {
    const angle = random() * 6.3;
    const reach = Math.sqrt(random()) * 46;
    const light = between(random, 0, 1);
    paint.fillStyle = `rgb(${52 + 50 * light} ${82 + 60 * light} ${44 + 26 * light})`;
    paint.beginPath();
    paint.arc(x + Math.cos(angle) * reach, foot - 108 + Math.sin(angle) * reach * 0.9, between(random, 3, 9), 0, 7);
    paint.fill();
  }
}

function road(paint, random) {
  const top = HORIZON + 62;
  paint.fillStyle = '#8c8a85';
  paint.fillRect(0, top, WIDTH, 14);
  paint.fillStyle = gradient(paint, top + 14, HEIGHT, ['#5a6068', '#474c53', '#3a3e44']);
  paint.fillRect(0, top + 14, WIDTH, HEIGHT);
  // The wet surface mirrors what stands above it.
  paint.save();
  paint.globalAlpha = 0.3;
  paint.filter = 'blur(5px)';
  paint.translate(0, 2 * top + 14);
  paint.scale(1, -1);
  paint.drawImage(paint.canvas, 0, top - 104, WIDTH, 104, 0, top - 104, WIDTH, 104);
  paint.restore();
  paint.fillStyle = '#d8d6cb';
  for (let x = -20; x < WIDTH; x += 110) paint.fillRect(x + between(random, 0, 6), HEIGHT - 44, 58, 5);
}

function rain(paint, random) {
  paint.lineCap = 'round';
  for (let i = 0; i < 1100; ++i) {
    const near = random() ** 3;
    const length = 9 + 30 * near;
    const [x, y] = [between(random, -30, WIDTH + 30), between(random, -40, HEIGHT)];
    const slant = 0.2 + between(random, -0.03, 0.03);
    paint.strokeStyle = `rgba(232, 238, 244, ${0.16 + 0.34 * near + 0.12 * random()})`;
    paint.lineWidth = 0.8 + 1.2 * near;
    paint.beginPath();
    paint.moveTo(x, y);
    paint.lineTo(x - slant * length, y + length);
    paint.stroke();
  }
}

function grain(paint, random) {
  const pixels = paint.getImageData(0, 0, WIDTH, HEIGHT);
  for (let i = 0; i < pixels.data.length; i += 4) {
    const noise = (random() + random() - 1) * 7;
    for (let c = 0; c < 3; ++c) pixels.data[i + c] += noise;
  }
  paint.putImageData(pixels, 0, 0);
}

// A JPEG File.
export async function drawSample() {
  const canvas = document.createElement('canvas');
  [canvas.width, canvas.height] = [WIDTH, HEIGHT];
  const paint = canvas.getContext('2d', {willReadFrequently: true});
  const random = randomOf(11);
  sky(paint, random);
  ridge(paint, random, 262, 24, '#9aa6a8');
  ridge(paint, random, 296, 15, '#75857f');
  houses(paint, random);
  for (const x of [46, 402, 700]) tree(paint, random, x, HORIZON + 66);
  road(paint, random);
  grain(paint, random);
  rain(paint, random);
  const blob = await new Promise((resolve) => canvas.toBlob(resolve, 'image/jpeg', 0.94));
  return new File([blob], 'sample.jpg', {type: 'image/jpeg'});
}
