#include <gmock/gmock.h>

#include <filesystem>
#include <future>
#include <string>
#include <vector>

#include "tests/rpc/model_service_fixture.h"

namespace deweather {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST_F(ModelServiceTest, PromoteAndRollback) {
  const std::string a = Store("fme"), b = Store("moe");
  v1::Model model;
  grpc::Status status = Promote("tiny", a, &model);
  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(model.live_version(), a);
  EXPECT_EQ(model.previous_version(), "");
  ASSERT_TRUE(Promote("tiny", b, &model).ok());
  EXPECT_EQ(model.live_version(), b);
  EXPECT_EQ(model.previous_version(), a);
  EXPECT_EQ(models_.Pin("tiny")->info.version, b);
  ASSERT_TRUE(Promote("tiny", b, &model).ok());
  EXPECT_EQ(model.previous_version(), a);
  ASSERT_TRUE(Rollback("tiny", &model).ok());
  EXPECT_EQ(model.live_version(), a);
  EXPECT_EQ(model.previous_version(), b);
  EXPECT_EQ(models_.Pin("tiny")->info.version, a);
}

TEST_F(ModelServiceTest, AModelTellsWhatItIs) {
  const std::string a = Store("fme");
  v1::Model model;
  ASSERT_TRUE(Get("tiny", &model).ok());
  EXPECT_EQ(model.live_version(), "");
  EXPECT_FALSE(model.has_live_time());
  ASSERT_TRUE(Promote("tiny", a).ok());
  ASSERT_TRUE(Get("tiny", &model).ok());
  EXPECT_EQ(model.name(), "tiny");
  EXPECT_FALSE(model.is_default());
  EXPECT_GT(model.live_time().seconds(), 1'700'000'000);
  EXPECT_EQ(model.tile_px(), 32);
  EXPECT_EQ(model.overlap_px(), 8);
  EXPECT_EQ(model.multiple_px(), 8);
  EXPECT_EQ(model.layers(), 2);
  EXPECT_EQ(model.experts(), 4);
  EXPECT_EQ(model.kept(), 2);
  ASSERT_EQ(model.versions_size(), 1);
  const VersionManifest manifest = ReadManifest(folder_, "tiny", a).value();
  EXPECT_EQ(model.versions(0).version(), a);
  EXPECT_EQ(model.versions(0).create_time().seconds(), absl::ToUnixSeconds(manifest.created_time));
  EXPECT_EQ(model.versions(0).bytes(), manifest.bytes);
  EXPECT_EQ(model.versions(0).source(), "a test");
}

TEST_F(ModelServiceTest, AGatedModelTellsItsTasks) {
  const std::string gated = StoreGatedModel(folder_, "tiny", {"rain", "snow"});
  v1::Model model;
  ASSERT_TRUE(Promote("tiny", gated, &model).ok());
  EXPECT_THAT(model.tasks(), ElementsAre("rain", "snow"));
  ASSERT_TRUE(Get("identity", &model).ok());
  EXPECT_EQ(model.tasks_size(), 0);
}

TEST_F(ModelServiceTest, AModelWithoutAFolderIsListedToo) {
  v1::Model model;
  ASSERT_TRUE(Get("identity", &model).ok());
  EXPECT_EQ(model.live_version(), "builtin");
  EXPECT_TRUE(model.is_default());
  EXPECT_EQ(model.versions_size(), 0);
}

TEST_F(ModelServiceTest, PagesHoldEveryModelOnce) {
  for (const char* const name : {"a", "b", "c", "z"}) fs::create_directories(folder_ + "/" + name);
  std::string token;
  EXPECT_THAT(NamesOnPage(2, &token), ElementsAre("a", "b"));
  fs::create_directories(folder_ + "/aa");  // before the next page
  EXPECT_THAT(NamesOnPage(2, &token), ElementsAre("c", "identity"));
  EXPECT_THAT(NamesOnPage(2, &token), ElementsAre("z"));
  EXPECT_EQ(token, "");
  EXPECT_THAT(NamesOnPage(6, &token), ElementsAre("a", "aa", "b", "c", "identity", "z"));
  EXPECT_EQ(token, "");
  EXPECT_EQ(NamesOnPage(0, &token).size(), 6u);
  EXPECT_EQ(NamesOnPage(1'000'000, &token).size(), 6u);
}

TEST_F(ModelServiceTest, PagesHaveLimits) {
  for (int i = 0; i < 1100; ++i) fs::create_directories(folder_ + "/m" + std::to_string(i));
  std::string token;
  EXPECT_EQ(NamesOnPage(0, &token).size(), 50u);
  token.clear();
  EXPECT_EQ(NamesOnPage(2000, &token).size(), 1000u);
  EXPECT_EQ(NamesOnPage(2000, &token).size(), 101u);
}

TEST_F(ModelServiceTest, BadPagesAreInvalid) {
  v1::ListModelsResponse response;
  Expect(List(-1, "", &response), grpc::StatusCode::INVALID_ARGUMENT, "INVALID_ARGUMENT");
  for (const char* const token : {"x", "!!!", "YWZ0ZXI6", "YWZ0ZXI6Li4vLi4", "dGlueQ"}) {
    const grpc::Status status = List(0, token, &response);
    Expect(status, grpc::StatusCode::INVALID_ARGUMENT, "INVALID_ARGUMENT");
    EXPECT_THAT(status.error_message(), HasSubstr("page_token"));
  }
}

TEST_F(ModelServiceTest, ErrorsHaveTheirCodes) {
  const std::string a = Store("fme"), torn = Store("moe");
  const std::string nan = StoreNanModel(folder_, "tiny");
  fs::resize_file(VersionPath(folder_, "tiny", torn), 10);
  v1::Model model;
  Expect(Get("snow", &model), grpc::StatusCode::NOT_FOUND, "UNKNOWN_MODEL");
  Expect(Get("", &model), grpc::StatusCode::INVALID_ARGUMENT, "INVALID_ARGUMENT");
  Expect(Get("../x", &model), grpc::StatusCode::INVALID_ARGUMENT, "INVALID_ARGUMENT");
  Expect(Promote("snow", a), grpc::StatusCode::NOT_FOUND, "UNKNOWN_MODEL");
  Expect(Promote("tiny", "0123456789ab"), grpc::StatusCode::NOT_FOUND, "UNKNOWN_VERSION");
  Expect(Promote("tiny", "../../x"), grpc::StatusCode::INVALID_ARGUMENT, "INVALID_ARGUMENT");
  Expect(Promote("..", a), grpc::StatusCode::INVALID_ARGUMENT, "INVALID_ARGUMENT");
  Expect(Promote("tiny", torn), grpc::StatusCode::DATA_LOSS, "TORN_VERSION");
  Expect(Promote("tiny", nan), grpc::StatusCode::INTERNAL, "MODEL_FAILED");
  Expect(Rollback("tiny", &model), grpc::StatusCode::FAILED_PRECONDITION, "NO_PREVIOUS_VERSION");
  Expect(Rollback("", &model), grpc::StatusCode::INVALID_ARGUMENT, "INVALID_ARGUMENT");
  EXPECT_TRUE(Promote("tiny", a).ok());
}

TEST_F(ModelServiceTest, AVersionThatNothingNeedsIsDeleted) {
  const std::string a = Store("fme"), b = Store("moe");
  ASSERT_TRUE(Promote("tiny", a).ok());
  const grpc::Status live = Delete("tiny", a);
  Expect(live, grpc::StatusCode::FAILED_PRECONDITION, "VERSION_IN_USE");
  EXPECT_THAT(live.error_message(), HasSubstr("'tiny' version " + a + " is live"));
  EXPECT_TRUE(Delete("tiny", b).ok());
  v1::Model model;
  ASSERT_TRUE(Get("tiny", &model).ok());
  ASSERT_EQ(model.versions_size(), 1);
  EXPECT_EQ(model.versions(0).version(), a);
  Expect(Delete("tiny", b), grpc::StatusCode::NOT_FOUND, "UNKNOWN_VERSION");
  Expect(Delete("snow", b), grpc::StatusCode::NOT_FOUND, "UNKNOWN_MODEL");
  Expect(Delete("tiny", "../../x"), grpc::StatusCode::INVALID_ARGUMENT, "INVALID_ARGUMENT");
  Expect(Delete("../x", b), grpc::StatusCode::INVALID_ARGUMENT, "INVALID_ARGUMENT");
}

TEST_F(ModelServiceTest, OnePromotionAtATimeAndListsGoOn) {
  const std::string a = Store("fme"), b = Store("moe");
  const ExecutorGate gate(pipeline_);
  auto first = std::async(std::launch::async, [&] { return Promote("tiny", a); });
  // The first may not have arrived yet: then this one is the promotion, and waits.
  ASSERT_TRUE(HappensSoon([&] { return calls_.count() > 0; }));
  v1::Model model;
  Expect(Promote("tiny", b), grpc::StatusCode::ABORTED, "PROMOTION_RUNNING");
  Expect(Rollback("tiny", &model), grpc::StatusCode::ABORTED, "PROMOTION_RUNNING");
  ASSERT_TRUE(Get("tiny", &model).ok());
  EXPECT_EQ(model.live_version(), "");
  std::string token;
  EXPECT_EQ(NamesOnPage(0, &token).size(), 2u);
  gate.Open();
  EXPECT_TRUE(first.get().ok());
  EXPECT_EQ(models_.Pin("tiny")->info.version, a);
}

TEST_F(ModelServiceTest, APromotionGoesOnWithoutItsCaller) {
  const std::string a = Store("fme");
  const ExecutorGate gate(pipeline_);
  grpc::ClientContext context;
  v1::PromoteModelRequest request;
  request.set_name("tiny");
  request.set_version(a);
  v1::Model model;
  std::promise<grpc::Status> answered;
  stub_->async()->PromoteModel(&context, &request, &model,
                               [&](grpc::Status status) { answered.set_value(status); });
  ASSERT_TRUE(HappensSoon([&] { return calls_.count() > 0; }));
  context.TryCancel();
  EXPECT_EQ(answered.get_future().get().error_code(), grpc::StatusCode::CANCELLED);
  EXPECT_TRUE(calls_.WaitUntilEmptyFor(absl::Seconds(30)));
  gate.Open();
  ASSERT_TRUE(HappensSoon([&] { return models_.Pin("tiny").ok(); }));
  EXPECT_EQ(models_.Pin("tiny")->info.version, a);
}

TEST_F(ModelServiceTest, AServerThatDrainsBeginsNothing) {
  const std::string a = Store("fme");
  service_->BeginDrain();
  v1::Model model;
  Expect(Promote("tiny", a), grpc::StatusCode::UNAVAILABLE, "DRAINING");
  Expect(Get("identity", &model), grpc::StatusCode::UNAVAILABLE, "DRAINING");
  EXPECT_FALSE(models_.Serving("tiny").ok());
}

TEST_F(ModelServiceTest, AServerThatStopsEndsAPromotion) {
  const std::string a = Store("fme");
  const ExecutorGate gate(pipeline_);
  auto call = std::async(std::launch::async, [&] { return Promote("tiny", a); });
  ASSERT_TRUE(HappensSoon([&] { return calls_.count() > 0; }));
  Shutdown(server_, calls_, absl::ZeroDuration());
  EXPECT_FALSE(call.get().ok());
  gate.Open();
  service_.reset();  // does not hang
  server_.server.reset();
}

TEST_F(ModelServiceTest, ACanaryIsShownAndEnded) {
  const std::string a = Store("fme"), b = StoreGatedModel(folder_, "tiny", {"rain", "snow"});
  v1::Model model;
  ASSERT_TRUE(Promote("tiny", a, &model).ok());
  EXPECT_EQ(model.canary_version(), "");
  v1::PromoteModelRequest request;
  request.set_name("tiny");
  request.set_version(b);
  request.set_canary_percent(12.5);
  ASSERT_TRUE(Promote(request, &model).ok());
  EXPECT_EQ(model.live_version(), a);
  EXPECT_EQ(model.canary_version(), b);
  EXPECT_EQ(model.canary_percent(), 12.5);
  EXPECT_TRUE(model.tasks().empty());
  EXPECT_THAT(model.canary_tasks(), testing::ElementsAre("rain", "snow"));
  ASSERT_TRUE(Rollback("tiny", &model).ok());
  EXPECT_EQ(model.live_version(), a);
  EXPECT_EQ(model.canary_version(), "");
  EXPECT_EQ(model.canary_percent(), 0);
  request.set_canary_percent(100);
  const grpc::Status status = Promote(request, &model);
  Expect(status, grpc::StatusCode::INVALID_ARGUMENT, "INVALID_ARGUMENT");
  EXPECT_THAT(status.error_message(), HasSubstr("canary_percent is 100"));
}

}  // namespace
}  // namespace deweather
