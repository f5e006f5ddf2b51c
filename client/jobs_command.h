// `deweather jobs`: training on the server, from submit to what comes out.

#ifndef DEWEATHER_CLIENT_JOBS_COMMAND_H_
#define DEWEATHER_CLIENT_JOBS_COMMAND_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "client/channel.h"
#include "deweather/v1/training.pb.h"

namespace deweather {

struct JobsFlags {
  ServerFlags server;
  std::string id;                   // of all but submit and list
  std::string config;               // of submit: a file
  std::vector<std::string> labels;  // K=V, of submit and list
  int priority = 0;                 // of submit
  std::string request_id;           // of submit; empty: a new one
  bool validate_only = false;       // of submit
  bool watch = false;               // of submit and resume
  std::vector<std::string> states;  // of list
  std::string model;                // of list
  int64_t limit = 50;               // of list; 0: all
  std::string reason;               // of cancel
  bool json = false;
};

// Each prints what the server says: tables for people, one JSON object with `json`. Exit status: 0,
// or after one line on stderr 1, or 2 for wrong usage. Submit and Resume ask again while the server is
// away, up to the timeout, and make one job; with `watch` they go on as RunJobsWatch, in JSON lines.
int RunJobsSubmit(const JobsFlags& flags);
int RunJobsList(const JobsFlags& flags);
int RunJobsGet(const JobsFlags& flags);
int RunJobsCancel(const JobsFlags& flags);
int RunJobsResume(const JobsFlags& flags);
int RunJobsDelete(const JobsFlags& flags);
int RunJobsCheckpoints(const JobsFlags& flags);

// INVALID_ARGUMENT: "FILE:LINE: what is wrong", a label that is no K=V or a second one of K; else
// ReadFile's errors.
absl::StatusOr<v1::SubmitJobRequest> SubmissionOf(const JobsFlags& flags);

// INVALID_ARGUMENT: a state that is none, a label that is no K=V, a negative limit.
absl::StatusOr<v1::ListJobsRequest> ListingOf(const JobsFlags& flags);

}  // namespace deweather

#endif  // DEWEATHER_CLIENT_JOBS_COMMAND_H_
