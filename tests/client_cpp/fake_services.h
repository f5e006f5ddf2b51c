// A server in this process, whose answers a test gives.

#ifndef DEWEATHER_TESTS_CLIENT_CPP_FAKE_SERVICES_H_
#define DEWEATHER_TESTS_CLIENT_CPP_FAKE_SERVICES_H_

#include <deweather/client.h>
#include <gmock/gmock.h>
#include <grpcpp/security/server_credentials.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>
#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>

#include "deweather/v1/model.grpc.pb.h"
#include "deweather/v1/restoration.grpc.pb.h"
#include "deweather/v1/training.grpc.pb.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "grpc/health/v1/health.grpc.pb.h"

namespace deweather {

// With what our server sends beside it.
inline grpc::Status Refusal(grpc::StatusCode code, const std::string& message,
                            const std::string& reason, int retry_ms = 0) {
  google::rpc::Status details;
  google::rpc::ErrorInfo info;
  info.set_reason(reason);
  details.add_details()->PackFrom(info);
  if (retry_ms > 0) {
    google::rpc::RetryInfo retry;
    retry.mutable_retry_delay()->set_nanos(retry_ms * 1'000'000);
    details.add_details()->PackFrom(retry);
  }
  return {code, message, details.SerializeAsString()};
}

// What `call` throws; a failure if it throws nothing.
template <typename Call>
Error ErrorOf(const Call& call) {
  try {
    call();
  } catch (const Error& error) {
    return error;
  }
  ADD_FAILURE() << "no Error";
  return Error(ErrorCode::kUnknown, "none");
}

// The request id that came with a call; "" without one.
inline std::string IdOf(const grpc::ServerContext& context) {
  const auto found = context.client_metadata().find("x-request-id");
  return found == context.client_metadata().end()
             ? ""
             : std::string(found->second.data(), found->second.size());
}

// A server that hangs: no answer until the caller gives up.
inline grpc::Status Hang(const grpc::ServerContext& context) {
  while (!context.IsCancelled()) std::this_thread::yield();
  return grpc::Status::CANCELLED;
}

class FakeRestoration final : public v1::RestorationService::Service {
 public:
  using Large = grpc::ServerReaderWriter<v1::RestoreLargeResponse, v1::RestoreLargeRequest>;
  using Frames = grpc::ServerReaderWriter<v1::RestoreStreamResponse, v1::RestoreStreamRequest>;

  std::function<grpc::Status(grpc::ServerContext&, const v1::RestoreRequest&, v1::RestoreResponse*)>
      restore;
  std::function<grpc::Status(grpc::ServerContext&, Large&)> large;
  std::function<grpc::Status(grpc::ServerContext&, Frames&)> frames;

  grpc::Status Restore(grpc::ServerContext* context, const v1::RestoreRequest* request,
                       v1::RestoreResponse* response) override {
    return restore(*context, *request, response);
  }
  grpc::Status RestoreLarge(grpc::ServerContext* context, Large* stream) override {
    return large(*context, *stream);
  }
  grpc::Status RestoreStream(grpc::ServerContext* context, Frames* stream) override {
    return frames(*context, *stream);
  }
};

class FakeModels final : public v1::ModelService::Service {
 public:
  std::function<grpc::Status(const v1::ListModelsRequest&, v1::ListModelsResponse*)> list;
  std::function<grpc::Status(const v1::PromoteModelRequest&, v1::Model*)> promote;

  grpc::Status ListModels(grpc::ServerContext*, const v1::ListModelsRequest* request,
                          v1::ListModelsResponse* response) override {
    return list(*request, response);
  }
  grpc::Status PromoteModel(grpc::ServerContext*, const v1::PromoteModelRequest* request,
                            v1::Model* model) override {
    return promote(*request, model);
  }
};

class FakeJobs final : public v1::TrainingService::Service {
 public:
  std::function<grpc::Status(const v1::SubmitJobRequest&, v1::Job*)> submit;
  std::function<grpc::Status(grpc::ServerContext&, v1::Job*)> get =
      [](grpc::ServerContext&, v1::Job*) { return grpc::Status::OK; };
  std::function<grpc::Status(const v1::ListJobsRequest&, v1::ListJobsResponse*)> list;
  std::function<grpc::Status(grpc::ServerContext&, const v1::WatchJobRequest&,
                             grpc::ServerWriter<v1::JobEvent>&)>
      watch;
  std::function<grpc::Status(grpc::ServerContext&, const v1::DownloadArtifactRequest&,
                             grpc::ServerWriter<v1::ArtifactChunk>&)>
      download;

  grpc::Status SubmitJob(grpc::ServerContext*, const v1::SubmitJobRequest* request,
                         v1::Job* job) override {
    return submit(*request, job);
  }
  grpc::Status GetJob(grpc::ServerContext* context, const v1::GetJobRequest*,
                      v1::Job* job) override {
    return get(*context, job);
  }
  grpc::Status ListJobs(grpc::ServerContext*, const v1::ListJobsRequest* request,
                        v1::ListJobsResponse* response) override {
    return list(*request, response);
  }
  grpc::Status WatchJob(grpc::ServerContext* context, const v1::WatchJobRequest* request,
                        grpc::ServerWriter<v1::JobEvent>* writer) override {
    return watch(*context, *request, *writer);
  }
  grpc::Status DownloadArtifact(grpc::ServerContext* context,
                                const v1::DownloadArtifactRequest* request,
                                grpc::ServerWriter<v1::ArtifactChunk>* writer) override {
    return download(*context, *request, *writer);
  }
};

class FakeHealth final : public grpc::health::v1::Health::Service {
 public:
  grpc::Status Check(grpc::ServerContext*, const grpc::health::v1::HealthCheckRequest* request,
                     grpc::health::v1::HealthCheckResponse* response) override {
    if (!request->service().empty()) return {grpc::StatusCode::NOT_FOUND, "unknown service"};
    response->set_status(grpc::health::v1::HealthCheckResponse::SERVING);
    return grpc::Status::OK;
  }
};

// A client and whom it talks to.
class ClientTest : public testing::Test {
 protected:
  ClientTest() {
    grpc::ServerBuilder builder;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port_);
    for (grpc::Service* const service :
         std::initializer_list<grpc::Service*>{&restoration_, &models_, &jobs_, &health_}) {
      builder.RegisterService(service);
    }
    server_ = builder.BuildAndStart();
    options_.server = "127.0.0.1:" + std::to_string(port_);
    client_.emplace(options_);
  }

  FakeRestoration restoration_;
  FakeModels models_;
  FakeJobs jobs_;
  FakeHealth health_;
  int port_ = 0;
  std::unique_ptr<grpc::Server> server_;
  ClientOptions options_;
  std::optional<Client> client_;
};

}  // namespace deweather

#endif  // DEWEATHER_TESTS_CLIENT_CPP_FAKE_SERVICES_H_
