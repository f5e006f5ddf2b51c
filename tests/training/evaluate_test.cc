#include "training/evaluate.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>

#include "absl/strings/str_format.h"
#include "model/checkpoint.h"
#include "model/network.h"
#include "tests/model/tiny.h"
#include "tests/training/pictures.h"

namespace deweather {
namespace {

using testing::AllOf;
using testing::HasSubstr;

EvaluationOptions OnCpu() {
  EvaluationOptions options;
  options.load.device = "cpu";
  options.load.precision = Precision::kF32;
  return options;
}

// Truths, and inputs that are 10 grey levels brighter.
std::string BrightPairs() {
  const std::string folder = NewFolder();
  WritePictures(folder + "/gt", 2, 70, 50);
  for (int i = 0; i < 2; ++i) {
    Image bright = Picture(70, 50, i);
    for (uint8_t& sample : bright.samples) sample += 10;
    WritePicture(folder + "/input/" + std::to_string(i) + ".png", bright);
  }
  return folder;
}

TEST(EvaluateTest, IdentityScoresAsItsInputAndKeepsThePictures) {
  const std::string pairs = BrightPairs();
  std::filesystem::create_directories(pairs + "/out");
  int calls = 0;
  EvaluationOptions options = OnCpu();
  options.output_dir = pairs + "/out";
  options.progress = [&](int, int total) { calls += total; };
  const auto evaluation = Evaluate("identity", pairs, options);
  ASSERT_TRUE(evaluation.ok()) << evaluation.status();
  EXPECT_EQ(evaluation->pictures.size(), 2);
  EXPECT_EQ(calls, 4);
  EXPECT_NEAR(evaluation->input.psnr_rgb, 20 * std::log10(25.5), 1e-6);
  EXPECT_EQ(evaluation->restored.psnr_rgb, evaluation->input.psnr_rgb);
  EXPECT_EQ(evaluation->restored.ssim_y, evaluation->input.ssim_y);
  EXPECT_EQ(evaluation->pictures[1].name, "1.png");
  const Image kept = DecodeImage(ReadFile(pairs + "/out/1.png").value(), {}).value();
  EXPECT_EQ(kept.samples, DecodeImage(ReadFile(pairs + "/input/1.png").value(), {})->samples);
  options.output_dir = pairs + "/absent";
  EXPECT_FALSE(Evaluate("identity", pairs, options).ok());
}

TEST(EvaluateTest, StopEndsItAfterThePicture) {
  const std::string pairs = BrightPairs();
  int calls = 0, last = 0;
  EvaluationOptions options = OnCpu();
  options.stop = [&] { return ++calls == last; };
  const auto stopped_after = [&](int call) {
    calls = 0;
    last = call;
    const absl::Status status = Evaluate("identity", pairs, options).status();
    EXPECT_TRUE(absl::IsCancelled(status)) << status;
    EXPECT_EQ(calls, call);
    return std::string(status.message());
  };
  EXPECT_EQ(stopped_after(2), "stopped before the first picture was restored");  // two are read
  EXPECT_EQ(stopped_after(3), "stopped after 1 of 2 pictures");
}

TEST(EvaluateTest, StopEndsAChecksReadingAfterThePicture) {
  const PairSet set = FolderOfPairs(BrightPairs());
  int calls = 0;
  EXPECT_TRUE(CheckPairs(set, [&] { return ++calls == 3; }).ok());
  EXPECT_EQ(calls, 2);
  EXPECT_TRUE(absl::IsCancelled(CheckPairs(set, [] { return true; })));
}

TEST(EvaluateTest, ModelThatDarkensScoresBetter) {
  ModelConfig config = TinyConfig();
  config.residual = true;
  Parameters parameters = InitialParameters(config, 1);
  parameters["tail.conv1.bias"].fill_(-10.0 / 255);  // all else of the last layer is zero
  const std::string pairs = BrightPairs();
  const std::string path = pairs + "/dark.safetensors";
  ASSERT_TRUE(SaveCheckpoint(path, config, parameters, {}).ok());
  EXPECT_GT(Evaluate(path, pairs, OnCpu())->restored.psnr_rgb, 99);
  EXPECT_EQ(Evaluate(pairs + "/absent", pairs, OnCpu()).status().code(),
            absl::StatusCode::kNotFound);
}

// A network whose answer depends on what else is in the tile.
std::string SavedTiny(const std::string& folder) {
  const ModelConfig config = TinyConfig();
  const std::string path = folder + "/tiny.safetensors";
  EXPECT_TRUE(SaveCheckpoint(path, config, InitialParameters(config, 1), {}).ok());
  return path;
}

TEST(EvaluateTest, TilingIsTheModelsOwnUnlessChanged) {
  const std::string pairs = BrightPairs();
  const std::string model = SavedTiny(pairs);
  EvaluationOptions options = OnCpu();
  const auto own = Evaluate(model, pairs, options);
  ASSERT_TRUE(own.ok()) << own.status();
  EXPECT_EQ(own->tile, TinyConfig().tile());
  options.tiling = {.tile_px = 64, .overlap_px = 16};
  const auto wide = Evaluate(model, pairs, options);
  ASSERT_TRUE(wide.ok()) << wide.status();
  EXPECT_EQ(wide->tile, (TileSpec{8, 64, 16, false}));
  EXPECT_NE(wide->restored.psnr_rgb, own->restored.psnr_rgb);
  options.tiling = {.whole_image = true};
  const auto whole = Evaluate(model, pairs, options);
  ASSERT_TRUE(whole.ok()) << whole.status();
  EXPECT_TRUE(whole->tile.whole_image);
  EXPECT_NE(whole->restored.psnr_rgb, wide->restored.psnr_rgb);
}

TEST(EvaluateTest, TilingThatCannotBe) {
  const std::string pairs = BrightPairs();
  const std::string model = SavedTiny(pairs);
  EvaluationOptions options = OnCpu();
  for (const TilingChange& change :
       {TilingChange{.tile_px = 20}, TilingChange{.tile_px = 0}, TilingChange{.overlap_px = 17},
        TilingChange{.overlap_px = -1}, TilingChange{.tile_px = 4104}}) {
    options.tiling = change;
    EXPECT_EQ(Evaluate(model, pairs, options).status().code(), absl::StatusCode::kInvalidArgument);
  }
}

// Its routers keep experts 0 and 3, whatever the token, and the more often 3.
std::string SavedWithFixedRouters(const std::string& folder, const ModelConfig& config) {
  Parameters parameters = InitialParameters(config, 1);
  for (int block = 0; block < config.depth; ++block) {
    const std::string router = absl::StrFormat("blocks.%d.router.", block);
    parameters[router + "weight"].fill_(0);
    parameters[router + "bias"].fill_(-100);
    parameters[router + "bias"][0] = 1;
    parameters[router + "bias"][3] = 2;
  }
  const std::string path = folder + "/fixed.safetensors";
  EXPECT_TRUE(SaveCheckpoint(path, config, parameters, {}).ok());
  return path;
}

TEST(EvaluateTest, RoutingSaysWhatEachExpertDid) {
  const std::string pairs = BrightPairs();
  const auto found = Evaluate(SavedWithFixedRouters(pairs, TinyConfig()), pairs, OnCpu());
  ASSERT_TRUE(found.ok()) << found.status();
  ASSERT_EQ(found->routing.size(), TinyConfig().depth);
  for (const ExpertUse& use : found->routing) {
    EXPECT_THAT(use.load, testing::ElementsAre(0.5, 0, 0, 0.5));
    const double p = 1 / (1 + std::exp(1.0));  // of expert 0
    EXPECT_NEAR(use.entropy_ratio, -(p * std::log(p) + (1 - p) * std::log(1 - p)) / std::log(4),
                1e-6);
    EXPECT_EQ(use.dead(), 2);
  }
  EXPECT_TRUE(Evaluate("identity", pairs, OnCpu())->routing.empty());
}

std::string SavedAs(const std::string& folder, const ModelConfig& config) {
  const std::string path = folder + "/" + config.name + ".safetensors";
  EXPECT_TRUE(SaveCheckpoint(path, config, InitialParameters(config, 1), {}).ok());
  return path;
}

// Each time the same passes, and pictures that are not those of one pass.
TEST(EvaluateTest, CalibratedGatesAreThoseOfSeveralPasses) {
  const std::string pairs = BrightPairs();
  ModelConfig config = TinyConfig();
  config.calibration = Calibration::kConfidence;
  const std::string model = SavedAs(pairs, config);
  EvaluationOptions options = OnCpu();
  const auto once = Evaluate(model, pairs, options);
  options.calibrated = true;
  const auto several = Evaluate(model, pairs, options), again = Evaluate(model, pairs, options);
  ASSERT_TRUE(once.ok() && several.ok() && again.ok()) << several.status();
  EXPECT_FALSE(once->calibrated);
  EXPECT_TRUE(several->calibrated);
  EXPECT_NE(several->restored.psnr_rgb, once->restored.psnr_rgb);
  EXPECT_EQ(several->restored.psnr_rgb, again->restored.psnr_rgb);
}

TEST(EvaluateTest, TaskIsTheSetsNameUnlessGiven) {
  const std::string pairs = BrightPairs();
  ModelConfig config = TinyConfig();
  config.tasks = {"rain", "snow"};
  const std::string model = SavedAs(pairs, config);
  EvaluationOptions options = OnCpu();
  const auto named = Compare({model, "identity"}, {{"rain", pairs}, {"snow", pairs}}, options);
  ASSERT_TRUE(named.ok()) << named.status();
  const Evaluation &rain = named->evaluations[0], &snow = named->evaluations[2];
  EXPECT_EQ(rain.task, "rain");
  EXPECT_EQ(snow.task, "snow");
  EXPECT_EQ(named->evaluations[1].task, "");
  EXPECT_NE(rain.routing[0].load, snow.routing[0].load);
  EXPECT_NE(rain.restored.psnr_rgb, snow.restored.psnr_rgb);
  options.task = "snow";
  options.sheet_worst = 1;
  const auto given = Compare({model}, {{"rain", pairs}}, options);
  ASSERT_TRUE(given.ok()) << given.status();
  EXPECT_EQ(given->evaluations[0].restored.psnr_rgb, snow.restored.psnr_rgb);
}

TEST(EvaluateTest, FolderWithoutPairs) {
  EXPECT_EQ(Evaluate("identity", NewFolder(), OnCpu()).status().code(),
            absl::StatusCode::kNotFound);
}

std::vector<std::string> NamesOf(const std::vector<Evaluation>& evaluations) {
  std::vector<std::string> names;
  for (const Evaluation& one : evaluations) names.push_back(one.set.name + " " + one.model);
  return names;
}

TEST(EvaluateTest, SeveralModelsOnSeveralSets) {
  const std::string pairs = BrightPairs();
  const std::string model = SavedTiny(pairs);
  const std::string name = TinyConfig().name;
  std::filesystem::create_directories(pairs + "/out");
  EvaluationOptions options = OnCpu();
  options.output_dir = pairs + "/out";
  options.sheet_worst = 1;
  int calls = 0, last_total = 0;
  options.progress = [&](int done, int total) {
    EXPECT_EQ(done, ++calls);
    last_total = total;
  };
  const auto found = Compare({"identity", model}, {{"one", pairs}, {"two", pairs}}, options);
  ASSERT_TRUE(found.ok()) << found.status();
  EXPECT_THAT(NamesOf(found->evaluations),
              testing::ElementsAre("one identity", "one " + name, "two identity", "two " + name));
  EXPECT_EQ(calls, 8);
  EXPECT_EQ(last_total, 8);
  EXPECT_EQ(found->evaluations[1].restored.psnr_rgb, found->evaluations[3].restored.psnr_rgb);
  EXPECT_EQ(found->evaluations[1].restored.psnr_rgb,
            Evaluate(model, pairs, OnCpu())->restored.psnr_rgb);
  const std::string untouched = ReadFile(pairs + "/out/identity/one/1.png").value();
  EXPECT_EQ(untouched, ReadFile(pairs + "/out/identity/two/1.png").value());
  EXPECT_NE(untouched, ReadFile(pairs + "/out/" + name + "/one/1.png").value());

  ASSERT_EQ(found->sheet.size(), 4);  // of each set the worst and the best
  EXPECT_THAT(found->sheet[0].title, AllOf(HasSubstr("one: "), HasSubstr("(worst 1)")));
  ASSERT_EQ(found->sheet[0].cells.size(), 4);
  EXPECT_EQ(found->sheet[0].cells[0].caption, "28.13 dB input");
  EXPECT_EQ(found->sheet[0].cells[1].picture.samples, found->sheet[0].cells[0].picture.samples);
  EXPECT_NE(found->sheet[0].cells[2].picture.samples, found->sheet[0].cells[0].picture.samples);
  EXPECT_EQ(found->sheet[0].cells[3].caption, "truth");
  for (const EvaluatedPicture& picture : found->evaluations[1].pictures) {
    const bool worst = found->sheet[0].title.find(picture.name) != std::string::npos;
    const std::string caption = absl::StrFormat("%.2f dB %s", picture.restored.psnr_rgb, name);
    EXPECT_EQ(found->sheet[worst ? 0 : 1].cells[2].caption, caption);
  }
}

TEST(EvaluateTest, ModelsOfOneNameAreToldApartByVersion) {
  const std::string pairs = BrightPairs();
  const std::string first = SavedTiny(pairs), second = pairs + "/second.safetensors";
  const ModelConfig config = TinyConfig();
  ASSERT_TRUE(SaveCheckpoint(second, config, InitialParameters(config, 2), {}).ok());
  std::filesystem::create_directories(pairs + "/out");
  EvaluationOptions options = OnCpu();
  options.output_dir = pairs + "/out";
  const auto found = Compare({first, second}, {{"set", pairs}}, options);
  ASSERT_TRUE(found.ok()) << found.status();
  for (const Evaluation& one : found->evaluations) {
    EXPECT_TRUE(
        std::filesystem::exists(pairs + "/out/" + one.model + "-" + one.version + "/0.png"));
  }
}

// Says why a comparison is refused; no picture has been restored by then.
std::string Refused(const std::vector<std::string>& models, const std::vector<PairSet>& sets,
                    EvaluationOptions options = OnCpu()) {
  options.progress = [](int, int) { ADD_FAILURE() << "a picture was restored"; };
  const absl::Status status = Compare(models, sets, options).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
  return std::string(status.message());
}

TEST(EvaluateTest, NothingIsRestoredWhenTwoThingsHaveOneName) {
  const std::string pairs = BrightPairs();
  const std::string model = SavedTiny(pairs);
  EXPECT_THAT(Refused({model, model}, {{"set", pairs}}), HasSubstr("is given twice"));
  EXPECT_THAT(Refused({"identity"}, {{"set", pairs}, {"set", pairs}}),
              HasSubstr("two sets are named 'set'"));
  EvaluationOptions options = OnCpu();
  options.sheet_worst = 31;
  EXPECT_THAT(Refused({"identity"}, {{"a", pairs}, {"b", pairs}}, options),
              HasSubstr("66 rows, the limit is 64"));
}

TEST(EvaluateTest, NothingIsRestoredWithoutTheGatesThatWereAskedFor) {
  const std::string pairs = BrightPairs(), dense = pairs + "/dense.safetensors";
  const ModelConfig config = TinyConfig(ExpertKind::kDense);
  ASSERT_TRUE(SaveCheckpoint(dense, config, InitialParameters(config, 1), {}).ok());
  EvaluationOptions options = OnCpu();
  options.calibrated = true;
  for (const std::string& model : {std::string("identity"), dense}) {
    EXPECT_THAT(Refused({model}, {{"set", pairs}}, options), HasSubstr("routes nothing"));
  }
  const std::string uncalibrated = SavedTiny(pairs);
  EXPECT_THAT(Refused({uncalibrated}, {{"set", pairs}}, options),
              HasSubstr("has calibration 'none'"));
  options = OnCpu();
  ModelConfig several = TinyConfig();
  several.tasks = {"rain", "snow"};
  several.name = "several";
  EXPECT_THAT(Refused({SavedAs(pairs, several)}, {{"rain", pairs}, {"haze", pairs}}),
              AllOf(HasSubstr("set 'haze', model 'several'"),
                    HasSubstr("unknown task 'haze'; known: rain, snow")));
  options.task = "rain";
  EXPECT_THAT(Refused({uncalibrated, "identity"}, {{"set", pairs}}, options),
              HasSubstr("one gate for all tasks"));
}

TEST(EvaluateTest, NothingIsRestoredWhereItWouldReplaceThePictures) {
  const std::string pairs = BrightPairs();
  const std::string before = ReadFile(pairs + "/gt/0.png").value();
  std::filesystem::create_symlink(pairs + "/gt", pairs + "/link");
  EvaluationOptions options = OnCpu();
  for (const char* part : {"/input", "/gt", "/link", "/./gt/"}) {
    options.output_dir = pairs + part;
    EXPECT_THAT(Refused({"identity"}, {{"set", pairs}}, options), HasSubstr("would replace"));
  }
  options.output_dir = pairs;  // of several sets each gets a folder of its name
  const PairSet other{"other", pairs};
  EXPECT_THAT(Refused({"identity"}, {other, {"gt", pairs}}, options), HasSubstr("would replace"));
  EXPECT_EQ(ReadFile(pairs + "/gt/0.png").value(), before);
}

TEST(EvaluateTest, MissingOutputFolderIsFoundBeforeAnyPictureIsRead) {
  EvaluationOptions options = OnCpu();
  options.output_dir = NewFolder() + "/absent";
  const absl::Status status = Evaluate("identity", "no pairs", options).status();
  EXPECT_THAT(std::string(status.message()), HasSubstr(options.output_dir));
}

// A bad pair at the end of the last set is found before the first picture of the first is restored.
TEST(EvaluateTest, NothingIsRestoredWhenAPairIsBad) {
  const std::string pairs = BrightPairs(), bad = pairs + "/bad";
  const auto refused = [&] { return Refused({"identity"}, {{"good", pairs}, {"bad", bad}}); };
  WritePictures(bad + "/gt", 2, 70, 50);
  WritePicture(bad + "/input/0.png", Picture(70, 50, 0));
  WritePicture(bad + "/input/1.png", Picture(50, 70, 1));
  EXPECT_THAT(refused(), AllOf(HasSubstr(bad + "/input/1.png"), HasSubstr(bad + "/gt/1.png"),
                               HasSubstr("50x70"), HasSubstr("70x50")));
  WritePicture(bad + "/input/1.png", Picture(10, 50, 1));
  WritePicture(bad + "/gt/1.png", Picture(10, 50, 1));
  EXPECT_THAT(refused(), AllOf(HasSubstr(bad + "/input/1.png"), HasSubstr("at least 11 pixels"),
                               HasSubstr("10x50")));
  const std::string whole = ReadFile(pairs + "/gt/1.png").value();
  ASSERT_TRUE(WriteFileAtomically(bad + "/gt/1.png", whole.substr(0, whole.size() / 2)).ok());
  EXPECT_THAT(refused(), HasSubstr(bad + "/gt/1.png"));
}

// Sides that are odd, and as small as SSIM's window.
TEST(EvaluateTest, OddAndSmallPictures) {
  const std::string folder = NewFolder();
  const std::string model = SavedTiny(folder);
  int i = 0;
  for (const auto& [width, height] : {std::pair(11, 11), std::pair(13, 77), std::pair(97, 31)}) {
    const std::string name = "/" + std::to_string(i++) + ".png";
    WritePicture(folder + "/input" + name, Picture(width, height, 1));
    WritePicture(folder + "/gt" + name, Picture(width, height, 2));
  }
  const auto evaluation = Evaluate(model, folder, OnCpu());
  ASSERT_TRUE(evaluation.ok()) << evaluation.status();
  EXPECT_EQ(evaluation->pictures.size(), 3);
}

// Grey counts as R = G = B, 16 bits as the nearest 8.
TEST(EvaluateTest, GreyAndSixteenBitsAreComparedAsEightBitColour) {
  const std::string folder = NewFolder();
  Image grey = Picture(40, 30, 0), colour = grey, deep = grey, truth = grey;
  grey.channels = 1;
  grey.samples.resize(40 * 30);
  deep.bytes_per_sample = 2;
  deep.samples.clear();
  for (size_t i = 0; i < colour.samples.size(); ++i) {
    colour.samples[i] = grey.samples[i / 3];
    truth.samples[i] = static_cast<uint8_t>(colour.samples[i] + 5);
    deep.samples.insert(deep.samples.end(), 2, colour.samples[i]);  // times 257
  }
  int i = 0;
  for (const Image& input : {grey, colour, deep}) {
    const std::string name = "/" + std::to_string(i++) + ".png";
    WritePicture(folder + "/input" + name, input);
    WritePicture(folder + "/gt" + name, truth);
  }
  const auto evaluation = Evaluate("identity", folder, OnCpu());
  ASSERT_TRUE(evaluation.ok()) << evaluation.status();
  for (const EvaluatedPicture& picture : evaluation->pictures) {
    EXPECT_NEAR(picture.restored.psnr_rgb, 20 * std::log10(51), 1e-9) << picture.name;
    EXPECT_EQ(picture.restored.ssim_y, evaluation->pictures[1].input.ssim_y) << picture.name;
  }
}

}  // namespace
}  // namespace deweather
