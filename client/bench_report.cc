#include "client/bench_report.h"

#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace deweather {
namespace {

using nlohmann::json;

double Milliseconds(absl::Duration duration) { return absl::ToDoubleMilliseconds(duration); }

double Ratio(int64_t part, double whole) {
  return whole > 0 ? static_cast<double>(part) / whole : 0;
}

// Each is null if there are no durations.
json SpreadJson(const DurationHistogram& durations) {
  if (durations.count() == 0) return {{"mean", nullptr}, {"p50", nullptr}, {"p99", nullptr}};
  return {{"mean", Milliseconds(durations.Mean())},
          {"p50", Milliseconds(durations.Quantile(0.5))},
          {"p99", Milliseconds(durations.Quantile(0.99))}};
}

json LatencyJson(const DurationHistogram& durations) {
  const bool any = durations.count() > 0;
  json latency = SpreadJson(durations);
  latency["p90"] = any ? json(Milliseconds(durations.Quantile(0.9))) : json();
  latency["p999"] = any ? json(Milliseconds(durations.Quantile(0.999))) : json();
  latency["max"] = any ? json(Milliseconds(durations.max())) : json();
  return latency;
}

json StagesJson(const BenchTally& tally) {
  json stages;
  for (size_t i = 0; i < kBenchStages.size(); ++i) {
    stages[kBenchStages[i]] = SpreadJson(tally.stages()[i]);
  }
  stages["transport"] = SpreadJson(tally.transport);
  return stages;
}

json ErrorsJson(const BenchTally& tally) {
  json errors = json::object();
  for (const auto& [code, error] : tally.errors()) {
    errors[absl::StatusCodeToString(code)] = {
        {"count", error.latency.count()},
        {"latency_ms", SpreadJson(error.latency)},
        {"reasons", error.reasons},
    };
  }
  return errors;
}

json MixJson(const BenchFlags& flags, const std::vector<MixPart>& mix, const BenchTally& tally) {
  json parts = json::array();
  for (size_t i = 0; i < mix.size(); ++i) {
    const PartTally& part = tally.parts()[i];
    parts.push_back({{"name", mix[i].name},
                     {"weight", mix[i].weight},
                     {"sent", part.sent},
                     {"ok", part.ok},
                     {"latency_ms", LatencyJson(part.latency)}});
    if (mix[i].made()) parts.back()["format"] = flags.format;
  }
  return parts;
}

json SetupJson(const BenchFlags& flags) {
  json setup = {{"server", flags.server.server},
                {"loop", flags.rate > 0 ? "open" : "closed"},
                {"connections", flags.connections > 0 ? flags.connections : flags.concurrency},
                {"timeout_ms", Milliseconds(flags.server.timeout)},
                {"warmup_ms", Milliseconds(flags.warmup)},
                {"priority", flags.priority},
                {"seed", flags.seed},
                {"verify", flags.verify}};
  if (flags.rate > 0) {
    setup["rate"] = flags.rate;
    setup["max_outstanding"] = flags.max_outstanding;
  } else {
    setup["concurrency"] = flags.concurrency;
  }
  return setup;
}

std::string Cell(const json& ms) {
  return ms.is_null() ? "-" : absl::StrFormat("%.2f", ms.get<double>());
}

std::string LatencyLine(const std::string& name, const json& latency) {
  return absl::StrFormat("%-12s %9s %9s %9s %9s %9s %9s\n", name, Cell(latency["p50"]),
                         Cell(latency["p90"]), Cell(latency["p99"]), Cell(latency["p999"]),
                         Cell(latency["max"]), Cell(latency["mean"]));
}

std::string SpreadLine(const std::string& name, const json& spread) {
  return absl::StrFormat("%-12s %9s %9s %9s\n", name, Cell(spread["mean"]), Cell(spread["p50"]),
                         Cell(spread["p99"]));
}

std::string CountsLines(const json& report) {
  std::string lines = absl::StrFormat(
      "%.1f s, %d sent, %d ok, %d errors", report["seconds"].get<double>(),
      report["sent"].get<int64_t>(), report["ok"].get<int64_t>(), report["errors"].get<int64_t>());
  for (const char* const name : {"wrong", "wrong_in_warmup", "not_sent", "abandoned"}) {
    const auto count = report[name].get<int64_t>();
    if (count > 0) absl::StrAppendFormat(&lines, ", %d %s", count, name);
  }
  if (report["interrupted"].get<bool>()) lines += ", interrupted";
  absl::StrAppendFormat(
      &lines, "\n%.2f good replies/s, %.3f megapixels/s, %.1f tiles in %.1f batches a reply\n",
      report["ok_per_second"].get<double>(), report["megapixels_per_second"].get<double>(),
      report["tiles_per_reply"].get<double>(), report["batches_per_reply"].get<double>());
  return lines;
}

std::string StageLines(const json& stages) {
  std::string lines = absl::StrFormat("\n%-12s %9s %9s %9s\n", "stage, ms", "mean", "p50", "p99");
  for (const char* const stage : kBenchStages) lines += SpreadLine(stage, stages[stage]);
  return lines + SpreadLine("transport", stages["transport"]);
}

std::string ErrorLines(const json& errors) {
  if (errors.empty()) return "";
  std::string lines =
      absl::StrFormat("\n%-20s %9s %9s %9s\n", "error", "count", "p50 ms", "p99 ms");
  for (const auto& [code, error] : errors.items()) {
    const json& latency = error["latency_ms"];
    absl::StrAppendFormat(&lines, "%-20s %9d %9s %9s", code, error["count"].get<int64_t>(),
                          Cell(latency["p50"]), Cell(latency["p99"]));
    for (const auto& [reason, count] : error["reasons"].items()) {
      absl::StrAppendFormat(&lines, "  %s %d", reason, count.get<int64_t>());
    }
    lines += "\n";
  }
  return lines;
}

}  // namespace

json BenchJson(const BenchFlags& flags, const std::vector<MixPart>& mix,
               const BenchResult& result) {
  const BenchTally& tally = result.tally;
  const double seconds = absl::ToDoubleSeconds(result.window);
  const auto replies = static_cast<double>(tally.ok);
  return {{"setup", SetupJson(flags)},
          {"seconds", seconds},
          {"interrupted", result.interrupted},
          {"sent", tally.sent},
          {"ok", tally.ok},
          {"ok_in_window", tally.ok_in_window},
          {"wrong", tally.wrong},
          {"wrong_in_warmup", tally.wrong_in_warmup},
          {"errors", tally.error_count},
          {"abandoned", tally.abandoned},
          {"not_sent", tally.not_sent},
          {"ok_per_second", Ratio(tally.ok_in_window, seconds)},
          {"megapixels_per_second", Ratio(tally.pixels_in_window, seconds) / 1e6},
          {"tiles_per_reply", Ratio(tally.tiles, replies)},
          {"batches_per_reply", Ratio(tally.batches, replies)},
          {"latency_ms", LatencyJson(tally.latency)},
          {"stages_ms", StagesJson(tally)},
          {"send_delay_ms", SpreadJson(tally.send_delay)},
          {"errors_by_code", ErrorsJson(tally)},
          {"mix", MixJson(flags, mix, tally)},
          {"models", tally.models()}};
}

std::string BenchTable(const json& report) {
  std::string table = CountsLines(report);
  absl::StrAppendFormat(&table, "\n%-12s %9s %9s %9s %9s %9s %9s\n", "latency, ms", "p50", "p90",
                        "p99", "p99.9", "max", "mean");
  table += LatencyLine("all", report["latency_ms"]);
  for (const json& part : report["mix"]) {
    if (report["mix"].size() > 1) {
      table += LatencyLine(part["name"].get<std::string>(), part["latency_ms"]);
    }
  }
  return absl::StrCat(table, StageLines(report["stages_ms"]), ErrorLines(report["errors_by_code"]));
}

int BenchExitStatus(const BenchTally& tally) {
  return tally.ok > 0 && tally.wrong == 0 && tally.wrong_in_warmup == 0 ? 0 : 1;
}

}  // namespace deweather
