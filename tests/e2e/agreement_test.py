"""The same picture restored over gRPC and by `deweather-train evaluate` is the same to one grey level."""

import unittest

from harness import ROOT, Server, TestCase, decode, encode, main, noise, np, smooth

SHIPPED = ROOT / "model/weights/deweather-rain.safetensors"


class AgreementTest(TestCase):
    @unittest.skipUnless(SHIPPED.exists(), f"{SHIPPED} is not there")
    def test_server_and_evaluate_restore_alike(self):
        pictures = {"wide": smooth(481, 321), "small": noise(60, 40), "tall": smooth(250, 700)}
        for folder in ["input", "gt", "out"]:
            (self.folder / folder).mkdir()
        for name, pixels in pictures.items():
            for folder in ["input", "gt"]:
                (self.folder / folder / f"{name}.png").write_bytes(encode(pixels))
        for precision in ["f32", "bf16"]:
            with self.subTest(precision=precision):
                self.run_program("deweather-train", "evaluate", "--model", SHIPPED, "--pairs", self.folder,
                                 "-o", self.folder / "out", "--precision", precision)
                with Server("--model", str(SHIPPED), "--precision", precision) as server:
                    with server.client() as client:
                        for name, pixels in pictures.items():
                            served = decode(client.restore(encode(pixels)).image).astype(int)
                            evaluated = decode((self.folder / f"out/{name}.png").read_bytes()).astype(int)
                            self.assertLessEqual(np.abs(served - evaluated).max(), 1, name)
                            self.assertGreater(np.abs(served - pixels).max(), 0, f"{name} is untouched")


if __name__ == "__main__":
    main()
