#include "server/rpc/model_service.h"

#include <gmock/gmock.h>

#include <filesystem>
#include <future>
#include <map>
#include <thread>

#include "model/version_store.h"
#include "tests/restore/stored_models.h"
#include "tests/rpc/rpc_fixture.h"

namespace deweather {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

// Stops the executor until it is opened.
class ExecutorGate {
 public:
  explicit ExecutorGate(RestorePipeline& pipeline) {
    pipeline.executor()([reached = reached_, opened = opened_] {
      reached.Raise();
      opened.Wait();
    });
    reached_.Wait();
  }
  void Open() const { opened_.Raise(); }

 private:
  const Signal reached_;
  const Signal opened_;
};

class ModelServiceTest : public testing::Test {
 protected:
  using Stub = v1::ModelService::Stub;

  ModelServiceTest()
      : folder_(testing::TempDir() + "/model_service." +
                testing::UnitTest::GetInstance()->current_test_info()->name()) {
    fs::remove_all(folder_);
    EXPECT_TRUE(models_.Load("identity", {1}, pipeline_.executor()).ok());
    auto server = StartRpcServer("127.0.0.1:0", {},
                                 {{v1::ModelService::service_full_name(), service_.get()}});
    EXPECT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
    stub_ = v1::ModelService::NewStub(
        grpc::CreateChannel(server_.address, grpc::InsecureChannelCredentials()));
  }
  ~ModelServiceTest() override {
    if (server_.server != nullptr) Shutdown(server_, calls_, absl::Seconds(30));
    server_.server.reset();
    service_.reset();
    fs::remove_all(folder_);
  }

  std::string Store(const std::string& fixture, const std::string& name = "tiny") const {
    return StoreFixture(folder_, name, fixture);
  }
  template <typename Request, typename Response>
  grpc::Status Call(grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&, Response*),
                    const Request& request, Response* response) {
    grpc::ClientContext context;
    context.set_deadline(absl::ToChronoTime(absl::Now() + absl::Seconds(60)));
    return (stub_.get()->*method)(&context, request, response);
  }
  grpc::Status Get(const std::string& name, v1::Model* model) {
    v1::GetModelRequest request;
    request.set_name(name);
    return Call(&Stub::GetModel, request, model);
  }
  grpc::Status Promote(const std::string& name, const std::string& version, v1::Model* model) {
    v1::PromoteModelRequest request;
    request.set_name(name);
    request.set_version(version);
    return Call(&Stub::PromoteModel, request, model);
  }
  grpc::Status Promote(const std::string& name, const std::string& version) {
    v1::Model ignored;
    return Promote(name, version, &ignored);
  }
  grpc::Status Rollback(const std::string& name, v1::Model* model) {
    v1::RollbackModelRequest request;
    request.set_name(name);
    return Call(&Stub::RollbackModel, request, model);
  }
  grpc::Status List(int size, const std::string& token, v1::ListModelsResponse* response) {
    v1::ListModelsRequest request;
    request.set_page_size(size);
    request.set_page_token(token);
    return Call(&Stub::ListModels, request, response);
  }
  std::vector<std::string> NamesOnPage(int size, std::string* token) {
    v1::ListModelsResponse response;
    const grpc::Status status = List(size, *token, &response);
    EXPECT_TRUE(status.ok()) << status.error_message();
    *token = response.next_page_token();
    std::vector<std::string> names;
    for (const v1::Model& model : response.models()) names.push_back(model.name());
    return names;
  }
  static void Expect(const grpc::Status& status, grpc::StatusCode code, const std::string& reason) {
    EXPECT_EQ(status.error_code(), code) << status.error_message();
    EXPECT_EQ(ReasonOf(status), reason);
  }

  const std::string folder_;
  Metrics metrics_{{}};
  LiveModels models_{{.store = folder_, .precision = Precision::kF32}, metrics_};
  RestorePipeline pipeline_{{.workers = 2, .max_batch = 2}, models_, metrics_};
  Occupancy calls_;
  std::unique_ptr<ModelService> service_ =
      std::make_unique<ModelService>(models_, pipeline_, calls_);
  RpcServer server_;
  std::unique_ptr<Stub> stub_;
};

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

}  // namespace
}  // namespace deweather
