// Which of the processes that train one model this one is, as torchrun, Slurm or Kubernetes say it: in
// RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR, MASTER_PORT, and torchrun in LOCAL_WORLD_SIZE and
// TORCHELASTIC_USE_AGENT_STORE. Its count of restarts is of no use: each machine has another.

#ifndef DEWEATHER_TRAINING_RANK_PLACE_H_
#define DEWEATHER_TRAINING_RANK_PLACE_H_

#include <functional>
#include <string>

#include "absl/status/statusor.h"

namespace deweather {

// The default is a process that trains alone.
struct RankPlace {
  int rank = 0;
  int count = 1;
  int local_rank = 0;        // among the ranks of its machine: which GPU it takes
  int local_count = 1;       // that share the machine's processors, as far as is known
  std::string address = {};  // of the store by which ranks find each other
  int port = 0;
  bool store_is_there = false;  // the launcher holds the store; otherwise rank 0 does
};

// `variable` is std::getenv, or a test's. Without WORLD_SIZE, or with 1, alone: the address matters only if
// the launcher holds a store there. INVALID_ARGUMENT, naming the variable and its value; RANK without
// WORLD_SIZE too, as each such process would train a model of its own.
absl::StatusOr<RankPlace> ReadRankPlace(const std::function<const char*(const char*)>& variable);

}  // namespace deweather

#endif  // DEWEATHER_TRAINING_RANK_PLACE_H_
