"""A gRPC tool that knows nothing of us: examples/grpcurl.sh."""

import os

from tools import EXAMPLES, Server, TestCase, decode, encode, main, missing, np, run, skip, smooth, tool

if not tool("grpcurl"):
    skip(missing("grpcurl"))


class GrpcurlTest(TestCase):
    def test_reflection_health_and_a_picture(self):
        picture = encode(smooth(120, 80), "JPEG", quality=90)
        (self.folder / "rainy.jpg").write_bytes(picture)
        with Server("--model", "identity") as server, server.client() as client:
            done = run(EXAMPLES / "grpcurl.sh", server.address, "rainy.jpg", "out.png", cwd=self.folder,
                       env={**os.environ, "GRPCURL": tool("grpcurl")})
            expected = decode(client.restore(picture, format=2).image)
        np.testing.assert_array_equal(decode((self.folder / "out.png").read_bytes()), expected)
        for line in ["deweather.v1.RestorationService", "inference.GRPCInferenceService", '"status": "SERVING"',
                     '"name": "identity"', "message RestoreOptions {"]:
            self.assertIn(line, done.stdout)


if __name__ == "__main__":
    main()
