// Bytes on their way to a server or from it: their progress, and how they are cut.

#ifndef DEWEATHER_CLIENT_TRANSFER_H_
#define DEWEATHER_CLIENT_TRANSFER_H_

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "absl/time/time.h"

namespace deweather {

// "name: 12.5 of 100.0 MB".
std::string TransferLine(const std::string& name, int64_t done, int64_t total);

// How far a transfer is, as a line that is written over on stderr, if that is a terminal.
//
// Threads  thread-compatible
class TransferProgress {
 public:
  TransferProgress();
  ~TransferProgress();
  TransferProgress(const TransferProgress&) = delete;
  TransferProgress& operator=(const TransferProgress&) = delete;

  // At most ten times a second.
  void Tell(const std::string& name, int64_t done, int64_t total);

 private:
  const bool terminal_;
  absl::Time next_ = absl::InfinitePast();
};

// Calls `send` with pieces that pass where a server takes messages of no more than 1 MiB, as long as it
// returns true; false if it did not.
bool SendInChunks(std::string_view bytes, const std::function<bool(std::string_view)>& send);

}  // namespace deweather

#endif  // DEWEATHER_CLIENT_TRANSFER_H_
