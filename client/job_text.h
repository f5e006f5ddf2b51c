// What is told about jobs: lines for people, JSON for programs.
//
// Threads  thread-safe: pure functions

#ifndef DEWEATHER_CLIENT_JOB_TEXT_H_
#define DEWEATHER_CLIENT_JOB_TEXT_H_

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "deweather/v1/training.pb.h"

namespace deweather {

// "RUNNING".
std::string StateText(v1::Job::State state);

// One line a job, below a line of headings.
std::string JobsTable(const std::vector<v1::Job>& jobs);

// All that is known of one job, with its configuration. One without an id was only checked.
std::string JobText(const v1::Job& job);

// What is unset is null. Of one that was only checked: {"valid": true} and what it is to be.
nlohmann::json JobJson(const v1::Job& job);

// "  12  2023-11-14T22:13:20+00:00  RUNNING, attempt 1".
std::string EventLine(const v1::JobEvent& event);

// {"number", "time"} and what happened: "state", "reason" and "attempt"; "progress"; "evaluation";
// "checkpoint"; or "warning".
nlohmann::json EventJson(const v1::JobEvent& event);

// One line a file, below a line of headings.
std::string ArtifactsTable(const std::vector<v1::Artifact>& artifacts);

nlohmann::json ArtifactJson(const v1::Artifact& artifact);

}  // namespace deweather

#endif  // DEWEATHER_CLIENT_JOB_TEXT_H_
