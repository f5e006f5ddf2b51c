#include "client/models_command.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "deweather/v1/model.grpc.pb.h"
#include "model/base/file.h"
#include "model/base/sha256.h"
#include "tests/client/fake_training.h"
#include "tests/new_folder.h"

namespace deweather {
namespace {

using testing::HasSubstr;
using testing::Not;

v1::Model Live() {
  v1::Model model;
  model.set_name("rain");
  model.set_live_version("0123456789ab");
  model.set_previous_version("ba9876543210");
  model.set_is_default(true);
  model.set_canary_version("fedcba987654");
  model.set_canary_percent(2.5);
  model.mutable_live_time()->set_seconds(1'700'000'000);
  model.set_tile_px(256);
  model.set_layers(6);
  model.set_experts(16);
  model.set_kept(4);
  v1::Model::Version& version = *model.add_versions();
  version.set_version("0123456789ab");
  version.mutable_create_time()->set_seconds(1'700'000'000);
  version.set_bytes(1234);
  version.set_source("import of x");
  return model;
}

v1::Model Gated() {
  v1::Model model = Live();
  model.add_tasks("rain");
  model.add_tasks("snow");
  return model;
}

v1::Model Stored() {
  v1::Model model;
  model.set_name("snow");
  return model;
}

TEST(ModelsCommandTest, TheTableHasALineAModel) {
  const std::string table = ModelsTable({Live(), Stored()});
  EXPECT_THAT(table,
              HasSubstr("rain                     0123456789ab  ba9876543210  "
                        "fedcba987654 2.5%         1  2023-11-14T22:13:20+00:00  default\n"));
  EXPECT_THAT(table,
              HasSubstr("\nsnow                     -             -             -                  "
                        "       0  -\n"));
}

TEST(ModelsCommandTest, OneModelIsToldInFull) {
  const std::string text = ModelText(Live());
  EXPECT_THAT(text, HasSubstr("rain (default)"));
  EXPECT_THAT(text, HasSubstr("canary    fedcba987654 2.5% of the requests\n"));
  EXPECT_THAT(text, HasSubstr("4 of 16, in 6 layers"));
  EXPECT_THAT(text, HasSubstr("1234 bytes  import of x"));
  EXPECT_THAT(ModelText(Stored()), Not(HasSubstr("tiles")));
  EXPECT_THAT(ModelText(Stored()), Not(HasSubstr("canary")));
}

TEST(ModelsCommandTest, TasksAreTold) {
  EXPECT_THAT(ModelsTable({Gated()}), HasSubstr("SINCE                      NOTES\n"));
  EXPECT_THAT(ModelsTable({Gated()}), HasSubstr("+00:00  default  tasks: rain, snow\n"));
  EXPECT_THAT(ModelText(Gated()), HasSubstr("\ntasks     rain, snow\n"));
  EXPECT_EQ(ModelJson(Gated())["tasks"], nlohmann::json({"rain", "snow"}));
  EXPECT_THAT(ModelText(Live()), Not(HasSubstr("tasks")));
  EXPECT_EQ(ModelJson(Live())["tasks"], nlohmann::json::array());
}

TEST(ModelsCommandTest, ACanarysOtherTasksAreTold) {
  v1::Model model = Gated();
  EXPECT_THAT(ModelText(model), HasSubstr("2.5% of the requests; its tasks: none\n"));
  *model.mutable_canary_tasks() = model.tasks();
  EXPECT_THAT(ModelText(model), HasSubstr("2.5% of the requests\n"));
  model.mutable_tasks()->Clear();
  EXPECT_THAT(ModelText(model), HasSubstr("2.5% of the requests; its tasks: rain, snow\n"));
  EXPECT_EQ(ModelJson(model)["canary_tasks"], nlohmann::json({"rain", "snow"}));
}

TEST(ModelsCommandTest, AChangeThatWasNotWaitedForMayGoOn) {
  ModelsFlags flags;
  flags.name = "rain";
  flags.server.timeout = absl::Milliseconds(20);
  const absl::Status late =
      ChangeError(flags, "promotion", {grpc::StatusCode::DEADLINE_EXCEEDED, "Deadline Exceeded"});
  EXPECT_EQ(late.code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_EQ(
      late.message(),
      "no answer after 20ms; the promotion may go on: deweather models get rain shows what is "
      "live");
  EXPECT_EQ(ChangeError(flags, "promotion", {grpc::StatusCode::NOT_FOUND, "no model"}),
            absl::NotFoundError("no model"));
}

TEST(ModelsCommandTest, JsonSaysWhatIsUnset) {
  const nlohmann::json live = ModelJson(Live()), stored = ModelJson(Stored());
  EXPECT_EQ(live["live_version"], "0123456789ab");
  EXPECT_EQ(live["canary_version"], "fedcba987654");
  EXPECT_EQ(live["canary_percent"], 2.5);
  EXPECT_TRUE(stored["canary_version"].is_null());
  EXPECT_EQ(live["experts"], 16);
  EXPECT_EQ(live["versions"][0]["bytes"], 1234);
  EXPECT_TRUE(stored["live_version"].is_null());
  EXPECT_TRUE(stored["previous_version"].is_null());
  EXPECT_FALSE(stored.contains("tile_px"));
}

TEST(PromotionOfTest, AVersionOrAJob) {
  ModelsFlags flags;
  flags.name = "rain";
  flags.version = "0123456789ab";
  absl::StatusOr<v1::PromoteModelRequest> request = PromotionOf(flags);
  ASSERT_TRUE(request.ok()) << request.status();
  EXPECT_EQ(request->version(), "0123456789ab");
  EXPECT_FALSE(request->has_evaluation()) << "as the server is configured";
  EXPECT_EQ(request->canary_percent(), 0) << "it goes live";
  flags.job = "abcdefghij12";
  EXPECT_FALSE(PromotionOf(flags).ok()) << "both";
  flags.version = "";
  EXPECT_FALSE(PromotionOf(flags).ok()) << "a job knows its model";
  flags.name = "";
  request = PromotionOf(flags);
  ASSERT_TRUE(request.ok()) << request.status();
  EXPECT_EQ(request->job(), "abcdefghij12");
  flags.job = "";
  EXPECT_FALSE(PromotionOf(flags).ok()) << "neither";
}

TEST(PromotionOfTest, TrialsAndMeasurements) {
  ModelsFlags flags;
  flags.job = "abcdefghij12";
  for (const double wrong : {-1.0, 0.0, 100.0, std::nan("")}) {
    flags.canary_percent = wrong;
    EXPECT_FALSE(PromotionOf(flags).ok()) << wrong;
  }
  flags.canary_percent = 2.5;
  flags.no_evaluate = true;
  absl::StatusOr<v1::PromoteModelRequest> request = PromotionOf(flags);
  ASSERT_TRUE(request.ok()) << request.status();
  EXPECT_EQ(request->canary_percent(), 2.5);
  EXPECT_TRUE(request->has_evaluation());
  EXPECT_EQ(request->evaluation().dataset(), "");
  flags.no_evaluate = false;
  flags.max_regression_db = 0.1;
  EXPECT_FALSE(PromotionOf(flags).ok()) << "of what?";
  flags.evaluate = "rainy";
  request = PromotionOf(flags);
  ASSERT_TRUE(request.ok()) << request.status();
  EXPECT_EQ(request->evaluation().dataset(), "rainy");
  EXPECT_EQ(request->evaluation().max_regression_db(), 0.1);
}

class FakeModels final : public v1::ModelService::Service {
 public:
  v1::ImportModelRequest::Start start;
  std::string bytes;
  std::vector<std::string> deleted;
  grpc::Status delete_answer;

  grpc::Status ImportModel(grpc::ServerContext*, grpc::ServerReader<v1::ImportModelRequest>* reader,
                           v1::ImportModelResponse* response) override {
    for (v1::ImportModelRequest request; reader->Read(&request);) {
      if (request.has_start()) start = request.start();
      bytes += request.chunk();
    }
    response->set_name("rain");
    response->set_version("0123456789ab");
    response->add_unused_tensors("left.over");
    return grpc::Status::OK;
  }
  grpc::Status DeleteVersion(grpc::ServerContext*, const v1::DeleteVersionRequest* request,
                             v1::DeleteVersionResponse*) override {
    deleted.push_back(request->name() + " " + request->version());
    return delete_answer;
  }
};

TEST(RunModelsImportTest, SendsTheFileAndTellsWhatItBecame) {
  const std::string file = NewFolder() + "/theirs.safetensors", bytes(600'000, 'x');
  ASSERT_TRUE(WriteFileAtomically(file, bytes).ok());
  FakeModels service;
  const TestServer server(&service);
  ModelsFlags flags;
  flags.server = server.flags();
  flags.file = file;
  testing::internal::CaptureStdout();
  EXPECT_EQ(RunModelsImport(flags), 0);
  EXPECT_EQ(testing::internal::GetCapturedStdout(),
            "unused: left.over\nmodel rain version 0123456789ab, was there\n");
  EXPECT_EQ(service.bytes, bytes);
  EXPECT_EQ(service.start.bytes(), 600'000);
  EXPECT_EQ(service.start.sha256(), Sha256Hex(bytes));
  EXPECT_EQ(service.start.origin(), "theirs.safetensors");
}

TEST(RunModelsDeleteTest, TellsWhatIsGoneOrWhyItStays) {
  FakeModels service;
  const TestServer server(&service);
  ModelsFlags flags;
  flags.server = server.flags();
  flags.name = "rain";
  flags.version = "0123456789ab";
  testing::internal::CaptureStdout();
  EXPECT_EQ(RunModelsDelete(flags), 0);
  EXPECT_EQ(testing::internal::GetCapturedStdout(), "deleted rain 0123456789ab\n");
  flags.json = true;
  testing::internal::CaptureStdout();
  EXPECT_EQ(RunModelsDelete(flags), 0);
  const nlohmann::json said = nlohmann::json::parse(testing::internal::GetCapturedStdout());
  EXPECT_EQ(said["deleted"], "0123456789ab");
  EXPECT_THAT(service.deleted, testing::ElementsAre("rain 0123456789ab", "rain 0123456789ab"));
  service.delete_answer = {grpc::StatusCode::FAILED_PRECONDITION, "it is live"};
  testing::internal::CaptureStdout();
  EXPECT_EQ(RunModelsDelete(flags), 1);
  EXPECT_THAT(testing::internal::GetCapturedStdout(), HasSubstr("it is live"));
}

}  // namespace
}  // namespace deweather
