#include "server/rpc/judge.h"

#include <google/protobuf/struct.pb.h>
#include <google/protobuf/util/json_util.h>

#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "model/base/error_reason.h"
#include "model/base/status_macros.h"
#include "training/jobs/child_process.h"
#include "training/jobs/running_program.h"

namespace deweather {
namespace {

using google::protobuf::Struct;
using google::protobuf::Value;

constexpr char kMark[] = "evaluation";  // no job has this id

absl::Status Failed(std::string_view why) {
  return WithReason(absl::InternalError(absl::StrFormat("the evaluation failed: %s", why)),
                    "EVALUATION_FAILED");
}

const Value& Field(const Struct& object, const char* name) {
  const auto found = object.fields().find(name);
  return found != object.fields().end() ? found->second : Value::default_instance();
}

// One model on one set (training/evaluation.h, EvaluationJson).
struct Figures {
  std::string version;
  double psnr_rgb = 0;
  double input_psnr_rgb = 0;
};

absl::StatusOr<Figures> ToFigures(const Struct& entry) {
  const Value& psnr = Field(entry, "psnr_rgb");
  const Value& input = Field(entry, "input_psnr_rgb");
  const bool whole = psnr.has_number_value() && input.has_number_value() &&
                     std::isfinite(psnr.number_value()) && std::isfinite(input.number_value());
  if (!whole) return Failed("its report holds no PSNR");
  return Figures{Field(entry, "version").string_value(), psnr.number_value(), input.number_value()};
}

// In the order in which the models were given.
absl::StatusOr<std::vector<Figures>> ParseReport(const std::string& text) {
  Struct report;
  if (!google::protobuf::util::JsonStringToMessage(text, &report).ok()) {
    return Failed("its report is no JSON object");
  }
  std::vector<Figures> all;
  if (!report.fields().contains("sets")) {
    DW_ASSIGN_OR_RETURN(all.emplace_back(), ToFigures(report));
    return all;
  }
  for (const Value& entry : Field(report, "sets").list_value().values()) {
    DW_ASSIGN_OR_RETURN(all.emplace_back(), ToFigures(entry.struct_value()));
  }
  return all;
}

std::vector<std::string> ArgumentsOf(const Candidate& candidate, const JudgeOptions& options) {
  std::vector<std::string> arguments = {"evaluate"};
  for (const std::string& path : {candidate.live_path, candidate.path}) {
    if (!path.empty()) arguments.insert(arguments.end(), {"--model", path});
  }
  const std::string pairs = absl::StrCat(options.dataset, "=", options.dir);
  arguments.insert(arguments.end(), {"--pairs", pairs, "--json"});
  return arguments;
}

// What was measured are those very versions: a file may have changed meanwhile.
absl::Status CheckVersions(const std::vector<Figures>& figures, const Candidate& candidate) {
  const bool both = !candidate.live_path.empty();
  if (figures.size() != (both ? 2 : 1)) return Failed("its report is not of these models");
  if (figures.back().version != candidate.version) {
    return Failed(absl::StrFormat("it measured version %s in place of %s", figures.back().version,
                                  candidate.version));
  }
  if (!both || figures.front().version == candidate.live_version) return absl::OkStatus();
  return Failed(absl::StrFormat("it measured version %s in place of the live %s",
                                figures.front().version, candidate.live_version));
}

absl::Status Compare(const std::vector<Figures>& figures, const Candidate& candidate,
                     const JudgeOptions& options) {
  const bool both = figures.size() == 2;
  const double bar = both ? figures.front().psnr_rgb : figures.front().input_psnr_rgb;
  const double psnr = figures.back().psnr_rgb;
  if (bar - psnr <= options.max_regression_db) return absl::OkStatus();
  const std::string what = both ? absl::StrCat("the live ", candidate.live_version) : "the inputs";
  return WithReason(
      absl::FailedPreconditionError(absl::StrFormat(
          "PSNR-RGB of %s %s on %s is %.2f dB, %.2f below %.2f of %s; max_regression_db is %.2f",
          candidate.name, candidate.version, options.dataset, psnr, bar - psnr, bar, what,
          options.max_regression_db)),
      "REGRESSION");
}

}  // namespace

RunTrain TrainInChild(const std::string& jobs, const TrainingServiceOptions& training) {
  return [jobs, training](const std::vector<std::string>& arguments, const JudgeOptions& options) {
    RunOptions run{.child = TrainProgram(kMark, jobs, training),
                   .timeout = options.timeout,
                   .max_memory_bytes = training.max_memory_bytes,
                   .stop = options.stop};
    SetTrace(options.trace_parent, &run.child);
    run.child.arguments.insert(run.child.arguments.end(), arguments.begin(), arguments.end());
    return RunToEnd(run);
  };
}

absl::Status Judge(const Candidate& candidate, const JudgeOptions& options,
                   const RunTrain& run_train) {
  const absl::StatusOr<std::string> report = run_train(ArgumentsOf(candidate, options), options);
  if (absl::IsCancelled(report.status())) return report.status();
  if (!report.ok()) return Failed(report.status().ToString());
  DW_ASSIGN_OR_RETURN(const std::vector<Figures> figures, ParseReport(*report));
  DW_RETURN_IF_ERROR(CheckVersions(figures, candidate));
  return Compare(figures, candidate, options);
}

}  // namespace deweather
