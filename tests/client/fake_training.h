// A server of training jobs in this process, whose answers a test gives.

#ifndef DEWEATHER_TESTS_CLIENT_FAKE_TRAINING_H_
#define DEWEATHER_TESTS_CLIENT_FAKE_TRAINING_H_

#include <grpcpp/security/server_credentials.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "client/channel.h"
#include "deweather/v1/training.grpc.pb.h"

namespace deweather {

class FakeTraining final : public v1::TrainingService::Service {
 public:
  template <typename Message>
  using Send = grpc::ServerWriter<Message>;

  // Each call of a method gets the answer of its number, from 1 on.
  std::function<grpc::Status(int, const v1::SubmitJobRequest&, v1::Job*)> submit;
  std::function<grpc::Status(int, v1::Job*)> get = [](int, v1::Job*) { return grpc::Status::OK; };
  std::function<grpc::Status(int, const v1::ListJobsRequest&, v1::ListJobsResponse*)> list;
  std::function<grpc::Status(int, const v1::WatchJobRequest&, Send<v1::JobEvent>*)> watch;
  std::function<grpc::Status(int, const v1::StreamLogsRequest&, Send<v1::LogChunk>*)> logs;
  std::function<grpc::Status(int, const v1::DownloadArtifactRequest&, Send<v1::ArtifactChunk>*)>
      download;
  std::vector<v1::Artifact> artifacts;
  // Of UploadDataset: what came, and the answer once `take` messages of it are read.
  std::vector<v1::UploadDatasetRequest> uploaded;
  size_t take = SIZE_MAX;
  grpc::Status upload_answer;
  int calls = 0;  // of the last method above but get
  int gets = 0;

  grpc::Status SubmitJob(grpc::ServerContext*, const v1::SubmitJobRequest* request,
                         v1::Job* job) override {
    return submit(++calls, *request, job);
  }
  grpc::Status GetJob(grpc::ServerContext*, const v1::GetJobRequest*, v1::Job* job) override {
    return get(++gets, job);
  }
  grpc::Status ListJobs(grpc::ServerContext*, const v1::ListJobsRequest* request,
                        v1::ListJobsResponse* response) override {
    return list(++calls, *request, response);
  }
  grpc::Status WatchJob(grpc::ServerContext*, const v1::WatchJobRequest* request,
                        Send<v1::JobEvent>* writer) override {
    return watch(++calls, *request, writer);
  }
  grpc::Status StreamLogs(grpc::ServerContext*, const v1::StreamLogsRequest* request,
                          Send<v1::LogChunk>* writer) override {
    return logs(++calls, *request, writer);
  }
  grpc::Status DownloadArtifact(grpc::ServerContext*, const v1::DownloadArtifactRequest* request,
                                Send<v1::ArtifactChunk>* writer) override {
    return download(++calls, *request, writer);
  }
  grpc::Status ListCheckpoints(grpc::ServerContext*, const v1::ListCheckpointsRequest*,
                               v1::ListCheckpointsResponse* response) override {
    response->mutable_artifacts()->Add(artifacts.begin(), artifacts.end());
    return grpc::Status::OK;
  }
  grpc::Status UploadDataset(grpc::ServerContext*,
                             grpc::ServerReader<v1::UploadDatasetRequest>* reader,
                             v1::Dataset* dataset) override {
    v1::UploadDatasetRequest request;
    while (uploaded.size() < take && reader->Read(&request)) uploaded.push_back(request);
    if (!uploaded.empty()) dataset->set_name(uploaded.front().start().name());
    return upload_answer;
  }
};

// Serves `service` on a port of its own.
class TestServer {
 public:
  explicit TestServer(grpc::Service* service) {
    grpc::ServerBuilder builder;
    int port = 0;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
    builder.RegisterService(service);
    server_ = builder.BuildAndStart();
    flags_.server = absl::StrCat("127.0.0.1:", port);
  }
  const ServerFlags& flags() const { return flags_; }

 private:
  std::unique_ptr<grpc::Server> server_;
  ServerFlags flags_;
};

}  // namespace deweather

#endif  // DEWEATHER_TESTS_CLIENT_FAKE_TRAINING_H_
