// What `deweather bench` sends, and when.
//
// Threads  pure functions; one thread at a time for an Arrivals
// Errors   INVALID_ARGUMENT names the value and the limit

#ifndef DEWEATHER_CLIENT_BENCH_PLAN_H_
#define DEWEATHER_CLIENT_BENCH_PLAN_H_

#include <cstdint>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "client/channel.h"

namespace deweather {

struct BenchFlags {
  ServerFlags server;               // its timeout is each request's deadline
  std::vector<std::string> inputs;  // files, each as often as the others; empty: `mix`
  std::string mix;                  // see ParseMix; empty: one size, 256x256
  std::string format = "png";       // of pictures made here: png, jpeg or bmp
  std::string model;                // empty: the server's default
  std::string task;                 // of a model with a gate for each; empty: none
  std::string priority = "normal";  // or "background"
  int concurrency = 8;              // callers of the closed loop
  double rate = 0;                  // requests per second of the open loop; 0: closed loop
  int max_outstanding = 10'000;     // of the open loop
  int connections = 1;              // 0: one for each of `concurrency`
  absl::Duration duration = absl::Seconds(10);
  absl::Duration warmup = absl::Seconds(1);
  int64_t seed = 1;
  bool verify = false;
  bool json = false;
};

absl::Status Validate(const BenchFlags& flags);

// One kind of picture, and how often it comes among the others.
struct MixPart {
  std::string name;  // a file's path, or "640x480"
  double weight = 1;
  int width_px = 0;  // 0: a file
  int height_px = 0;

  bool made() const { return width_px > 0; }
};

// "256x256=8,1920x1080=1,rain.jpg": sizes of pictures to be made and files, with weights above 0
// (1 if there is none).
absl::StatusOr<std::vector<MixPart>> ParseMix(std::string_view text);

// The files among `flags.inputs`, else the parts of `flags.mix`, else 256x256.
absl::StatusOr<std::vector<MixPart>> MixOf(const BenchFlags& flags);

// Arrivals of independent callers (a Poisson process): the gaps are exponential, with a mean of
// 1 / rate. The same seed gives the same arrivals.
class Arrivals {
 public:
  // REQUIRES: rate_per_s > 0.
  Arrivals(double rate_per_s, int64_t seed, absl::Time start);

  absl::Time Next();

 private:
  std::mt19937_64 random_;
  std::exponential_distribution<double> gap_s_;
  absl::Time last_;
};

}  // namespace deweather

#endif  // DEWEATHER_CLIENT_BENCH_PLAN_H_
