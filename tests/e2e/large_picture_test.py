"""A 100-megapixel photo through the shipped model, and the server's largest resident memory meanwhile.

Prints both; takes minutes, so it is labelled slow.
"""

import re
import time
import unittest

from harness import ROOT, Server, TestCase, decode, encode, main, smooth

SHIPPED = ROOT / "model/weights/deweather-rain.safetensors"
LIMIT_GB = 2.5


def peak_memory_gb(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as status:
        return int(re.search(r"VmHWM:\s+(\d+) kB", status.read())[1]) * 1024 / 1e9


class LargePictureTest(TestCase):
    @unittest.skipUnless(SHIPPED.exists(), f"{SHIPPED} is not there")
    def test_memory_of_a_hundred_megapixels(self):
        size = (12500, 8000)
        picture = encode(smooth(*size), "JPEG", quality=92)
        with Server("--model", str(SHIPPED)) as server, server.client() as client:
            begin = time.monotonic()
            reply = client.restore(picture, timeout=3000)
            seconds = time.monotonic() - begin
            peak = peak_memory_gb(server.process.pid)
        print(f"100 megapixels: {seconds:.0f} s, largest RSS {peak:.2f} GB")
        self.assertEqual(decode(reply.image).shape, (size[1], size[0], 3))
        self.assertLess(peak, LIMIT_GB)


if __name__ == "__main__":
    # Pillow takes a picture this large for an attack.
    from PIL import Image

    Image.MAX_IMAGE_PIXELS = None
    main()
