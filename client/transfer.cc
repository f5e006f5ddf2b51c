#include "client/transfer.h"

#include <unistd.h>

#include <cstdio>

#include "absl/strings/str_format.h"
#include "absl/time/clock.h"

namespace deweather {
namespace {

constexpr size_t kChunkBytes = size_t{256} << 10;
constexpr absl::Duration kPause = absl::Milliseconds(100);

}  // namespace

std::string TransferLine(const std::string& name, int64_t done, int64_t total) {
  return absl::StrFormat("%s: %.1f of %.1f MB", name, static_cast<double>(done) * 1e-6,
                         static_cast<double>(total) * 1e-6);
}

TransferProgress::TransferProgress() : terminal_(isatty(STDERR_FILENO) == 1) {}

TransferProgress::~TransferProgress() {
  if (next_ != absl::InfinitePast()) std::fputs("\r\033[K", stderr);
}

void TransferProgress::Tell(const std::string& name, int64_t done, int64_t total) {
  const absl::Time now = absl::Now();
  if (!terminal_ || now < next_) return;
  next_ = now + kPause;
  absl::FPrintF(stderr, "\r\033[K%s", TransferLine(name, done, total));
}

bool SendInChunks(std::string_view bytes, const std::function<bool(std::string_view)>& send) {
  bool taken = true;
  for (size_t at = 0; taken && at < bytes.size(); at += kChunkBytes) {
    taken = send(bytes.substr(at, kChunkBytes));
  }
  return taken;
}

}  // namespace deweather
