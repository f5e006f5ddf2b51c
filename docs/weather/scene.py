"""Draws the scene on which docs/weather shows the weathers: all of it from noise and polygons.

python3 docs/weather/scene.py OUT.png     needs numpy and Pillow
"""

import sys

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

WIDTH, HEIGHT = 480, 320
SCALE = 3  # drawn larger, then reduced


def fractal(rng, height, width, octaves=7, roughness=0.55):
    """Smooth noise in [0, 1], [height, width]."""
    total = np.zeros((height, width))
    for octave in range(octaves):
        cells = 2 ** (octave + 1)
        grid = Image.fromarray(rng.random((cells + 1, cells + 1)).astype(np.float32))
        total += roughness**octave * np.asarray(grid.resize((width, height), Image.BICUBIC))
    return (total - total.min()) / (total.max() - total.min())


def ridge(rng, width, base, relief):
    """Height of a mountain's outline for every column."""
    line = fractal(rng, 2, width, octaves=9, roughness=0.5)[0]
    return base - relief * line


def paint(picture, mask, colour, texture, contrast):
    """Where mask: colour, made lighter and darker by texture."""
    shade = 1 + contrast * (texture - 0.5)
    painted = np.asarray(colour)[None, None, :] * shade[:, :, None]
    picture[mask] = painted[mask]


def landscape(rng):
    width, height = WIDTH * SCALE, HEIGHT * SCALE
    rows = np.arange(height)[:, None] / height
    picture = np.empty((height, width, 3))
    clouds = np.clip(fractal(rng, height, width, 8) * 2.2 - 0.9, 0, 1)[:, :, None]
    sky = (1 - rows)[:, :, None] * np.array([0.25, 0.48, 0.80]) + rows[:, :, None] * np.array(
        [0.85, 0.90, 0.95])
    picture[:] = sky * (1 - 0.8 * clouds) + 0.8 * clouds * np.array([0.97, 0.96, 0.95])
    texture = fractal(rng, height, width, 9, 0.75)
    layers = [(0.52, 0.20, (0.52, 0.60, 0.70), 0.25), (0.60, 0.18, (0.36, 0.46, 0.44), 0.5),
              (0.68, 0.10, (0.23, 0.34, 0.20), 0.9)]
    for base, relief, colour, contrast in layers:
        top = ridge(rng, width, base, relief)
        paint(picture, rows > top[None, :], colour, texture, contrast)
    meadow = fractal(rng, height, width, 10, 0.85)
    paint(picture, np.broadcast_to(rows > 0.70, (height, width)), (0.38, 0.50, 0.20), meadow, 0.9)
    return picture


def tree(draw, rng, x, y, size):
    draw.line([(x, y), (x, y - 0.5 * size)], fill=(62, 44, 30), width=int(size / 14))
    for _ in range(260):
        angle, far = rng.random() * 2 * np.pi, np.sqrt(rng.random()) * 0.36 * size
        cx, cy = x + far * np.cos(angle), y - 0.72 * size + far * np.sin(angle)
        light = rng.random() * 70 - (cy - y + 0.72 * size) / size * 60
        r = size * (0.02 + 0.035 * rng.random())
        fill = tuple(int(np.clip(c + light, 0, 255)) for c in (48, 88, 34))
        draw.ellipse([cx - r, cy - r, cx + r, cy + r], fill=fill)


def house(draw, x, y, size, wall, roof):
    draw.rectangle([x, y - size, x + 1.6 * size, y], fill=wall)
    draw.polygon([(x - 0.12 * size, y - size), (x + 0.8 * size, y - 1.65 * size),
                  (x + 1.72 * size, y - size)], fill=roof)
    for row in range(8):  # tiles
        h = y - size - row * 0.08 * size
        inset = row * 0.113 * size
        draw.line([(x - 0.12 * size + inset, h), (x + 1.72 * size - inset, h)],
                  fill=tuple(int(0.8 * c) for c in roof), width=3)
    for column in range(3):
        left = x + (0.15 + 0.5 * column) * size
        draw.rectangle([left, y - 0.75 * size, left + 0.3 * size, y - 0.35 * size],
                       fill=(40, 52, 70), outline=(240, 238, 230), width=6)
        draw.line([(left + 0.15 * size, y - 0.75 * size), (left + 0.15 * size, y - 0.35 * size)],
                  fill=(240, 238, 230), width=4)


def road_and_fence(draw):
    w, h = WIDTH * SCALE, HEIGHT * SCALE
    draw.polygon([(0.42 * w, 0.72 * h), (0.47 * w, 0.72 * h), (0.78 * w, h), (0.30 * w, h)],
                 fill=(118, 114, 110))
    for i in range(7):
        t = (i / 7) ** 2
        y = (0.73 + 0.27 * t) * h
        x = (0.446 + 0.095 * t) * w
        draw.line([(x, y), (x + 0.008 * w * t, y + 0.02 * h * (0.3 + t))], fill=(235, 232, 220),
                  width=int(2 + 10 * t))
    for i in range(12):
        x = (0.62 + 0.035 * i) * w
        draw.rectangle([x, 0.80 * h, x + 0.008 * w, 0.92 * h], fill=(225, 220, 210))
    for y in (0.83, 0.88):
        draw.rectangle([0.61 * w, y * h, w, (y + 0.012) * h], fill=(215, 210, 200))


def main():
    rng = np.random.default_rng(8)
    pixels = np.clip(landscape(rng) * 255, 0, 255).astype(np.uint8)
    image = Image.fromarray(pixels)
    draw = ImageDraw.Draw(image)
    road_and_fence(draw)
    house(draw, 0.68 * WIDTH * SCALE, 0.80 * HEIGHT * SCALE, 150, (232, 214, 180), (150, 62, 44))
    house(draw, 0.08 * WIDTH * SCALE, 0.76 * HEIGHT * SCALE, 80, (214, 220, 226), (84, 76, 84))
    for x, y, size in ((0.30, 0.78, 250), (0.94, 0.82, 420), (0.02, 0.86, 460), (0.55, 0.74, 130)):
        tree(draw, rng, x * WIDTH * SCALE, y * HEIGHT * SCALE, size)
    image = image.filter(ImageFilter.GaussianBlur(0.8)).resize((WIDTH, HEIGHT), Image.LANCZOS)
    grain = rng.normal(0, 2.0, (HEIGHT, WIDTH, 3))
    Image.fromarray(np.clip(np.asarray(image) + grain, 0, 255).astype(np.uint8)).save(sys.argv[1])


if __name__ == "__main__":
    main()
