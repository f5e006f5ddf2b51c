// The real server with faults planted around its model. The first pixel of a tile asks for one:
//
//   (255, 0, 1)  the run throws                     (255, 0, 4)  the run takes 50 ms longer
//   (255, 0, 2)  the tile comes out with a NaN      (255, 0, 5)  the device fails for good
//   (255, 0, 3)  the run is out of memory            (255, 0, 6)  the run never ends
//
// Environment: FAULTY_MAX_BATCH=N, runs of more than N tiles are out of memory;
// FAULTY_LEAK_BYTES=N, every run leaks so many bytes.
//
// A tile that is to run though its call has expired or was cancelled is told on stderr, one line each.

#include <array>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <new>
#include <stdexcept>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "model/base/device_failure.h"
#include "model/image/tiling.h"
#include "server/program.h"

namespace deweather {
namespace {

enum class Fault { kNone, kThrow, kNan, kOutOfMemory, kSlow, kDevice, kHang };

int Setting(const char* name) {
  const char* const text = std::getenv(name);
  return text == nullptr ? 0 : std::atoi(text);
}

Fault FaultOf(const Tile& tile) {
  const TileRect corner = {tile.rect.x, tile.rect.y, 1, 1};
  std::array<float, 3> pixel = {};
  tile.source->Gather(corner, pixel.data());
  const long red = std::lround(pixel[0] * 255);
  const long green = std::lround(pixel[1] * 255);
  const long blue = std::lround(pixel[2] * 255);
  return red == 255 && green == 0 && blue <= 6 ? static_cast<Fault>(blue) : Fault::kNone;
}

// Written to, so that it is resident.
void Leak(int bytes) {
  if (bytes <= 0) return;
  char* volatile const lost = new char[static_cast<size_t>(bytes)];
  std::memset(lost, 1, static_cast<size_t>(bytes));
}

void TellIfUnwanted(const Tile& tile, absl::Time now) {
  if (tile.call->cancelled) std::fputs("cancelled tile in a batch\n", stderr);
  if (now <= tile.call->deadline) return;
  std::fprintf(stderr, "expired tile in a batch: late by %.3f ms\n",
               absl::ToDoubleMilliseconds(now - tile.call->deadline));
}

void Plant(Fault fault) {
  if (fault == Fault::kThrow) throw std::runtime_error("planted exception");
  if (fault == Fault::kOutOfMemory) throw std::bad_alloc();
  if (fault == Fault::kSlow) std::this_thread::sleep_for(std::chrono::milliseconds(50));
  while (fault == Fault::kHang) std::this_thread::sleep_for(std::chrono::hours(1));
}

std::vector<absl::StatusOr<RestoredTile>> RunWithFaults(const RunBatch& run,
                                                        absl::Span<const Tile> tiles) {
  static const int max_batch = Setting("FAULTY_MAX_BATCH");
  static const int leak_bytes = Setting("FAULTY_LEAK_BYTES");
  const absl::Time now = absl::Now();
  for (const Tile& tile : tiles) TellIfUnwanted(tile, now);
  Leak(leak_bytes);
  if (max_batch > 0 && static_cast<int>(tiles.size()) > max_batch) throw std::bad_alloc();
  for (const Tile& tile : tiles) {
    const Fault fault = FaultOf(tile);
    Plant(fault);
    if (fault != Fault::kDevice) continue;
    return std::vector<absl::StatusOr<RestoredTile>>(
        tiles.size(), MarkDeviceFailure(absl::InternalError("planted device failure")));
  }
  std::vector<absl::StatusOr<RestoredTile>> results = run(tiles);
  for (size_t i = 0; i < tiles.size(); ++i) {
    if (FaultOf(tiles[i]) != Fault::kNan || !results[i].ok()) continue;
    results[i]->pixels.front() = std::numeric_limits<float>::quiet_NaN();
  }
  return results;
}

}  // namespace
}  // namespace deweather

int main(int argc, char** argv) {
  const auto plant = [](deweather::RunBatch run) -> deweather::RunBatch {
    return [run = std::move(run)](absl::Span<const deweather::Tile> tiles) {
      return deweather::RunWithFaults(run, tiles);
    };
  };
  return deweather::RunServerProgram(argc, argv, plant);
}
