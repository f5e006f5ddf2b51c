#include "client/bench_flags.h"

#include "client/bench_command.h"

namespace deweather {
namespace {

void AddPictures(CLI::App& app, BenchFlags& flags) {
  app.add_option("IN", flags.inputs, "Files, each as often as the others [--mix]");
  app.add_option("--mix", flags.mix, "Sizes of pictures to make, and files [256x256]")
      ->type_name("WxH|FILE[=WEIGHT],...");
  app.add_option("--format", flags.format, "Of the pictures that are made")
      ->check(CLI::IsMember({"png", "jpeg", "bmp"}))
      ->capture_default_str();
  AddText(app, "--model", flags.model, "Name of a live model [the server's default]");
  AddText(app, "--task", flags.task, "Of a model with a gate for each task: one of them");
  app.add_option("--priority", flags.priority, "background: after what others wait for")
      ->check(CLI::IsMember({"normal", "background"}))
      ->capture_default_str();
}

void AddLoad(CLI::App& app, BenchFlags& flags) {
  app.add_option("--concurrency", flags.concurrency, "Callers, each waits for its reply")
      ->capture_default_str();
  app.add_option("--rate", flags.rate, "Requests per second, without waiting for replies")
      ->type_name("R");
  app.add_option("--max-outstanding", flags.max_outstanding, "With --rate: that may wait")
      ->capture_default_str();
  app.add_option("--connections", flags.connections, "0: as many as --concurrency")
      ->capture_default_str();
  AddTime(app, "--duration", &flags.duration, "Of what is measured [10s]");
  AddTime(app, "--warmup", &flags.warmup, "Before that, not measured [1s]");
  app.add_option("--seed", flags.seed, "Of arrivals and of the mix")->capture_default_str();
  app.add_flag("--verify", flags.verify, "Fail if a picture is restored in two ways");
}

}  // namespace

void AddBench(CLI::App& parent, Command* chosen) {
  auto [app, flags] =
      AddCommand(parent, "bench", "Puts a load on the server, measures it", RunBench, chosen);
  app.footer(
      "Good replies/s are those that ended within --duration; latency is that of all calls that "
      "were\n"
      "due within it, from when they were due.");
  AddPictures(app, flags);
  AddLoad(app, flags);
  AddJson(app, flags.json);
  AddServerFlags(app, flags.server, "for one picture");
}

}  // namespace deweather
