#include "server/log/line_writer.h"

#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <thread>
#include <utility>

#include "model/base/mutex.h"
#include "model/base/stopwatch.h"

namespace deweather {
namespace {

constexpr absl::Duration kLastLines = absl::Seconds(1);

// A file that somebody made non-blocking is waited for.
void WriteAll(int file, std::string_view text) {
  while (!text.empty()) {
    const ssize_t written = TEMP_FAILURE_RETRY(write(file, text.data(), text.size()));
    if (written >= 0) {
      text.remove_prefix(static_cast<size_t>(written));
    } else if (errno == EAGAIN) {
      pollfd ready = {.fd = file, .events = POLLOUT, .revents = 0};
      poll(&ready, 1, /*timeout=*/-1);
    } else {
      return;
    }
  }
}

// Where nobody reads a pipe any more, writing fails; no more than that.
void BlockPipeSignal() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGPIPE);
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
}

}  // namespace

struct LineWriter::Shared {
  Shared(int to, LineWriterOptions chosen) : file(to), options(std::move(chosen)) {}

  void TellGap() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) {
    if (lost > 0 && options.gap && !stopping) waiting += options.gap(lost);
    lost = 0;
  }
  bool done() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) { return waiting.empty() && !writing; }

  const int file;
  const LineWriterOptions options;

  Mutex mutex;
  CondVar woken;    // there is something to write, or no more will come
  CondVar written;  // all is
  std::string waiting ABSL_GUARDED_BY(mutex);
  int64_t lost ABSL_GUARDED_BY(mutex) = 0;  // since the last line that waits
  bool writing ABSL_GUARDED_BY(mutex) = false;
  bool stopping ABSL_GUARDED_BY(mutex) = false;
};

LineWriter::LineWriter(int file, LineWriterOptions options)
    : shared_(std::make_shared<Shared>(file, std::move(options))) {
  std::thread([shared = shared_] { Loop(shared); }).detach();
}

LineWriter::~LineWriter() {
  {
    MutexLock lock(shared_->mutex);
    shared_->TellGap();
    shared_->stopping = true;  // `gap` is called no more
  }
  shared_->woken.NotifyOne();
  Flush(kLastLines);
}

void LineWriter::Write(std::string_view line) {
  {
    MutexLock lock(shared_->mutex);
    if (shared_->waiting.size() + line.size() > shared_->options.max_bytes) {
      ++shared_->lost;
      return;
    }
    shared_->TellGap();
    shared_->waiting += line;
  }
  shared_->woken.NotifyOne();
}

bool LineWriter::Flush(absl::Duration timeout) {
  const Stopwatch watch;
  MutexLock lock(shared_->mutex);
  while (!shared_->done() && watch.elapsed() < timeout) {
    shared_->written.WaitFor(shared_->mutex, watch.LeftOf(timeout));
  }
  return shared_->done();
}

void LineWriter::Loop(const std::shared_ptr<Shared>& shared) {
  BlockPipeSignal();
  for (;;) {
    std::string text;
    {
      MutexLock lock(shared->mutex);
      while (shared->waiting.empty() && !shared->stopping) shared->woken.Wait(shared->mutex);
      if (shared->waiting.empty()) return;
      text.swap(shared->waiting);
      shared->writing = true;
    }
    WriteAll(shared->file, text);
    {
      MutexLock lock(shared->mutex);
      shared->writing = false;
      shared->TellGap();
    }
    shared->written.NotifyAll();
  }
}

}  // namespace deweather
