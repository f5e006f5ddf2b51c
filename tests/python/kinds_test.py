"""A picture comes back as it was given: bytes, paths, arrays of every depth, Pillow images. And how it shows itself."""

import base64
import io
import re
import subprocess
import sys

import numpy as np
import pytest
from harness import encode, noise, smooth
from PIL import Image, ImageOps

from deweather_client import pictures, png, tiff


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("shape", [(31, 47), (31, 47, 1), (31, 47, 2), (31, 47, 3), (31, 47, 4), (1, 1), (300, 513, 3)])
def test_arrays_come_back_to_the_bit(client, shape, dtype):
    pixels = np.random.default_rng(1).integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)
    restored = client.restore(pixels)
    assert restored.picture.dtype == dtype
    np.testing.assert_array_equal(restored.picture, pixels)
    assert restored.format == "tiff"
    assert (restored.width, restored.height) == (shape[1], shape[0])


def test_views_and_other_byte_orders(client):
    pixels = noise(60, 40)
    np.testing.assert_array_equal(client.restore(pixels[::2, ::-1]).picture, pixels[::2, ::-1])
    np.testing.assert_array_equal(client.restore(np.asfortranarray(pixels)).picture, pixels)
    deep = noise(20, 10, dtype=np.uint16)
    np.testing.assert_array_equal(client.restore(deep.astype(">u2")).picture, deep)


@pytest.mark.parametrize("wrong, says", [
    (np.zeros((4, 4), np.float32), "float32"), (np.zeros((4, 4), np.int16), "int16"), (np.zeros((4, 4), bool), "bool"),
    (np.zeros((4, 4, 5), np.uint8), "(4, 4, 5)"), (np.zeros((4,), np.uint8), "(4,)"),
    (np.zeros((0, 4), np.uint8), "(0, 4)"), (np.zeros((1, 4, 4, 3), np.uint8), "(1, 4, 4, 3)")])
def test_other_arrays_are_refused(client, wrong, says):
    with pytest.raises(ValueError, match=re.escape(says)):
        client.restore(wrong)


def test_the_server_and_others_read_our_tiff():
    for channels in (1, 3, 4):
        pixels = noise(33, 21, channels)
        np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(tiff.write(pixels)))), pixels)
        np.testing.assert_array_equal(tiff.read(tiff.write(pixels)), pixels)
    for damaged in (b"II*\0", tiff.write(noise(9, 9))[:40], b"MM\0*" + bytes(20)):
        with pytest.raises(ValueError):
            tiff.read(damaged)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16", "CMYK", "YCbCr", "HSV"])
def test_images(client, mode):
    deep = mode == "I;16"
    given = Image.fromarray(noise(40, 30, 1, np.uint16) if deep else smooth(40, 30))
    given = given if deep else given.convert(mode)
    restored = client.restore(given)
    assert restored.picture.size == (40, 30)
    expected = {"CMYK": "RGB", "YCbCr": "RGB", "HSV": "RGB", "P": "RGB", "1": "L"}.get(mode, mode)
    assert restored.picture.mode == expected
    np.testing.assert_array_equal(np.asarray(restored.pil), np.asarray(given.convert(expected)))
    with pytest.raises(ValueError, match="mode F"):
        client.restore(Image.new("F", (4, 4)))


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_image_comes_back_upright(client, orientation, mode):
    """As a file does: what its EXIF says is done, and not said again."""
    out = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(smooth(40, 30)).convert(mode).save(out, "JPEG", exif=exif)
    given = Image.open(io.BytesIO(out.getvalue()))
    restored = client.restore(given)
    upright = ImageOps.exif_transpose(given)
    assert restored.picture.size == upright.size == ((40, 30) if orientation < 5 else (30, 40))
    np.testing.assert_array_equal(np.asarray(restored.picture), np.asarray(upright.convert(restored.picture.mode)))
    assert restored.picture.getexif().get(0x0112, 1) == 1


def test_exif_that_nobody_can_read_does_no_harm(client):
    image = Image.fromarray(smooth(40, 30))
    for exif in (b"", b"Exif\0\0nonsense", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0MM\0*\0\0\0\x08\0\x05\x01"):
        image.info["exif"] = exif
        assert client.restore(image).picture.size == (40, 30)


def test_what_a_format_cannot_hold_is_said(client):
    for pixels, name in ((noise(9, 8, 1)[..., None], "webp"), (noise(9, 8, dtype=np.uint16), "jpeg")):
        restored = client.restore(pixels, format=name)
        with pytest.raises(ValueError, match=f"the {name} file holds uint8 of shape .*, not {pixels.dtype}"):
            _ = restored.picture
        assert restored.array.dtype == np.uint8
        assert restored._repr_html_()
    assert client.restore(noise(9, 8), format="webp").picture.shape == (8, 9, 3)


def test_pictures_with_nothing_or_with_holes_in_them_are_refused(client):
    with pytest.raises(ValueError, match="a Pillow image of 0x4 pixels"):
        client.restore(Image.new("RGB", (0, 4)))
    with pytest.raises(ValueError, match="masked"):
        client.restore(np.ma.masked_array(noise(4, 4), noise(4, 4) > 9))


def test_a_file_is_not_named_as_what_it_is_not(client, tmp_path):
    restored = client.restore(smooth(40, 30))
    with pytest.raises(ValueError, match="out.png' is the name of a png file, and this is tiff; .*format='png'"):
        restored.save(tmp_path / "out.png")
    for name in ("out.tif", "out.TIFF", "out", "out.bin"):
        restored.save(tmp_path / name)
    jpeg = client.restore(encode(smooth(40, 30), "JPEG"))
    jpeg.save(tmp_path / "out.JPG")
    with pytest.raises(ValueError, match="webp"):
        jpeg.save(tmp_path / "out.webp")


def test_bytes_and_paths(client, tmp_path):
    file = encode(noise(50, 40))
    (tmp_path / "in.png").write_bytes(file)
    for given in (file, bytearray(file), memoryview(file), tmp_path / "in.png", str(tmp_path / "in.png")):
        restored = client.restore(given)
        assert restored.picture == restored.image
        np.testing.assert_array_equal(restored.array, noise(50, 40))
    assert restored.save(tmp_path / "out.png").read_bytes() == restored.image
    with pytest.raises(FileExistsError):
        restored.save(tmp_path / "out.png")
    restored.save(tmp_path / "out.png", overwrite=True)
    for place in ("/dev/null", tmp_path):
        with pytest.raises(FileExistsError, match="no file"):
            restored.save(place, overwrite=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.png", "out.png"]
    with pytest.raises(FileNotFoundError):
        client.restore(tmp_path / "none.png")
    with pytest.raises(TypeError, match="not int"):
        client.restore(7)


def test_deep_colour_never_loses_bits_in_silence(client):
    deep = noise(20, 10, dtype=np.uint16)
    np.testing.assert_array_equal(client.restore(deep, format="tiff").array, deep)
    with pytest.raises(ValueError, match="format='tiff'"):
        _ = client.restore(deep, format="png").array
    np.testing.assert_array_equal(client.restore(noise(20, 10, 1, np.uint16), format="png").array,
                                  noise(20, 10, 1, np.uint16))


def shown(html):
    """The pictures in it."""
    return [Image.open(io.BytesIO(base64.b64decode(data)))
            for data in re.findall(r'src="data:image/png;base64,([^"]+)"', html)]


@pytest.mark.parametrize("given", [encode(smooth(1000, 500)), smooth(1000, 500), Image.fromarray(smooth(1000, 500)),
                                   noise(1000, 500, 1, np.uint16)], ids=["bytes", "array", "image", "deep"])
def test_a_notebook_shows_before_and_after(client, given):
    restored = client.restore(given)
    html = restored._repr_html_()
    assert [picture.size for picture in shown(html)] == [(480, 240)] * 2
    assert "<script" not in html and "http" not in html
    assert "before" in html and "after" in html and "identity" in html
    assert Image.open(io.BytesIO(restored._repr_png_())).size == (968, 240)
    assert re.fullmatch(r"<Restored 1000x500 \w+, \d+ bytes, model identity builtin, [\d.]+ s>", repr(restored))


def test_before_is_what_was_sent(client):
    """Whatever became of it since: a buffer is used again, an image is closed."""
    buffer = np.full((30, 40, 3), 60, np.uint8)
    image = Image.fromarray(buffer.copy())
    first, second = client.restore(buffer), client.restore(image)
    buffer[:] = 200
    image.close()
    for restored in (first, second):
        before, _ = shown(restored._repr_html_())
        assert before.getpixel((0, 0)) == (60, 60, 60)


def test_without_pillow_arrays_do_all_they_did(server):
    """In a Python that has no Pillow; and without NumPy, bytes."""
    script = f"""
import sys
sys.modules["PIL"] = None
import numpy as np
from deweather_client import Client
pixels = np.arange(600 * 900 * 3, dtype=np.uint16).reshape(600, 900, 3)
with Client("{server.address}") as client:
    restored = client.restore(pixels)
    assert (restored.picture == pixels).all()
    assert restored._repr_html_().count("data:image/png") == 2
    assert restored._repr_png_().startswith(b"\\x89PNG")
    sys.modules["numpy"] = None
    assert client.restore({encode(smooth(20, 10))!r})._repr_html_().count("data:image/png") == 2
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)


def test_small_png():
    pixels = smooth(30, 20)
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(png.write_rgb(30, 20, pixels.tobytes())))), pixels)


def test_every_kind_is_read_without_a_server():
    assert pictures.read(b"x").file == b"x"
    assert pictures.is_array(noise(2, 2)) and not pictures.is_array(b"")
    assert pictures.is_image(Image.new("L", (1, 1))) and not pictures.is_image(noise(2, 2))
