// restore SERVER INPUT OUTPUT: one picture from file to file, in chunks, with progress, and what was done to it.

#include <deweather/client.h>

#include <chrono>
#include <cstdint>
#include <iostream>
#include <numeric>

namespace {

double Milliseconds(std::chrono::nanoseconds time) {
  return std::chrono::duration<double, std::milli>(time).count();
}

void Print(const deweather::Restored& restored) {
  const deweather::Timings& timings = restored.timings;
  std::cout << restored.width_px << "x" << restored.height_px << ", " << timings.tiles
            << " tiles, model " << restored.model.name << " " << restored.model.version << "\n"
            << "decode " << Milliseconds(timings.decode) << " ms, model "
            << Milliseconds(timings.infer) << " ms, encode " << Milliseconds(timings.encode)
            << " ms, in all " << Milliseconds(timings.total) << " ms\n";
  if (!restored.routing) return;
  for (const deweather::Routing::Layer& layer : restored.routing->layers) {
    const double all = std::accumulate(layer.tokens.begin(), layer.tokens.end(), 0.0);
    std::cout << "experts, percent of the tokens:";
    for (const std::int64_t tokens : layer.tokens)
      std::cout << " " << static_cast<int>(100 * tokens / all);
    std::cout << "\n";
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) {
    std::cerr << "usage: restore HOST:PORT INPUT OUTPUT\n";
    return 2;
  }
  try {
    deweather::ClientOptions options;
    options.server = argv[1];
    options.deadline = std::chrono::minutes(5);
    options.on_notice = [](const std::string& line) { std::cerr << line << "\n"; };
    const deweather::Client client(options);
    const auto progress = [](int done, int tiles) {
      std::cerr << done << " of " << tiles << " tiles\n";
    };
    Print(client.RestoreLarge(argv[2], argv[3], {}, progress));
    return 0;
  } catch (const deweather::Error& error) {
    std::cerr << error.what() << "\n";
    if (!error.request_id().empty()) std::cerr << "request " << error.request_id() << "\n";
    return 1;
  }
}
