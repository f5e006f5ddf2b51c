// A server that takes jobs, in this process, over the real store; the test is what runs them.

#ifndef DEWEATHER_TESTS_RPC_TRAINING_FIXTURE_H_
#define DEWEATHER_TESTS_RPC_TRAINING_FIXTURE_H_

#include <gtest/gtest.h>

#include <atomic>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "deweather/v1/training.grpc.pb.h"
#include "model/base/file.h"
#include "server/rpc/training_service.h"
#include "tests/new_folder.h"
#include "tests/rpc/rpc_fixture.h"
#include "training/jobs/job_folder.h"

namespace deweather {

// With the data sets "rain", which holds pairs, and "streets".
inline JobConfigRules FakeRules() {
  return {.dataset = [](const std::string& name) -> absl::StatusOr<JobDataset> {
    if (name == "rain") return JobDataset{"/data/rain", true};
    if (name == "streets") return JobDataset{"/data/streets", false};
    return WithReason(absl::NotFoundError("no data set " + name), "UNKNOWN_DATASET");
  }};
}

class TrainingTest : public testing::Test {
 protected:
  using Stub = v1::TrainingService::Stub;

  void SetUp() override {
    std::filesystem::create_directories(jobs_);
    store_ = JobStore::Open(JobStorePath(jobs_)).value();
    store_->OnChange([this](const std::string& job) { feed_.Notify(job); });
    datasets_ = Datasets::Open(folder_ + "/datasets", {.min_free_bytes = 0}).value();
  }
  void TearDown() override { Stop(); }

  void Serve(TrainingServiceOptions options = {}, const LimitOptions& limits = {}) {
    if (options.min_free_bytes == TrainingServiceOptions().min_free_bytes) {
      options.min_free_bytes = 0;
    }
    Start(TrainingParts{*store_, *datasets_, feed_, [this] { ++wakes_; }, FakeRules(), jobs_,
                        std::move(options)},
          limits);
  }
  void Start(absl::StatusOr<TrainingParts> parts, const LimitOptions& limits) {
    parts_ = std::make_unique<absl::StatusOr<TrainingParts>>(std::move(parts));
    const auto find = [&found = *parts_]() -> absl::StatusOr<const TrainingParts*> {
      if (!found.ok()) return found.status();
      return &*found;
    };
    service_ = std::make_unique<TrainingService>(find, calls_, limits, entrance_);
    auto server = StartRpcServer("127.0.0.1:0", limits,
                                 {{v1::TrainingService::service_full_name(), service_.get()}});
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
    stub_ = OpenStub();
  }
  void Stop() {
    if (server_.server != nullptr) Shutdown(server_, calls_, absl::ZeroDuration());
    server_.server.reset();
    service_.reset();
  }
  // On a connection of its own, which holds no more than 64 KiB that nobody has read.
  std::unique_ptr<Stub> OpenStub() const {
    grpc::ChannelArguments arguments;
    arguments.SetMaxReceiveMessageSize(-1);
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    arguments.SetInt(GRPC_ARG_HTTP2_BDP_PROBE, 0);
    return v1::TrainingService::NewStub(
        grpc::CreateCustomChannel(server_.address, grpc::InsecureChannelCredentials(), arguments));
  }

  template <typename Request, typename Response>
  grpc::Status Call(grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&, Response*),
                    const Request& request, Response* response) {
    grpc::ClientContext context;
    context.set_deadline(absl::ToChronoTime(absl::Now() + absl::Seconds(60)));
    return (stub_.get()->*method)(&context, request, response);
  }
  template <typename Request, typename Response>
  grpc::Status Call(grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&, Response*),
                    const Request& request) {
    Response ignored;
    return Call(method, request, &ignored);
  }

  static v1::SubmitJobRequest ARequest(const std::string& model = "north") {
    v1::SubmitJobRequest request;
    request.mutable_config()->set_name(model);
    request.mutable_config()->mutable_data()->add_pairs()->set_dir("rain");
    return request;
  }
  // Submits it, which must go well.
  std::string Submitted(const v1::SubmitJobRequest& request = ARequest()) {
    v1::Job job;
    const grpc::Status status = Call(&Stub::SubmitJob, request, &job);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return job.id();
  }

  void Apply(const std::string& id, JobAction action, const std::string& reason = "") {
    const auto job = store_->Apply(id, {.action = action, .reason = reason}, absl::Now());
    ASSERT_TRUE(job.ok()) << job.status();
  }
  void Finish(const std::string& id, JobAction end = JobAction::kSucceed) {
    Apply(id, JobAction::kStart);
    Apply(id, end);
  }
  void Warn(const std::string& id, int count, size_t bytes = 8) {
    const JobEvent event{
        .time = absl::Now(), .kind = JobEventKind::kWarning, .text = std::string(bytes, 'w')};
    ASSERT_TRUE(store_->AddEvents(id, std::vector<JobEvent>(count, event)).ok());
  }

  void WriteFile(const std::string& id, const std::string& name, const std::string& bytes) const {
    const std::filesystem::path path = JobFolder(jobs_, id) + "/" + name;
    std::filesystem::create_directories(path.parent_path());
    ASSERT_TRUE(WriteFileAtomically(path.string(), bytes).ok());
  }

  static void Expect(const grpc::Status& status, grpc::StatusCode code, const std::string& reason) {
    EXPECT_EQ(status.error_code(), code) << status.error_message();
    EXPECT_EQ(ReasonOf(status), reason) << status.error_message();
  }

  const std::string folder_ = NewFolder();
  const std::string jobs_ = folder_ + "/jobs";
  JobFeed feed_;
  std::unique_ptr<JobStore> store_;
  std::unique_ptr<Datasets> datasets_;
  std::atomic<int> wakes_ = 0;
  Occupancy calls_;
  Entrance entrance_;
  std::unique_ptr<absl::StatusOr<TrainingParts>> parts_;
  std::unique_ptr<TrainingService> service_;
  RpcServer server_;
  std::unique_ptr<Stub> stub_;
};

}  // namespace deweather

#endif  // DEWEATHER_TESTS_RPC_TRAINING_FIXTURE_H_
