"""A model with experts behind the server: what /metrics counts is what the replies say."""

import unittest

from harness import BIN, ROOT, Server, TestCase, decode, encode, main, np, smooth

SHIPPED = ROOT / "model/weights/deweather-small.safetensors"
FIXTURE = ROOT / "tests/model/fixtures/fme_top4of8.safetensors"


class ModelTest(TestCase):
    def check_routing(self, server):
        """Two pictures' replies against /metrics; the last reply."""
        with server.client() as client:
            replies = [client.restore(encode(smooth(*size)), expert_map=True)
                       for size in [(300, 200), (97, 401)]]
        metrics = server.metrics()
        for index, layer in enumerate(replies[0].routing.layers):
            layers = [reply.routing.layers[index] for reply in replies]
            for reply in replies:
                tokens = reply.routing.layers[index].tokens
                self.assertEqual(sum(tokens), reply.routing.units * reply.routing.kept)
            for expert in range(len(layer.tokens)):
                label = f'{{layer="{index}",expert="{expert}"}}'
                other = f'{{expert="{expert}",layer="{index}"}}'
                name = "deweather_expert_tokens_total"
                counted = metrics.get(name + label, metrics.get(name + other))
                self.assertEqual(counted, sum(each.tokens[expert] for each in layers), label)
        experts = len(replies[0].routing.layers[0].tokens)
        self.assertLess(decode(replies[0].expert_map).max(), experts)
        self.assertEqual(decode(replies[0].expert_map).ndim, 2)
        return replies[-1]

    def imported(self):
        if not (BIN / "deweather-train").exists():
            self.skipTest("deweather-train is not built")
        model = self.folder / "tiny.safetensors"
        self.run_program("deweather-train", "import", FIXTURE, model)
        return model

    def test_experts_of_an_imported_model(self):
        with Server("--model", str(self.imported()), "--precision", "f32") as server:
            reply = self.check_routing(server)
            self.assertGreater(len(reply.routing.layers), 0)

    @unittest.skipUnless(SHIPPED.exists(), f"{SHIPPED} is not there")
    def test_the_shipped_model_is_the_default(self):
        with Server() as server:
            reply = self.check_routing(server)
        self.assertEqual(reply.model.name, "deweather-small")
        self.assertEqual((reply.routing.kept, len(reply.routing.layers[0].tokens)), (4, 16))

    def test_the_specialist_by_its_name(self):
        with Server("--model", "deweather-rain") as server, server.client() as client:
            reply = client.restore(encode(smooth(64, 64)))
        self.assertEqual(reply.model.name, "deweather-rain")

    def test_a_model_by_its_name_in_the_data_folder(self):
        (self.folder / "models").mkdir()
        self.imported().rename(self.folder / "models/tiny.safetensors")
        with Server("--model", "tiny", "--data-dir", str(self.folder)) as server:
            with server.client() as client:
                first = client.restore(encode(smooth(64, 64)))
                again = client.restore(encode(smooth(64, 64)), model=first.model.name)
        self.assertEqual(len(first.model.version), 12)
        np.testing.assert_array_equal(decode(first.image), decode(again.image))


if __name__ == "__main__":
    main()
