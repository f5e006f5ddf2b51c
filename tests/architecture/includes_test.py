"""Holds the tree to the arrows of includes.py, and shows that the check can fail."""

import pathlib
import tempfile
import unittest

import includes


class TreeTest(unittest.TestCase):
    def test_every_include_follows_an_arrow(self):
        tree = includes.Tree(pathlib.Path(__file__).parents[2])
        self.assertGreater(len(tree.files), 10)
        self.assertEqual(tree.problems(), [])


class PlantedViolationTest(unittest.TestCase):
    """Each case is a small tree with one fault, next to files that are as they should be."""

    SOUND = {
        "model/base/a.h": '#include <vector>\n#include "absl/status/status.h"\n',
        "model/image/image.h": '#include "model/base/a.h"\n',
        "model/image/codec.cc": '#include <jpeglib.h>\n#include "model/image/image.h"\n',
        "model/restorer.h": '#include <ATen/core/Tensor.h>\n#include "model/base/a.h"\n',
        "server/batch/queue.h": '#include "model/image/image.h"\n',
        "server/restore/restore.h": '#include "server/batch/queue.h"\n',
        "server/restore/run_batch.cc": '#include "model/restorer.h"\n',
        "server/rpc/service.cc": (
            '#include <grpcpp/grpcpp.h>\n'
            '#include "proto/deweather/v1/restoration.pb.h"\n'
            '#include "server/restore/restore.h"\n'
        ),
        "server/serve.h": '#include "server/restore/restore.h"\n',
        "server/main.cc": '#include "server/serve.h"\n',
        "tests/batch/queue_test.cc": '#include <gtest/gtest.h>\n#include "model/image/image.h"\n',
    }

    def problems(self, planted):
        with tempfile.TemporaryDirectory() as root:
            for path, text in (self.SOUND | planted).items():
                file = pathlib.Path(root, path)
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(text, encoding="utf-8")
            return includes.Tree(root).problems()

    def assert_found(self, planted, *words):
        problems = self.problems(planted)
        self.assertTrue(problems, "nothing was found")
        for word in words:
            self.assertIn(word, "\n".join(problems))

    def test_sound_tree_passes(self):
        self.assertEqual(self.problems({}), [])

    def test_missing_arrow(self):
        self.assert_found(
            {"model/image/tiling.cc": '#include "server/batch/queue.h"\n'},
            "model/image/tiling.cc: no arrow from dw_image to dw_batch",
        )

    def test_arrow_is_not_inherited(self):
        self.assert_found(
            {"server/rpc/convert.cc": '#include "server/batch/queue.h"\n'},
            "no arrow from dw_rpc to dw_batch",
        )

    def test_forbidden_library(self):
        self.assert_found(
            {"server/batch/batcher.cc": '#include <torch/torch.h>\n'},
            "dw_batch must not include torch",
        )

    def test_codec_library_in_a_public_header(self):
        self.assert_found(
            {"model/image/codec.h": '#include <png.h>\n'}, "dw_image must not include codecs"
        )

    def test_internal_header(self):
        turn = {"training/weather/turn.h": "#include <opencv2/core.hpp>\n"}
        inside = {"training/weather/rain.cc": '#include "training/weather/turn.h"\n'}
        self.assertEqual(self.problems(turn | inside), [])
        outside = {"training/dataset.cc": '#include "training/weather/turn.h"\n'}
        self.assert_found(turn | outside, "training/dataset.cc: internal to dw_weather")

    def test_torch_in_a_public_header_of_restore(self):
        self.assert_found(
            {"server/restore/live.h": '#include "model/restorer.h"\n'},
            "server/restore/live.h: dw_restore must not see torch",
            "live.h > model/restorer.h > ATen/core/Tensor.h",
        )

    def test_torch_and_protobuf_in_one_unit(self):
        self.assert_found(
            {
                "server/restore/live.h": '#include "model/restorer.h"\n',
                "server/rpc/model_service.cc": (
                    '#include "proto/deweather/v1/model.pb.h"\n#include "server/restore/live.h"\n'
                ),
            },
            "server/rpc/model_service.cc: sees both Torch and protobuf",
        )

    def test_torch_and_grpc_in_one_unit(self):
        self.assert_found(
            {"server/restore/x.cc": '#include <grpcpp/grpcpp.h>\n#include "model/restorer.h"\n'},
            "server/restore/x.cc: sees both Torch and protobuf",
        )

    def test_torch_in_main(self):
        self.assert_found(
            {
                "training/train.h": '#include "model/restorer.h"\n',
                "training/main.cc": '#include "training/train.h"\n',
            },
            "training/main.cc must not see torch",
        )

    def test_main_wires_only_its_program(self):
        self.assert_found(
            {"client/main.cc": '#include "server/restore/restore.h"\n'},
            "no arrow from client/main.cc to dw_restore",
        )

    def test_generated_header_belongs_to_its_target(self):
        self.assert_found(
            {"client/main.cc": '#include "proto/deweather/v1/train_config.pb.h"\n'},
            "no arrow from client/main.cc to dw_config",
        )

    def test_file_outside_every_target(self):
        self.assert_found(
            {"server/loose/x.cc": ""}, "server/loose/x.cc: belongs to no target"
        )

    def test_unknown_library_and_missing_header(self):
        self.assert_found(
            {"model/base/b.h": '#include <folly/String.h>\n#include "model/base/none.h"\n'},
            "unknown library, add it to LIBRARIES: folly/String.h",
            "no such header: model/base/none.h",
        )

    def test_tests_see_what_lies_below_their_target(self):
        self.assert_found(
            {"tests/image/codec_test.cc": '#include "server/batch/queue.h"\n'},
            "no arrow from tests/image to dw_batch",
        )


if __name__ == "__main__":
    unittest.main()
