// What a call moved, and what its pictures cost: for the log.
//
// Threads  thread-compatible

#ifndef DEWEATHER_SERVER_RPC_CALL_FIGURES_H_
#define DEWEATHER_SERVER_RPC_CALL_FIGURES_H_

#include <cstdint>
#include <string>

#include "server/restore/restore.h"

namespace deweather {

struct CallFigures {
  int64_t bytes_in = 0;       // of messages, pictures and files that came
  int64_t bytes_out = 0;      // that were sent, or are about to be
  int64_t frames = 0;         // that a stream of them brought
  int64_t pictures = 0;       // that were restored
  int64_t failed_frames = 0;  // of the frames that ran
  // Sums over the pictures, but for `total`. Those of one that is cut into several tiles, or of frames, overlap.
  StageTimings stages = {};
  std::string model = {};    // of the last picture
  std::string version = {};  // the same

  void Add(const RestoreResult& result) {
    const StageTimings& timings = result.timings;
    ++pictures;
    stages.decode += timings.decode;
    stages.queue += timings.queue;
    stages.infer += timings.infer;
    stages.blend += timings.blend;
    stages.encode += timings.encode;
    stages.tiles += timings.tiles;
    stages.batches += timings.batches;
    model = result.model;
    version = result.version;
  }
};

}  // namespace deweather

#endif  // DEWEATHER_SERVER_RPC_CALL_FIGURES_H_
