"""The Open Inference Protocol's REST form, as Triton's own client speaks it, and as anybody may write it."""

from triton_client import triton  # noqa: F401  first: it finds the Python that has it

import hashlib
import http.client
import json
import os
import re
import subprocess
from concurrent.futures import ThreadPoolExecutor

from harness import ROOT, Server, TestCase, decode, encode, main, np, smooth, wait_until

import tritonclient.http as rest
from kserve_tensors import DTYPES, STEPS, pixels_of, tensor_of
from tritonclient.utils import InferenceServerException

LENGTH = "Inference-Header-Content-Length"


def picture_input(tensor, datatype, **options):
    return rest.InferInput("image", list(tensor.shape), datatype).set_data_from_numpy(tensor, **options)


def files_input(files):
    array = np.array(files, dtype=np.object_)
    return rest.InferInput("image_bytes", [len(files)], "BYTES").set_data_from_numpy(array)


def ask(server, method, path, body=None, headers=None):
    """Status, headers and body of one request on a connection of its own."""
    connection = http.client.HTTPConnection(server.http_address, timeout=60)
    try:
        connection.request(method, path, body, headers or {})
        reply = connection.getresponse()
        return reply.status, reply.headers, reply.read()
    finally:
        connection.close()


def tensor_json(**fields):
    """A request for a picture of 4x8 black pixels, but for what `fields` say."""
    tensor = {"name": "image", "datatype": "UINT8", "shape": [1, 3, 4, 8], "data": [0] * 96, **fields}
    return {"inputs": [{name: value for name, value in tensor.items() if value is not None}]}


class KserveHttpTestCase(TestCase):
    def refused(self, status, says, call, *args, **options):
        with self.assertRaises(InferenceServerException) as caught:
            call(*args, **options)
        self.assertEqual(caught.exception.status(), str(status), caught.exception.message())
        self.assertIn(says, caught.exception.message())


class KserveHttpTest(KserveHttpTestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = cls.enterClassContext(Server(http=True))
        cls.stranger = cls.enterClassContext(cls.server.client())
        cls.client = rest.InferenceServerClient(cls.server.http_address)
        cls.addClassCleanup(cls.client.close)
        cls.pixels = smooth(150, 100)
        cls.restored = decode(cls.stranger.restore(encode(cls.pixels)).image)

    def infer(self, tensor, datatype, **options):
        return self.client.infer("default", [picture_input(tensor, datatype)], **options)

    def bad(self, status, says, body, model="default", headers=None):
        """What is wrong is told in the protocol's own form."""
        body = body if isinstance(body, (bytes, str)) else json.dumps(body)
        told, _, reply = ask(self.server, "POST", f"/v2/models/{model}/infer", body, headers)
        self.assertEqual(told, status, reply)
        document = json.loads(reply)
        self.assertEqual(list(document), ["error"])
        self.assertIn(says, document["error"])

    def test_what_is_told_of_server_and_models(self):
        self.assertTrue(self.client.is_server_live())
        self.assertTrue(self.client.is_server_ready())
        self.assertTrue(self.client.is_model_ready("default"))
        self.assertFalse(self.client.is_model_ready("nobody"))
        server = self.client.get_server_metadata()
        self.assertEqual(server["name"], "deweather")
        self.assertIn("binary_tensor_data", server["extensions"])
        model = self.client.get_model_metadata("default")
        self.assertEqual(model["name"], "deweather-small")
        version = model["versions"][0]
        self.assertTrue(self.client.is_model_ready(model["name"], version))
        self.assertEqual(self.client.get_model_metadata(model["name"], version)["versions"], [version])
        self.assertEqual(model["inputs"], [{"name": "image", "datatype": "FP32", "shape": [-1, 3, -1, -1]},
                                           {"name": "image_bytes", "datatype": "BYTES", "shape": [-1]}])
        self.assertEqual(model["outputs"][0]["name"], "restored")
        config = self.client.get_model_config("default")
        self.assertEqual(config["input"][0], {"name": "image", "data_type": "TYPE_FP32", "dims": [3, -1, -1],
                                              "optional": False})
        self.assertTrue(config["input"][1]["optional"])
        self.assertGreaterEqual(config["max_batch_size"], 1)
        index = self.client.get_model_repository_index()
        self.assertIn((model["name"], version, "READY"), [(m["name"], m["version"], m["state"]) for m in index])

    def test_tensors_equal_restore(self):
        wanted = self.restored / np.float32(255)
        for datatype in DTYPES:
            for layout in ("NCHW", "NHWC"):
                tensor = tensor_of(self.pixels, datatype, layout)
                result = self.infer(tensor, datatype, parameters={"layout": layout}, request_id="seven")
                restored = result.as_numpy("restored")
                self.assertEqual(restored.dtype, tensor.dtype)
                self.assertEqual(restored.shape, tensor.shape)
                self.assertEqual(result.get_response()["id"], "seven")
                worst = np.abs(pixels_of(restored, layout) - wanted).max()
                self.assertLessEqual(worst, STEPS[datatype], (datatype, layout))

    def test_json_equals_binary_data(self):
        as_json = [rest.InferRequestedOutput("restored", binary_data=False)]
        for datatype in ("UINT8", "FP32"):
            tensor = tensor_of(self.pixels, datatype)
            raw = self.infer(tensor, datatype).as_numpy("restored")
            inputs = [picture_input(tensor, datatype, binary_data=False)]
            result = self.client.infer("default", inputs, outputs=as_json)
            self.assertIn("data", result.get_output("restored"))
            np.testing.assert_array_equal(result.as_numpy("restored"), raw)
            nested = {"inputs": [{"data": tensor.tolist(), "shape": tensor.shape, "datatype": datatype, "name": "image"}]}
            status, headers, reply = ask(self.server, "POST", "/v2/models/default/infer", json.dumps(nested))
            self.assertEqual((status, headers[LENGTH]), (200, None))
            self.assertEqual(json.loads(reply)["outputs"], result.get_response()["outputs"])

    def test_files(self):
        files = [encode(self.pixels), encode(self.pixels, "BMP")]
        restored = self.client.infer("default", [files_input(files)]).as_numpy("restored")
        for file, head in zip(restored, (b"\x89PNG", b"BM")):
            self.assertTrue(file.startswith(head))
            self.assertLessEqual(np.abs(decode(file).astype(int) - self.restored).max(), 1)
        as_json = [rest.InferRequestedOutput("restored", binary_data=False)]
        self.refused(400, "restored of BYTES has no form in JSON", self.client.infer, "default", [files_input(files)],
                     outputs=as_json)

    def test_outputs_come_each_as_asked_for(self):
        names = [output["name"] for output in self.client.get_model_metadata("default")["outputs"]]
        self.assertEqual(names, ["restored", "routing", "uncertainty"])
        outputs = [rest.InferRequestedOutput(name, binary_data=name != "routing") for name in names]
        result = self.infer(tensor_of(self.pixels, "UINT8"), "UINT8", outputs=outputs, parameters={"seed": 5})
        self.assertIn("data", result.get_output("routing"))
        self.assertNotIn("data", result.get_output("restored"))
        np.testing.assert_allclose(result.as_numpy("routing").sum(axis=2), 1, atol=1e-5)
        request = self.stranger.restore(encode(self.pixels), uncertainty_map=True, seed=5)
        expected = decode(request.uncertainty_map).astype(np.float32) / 65535
        np.testing.assert_allclose(result.as_numpy("uncertainty")[0, 0], expected, atol=1e-3)

    def test_priority_and_timeout(self):
        tensor = tensor_of(self.pixels, "UINT8")
        self.infer(tensor, "UINT8", priority=2, timeout=60_000_000)
        self.refused(400, "priority is 3", self.infer, tensor, "UINT8", priority=3)
        self.refused(504, "", self.infer, tensor, "UINT8", timeout=1)

    def test_what_is_wrong_with_a_tensor_is_told_and_no_work_is_done(self):
        def batches():
            return self.server.metrics()["deweather_batch_tiles_count"]

        before = batches()
        self.bad(400, "must be UINT8, FP32, FP16 or BF16", tensor_json(datatype="INT32"))
        self.bad(400, "has 96 values; shape [1,3,4,9]", tensor_json(shape=[1, 3, 4, 9]))
        self.bad(400, "must be [N,3,H,W]", tensor_json(shape=[3, 4, 8]))
        self.bad(400, "3 channels", tensor_json(shape=[1, 4, 8, 3]))
        self.bad(400, "unknown input 'input'", tensor_json(name="input"))
        self.bad(400, "image has no contents", tensor_json(data=None))
        self.bad(400, "unknown parameter 'shared_memory_region'", tensor_json(parameters={"shared_memory_region": "x"}))
        self.bad(400, "UINT8 is a whole number", tensor_json(data=[0.5] * 96))
        self.bad(400, "value 95 of image is 256", tensor_json(data=[255] * 95 + [256]))
        self.bad(400, "must be in [0,1]", tensor_json(datatype="FP32", data=[2] * 96))
        self.bad(400, "image is FP16 with data", tensor_json(datatype="FP16"))
        self.bad(400, "nested as [1,96]", tensor_json(data=[[0] * 96]))
        self.bad(400, "2 inputs have come", {"inputs": tensor_json()["inputs"] * 2})
        self.bad(400, "0 inputs have come", {})
        self.bad(400, "unknown output 'logits'", {**tensor_json(), "outputs": [{"name": "logits"}]})
        self.bad(400, "unknown parameter 'layouts'", {**tensor_json(), "parameters": {"layouts": "NHWC"}})
        self.bad(404, "unknown model", tensor_json(), model="nobody")
        self.bad(404, "version", tensor_json(), model="default/versions/0")
        self.assertEqual(batches(), before)

    def test_what_is_wrong_with_the_body_is_told(self):
        self.bad(400, "the JSON is wrong at byte", json.dumps(tensor_json(data=[float("nan")] * 96)))
        self.bad(400, "the JSON is wrong at byte 1", "")
        self.bad(400, "the request is an array", "[" * 100_000)
        self.bad(400, "nested deeper than 8", '{"inputs":[{"data":' + "[" * 100_000)
        self.bad(400, "unknown field 'input'", {"input": []})
        body = json.dumps(tensor_json(data=None, parameters={"binary_data_size": 96})).encode()
        self.bad(400, "says where the JSON ends", body)
        self.bad(400, "of 95 bytes behind the JSON 95 are left", body + bytes(95), headers={LENGTH: str(len(body))})
        self.bad(400, "97 bytes are behind the JSON", body + bytes(97), headers={LENGTH: str(len(body))})
        self.bad(400, f"{LENGTH} is '-1'", body, headers={LENGTH: "-1"})
        self.bad(400, f"the body has {len(body)} bytes", body, headers={LENGTH: str(len(body) + 1)})
        self.bad(415, "the content encoding is 'gzip'", body, headers={"Content-Encoding": "gzip"})
        both = tensor_json(parameters={"binary_data_size": 0})
        self.bad(400, "both data and binary_data_size", both)

    def test_a_body_may_come_in_chunks(self):
        body = json.dumps(tensor_json()).encode()
        status, _, reply = ask(self.server, "POST", "/v2/models/default/infer", iter([body[:40], body[40:]]))
        self.assertEqual(status, 200, reply)
        self.assertEqual(json.loads(reply)["outputs"][0]["shape"], [1, 3, 4, 8])

    def test_pages_from_elsewhere_are_refused_in_the_protocols_form(self):
        for headers in ({"Origin": "http://elsewhere.example"}, {"Origin": "null"}, {"Host": "elsewhere.example"}):
            self.bad(403, "", tensor_json(), headers=headers)
        status, headers, _ = ask(self.server, "OPTIONS", "/v2/models/default/infer", headers={
            "Origin": "http://elsewhere.example", "Access-Control-Request-Method": "POST"})
        self.assertEqual(status, 403)
        self.assertFalse([name for name in headers if name.lower().startswith("access-control")])

    def test_other_paths_and_methods(self):
        for method, path, status in (("GET", "/v2/models/default/infer", 405), ("POST", "/v2/models/default", 405),
                                     ("GET", "/v2/models/default/stats", 404), ("POST", "/v2/models/default/load", 404)):
            told, headers, reply = ask(self.server, method, path)
            self.assertEqual(told, status, path)
            self.assertEqual(list(json.loads(reply)), ["error"])
            self.assertEqual(headers["Allow"], {"infer": "POST", "default": "GET"}.get(path.split("/")[-1]))


class KserveHttpLimitsTest(KserveHttpTestCase):
    def test_a_body_over_the_limit_is_refused(self):
        config = "drain { delay {} } limits { max_receive_bytes: 1048576 }"
        with Server("--model", "identity", http=True, config=config) as server:
            with rest.InferenceServerClient(server.http_address) as client:
                fits, too_large = (tensor_of(smooth(side, side), "UINT8") for side in (500, 600))
                np.testing.assert_array_equal(
                    client.infer("default", [picture_input(fits, "UINT8")]).as_numpy("restored"), fits)
                status, _, reply = ask(server, "POST", "/v2/models/default/infer", bytes(too_large.nbytes))
                self.assertEqual(status, 413)
                self.assertIn("1048576", json.loads(reply)["error"])
                # Few digits of JSON may be more bytes than they are.
                short = json.dumps(tensor_json(datatype="FP32", data=[0] * 300_000), separators=(",", ":"))
                status, _, reply = ask(server, "POST", "/v2/models/default/infer", short)
                self.assertEqual((status, len(short) < 1 << 20), (400, True))
                self.assertIn("at most 1048576", json.loads(reply)["error"])

    def test_a_full_server_says_when_to_try_again(self):
        picture = smooth(1500, 1500)  # more than the budget: each is served alone
        head = json.dumps({"inputs": [{"name": "image", "datatype": "UINT8", "shape": [1, 3, 1500, 1500],
                                       "parameters": {"binary_data_size": picture.nbytes}}],
                           "parameters": {"binary_data_output": True}}).encode()
        with Server("--model", "identity", http=True, config="drain { delay {} } admission { max_bytes: 16777216 }") as server:
            def infer(_):
                return ask(server, "POST", "/v2/models/default/infer", head + picture.tobytes(), {LENGTH: str(len(head))})

            with ThreadPoolExecutor(4) as pool:
                replies = list(pool.map(infer, range(32)))
        self.assertEqual({status for status, _, _ in replies}, {200, 429})
        _, headers, reply = next(reply for reply in replies if reply[0] == 429)
        self.assertGreaterEqual(int(headers["Retry-After"]), 1)
        self.assertEqual(list(json.loads(reply)), ["error"])


class KserveHttpAccessTest(KserveHttpTestCase):
    def test_tokens(self):
        tokens = self.folder / "tokens.textproto"
        groups = {"infer": "GROUP_INFER", "admin": "GROUP_ADMIN"}
        tokens.write_text("".join(f'token {{ name: "{t}" sha256: "{hashlib.sha256(t.encode()).hexdigest()}" '
                                  f'group: {group} }}\n' for t, group in groups.items()))
        config = f'drain {{ delay {{}} }} access {{ tokens_file: "{tokens}" }}'
        with Server("--model", "identity", http=True, config=config) as server, \
                rest.InferenceServerClient(server.http_address) as client:
            tensor = tensor_of(smooth(40, 30), "UINT8")

            def infer(token):
                headers = {"authorization": f"Bearer {token}"} if token else None
                return client.infer("default", [picture_input(tensor, "UINT8")], headers=headers)

            np.testing.assert_array_equal(infer("infer").as_numpy("restored"), tensor)
            self.refused(401, "no token", infer, None)
            self.refused(403, "needs infer", infer, "admin")
            self.assertTrue(client.is_server_ready(headers={"authorization": "Bearer admin"}))
            self.assertFalse(client.is_server_ready())


class KserveHttpDrainTest(KserveHttpTestCase):
    def test_not_ready_before_it_refuses(self):
        with Server("--model", "identity", http=True, config="drain { delay { seconds: 60 } }") as server, \
                rest.InferenceServerClient(server.http_address) as client:
            self.assertTrue(client.is_server_ready())
            server.process.terminate()
            wait_until(lambda: not client.is_server_ready())
            self.assertFalse(client.is_model_ready("identity"))
            self.assertEqual(ask(server, "GET", "/v2/models/identity/ready")[0], 503)
            tensor = tensor_of(smooth(40, 30), "UINT8")
            restored = client.infer("default", [picture_input(tensor, "UINT8")]).as_numpy("restored")
            np.testing.assert_array_equal(restored, tensor)


class KserveHttpDocsTest(KserveHttpTestCase):
    def test_the_commands_run_as_they_stand_there(self):
        code = re.search(r"^```bash\n(.*?)^```", (ROOT / "docs/kserve.md").read_text(), re.MULTILINE | re.DOTALL)
        (self.folder / "rainy.jpg").write_bytes(encode(smooth(120, 80), "JPEG", quality=90))
        with Server("--model", "identity", http=True) as server:
            env = {**os.environ, "DEWEATHER_HTTP": f"http://{server.http_address}"}
            done = subprocess.run(["bash", "-euo", "pipefail", "-c", code[1]], cwd=self.folder, env=env,
                                  capture_output=True, text=True, check=False, timeout=60)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertIn('"name":"identity"', done.stdout)
        self.assertIn('"data":[255,0,0,128,', done.stdout)
        self.assertEqual(decode((self.folder / "restored.jpg").read_bytes()).shape, (80, 120, 3))


if __name__ == "__main__":
    main()
