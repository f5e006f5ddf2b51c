// The models of a server: which versions there are, and which one is live.

#ifndef DEWEATHER_MODELS_H_
#define DEWEATHER_MODELS_H_

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace deweather {

using Time = std::chrono::system_clock::time_point;

struct Model {
  struct Version {
    std::string version;
    Time create_time;
    std::int64_t bytes = 0;
    std::string source;  // where it came from, for people
  };
  std::string name;
  std::string
      live_version;  // empty: not live, and only name, previous_version and versions are set
  std::string previous_version;  // that a rollback makes live; empty: none
  std::string canary_version;    // on trial; empty: none
  double canary_percent = 0;     // its share of the requests
  bool is_default = false;
  std::optional<Time> live_time;  // since when
  int tile_px = 0;
  int overlap_px = 0;
  int layers = 0;                         // with a router
  int experts = 0;                        // of a layer
  int kept = 0;                           // that work on each unit
  std::vector<std::string> tasks;         // that have a gate of their own
  std::vector<std::string> canary_tasks;  // of canary_version
  std::vector<Version> versions;          // stored, the newest first
};

// What is to go live: a version of a model, or what a job made.
struct Promotion {
  std::string name = {};     // of the model; with `job` it may be left out
  std::string version = {};  // 12 hexadecimal digits; or:
  std::string job = {};      // id of a job that succeeded
  double canary_percent =
      0;  // above 0: this share of the requests, on trial, beside the live version
  // Data set of pairs on which both are measured first, and a regression refused. Unset: as the server is configured;
  // "": nothing is measured.
  std::optional<std::string> evaluate = {};
  std::optional<double> max_regression_db = {};  // with a data set
};

}  // namespace deweather

#endif  // DEWEATHER_MODELS_H_
