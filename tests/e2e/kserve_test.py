"""The Open Inference Protocol, as Triton's own client speaks it."""

from triton_client import triton  # first: it finds the Python that has it

import hashlib
import os
import re
import subprocess
import sys

from harness import ROOT, Server, TestCase, decode, encode, grpc, main, np, smooth, wait_until

from kserve_tensors import DTYPES, STEPS, pixels_of, tensor_of
from tritonclient.grpc import service_pb2, service_pb2_grpc
from tritonclient.utils import InferenceServerException

SERVICE = "inference.GRPCInferenceService"


def picture_input(tensor, datatype):
    return triton.InferInput("image", list(tensor.shape), datatype).set_data_from_numpy(tensor)


def files_input(files):
    array = np.array(files, dtype=np.object_)
    return triton.InferInput("image_bytes", [len(files)], "BYTES").set_data_from_numpy(array)


class KserveTestCase(TestCase):
    def refused(self, code, says, call, *args, **options):
        with self.assertRaises(InferenceServerException) as caught:
            call(*args, **options)
        self.assertEqual(caught.exception.status(), f"StatusCode.{code}", caught.exception.message())
        self.assertIn(says, caught.exception.message())


class KserveTest(KserveTestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = cls.enterClassContext(Server())
        cls.stranger = cls.enterClassContext(cls.server.client())
        cls.client = triton.InferenceServerClient(cls.server.address)
        cls.addClassCleanup(cls.client.close)
        channel = cls.enterClassContext(grpc.insecure_channel(cls.server.address))
        cls.stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        cls.pixels = smooth(150, 100)
        cls.restored = decode(cls.stranger.restore(encode(cls.pixels)).image)

    def infer(self, tensor, datatype, **options):
        return self.client.infer("default", [picture_input(tensor, datatype)], **options)

    def test_what_is_told_of_server_and_models(self):
        self.assertTrue(self.client.is_server_live())
        self.assertTrue(self.client.is_server_ready())
        self.assertTrue(self.client.is_model_ready("default"))
        self.assertFalse(self.client.is_model_ready("nobody"))
        self.assertEqual(self.client.get_server_metadata().name, "deweather")
        model = self.client.get_model_metadata("default")
        self.assertEqual(model.name, "deweather-small")
        self.assertTrue(self.client.is_model_ready(model.name, model.versions[0]))
        self.assertEqual([(i.name, i.datatype, list(i.shape)) for i in model.inputs],
                         [("image", "FP32", [-1, 3, -1, -1]), ("image_bytes", "BYTES", [-1])])
        self.assertEqual(model.outputs[0].name, "restored")
        config = self.client.get_model_config("default").config
        self.assertEqual(config.name, model.name)
        self.assertEqual(config.input[0].data_type, triton.model_config_pb2.TYPE_FP32)
        self.assertEqual(list(config.input[0].dims), [3, -1, -1])
        self.assertTrue(config.input[1].optional)
        self.assertGreaterEqual(config.max_batch_size, 1)
        index = self.client.get_model_repository_index().models
        self.assertIn((model.name, model.versions[0], "READY"), [(m.name, m.version, m.state) for m in index])

    def test_health_and_reflection_know_it(self):
        self.assertEqual(self.stranger.health(SERVICE), "SERVING")
        self.assertIn(SERVICE, self.stranger.database.get_services())

    def test_tensors_equal_restore(self):
        wanted = self.restored / np.float32(255)
        for datatype in DTYPES:
            for layout in ("NCHW", "NHWC"):
                tensor = tensor_of(self.pixels, datatype, layout)
                result = self.infer(tensor, datatype, parameters={"layout": layout}, request_id="seven")
                restored = result.as_numpy("restored")
                self.assertEqual(restored.dtype, tensor.dtype)
                self.assertEqual(restored.shape, tensor.shape)
                self.assertEqual(result.get_response().id, "seven")
                worst = np.abs(pixels_of(restored, layout) - wanted).max()
                self.assertLessEqual(worst, STEPS[datatype], (datatype, layout))

    def test_a_batch_is_its_pictures(self):
        pictures = [self.pixels, self.pixels[::-1], self.pixels[:, ::-1]]
        batch = np.concatenate([tensor_of(p, "UINT8", "NCHW") for p in pictures])
        together = self.infer(batch, "UINT8").as_numpy("restored")
        alone = [self.infer(tensor_of(p, "UINT8", "NCHW"), "UINT8").as_numpy("restored") for p in pictures]
        worst = np.abs(together.astype(int) - np.concatenate(alone)).max()
        self.assertLessEqual(worst, 1)

    def test_typed_contents(self):
        for datatype, field in (("UINT8", "uint_contents"), ("FP32", "fp32_contents")):
            tensor = tensor_of(self.pixels, datatype, "NCHW")
            request = service_pb2.ModelInferRequest(model_name="default")
            request.inputs.add(name="image", datatype=datatype, shape=tensor.shape)
            getattr(request.inputs[0].contents, field).extend(tensor.ravel().tolist())
            response = self.stub.ModelInfer(request)
            raw = self.infer(tensor, datatype).as_numpy("restored")
            self.assertEqual(response.raw_output_contents[0], raw.tobytes())

    def test_files(self):
        files = [encode(self.pixels), encode(self.pixels, "BMP")]
        restored = self.client.infer("default", [files_input(files)]).as_numpy("restored")
        request = service_pb2.ModelInferRequest(model_name="default")
        request.inputs.add(name="image_bytes", datatype="BYTES", shape=[2])
        request.inputs[0].contents.bytes_contents.extend(files)
        self.assertEqual(len(self.stub.ModelInfer(request).outputs), 1)
        for file, head in zip(restored, (b"\x89PNG", b"BM")):
            self.assertTrue(file.startswith(head))
            self.assertLessEqual(np.abs(decode(file).astype(int) - self.restored).max(), 1)

    def test_routing_and_uncertainty(self):
        names = [o.name for o in self.client.get_model_metadata("default").outputs]
        self.assertEqual(names, ["restored", "routing", "uncertainty"])
        outputs = [triton.InferRequestedOutput(name) for name in names]
        tensor = tensor_of(self.pixels, "UINT8", "NCHW")
        result = self.infer(tensor, "UINT8", outputs=outputs, parameters={"seed": 5})
        np.testing.assert_allclose(result.as_numpy("routing").sum(axis=2), 1, atol=1e-5)
        request = self.stranger.restore(encode(self.pixels), uncertainty_map=True, seed=5)
        expected = decode(request.uncertainty_map).astype(np.float32) / 65535
        np.testing.assert_allclose(result.as_numpy("uncertainty")[0, 0], expected, atol=1e-3)

    def test_priority_and_timeout(self):
        tensor = tensor_of(self.pixels, "UINT8", "NCHW")
        self.infer(tensor, "UINT8", priority=2, timeout=60_000_000)
        self.refused("INVALID_ARGUMENT", "priority is 3", self.infer, tensor, "UINT8", priority=3)
        self.refused("DEADLINE_EXCEEDED", "", self.infer, tensor, "UINT8", timeout=1)

    def test_what_is_wrong_is_told_and_no_work_is_done(self):
        def bad(says, code="INVALID_ARGUMENT", model_name="default", raw=None, outputs=(), **tensor):
            request = service_pb2.ModelInferRequest(model_name=model_name)
            request.inputs.add(**{"name": "image", "datatype": "UINT8", "shape": [1, 3, 4, 8], **tensor})
            request.raw_input_contents.append(bytes(96) if raw is None else raw)
            for output in outputs:
                request.outputs.add(name=output)
            error = self.fails_with(code, self.stub.ModelInfer, request)
            self.assertIn(says, error.details())

        def batches():
            return self.server.metrics()["deweather_batch_tiles_count"]

        before = batches()
        bad("must be UINT8, FP32, FP16 or BF16", datatype="INT32")
        bad("shape [1,3,4,8] of FP32 takes 384", datatype="FP32")
        bad("must be [N,3,H,W]", shape=[3, 4, 8])
        bad("3 channels", shape=[1, 4, 8, 3])
        bad("has 95 bytes", raw=bytes(95))
        bad("unknown input 'input'", name="input")
        bad("both raw and typed", contents={"uint_contents": [1]})
        bad("unknown output 'logits'", outputs=["logits"])
        bad("unknown parameter", parameters={"binary_data_size": {"int64_param": 96}})
        bad("must be in [0,1]", datatype="FP32", raw=np.full(96, 2, np.float32).tobytes())
        bad("must be in [0,1]", datatype="FP16", raw=np.full(96, np.nan, np.float16).tobytes())
        bad("unknown model", code="NOT_FOUND", model_name="nobody")
        self.assertEqual(batches(), before)


class KserveDocsTest(KserveTestCase):
    def test_the_example_runs_as_it_stands_there(self):
        code = re.search(r"^```python\n(.*?)^```", (ROOT / "docs/kserve.md").read_text(), re.MULTILINE | re.DOTALL)
        (self.folder / "rainy.jpg").write_bytes(encode(smooth(120, 80), "JPEG", quality=90))
        with Server("--model", "identity") as server:
            env = {**os.environ, "DEWEATHER_SERVER": server.address}
            done = subprocess.run([sys.executable, "-c", code[1]], cwd=self.folder, env=env, capture_output=True,
                                  text=True, check=False, timeout=60)
        self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "identity\n", ""))
        photo = decode((self.folder / "rainy.jpg").read_bytes())
        np.testing.assert_array_equal(decode((self.folder / "restored.png").read_bytes()), photo)
        self.assertEqual(decode((self.folder / "restored.jpg").read_bytes()).shape, photo.shape)


class KserveAccessTest(KserveTestCase):
    def test_tokens(self):
        tokens = self.folder / "tokens.textproto"
        groups = {"infer": "GROUP_INFER", "admin": "GROUP_ADMIN"}
        tokens.write_text("".join(f'token {{ name: "{t}" sha256: "{hashlib.sha256(t.encode()).hexdigest()}" '
                                  f'group: {group} }}\n' for t, group in groups.items()))
        config = f'drain {{ delay {{}} }} access {{ tokens_file: "{tokens}" }}'
        with Server("--model", "identity", config=config) as server, \
                triton.InferenceServerClient(server.address) as client:
            tensor = tensor_of(smooth(40, 30), "UINT8", "NCHW")

            def infer(token):
                headers = {"authorization": f"Bearer {token}"} if token else None
                return client.infer("default", [picture_input(tensor, "UINT8")], headers=headers)

            np.testing.assert_array_equal(infer("infer").as_numpy("restored"), tensor)
            self.refused("UNAUTHENTICATED", "no token", infer, None)
            self.refused("PERMISSION_DENIED", "needs infer", infer, "admin")
            self.assertTrue(client.is_server_ready(headers={"authorization": "Bearer admin"}))


class KserveDrainTest(KserveTestCase):
    def test_not_ready_before_it_refuses(self):
        with Server("--model", "identity", config="drain { delay { seconds: 60 } }") as server, \
                triton.InferenceServerClient(server.address) as client:
            self.assertTrue(client.is_server_ready())
            server.process.terminate()
            wait_until(lambda: not client.is_server_ready())
            self.assertFalse(client.is_model_ready("identity"))
            tensor = tensor_of(smooth(40, 30), "UINT8", "NCHW")
            restored = client.infer("default", [picture_input(tensor, "UINT8")]).as_numpy("restored")
            np.testing.assert_array_equal(restored, tensor)


if __name__ == "__main__":
    main()
