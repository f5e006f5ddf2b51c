// The configuration of a training job: a TrainConfig that names data sets and models of the server where a
// file has paths, and what becomes of it when the job's program reads it.
//
// Names    `dir` and `evaluate.pairs_dir` are data sets of pairs; `input_dir`, `truth_dir` and a clean
//          source's `dir` are sets of clean pictures. A source without a `task` is logged under its set's
//          name, and so are figures.
// Threads  thread-safe: pure functions, if the rules are
// Errors   INVALID_ARGUMENT "config.FIELD is VALUE; what is wanted", paths within the message; those of the
//          rules, with the field in front and their reasons; never throws

#ifndef DEWEATHER_PROTO_CONFIG_JOB_CONFIG_H_
#define DEWEATHER_PROTO_CONFIG_JOB_CONFIG_H_

#include <google/protobuf/message.h>

#include <functional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "deweather/v1/train_config.pb.h"

namespace deweather {

struct JobDataset {
  std::string dir = {};  // absolute
  bool pairs = false;    // it holds input/ and gt/, else clean pictures
};

// Whose weights a job starts from, or learns from. All empty: nobody's.
struct InitFrom {
  std::string model = {};
  std::string version = {};  // of the model; empty: the live one
  std::string job = {};      // or the result of a job
};

// What a server knows and allows.
struct JobConfigRules {
  // The data set of a valid name. NOT_FOUND: there is none.
  std::function<absl::StatusOr<JobDataset>(const std::string& name)> dataset = {};
  // The path of a checkpoint, of init_from and of distill.teacher. Not asked where they are empty.
  std::function<absl::StatusOr<std::string>(const InitFrom& from)> init_from = {};
  int max_threads = 0;  // that compute, and that load; 0: as the configuration says
};

// Whether a job may be made of it: every field known and in its range, every name that of something that
// is there.
absl::Status CheckJobConfig(const v1::TrainConfig& submitted, const JobConfigRules& rules);

// What the program reads, in text format: names are paths, `output_dir` is set, and `resume`, so that each
// attempt goes on where the last one ended. ParseTrainConfig takes it.
absl::StatusOr<std::string> JobConfigText(const v1::TrainConfig& submitted,
                                          const JobConfigRules& rules,
                                          const std::string& output_dir);

// To store what was submitted, and back. `file` stands for the text in messages.
std::string ToText(const v1::TrainConfig& submitted);
absl::StatusOr<v1::TrainConfig> ParseJobConfig(const std::string& text, const std::string& file);

// The same bytes for the same message: to be hashed.
std::string StableBytes(const google::protobuf::Message& message);

}  // namespace deweather

#endif  // DEWEATHER_PROTO_CONFIG_JOB_CONFIG_H_
