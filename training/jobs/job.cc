#include "training/jobs/job.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/str_format.h"
#include "model/base/status_macros.h"

namespace deweather {
namespace {

constexpr size_t kIdLength = 12;
constexpr size_t kMaxLabels = 32;
constexpr size_t kMaxKeyBytes = 63;
constexpr size_t kMaxValueBytes = 255;
constexpr size_t kMaxRequestIdBytes = 64;
constexpr int kMaxPriority = 100;

bool IsWord(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) {
    return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '.' || c == '_' || c == '-';
  });
}

// INVALID_ARGUMENT unless `text` is a word of `least` to `most` bytes. A long one is told by its length.
absl::Status CheckWord(std::string_view field, std::string_view text, size_t least, size_t most) {
  if (text.size() < least || text.size() > most) {
    return absl::InvalidArgumentError(absl::StrFormat("%s is %d bytes long; it must be %d to %d",
                                                      field, text.size(), least, most));
  }
  if (IsWord(text)) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrFormat(
      "%s is '%s'; it must be made of letters, digits, '.', '_' and '-'", field, text));
}

absl::Status CheckLabels(const std::map<std::string, std::string>& labels) {
  if (labels.size() > kMaxLabels) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "labels has %d entries; it must have at most %d", labels.size(), kMaxLabels));
  }
  for (const auto& [key, value] : labels) {
    DW_RETURN_IF_ERROR(CheckWord("a key of labels", key, 1, kMaxKeyBytes));
    if (value.size() <= kMaxValueBytes) continue;
    return absl::InvalidArgumentError(absl::StrFormat(
        "labels['%s'] is %d bytes long; it must be at most %d", key, value.size(), kMaxValueBytes));
  }
  return absl::OkStatus();
}

}  // namespace

std::string_view Name(JobState state) {
  switch (state) {
    case JobState::kQueued:
      return "QUEUED";
    case JobState::kRunning:
      return "RUNNING";
    case JobState::kCancelling:
      return "CANCELLING";
    case JobState::kSucceeded:
      return "SUCCEEDED";
    case JobState::kFailed:
      return "FAILED";
    case JobState::kCancelled:
      return "CANCELLED";
  }
  return "";
}

std::string_view Name(JobAction action) {
  switch (action) {
    case JobAction::kStart:
      return "START";
    case JobAction::kRequeue:
      return "REQUEUE";
    case JobAction::kCancel:
      return "CANCEL";
    case JobAction::kStopped:
      return "STOPPED";
    case JobAction::kSucceed:
      return "SUCCEED";
    case JobAction::kFail:
      return "FAIL";
  }
  return "";
}

absl::StatusOr<JobState> ParseJobState(std::string_view name) {
  for (const JobState state : kJobStates) {
    if (name == Name(state)) return state;
  }
  return absl::InvalidArgumentError(absl::StrFormat("'%s' is no state of a job", name));
}

bool IsTerminal(JobState state) {
  return state == JobState::kSucceeded || state == JobState::kFailed ||
         state == JobState::kCancelled;
}

std::optional<JobState> Next(JobState state, JobAction action) {
  switch (state) {
    case JobState::kQueued:
      if (action == JobAction::kStart) return JobState::kRunning;
      if (action == JobAction::kCancel) return JobState::kCancelled;
      if (action == JobAction::kFail) return JobState::kFailed;
      return std::nullopt;
    case JobState::kRunning:
      if (action == JobAction::kRequeue) return JobState::kQueued;
      if (action == JobAction::kCancel) return JobState::kCancelling;
      if (action == JobAction::kSucceed) return JobState::kSucceeded;
      if (action == JobAction::kFail) return JobState::kFailed;
      return std::nullopt;
    case JobState::kCancelling:
      if (action == JobAction::kStopped) return JobState::kCancelled;
      if (action == JobAction::kSucceed) return JobState::kSucceeded;
      return std::nullopt;
    case JobState::kSucceeded:
    case JobState::kFailed:
    case JobState::kCancelled:
      return std::nullopt;
  }
  return std::nullopt;
}

bool IsJobId(std::string_view text) {
  return text.size() == kIdLength && std::all_of(text.begin(), text.end(), [](char c) {
           return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z');
         });
}

absl::Status Validate(const NewJob& job) {
  DW_RETURN_IF_ERROR(CheckLabels(job.labels));
  if (job.priority < -kMaxPriority || job.priority > kMaxPriority) {
    return absl::InvalidArgumentError(absl::StrFormat("priority is %d; it must be in [%d, %d]",
                                                      job.priority, -kMaxPriority, kMaxPriority));
  }
  return CheckWord("request_id", job.request_id, 0, kMaxRequestIdBytes);
}

}  // namespace deweather
