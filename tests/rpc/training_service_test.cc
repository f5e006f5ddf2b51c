#include "server/rpc/training_service.h"

#include <gmock/gmock.h>
#include <google/protobuf/text_format.h>

#include <future>
#include <set>

#include "tests/batch/signal.h"
#include "tests/rpc/training_fixture.h"

namespace deweather {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using Stub = v1::TrainingService::Stub;
using grpc::StatusCode;

v1::SubmitJobRequest Parsed(const std::string& text) {
  v1::SubmitJobRequest request;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &request)) << text;
  return request;
}

class TrainingServiceTest : public TrainingTest {
 protected:
  grpc::Status Submit(const v1::SubmitJobRequest& request, v1::Job* job) {
    return Call(&Stub::SubmitJob, request, job);
  }
  grpc::Status Submit(const v1::SubmitJobRequest& request) {
    return Call(&Stub::SubmitJob, request);
  }
  v1::Job Get(const std::string& id) {
    v1::GetJobRequest request;
    request.set_id(id);
    v1::Job job;
    EXPECT_TRUE(Call(&Stub::GetJob, request, &job).ok());
    return job;
  }
  grpc::Status Cancel(const std::string& id, const std::string& reason = "") {
    v1::CancelJobRequest request;
    request.set_id(id);
    request.set_reason(reason);
    return Call(&Stub::CancelJob, request);
  }
  grpc::Status Resume(const std::string& id, v1::Job* job, const std::string& request_id = "") {
    v1::ResumeJobRequest request;
    request.set_id(id);
    request.set_request_id(request_id);
    return Call(&Stub::ResumeJob, request, job);
  }
  grpc::Status Delete(const std::string& id) {
    v1::DeleteJobRequest request;
    request.set_id(id);
    return Call(&Stub::DeleteJob, request);
  }
  // Ids of all jobs that the request lists, page after page.
  std::vector<std::string> ListAll(v1::ListJobsRequest request, int* pages = nullptr) {
    std::vector<std::string> ids;
    do {
      v1::ListJobsResponse response;
      const grpc::Status status = Call(&Stub::ListJobs, request, &response);
      EXPECT_TRUE(status.ok()) << status.error_message();
      for (const v1::Job& job : response.jobs()) ids.push_back(job.id());
      request.set_page_token(response.next_page_token());
      if (pages != nullptr) ++*pages;
    } while (!request.page_token().empty());
    return ids;
  }
  std::vector<Job> Stored() const { return store_->List({.limit = 100}).value(); }
};

TEST_F(TrainingServiceTest, ASubmittedJobIsStoredAndTold) {
  Serve();
  v1::SubmitJobRequest request = ARequest();
  request.set_priority(7);
  request.mutable_labels()->insert({"camera", "north"});
  v1::Job job;
  ASSERT_TRUE(Submit(request, &job).ok());
  EXPECT_TRUE(IsJobId(job.id()));
  EXPECT_EQ(job.model(), "north");
  EXPECT_EQ(job.state(), v1::Job::STATE_QUEUED);
  EXPECT_EQ(job.config().SerializeAsString(), request.config().SerializeAsString());
  EXPECT_EQ(job.labels().at("camera"), "north");
  EXPECT_EQ(job.priority(), 7);
  EXPECT_GT(job.create_time().seconds(), 1'700'000'000);
  EXPECT_FALSE(job.has_start_time());
  EXPECT_EQ(job.last_event(), 1);
  EXPECT_EQ(wakes_, 1);
  EXPECT_EQ(Get(job.id()).SerializeAsString(), job.SerializeAsString());
  EXPECT_EQ(store_->Get(job.id())->submitted.model, "north");
}

TEST_F(TrainingServiceTest, AModelWithoutANameHasTheProgramsOne) {
  Serve();
  v1::SubmitJobRequest request = ARequest();
  request.mutable_config()->clear_name();
  v1::Job job;
  ASSERT_TRUE(Submit(request, &job).ok());
  EXPECT_EQ(job.model(), "model");
  EXPECT_EQ(store_->Get(job.id())->submitted.model, "model");
}

TEST_F(TrainingServiceTest, AJobTellsHowItStands) {
  Serve();
  const std::string id = Submitted();
  Apply(id, JobAction::kStart);
  JobEvent progress{.kind = JobEventKind::kProgress}, evaluation{.kind = JobEventKind::kEvaluation};
  progress.progress = {.step = 50, .steps = 100, .loss = 0.5};
  progress.progress.terms["loss/rain"] = 0.25;
  progress.progress.remaining = absl::Milliseconds(1500);
  evaluation.evaluation = {.step = 40, .figures = {{"rain/psnr_y", 30.5}}};
  ASSERT_TRUE(store_->AddEvents(id, {progress, evaluation}).ok());
  const absl::Time retry = absl::FromUnixMillis(2'000'000'000'250);
  ASSERT_TRUE(store_
                  ->Apply(id,
                          {.action = JobAction::kRequeue,
                           .reason = "exit status 1",
                           .failure = true,
                           .retry_time = retry},
                          absl::Now())
                  .ok());
  const v1::Job job = Get(id);
  EXPECT_EQ(job.state(), v1::Job::STATE_QUEUED);
  EXPECT_EQ(job.reason(), "exit status 1");
  EXPECT_EQ(job.attempts(), 1);
  EXPECT_EQ(job.failures(), 1);
  EXPECT_TRUE(job.has_start_time());
  EXPECT_EQ(job.retry_time().seconds(), 2'000'000'000);
  EXPECT_EQ(job.retry_time().nanos(), 250'000'000);
  EXPECT_EQ(job.progress().step(), 50);
  EXPECT_EQ(job.progress().terms().at("loss/rain"), 0.25);
  EXPECT_EQ(job.progress().remaining().seconds(), 1);
  EXPECT_EQ(job.progress().remaining().nanos(), 500'000'000);
  EXPECT_EQ(job.evaluation().figures().at("rain/psnr_y"), 30.5);
}

TEST_F(TrainingServiceTest, WrongFieldsAreNamed) {
  Serve();
  const std::string config = "name: 'north' data { pairs { dir: 'rain' } } ";
  const std::vector<std::pair<std::string, std::string>> wrong = {
      {"priority", "priority: 101 config {" + config + "}"},
      {"labels", "labels { key: 'a b' } config {" + config + "}"},
      {"request_id", "request_id: '../x' config {" + config + "}"},
      {"config.steps", "config {" + config + "steps: 0 }"},
      {"config.output_dir", "config {" + config + "output_dir: '/etc' }"},
      {"config.data.pairs[0].dir", "config { name: 'm' data { pairs { dir: '../etc' } } }"},
      {"config.data.pairs[0].dir", "config { name: 'm' data { pairs { dir: 'streets' } } }"},
  };
  for (const auto& [field, text] : wrong) {
    const grpc::Status status = Submit(Parsed(text));
    EXPECT_EQ(status.error_code(), StatusCode::INVALID_ARGUMENT) << field;
    EXPECT_THAT(status.error_message(), HasSubstr(field));
  }
  v1::SubmitJobRequest request = ARequest();
  request.mutable_config()->mutable_data()->mutable_pairs(0)->set_dir("snow");
  Expect(Submit(request), StatusCode::NOT_FOUND, "UNKNOWN_DATASET");
  EXPECT_THAT(Stored(), IsEmpty());
  EXPECT_EQ(wakes_, 0);
}

TEST_F(TrainingServiceTest, TheSameRequestIsTheSameJob) {
  Serve({.max_queued = 1});
  v1::SubmitJobRequest request = ARequest();
  request.set_request_id("r-1");
  const std::string id = Submitted(request);
  EXPECT_EQ(Submitted(request), id);  // although no more may be queued
  Finish(id);
  EXPECT_EQ(Submitted(request), id);
  request.set_priority(1);
  Expect(Submit(request), StatusCode::ALREADY_EXISTS, "REQUEST_ID_REUSED");
  EXPECT_EQ(Stored().size(), 1u);
}

TEST_F(TrainingServiceTest, ValidationMakesNoJob) {
  Serve();
  v1::SubmitJobRequest request = ARequest();
  request.set_validate_only(true);
  request.set_request_id("r-1");
  v1::Job job;
  ASSERT_TRUE(Submit(request, &job).ok());
  EXPECT_EQ(job.id(), "");
  EXPECT_EQ(job.model(), "north");
  EXPECT_EQ(job.state(), v1::Job::STATE_QUEUED);
  EXPECT_FALSE(job.has_create_time());
  request.mutable_config()->set_steps(-1);
  EXPECT_EQ(Submit(request).error_code(), StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(Stored(), IsEmpty());
  EXPECT_EQ(wakes_, 0);
}

TEST_F(TrainingServiceTest, WhatIsThereAlreadyValidates) {
  Serve();
  v1::SubmitJobRequest request = ARequest();
  request.set_request_id("r-1");
  const std::string id = Submitted(request);
  request.set_validate_only(true);
  EXPECT_EQ(Submitted(request), id);
}

TEST_F(TrainingServiceTest, SubmitsAtOnceKeepTheQuotaAndTheirNames) {
  Serve({.max_queued = 3});
  v1::SubmitJobRequest named = ARequest();
  named.set_request_id("r-1");
  std::set<std::string> ids;
  std::vector<std::future<grpc::Status>> others;
  std::vector<std::future<std::string>> same;
  for (int i = 0; i < 8; ++i) {
    same.push_back(std::async(std::launch::async, [&] { return Submitted(named); }));
  }
  for (std::future<std::string>& id : same) ids.insert(id.get());
  EXPECT_EQ(ids.size(), 1u);
  for (int i = 0; i < 8; ++i) {
    others.push_back(std::async(std::launch::async, [&] { return Submit(ARequest()); }));
  }
  for (std::future<grpc::Status>& other : others) other.wait();
  EXPECT_EQ(Stored().size(), 3u);
}

TEST_F(TrainingServiceTest, ALargeDataSetHoldsUpNoOtherCall) {
  const Signal counting, counted;
  JobConfigRules rules = FakeRules();
  rules.dataset = [=](const std::string&) {
    counting.Raise();
    counted.Wait();
    return JobDataset{"/data/rain", true};
  };
  Start(TrainingParts{*store_, *datasets_, feed_, [] {}, rules, jobs_, {.min_free_bytes = 0}}, {});
  auto submit = std::async(std::launch::async, [this] { return Submit(ARequest()); });
  counting.Wait();
  EXPECT_THAT(ListAll({}), IsEmpty());
  counted.Raise();
  EXPECT_TRUE(submit.get().ok());
}

TEST_F(TrainingServiceTest, AServerThatDrainsRefusesEveryCall) {
  Serve();
  const std::string id = Submitted();
  service_->BeginDrain();
  Expect(Submit(ARequest()), StatusCode::UNAVAILABLE, "DRAINING");
  Expect(Cancel(id), StatusCode::UNAVAILABLE, "DRAINING");
  Expect(Call(&Stub::ListJobs, v1::ListJobsRequest()), StatusCode::UNAVAILABLE, "DRAINING");
  EXPECT_EQ(Stored().size(), 1u);
}

TEST_F(TrainingServiceTest, JobsHaveQuotas) {
  Serve({.max_queued = 2, .max_disk_bytes = 1 << 20});
  const std::string id = Submitted();
  Submitted();
  Expect(Submit(ARequest()), StatusCode::RESOURCE_EXHAUSTED, "TOO_MANY_JOBS");
  Finish(id, JobAction::kFail);
  v1::Job job;
  ASSERT_TRUE(store_->SetDiskBytes(id, (1 << 20) + 1).ok());
  Expect(Submit(ARequest()), StatusCode::RESOURCE_EXHAUSTED, "DISK_FULL");
  Expect(Resume(id, &job), StatusCode::RESOURCE_EXHAUSTED, "DISK_FULL");
  ASSERT_TRUE(Delete(id).ok());
  Submitted();
}

TEST_F(TrainingServiceTest, AFullDiskTakesNoJob) {
  Serve({.min_free_bytes = int64_t{1} << 60});
  const grpc::Status status = Submit(ARequest());
  Expect(status, StatusCode::RESOURCE_EXHAUSTED, "DISK_FULL");
  EXPECT_THAT(status.error_message(), HasSubstr("min_free_bytes is 1152921504606846976"));
}

TEST_F(TrainingServiceTest, JobsAreListedByStateLabelAndModel) {
  Serve();
  const std::string a = Submitted(ARequest("a")), b = Submitted(ARequest("b"));
  v1::SubmitJobRequest labelled = ARequest("a");
  labelled.mutable_labels()->insert({"camera", "north"});
  const std::string c = Submitted(labelled);
  Finish(b);
  v1::ListJobsRequest all, by_state, by_label, by_model;
  by_state.add_states(v1::Job::STATE_QUEUED);
  by_label.mutable_labels()->insert({"camera", "north"});
  by_model.set_model("a");
  EXPECT_THAT(ListAll(all), ElementsAre(c, b, a));
  EXPECT_THAT(ListAll(by_state), ElementsAre(c, a));
  EXPECT_THAT(ListAll(by_label), ElementsAre(c));
  EXPECT_THAT(ListAll(by_model), ElementsAre(c, a));
}

TEST_F(TrainingServiceTest, PagesHoldEveryJobOnce) {
  Serve();
  std::vector<std::string> ids;
  for (int i = 0; i < 120; ++i) ids.insert(ids.begin(), Submitted());
  for (const int size : {0, 1, 7, 50, 60, 119, 120, 1000}) {
    v1::ListJobsRequest request;
    request.set_page_size(size);
    int pages = 0;
    EXPECT_EQ(ListAll(request, &pages), ids) << size;
    const int jobs = size == 0 ? 50 : size;
    EXPECT_EQ(pages, (120 + jobs - 1) / jobs) << size;
  }
}

TEST_F(TrainingServiceTest, APageOfLargeJobsEndsEarly) {
  Serve();
  v1::SubmitJobRequest request = ARequest();
  for (int i = 0; i < 32; ++i) {
    request.mutable_labels()->insert({absl::StrCat("key", i), std::string(255, 'v')});
  }
  for (int i = 0; i < 200; ++i) Submitted(request);
  v1::ListJobsRequest list;
  list.set_page_size(1000);
  v1::ListJobsResponse response;
  ASSERT_TRUE(Call(&Stub::ListJobs, list, &response).ok());
  EXPECT_LT(response.ByteSizeLong(), size_t{2} << 20);
  EXPECT_LT(response.jobs_size(), 200);
  const std::vector<std::string> ids = ListAll(list);
  EXPECT_EQ(std::set<std::string>(ids.begin(), ids.end()).size(), 200u);
  EXPECT_EQ(ids.size(), 200u);
}

TEST_F(TrainingServiceTest, BadPagesAreInvalid) {
  Serve();
  Submitted();
  Submitted();
  v1::ListJobsRequest request;
  request.set_page_size(1);
  v1::ListJobsResponse response;
  ASSERT_TRUE(Call(&Stub::ListJobs, request, &response).ok());
  const std::string token = response.next_page_token();
  request.set_model("north");  // another filter
  for (const std::string& bad : {token, std::string("x"), std::string("!!!"), token + "AAAA"}) {
    request.set_page_token(bad);
    const grpc::Status status = Call(&Stub::ListJobs, request, &response);
    EXPECT_EQ(status.error_code(), StatusCode::INVALID_ARGUMENT) << bad;
    EXPECT_THAT(status.error_message(), HasSubstr("page_token"));
  }
  request.clear_model();
  request.set_page_token(token);
  EXPECT_TRUE(Call(&Stub::ListJobs, request, &response).ok());
  request.set_page_size(-1);
  EXPECT_EQ(Call(&Stub::ListJobs, request).error_code(), StatusCode::INVALID_ARGUMENT);
  request.set_page_size(1);
  request.add_states(v1::Job::STATE_UNSPECIFIED);
  EXPECT_EQ(Call(&Stub::ListJobs, request).error_code(), StatusCode::INVALID_ARGUMENT);
}

TEST_F(TrainingServiceTest, ASecondCancelIsRefused) {
  Serve();
  const std::string queued = Submitted(), running = Submitted();
  Apply(running, JobAction::kStart);
  wakes_ = 0;
  ASSERT_TRUE(Cancel(queued, "no more snow").ok());
  ASSERT_TRUE(Cancel(running).ok());
  EXPECT_EQ(wakes_, 2);
  EXPECT_EQ(Get(queued).state(), v1::Job::STATE_CANCELLED);
  EXPECT_EQ(Get(queued).reason(), "no more snow");
  EXPECT_EQ(Get(running).state(), v1::Job::STATE_CANCELLING);
  Expect(Cancel(queued), StatusCode::FAILED_PRECONDITION, "JOB_STATE");
  Expect(Cancel(running), StatusCode::FAILED_PRECONDITION, "JOB_STATE");
  EXPECT_EQ(Cancel(running, std::string(1025, 'x')).error_code(), StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(wakes_, 2);
}

TEST_F(TrainingServiceTest, AJobResumesWhatAnotherBegan) {
  Serve();
  const std::string old = Submitted();
  WriteFile(old, "run/checkpoints/step-000000010.safetensors", "weights");
  Finish(old, JobAction::kFail);
  wakes_ = 0;
  v1::Job job;
  ASSERT_TRUE(Resume(old, &job, "again").ok());
  EXPECT_NE(job.id(), old);
  EXPECT_EQ(job.resumed_from(), old);
  EXPECT_EQ(job.state(), v1::Job::STATE_QUEUED);
  EXPECT_EQ(job.config().SerializeAsString(), ARequest().config().SerializeAsString());
  EXPECT_EQ(wakes_, 1);
  ASSERT_TRUE(Delete(old).ok());
  const std::string checkpoint = NewestCheckpoint(jobs_, job.id()).value_or("none");
  EXPECT_EQ(ReadFile(checkpoint).value_or(""), "weights");
  v1::Job again;
  ASSERT_TRUE(Resume(old, &again, "again").ok());  // although the old one is gone
  EXPECT_EQ(again.id(), job.id());
}

TEST_F(TrainingServiceTest, OnlyFailedAndCancelledJobsResume) {
  Serve();
  const std::string id = Submitted();
  v1::Job job;
  Expect(Resume(id, &job), StatusCode::FAILED_PRECONDITION, "JOB_STATE");
  Apply(id, JobAction::kStart);
  Expect(Resume(id, &job), StatusCode::FAILED_PRECONDITION, "JOB_STATE");
  Apply(id, JobAction::kSucceed);
  const grpc::Status status = Resume(id, &job);
  Expect(status, StatusCode::FAILED_PRECONDITION, "JOB_STATE");
  EXPECT_THAT(status.error_message(), HasSubstr("SUCCEEDED"));
  const std::string cancelled = Submitted();
  ASSERT_TRUE(Cancel(cancelled).ok());
  EXPECT_TRUE(Resume(cancelled, &job).ok());
}

TEST_F(TrainingServiceTest, ADeletedJobLeavesNothing) {
  Serve();
  const std::string id = Submitted();
  WriteFile(id, "run/curve.png", "curve");
  Apply(id, JobAction::kStart);
  Expect(Delete(id), StatusCode::FAILED_PRECONDITION, "JOB_STATE");
  EXPECT_TRUE(fs::exists(JobFolder(jobs_, id)));
  Apply(id, JobAction::kSucceed);
  ASSERT_TRUE(Delete(id).ok());
  EXPECT_FALSE(fs::exists(JobFolder(jobs_, id)));
  EXPECT_TRUE(HappensSoon([&] { return !fs::exists(jobs_ + "/.deleted-" + id); }));
  Expect(Delete(id), StatusCode::NOT_FOUND, "UNKNOWN_JOB");
  EXPECT_THAT(Stored(), IsEmpty());
}

TEST_F(TrainingServiceTest, FilesOfAJobAreListed) {
  Serve();
  const std::string id = Submitted();
  WriteFile(id, "config.textproto", "name");
  WriteFile(id, "run/north.safetensors", "model");
  WriteFile(id, "run/checkpoints/step-000000020.safetensors", "checkpoint");
  v1::ListCheckpointsRequest request;
  request.set_id(id);
  v1::ListCheckpointsResponse response;
  ASSERT_TRUE(Call(&Stub::ListCheckpoints, request, &response).ok());
  ASSERT_EQ(response.artifacts_size(), 3);
  EXPECT_EQ(response.artifacts(0).name(), "run/checkpoints/step-000000020.safetensors");
  EXPECT_EQ(response.artifacts(0).kind(), v1::Artifact::KIND_CHECKPOINT);
  EXPECT_EQ(response.artifacts(0).step(), 20);
  EXPECT_EQ(response.artifacts(0).bytes(), 10);
  EXPECT_GT(response.artifacts(0).update_time().seconds(), 1'700'000'000);
  EXPECT_EQ(response.artifacts(1).kind(), v1::Artifact::KIND_MODEL);
  EXPECT_EQ(response.artifacts(2).kind(), v1::Artifact::KIND_CONFIG);
}

TEST_F(TrainingServiceTest, DataSetsAreListedByPages) {
  DatasetOptions options{.min_free_bytes = 0};
  for (const char* const name : {"c", "a", "b"}) options.registered.push_back({name, "/nowhere"});
  datasets_.reset();
  datasets_ = Datasets::Open(folder_ + "/datasets", options).value();
  Serve();
  v1::ListDatasetsRequest request;
  request.set_page_size(2);
  v1::ListDatasetsResponse response;
  ASSERT_TRUE(Call(&Stub::ListDatasets, request, &response).ok());
  ASSERT_EQ(response.datasets_size(), 2);
  EXPECT_EQ(response.datasets(0).name(), "a");
  EXPECT_TRUE(response.datasets(0).registered());
  EXPECT_NE(response.datasets(0).problem(), "");
  request.set_page_token(response.next_page_token());
  response.Clear();
  ASSERT_TRUE(Call(&Stub::ListDatasets, request, &response).ok());
  ASSERT_EQ(response.datasets_size(), 1);
  EXPECT_EQ(response.datasets(0).name(), "c");
  EXPECT_EQ(response.next_page_token(), "");
}

TEST_F(TrainingServiceTest, UnknownJobsAreNotFound) {
  Serve();
  const auto call =
      [this]<typename Request, typename Response>(
          grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&, Response*),
          const std::string& id) {
        Request request;
        request.set_id(id);
        Expect(Call(method, request), StatusCode::NOT_FOUND, "UNKNOWN_JOB");
      };
  for (const std::string id : {"abcdefghijkl", "", "../../../etc", ".deleted-abc"}) {
    call(&Stub::GetJob, id);
    call(&Stub::CancelJob, id);
    call(&Stub::ResumeJob, id);
    call(&Stub::DeleteJob, id);
    call(&Stub::ListCheckpoints, id);
  }
}

TEST_F(TrainingServiceTest, WithoutADataFolderEveryCallIsRefused) {
  Start(WithReason(absl::FailedPreconditionError("no data folder"), "NO_DATA_FOLDER"), {});
  const auto call = [this]<typename Request, typename Response>(grpc::Status (Stub::*method)(
                        grpc::ClientContext*, const Request&, Response*)) {
    Expect(Call(method, Request()), StatusCode::FAILED_PRECONDITION, "NO_DATA_FOLDER");
  };
  call(&Stub::SubmitJob);
  call(&Stub::GetJob);
  call(&Stub::ListJobs);
  call(&Stub::CancelJob);
  call(&Stub::ResumeJob);
  call(&Stub::DeleteJob);
  call(&Stub::ListCheckpoints);
  call(&Stub::ListDatasets);
  grpc::ClientContext watch, logs, download, upload;
  Expect(stub_->WatchJob(&watch, {})->Finish(), StatusCode::FAILED_PRECONDITION, "NO_DATA_FOLDER");
  Expect(stub_->StreamLogs(&logs, {})->Finish(), StatusCode::FAILED_PRECONDITION, "NO_DATA_FOLDER");
  Expect(stub_->DownloadArtifact(&download, {})->Finish(), StatusCode::FAILED_PRECONDITION,
         "NO_DATA_FOLDER");
  v1::Dataset dataset;
  Expect(stub_->UploadDataset(&upload, &dataset)->Finish(), StatusCode::FAILED_PRECONDITION,
         "NO_DATA_FOLDER");
}

}  // namespace
}  // namespace deweather
