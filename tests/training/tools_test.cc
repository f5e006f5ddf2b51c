#include "training/tools.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <functional>

#include "model/parameters.h"
#include "model/safetensors.h"
#include "model/version_store.h"
#include "tests/training/tiny_run.h"
#include "training/train_state.h"

namespace deweather {
namespace {

using testing::HasSubstr;

std::string Fixture(const std::string& name) {
  return DW_SOURCE_DIR "/tests/model/fixtures/" + name + ".safetensors";
}

TEST(ToolsTest, ImportedCheckpointIsInspected) {
  const std::string path = NewFolder() + "/imported.safetensors";
  const auto imported = ImportFile(Fixture("fme_top4of8"), path);
  ASSERT_TRUE(imported.ok()) << imported.status();
  EXPECT_FALSE(imported->unused.empty());
  EXPECT_EQ(imported->path, path);
  const auto inspection = InspectFile(path);
  ASSERT_TRUE(inspection.ok()) << inspection.status();
  EXPECT_EQ(inspection->config.experts, 8);
  EXPECT_EQ(inspection->config.kept, 4);
  EXPECT_EQ(inspection->config.first_expert, FirstExpert::kGelu);
  EXPECT_EQ(inspection->version.size(), 12);
  EXPECT_EQ(imported->version, inspection->version);
  EXPECT_EQ(imported->name, inspection->config.name);
}

TEST(ToolsTest, ImportIntoADataFolderMakesAVersion) {
  const std::string data = NewFolder();
  const auto imported = ImportFile(Fixture("fme"), data, "tiny");
  ASSERT_TRUE(imported.ok()) << imported.status();
  EXPECT_TRUE(imported->added);
  EXPECT_EQ(imported->name, "tiny");
  EXPECT_EQ(imported->path, data + "/models/tiny/" + imported->version + "/model.safetensors");
  EXPECT_EQ(InspectFile(imported->path)->config.name, "tiny");
  const auto manifest = ReadManifest(data + "/models", "tiny", imported->version);
  ASSERT_TRUE(manifest.ok()) << manifest.status();
  EXPECT_EQ(manifest->source, "import of fme.safetensors");
  const auto again = ImportFile(Fixture("fme"), data, "tiny");
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_FALSE(again->added);
}

TEST(ToolsTest, ACheckpointOfOursIsCopied) {
  const std::string folder = NewFolder(), ours = folder + "/ours.safetensors";
  ASSERT_TRUE(ImportFile(Fixture("fme"), ours).ok());
  const auto copy = ImportFile(ours, folder);
  ASSERT_TRUE(copy.ok()) << copy.status();
  EXPECT_EQ(ReadFile(copy->path).value(), ReadFile(ours).value());
  const auto renamed = ImportFile(ours, folder, "other");
  ASSERT_TRUE(renamed.ok()) << renamed.status();
  EXPECT_EQ(renamed->name, "other");
  EXPECT_NE(renamed->version, copy->version);
  EXPECT_EQ(InspectFile(renamed->path)->config.name, "other");
  // The same as when the name is given at once.
  EXPECT_EQ(ImportFile(Fixture("fme"), folder, "other")->version, renamed->version);
}

TEST(ToolsTest, ImportRefusesABadNameAndABrokenCheckpoint) {
  const std::string folder = NewFolder(), ours = folder + "/ours.safetensors";
  EXPECT_EQ(ImportFile(Fixture("fme"), folder, "../x").status().code(),
            absl::StatusCode::kInvalidArgument);
  ASSERT_TRUE(ImportFile(Fixture("fme"), ours).ok());
  const std::string file = ReadFile(ours).value();
  Safetensors content = ParseSafetensors(file).value();
  content.tensors.erase("head.conv.weight");
  ASSERT_TRUE(WriteFileAtomically(ours, SerializeSafetensors(content)).ok());
  const absl::Status status = ImportFile(ours, folder).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr(ours));
  EXPECT_FALSE(std::filesystem::exists(folder + "/models"));
}

TEST(ToolsTest, StateOfARunIsNoModelAndSaysWhereThatIs) {
  const TrainOptions run = TinyRun(NewFolder());
  const std::string path = run.output_dir + ".safetensors";
  const auto file = SerializeState(run.model, BeginState(run).value(), {});
  ASSERT_TRUE(WriteFileAtomically(path, file.value()).ok());
  for (const absl::Status& status : {InspectFile(path).status(), ImportFile(path, "x").status()}) {
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(status.message()),
                HasSubstr("its model is " + run.model.name + ".safetensors, beside checkpoints/"));
  }
}

TEST(ToolsTest, BrokenSourcesLeaveNoOutput) {
  const std::string folder = NewFolder();
  const std::string source = folder + "/broken.safetensors", out = folder + "/out.safetensors";
  const std::string whole = ReadFile(Fixture("fme")).value();
  ASSERT_TRUE(WriteFileAtomically(source, whole.substr(0, whole.size() / 2)).ok());
  const auto imported = ImportFile(source, out);
  EXPECT_EQ(imported.status().code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(std::string(imported.status().message()), HasSubstr(source));
  EXPECT_EQ(ImportFile(folder + "/absent", out).status().code(), absl::StatusCode::kNotFound);
  EXPECT_FALSE(std::filesystem::exists(out));
}

// The same fixture with one tensor changed.
absl::Status ImportChanged(const std::function<void(Safetensors&)>& change) {
  const std::string file = ReadFile(Fixture("fme")).value();
  Safetensors content = ParseSafetensors(file).value();
  change(content);
  const std::string source = NewFolder() + "/changed.safetensors";
  EXPECT_TRUE(WriteFileAtomically(source, SerializeSafetensors(content)).ok());
  const std::string out = source + ".out";
  const absl::Status status = ImportFile(source, out).status();
  EXPECT_EQ(std::filesystem::exists(out), status.ok());
  return status;
}

TEST(ToolsTest, ImportRefusesWeightsThatAreNotTheNetworks) {
  const std::string name = "model.head.0.bias";
  const std::string nan(32, '\xff'), four(16, '\0');
  const std::vector<std::pair<std::function<void(Safetensors&)>, std::string>> cases = {
      {[&](Safetensors& c) { c.tensors.erase(name); }, "tensor 'model.head.0.bias' is missing"},
      {[&](Safetensors& c) { c.tensors["model.stranger"] = c.tensors[name]; },
       "tensor 'model.stranger' is not part of the configured network"},
      {[&](Safetensors& c) {
         c.tensors[name] = {"F32", {4}, four};
       },
       "would have shape [4]; the configuration needs [8]"},
      {[&](Safetensors& c) { c.tensors[name].bytes = nan; }, "holds a value that is not finite"},
      {[&](Safetensors& c) { c.metadata["family"] = "moceir"; }, "unknown expert kind 'moceir'"},
      {[&](Safetensors& c) { c.metadata.erase("patch"); }, "the metadata has no 'patch'"}};
  EXPECT_TRUE(ImportChanged([](Safetensors&) {}).ok());
  for (const auto& [change, message] : cases) {
    const absl::Status status = ImportChanged(change);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << message;
    EXPECT_THAT(std::string(status.message()), HasSubstr(message));
  }
}

TEST(ToolsTest, SynthesizeIsRepeatable) {
  const std::string folder = NewFolder();
  WritePicture(folder + "/clean.png", Picture(64, 48, 0));
  const auto rain = [&](const std::string& name, uint64_t seed) {
    EXPECT_TRUE(SynthesizeFile(folder + "/clean.png", folder + name, Weather::kRain, seed).ok());
    return ReadFile(folder + name).value();
  };
  EXPECT_EQ(rain("/a.png", 3), rain("/b.png", 3));
  EXPECT_NE(rain("/a.png", 3), rain("/c.png", 4));
  EXPECT_TRUE(rain("/d.jpg", 3).starts_with("\xff\xd8"));
}

// An ICC profile that says of which colour space it is, and nothing else.
std::string EmptyProfile(const std::string& space) {
  std::string profile(132, '\0');
  profile[3] = static_cast<char>(profile.size());
  profile[8] = 2;  // version
  return profile.replace(12, 12, "mntr" + space + "XYZ ").replace(36, 4, "acsp");
}

// Grey becomes colour, and a profile of grey says nothing about that.
TEST(ToolsTest, SynthesizeKeepsNoProfileOfGrey) {
  const std::string folder = NewFolder(), in = folder + "/in.jpg", out = folder + "/out.jpg";
  for (const int channels : {1, 3}) {
    Image clean = Picture(32, 24, 0);
    clean.channels = channels;
    clean.samples.resize(32 * 24 * static_cast<size_t>(channels));
    clean.icc_profile = EmptyProfile(channels == 1 ? "GRAY" : "RGB ");
    const std::string jpeg = EncodeImage(clean, {.format = ImageFormat::kJpeg}).value();
    ASSERT_TRUE(WriteFileAtomically(in, jpeg).ok());
    ASSERT_EQ(DecodeImage(jpeg, {})->icc_profile, clean.icc_profile);
    ASSERT_TRUE(SynthesizeFile(in, out, Weather::kRain, 0).ok());
    const bool has_profile = ReadFile(out)->find("ICC_PROFILE") != std::string::npos;
    EXPECT_EQ(has_profile, channels == 3);
  }
}

TEST(ToolsTest, SynthesizeRefusesWhatItCannotWrite) {
  const std::string folder = NewFolder();
  WritePicture(folder + "/clean.png", Picture(16, 16, 0));
  EXPECT_FALSE(SynthesizeFile(folder + "/clean.png", folder + "/out.xyz", Weather::kRain, 0).ok());
  EXPECT_FALSE(
      SynthesizeFile(folder + "/clean.png", folder + "/no/out.png", Weather::kRain, 0).ok());
  EXPECT_FALSE(SynthesizeFile(folder + "/absent.png", folder + "/out.png", Weather::kRain, 0).ok());
  EXPECT_FALSE(std::filesystem::exists(folder + "/out.png"));
}

// A cell of at most 480 px, its caption of 22 px, and gaps of 12.
TEST(ToolsTest, SheetShowsThePictureAndItsWeathers) {
  const std::string folder = NewFolder(), sheet = folder + "/sheet.png";
  WritePicture(folder + "/clean.png", Picture(160, 120, 0));
  ASSERT_TRUE(SynthesizeSheet(folder + "/clean.png", sheet, {.count = 2}).ok());
  const Image all = DecodeImage(ReadFile(sheet).value(), {}).value();
  EXPECT_EQ(all.width, 12 + 3 * (160 + 12));
  EXPECT_EQ(all.height, 12 + static_cast<int>(std::size(kWeathers)) * (120 + 22 + 12));
  const auto rain = [&](uint64_t seed, int count) {
    const ContactSheetOptions options{.weather = Weather::kRain, .seed = seed, .count = count};
    EXPECT_TRUE(SynthesizeSheet(folder + "/clean.png", sheet, options).ok());
    return DecodeImage(ReadFile(sheet).value(), {}).value();
  };
  EXPECT_EQ(rain(1, 5).height, 12 + 2 * (120 + 22 + 12));  // six cells, four to a row
  EXPECT_EQ(rain(1, 3).width, 12 + 4 * (160 + 12));
  EXPECT_EQ(rain(1, 2).samples, rain(1, 2).samples);
  // The second seed of one sheet is the first of the next.
  const auto cell = [](const Image& image, int column) {
    std::vector<uint8_t> pixels;
    for (int y = 12; y < 12 + 120; ++y) {
      const uint8_t* at = image.row(y) + 3 * (12 + column * (160 + 12));
      pixels.insert(pixels.end(), at, at + 3 * 160);
    }
    return pixels;
  };
  EXPECT_EQ(cell(rain(1, 2), 2), cell(rain(2, 2), 1));
  EXPECT_NE(cell(rain(1, 2), 1), cell(rain(2, 2), 1));
  EXPECT_EQ(cell(rain(1, 2), 0), Picture(160, 120, 0).samples);
}

TEST(ToolsTest, SheetOfALargePictureShowsItsMiddle) {
  const std::string folder = NewFolder(), sheet = folder + "/sheet.png";
  WritePicture(folder + "/clean.png", Picture(1500, 700, 0));
  ASSERT_TRUE(
      SynthesizeSheet(folder + "/clean.png", sheet, {.weather = Weather::kHaze, .count = 1}).ok());
  const Image image = DecodeImage(ReadFile(sheet).value(), {}).value();
  EXPECT_EQ(image.width, 12 + 2 * (480 + 12));
  EXPECT_EQ(image.height, 12 + 480 + 22 + 12);
}

TEST(ToolsTest, SheetRefusesWhatItCannotShow) {
  const std::string folder = NewFolder();
  WritePicture(folder + "/clean.png", Picture(16, 16, 0));
  for (const int count : {0, 49}) {
    EXPECT_EQ(SynthesizeSheet(folder + "/clean.png", folder + "/out.png", {.count = count}).code(),
              absl::StatusCode::kInvalidArgument);
  }
  EXPECT_FALSE(SynthesizeSheet(folder + "/clean.png", folder + "/no/out.png", {}).ok());
  EXPECT_FALSE(SynthesizeSheet(folder + "/absent.png", folder + "/out.png", {}).ok());
  EXPECT_FALSE(std::filesystem::exists(folder + "/out.png"));
}

TEST(ToolsTest, RgbOfEveryKindOfPicture) {
  Image image;
  image.width = image.height = 1;
  image.samples = {51, 102, 255};
  EXPECT_THAT(ToRgb(image).pixels, testing::ElementsAre(0.2f, 0.4f, 1.0f));
  image.channels = 2;
  image.samples = {51, 7};
  EXPECT_THAT(ToRgb(image).pixels, testing::ElementsAre(0.2f, 0.2f, 0.2f));
  image.channels = 4;
  image.samples = {51, 102, 255, 7};
  EXPECT_THAT(ToRgb(image).pixels, testing::ElementsAre(0.2f, 0.4f, 1.0f));
  image.channels = 1;
  image.bytes_per_sample = 2;
  image.samples = {51, 51};
  EXPECT_THAT(ToRgb(image).pixels, testing::ElementsAre(0.2f, 0.2f, 0.2f));
}

}  // namespace
}  // namespace deweather
