"""Shows what a restoration did: prints the figures and composes scripts/demo's picture."""

import argparse
import colorsys
import json
import math
import sys

import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps

GAP_PX = 12
SHOWN_PX = 960  # larger pictures are shown smaller
TEXT_PX = 16
BACKGROUND = (255, 255, 255)
INK = (30, 30, 30)


def load(path):
    return ImageOps.exif_transpose(Image.open(path)).convert("RGB")


def shown(picture):
    if max(picture.size) <= SHOWN_PX:
        return picture
    return ImageOps.contain(picture, (SHOWN_PX, SHOWN_PX))


def psnr(a, b):
    """dB over all RGB samples of 8 bits, as the project defines it: equal pictures count as 100."""
    error = np.mean((np.asarray(a, np.float64) - np.asarray(b, np.float64)) ** 2)
    return 100.0 if error == 0 else 10 * np.log10(255**2 / error)


def colour(expert):
    """Neighbouring numbers far apart on the wheel of hues."""
    hue = expert * 0.618034 % 1
    rgb = colorsys.hsv_to_rgb(hue, 0.55 + 0.4 * (expert % 2), 0.95 - 0.3 * (expert // 2 % 2))
    return tuple(round(255 * c) for c in rgb)


def heat_map(experts, photo):
    """Each token in its expert's colour, over the photo's brightness."""
    palette = np.array([colour(e) for e in range(256)], np.float32)
    tokens = Image.fromarray(palette[np.asarray(experts)].astype(np.uint8))
    # One map pixel is one token; the last row and column may hang over the photo's edge.
    side = math.ceil(max(photo.width / experts.width, photo.height / experts.height))
    grown = tokens.resize((experts.width * side, experts.height * side), Image.NEAREST)
    grown = grown.crop((0, 0, photo.width, photo.height))
    return Image.blend(grown, photo.convert("L").convert("RGB"), 0.35)


def shares(file):
    """Share of the last layer's work that each expert did, largest first: [(expert, share)]."""
    tokens = file["routing"]["layers"][-1]["tokens"]
    total = sum(tokens)
    return sorted(((e, n / total) for e, n in enumerate(tokens)), key=lambda pair: -pair[1])


def legend(ranked, size, font):
    """Bars, one per expert, as long as its share."""
    picture = Image.new("RGB", size, BACKGROUND)
    draw = ImageDraw.Draw(picture)
    row = min(28, size[1] // max(1, len(ranked)))
    longest = size[0] - 170
    for index, (expert, share) in enumerate(ranked):
        top = index * row
        bar = round(longest * share / ranked[0][1])
        draw.text((0, top + row / 2), f"expert {expert}", INK, font, "lm")
        draw.rectangle((85, top + 3, 85 + bar, top + row - 4), colour(expert))
        draw.text((95 + bar, top + row / 2), f"{100 * share:.1f} %", INK, font, "lm")
    return picture


def compose(titled, map_picture, ranked):
    """The pictures in a row, and under them the heat map with its legend."""
    font = ImageFont.load_default(TEXT_PX)
    width, height = map_picture.size
    columns = len(titled)
    step, line = width + GAP_PX, TEXT_PX + 10
    size = (columns * step + GAP_PX, 2 * (height + line + GAP_PX))
    canvas = Image.new("RGB", size, BACKGROUND)
    draw = ImageDraw.Draw(canvas)
    for column, (title, picture) in enumerate(titled):
        draw.text((GAP_PX + column * step, line / 2), title, INK, font, "lm")
        canvas.paste(picture, (GAP_PX + column * step, line))
    top = height + line + GAP_PX
    draw.text((GAP_PX, top + line / 2), "busiest expert of each token, last layer", INK, font, "lm")
    canvas.paste(map_picture, (GAP_PX, top + line))
    rest = ((columns - 1) * step - GAP_PX, height)
    draw.text((GAP_PX + step, top + line / 2), "share of the kept tokens", INK, font, "lm")
    canvas.paste(legend(ranked, rest, font), (GAP_PX + step, top + line))
    return canvas


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--input", required=True, help="the picture that was sent")
    parser.add_argument("--restored", required=True)
    parser.add_argument("--clean", help="without it no dB is printed")
    parser.add_argument("--experts", required=True, help="grey PNG, a pixel per token")
    parser.add_argument("--reply", required=True, help="what `deweather restore --json` printed")
    parser.add_argument("--least-gain", type=float, help="dB; less is a failure")
    parser.add_argument("--output", required=True)
    return parser.parse_args()


def main():
    arguments = parse_arguments()
    given = load(arguments.input)
    restored = load(arguments.restored)
    with open(arguments.reply, encoding="utf-8") as file:
        restoration = json.load(file)["files"][0]
    ranked = shares(restoration)
    titled = [("input", given), ("restored", restored)]
    gain = None
    if arguments.clean:
        clean = load(arguments.clean)
        before, after = psnr(given, clean), psnr(restored, clean)
        gain = after - before
        titled = [
            (f"input, {before:.2f} dB", given),
            (f"restored, {after:.2f} dB", restored),
            ("clean (photo: danielbuechele, CC BY 2.0)", clean),
        ]
        print(f"before {before:.2f} dB, after {after:.2f} dB (PSNR over 8-bit RGB)")
    tiles, inferred = restoration["tiles"], restoration["timings"]["infer_ms"]
    print(f"{restoration['elapsed_ms']:.0f} ms, of them {inferred:.0f} in the model; {tiles} tiles")
    busiest = ", ".join(f"{expert} ({100 * share:.0f} %)" for expert, share in ranked if share > 0)
    print(f"experts of the last layer, share of its work: {busiest}")
    titled = [(title, shown(picture)) for title, picture in titled]
    experts = shown(heat_map(Image.open(arguments.experts), given))
    compose(titled, experts, ranked).save(arguments.output)
    print(arguments.output)
    if None not in (gain, arguments.least_gain) and gain < arguments.least_gain:
        print(f"the gain is {gain:.2f} dB, at least {arguments.least_gain} dB were expected")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
