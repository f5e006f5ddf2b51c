// restore_frames SERVER <FRAMES >FRAMES: BMP files in a row, as ffmpeg writes them to a pipe and reads them from one. A
// frame that fails goes on as it came.

#include <deweather/client.h>

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <deque>
#include <iostream>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <string>

namespace {

constexpr std::size_t kHeaderBytes = 6;  // "BM", and the file's size, the low byte first
constexpr std::size_t kMostBytes = std::size_t{64} << 20;

std::optional<std::string> ReadFrame(std::FILE* file) {
  std::string frame(kHeaderBytes, '\0');
  const std::size_t got = std::fread(&frame[0], 1, kHeaderBytes, file);
  if (got == 0 && std::feof(file)) return std::nullopt;
  std::size_t size = 0;
  for (std::size_t i = kHeaderBytes; i-- > 2;)
    size = size << 8 | static_cast<unsigned char>(frame[i]);
  if (got != kHeaderBytes || frame[0] != 'B' || frame[1] != 'M' || size < kHeaderBytes ||
      size > kMostBytes) {
    throw std::runtime_error("stdin holds no BMP file of up to 64 MiB where one should begin");
  }
  frame.resize(size);
  if (std::fread(&frame[kHeaderBytes], 1, size - kHeaderBytes, file) != size - kHeaderBytes) {
    throw std::runtime_error("stdin ends within a frame");
  }
  return frame;
}

// Those under way, in order: a frame that fails is passed on.
class Originals {
 public:
  void Add(const std::string& frame) {
    const std::lock_guard<std::mutex> lock(mutex_);
    frames_.push_back(frame);
  }
  std::string Take() {
    const std::lock_guard<std::mutex> lock(mutex_);
    std::string frame = std::move(frames_.front());
    frames_.pop_front();
    return frame;
  }

 private:
  std::mutex mutex_;
  std::deque<std::string> frames_;
};

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::cerr << "usage: restore_frames HOST:PORT <FRAMES >FRAMES\n";
    return 2;
  }
  try {
    deweather::ClientOptions options;
    options.server = argv[1];
    const deweather::Client client(options);
    Originals originals;
    std::int64_t failed = 0;
    const auto next = [&] {
      std::optional<std::string> frame = ReadFrame(stdin);
      if (frame) originals.Add(*frame);
      return frame;
    };
    const auto take = [&](deweather::FrameResult& result) {
      std::string frame = originals.Take();
      if (result.restored) frame.swap(result.restored->image);
      if (result.error && ++failed == 1)
        std::cerr << "frame " << result.id << ": " << result.error->what() << "\n";
      if (std::fwrite(frame.data(), 1, frame.size(), stdout) != frame.size()) {
        throw std::runtime_error("cannot write to stdout");
      }
    };
    deweather::RestoreOptions restore;
    restore.background = true;  // nobody waits for a single frame
    const std::int64_t frames = client.RestoreFrames(next, take, restore);
    std::cerr << frames << " frames, " << failed << " failed\n";
    return std::fflush(stdout) == 0 && failed == 0 ? 0 : 1;
  } catch (const std::exception& error) {
    std::cerr << error.what() << "\n";
    return 1;
  }
}
