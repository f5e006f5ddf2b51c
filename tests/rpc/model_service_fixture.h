// A ModelService in this process, over a folder of versions, jobs and data sets of its own.

#ifndef DEWEATHER_TESTS_RPC_MODEL_SERVICE_FIXTURE_H_
#define DEWEATHER_TESTS_RPC_MODEL_SERVICE_FIXTURE_H_

#include <gtest/gtest.h>

#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "model/version_store.h"
#include "server/rpc/model_service.h"
#include "tests/new_folder.h"
#include "tests/restore/stored_models.h"
#include "tests/rpc/rpc_fixture.h"

namespace deweather {

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

struct ServiceSettings {
  LimitOptions limits = {};
  bool data_folder = true;
  JobStore* jobs = nullptr;
  Datasets* datasets = nullptr;
  PromotionOptions promotion = {};
  RunTrain run_train = {};
  int64_t min_free_bytes = 0;
};

// Finds `there`; null: there is none.
template <typename There>
std::function<absl::StatusOr<There*>()> OrNone(There* there) {
  return [there]() -> absl::StatusOr<There*> {
    if (there != nullptr) return there;
    return WithReason(absl::FailedPreconditionError("no data folder"), "NO_DATA_FOLDER");
  };
}

class ModelServiceTest : public testing::Test {
 protected:
  using Stub = v1::ModelService::Stub;

  ModelServiceTest() {
    EXPECT_TRUE(models_.Load("identity", {1}, pipeline_.executor()).ok());
    Serve({});
  }
  ~ModelServiceTest() override {
    StopServing();
    std::filesystem::remove_all(folder_);
  }

  // Anew, with other settings.
  void Serve(const ServiceSettings& settings) {
    StopServing();
    service_ = std::make_unique<ModelService>(
        ModelServiceParts{.models = models_,
                          .pipeline = pipeline_,
                          .calls = calls_,
                          .limits = settings.limits,
                          .store = settings.data_folder ? folder_ : "",
                          .jobs = OrNone(settings.jobs),
                          .datasets = OrNone(settings.datasets),
                          .promotion = settings.promotion,
                          .run_train = settings.run_train,
                          .min_free_bytes = settings.min_free_bytes});
    auto server = StartRpcServer("127.0.0.1:0", settings.limits,
                                 {{v1::ModelService::service_full_name(), service_.get()}});
    EXPECT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
    stub_ = v1::ModelService::NewStub(
        grpc::CreateChannel(server_.address, grpc::InsecureChannelCredentials()));
  }
  void StopServing() {
    if (server_.server != nullptr) Shutdown(server_, calls_, absl::Seconds(30));
    server_.server.reset();
    service_.reset();
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
  grpc::Status Promote(const v1::PromoteModelRequest& request, v1::Model* model) {
    return Call(&Stub::PromoteModel, request, model);
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
  grpc::Status Delete(const std::string& name, const std::string& version) {
    v1::DeleteVersionRequest request;
    request.set_name(name);
    request.set_version(version);
    v1::DeleteVersionResponse ignored;
    return Call(&Stub::DeleteVersion, request, &ignored);
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

  const std::string folder_ = NewFolder();
  Metrics metrics_{{}};
  LiveModels models_{{.store = folder_, .precision = Precision::kF32}, metrics_};
  RestorePipeline pipeline_{{.workers = 2, .max_batch = 2}, models_, metrics_};
  Occupancy calls_;
  std::unique_ptr<ModelService> service_;
  RpcServer server_;
  std::unique_ptr<Stub> stub_;
};

}  // namespace deweather

#endif  // DEWEATHER_TESTS_RPC_MODEL_SERVICE_FIXTURE_H_
