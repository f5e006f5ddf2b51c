// deweather-train: trains, evaluates and looks into models.

#include <CLI/CLI.hpp>
#include <algorithm>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_format.h"
#include "model/base/load_options.h"
#include "model/base/processors.h"
#include "proto/config/config.h"
#include "training/bench.h"
#include "training/evaluate.h"
#include "training/evaluation.h"
#include "training/rank_place.h"
#include "training/report/curve.h"
#include "training/report/json_text.h"
#include "training/report/line_plot.h"
#include "training/report/sheet.h"
#include "training/residual_survey.h"
#include "training/run_monitor.h"
#include "training/tools.h"
#include "training/train.h"
#include "training/uncertainty_survey.h"

// Read by jemalloc at its start. Freed activations stay mapped: every step wants them again, and mapping
// them anew costs more than computing on them.
extern "C" const char* malloc_conf;
const char* malloc_conf = "oversize_threshold:0,dirty_decay_ms:-1,muzzy_decay_ms:-1";

namespace deweather {
namespace {

using json = nlohmann::ordered_json;

constexpr int kFailure = 1;
constexpr int kWrongUsage = 2;  // trying again makes no sense
constexpr int kStopped = 3;
constexpr char kExitStatuses[] =
    "Exit status: 0 done; 1 a failure; 2 wrong usage or configuration: trying again fails again;\n"
    "3 `run` was stopped by SIGTERM or SIGINT, after a checkpoint if a step was done.";

volatile std::sig_atomic_t stop_requested = 0;

int Fail(const absl::Status& status, int exit_code = kFailure) {
  absl::FPrintF(stderr, "%s: %s\n", absl::StatusCodeToString(status.code()), status.message());
  return exit_code;
}

bool unsaid = false;  // of what Say had to say, some could not be written

template <typename... Args>
void Say(const absl::FormatSpec<Args...>& format, const Args&... args) {
  const int written = absl::PrintF(format, args...);
  if (std::fflush(stdout) != 0 || written < 0) unsaid = true;
}

// --- flags of several commands ---

struct LoadFlags {
  std::string device = "auto";
  std::string precision = "auto";

  void AddTo(CLI::App* command) {
    command->add_option("--device", device, "auto, cpu, cuda or cuda:N")->capture_default_str();
    command->add_option("--precision", precision, "auto: bf16 where the device computes in it")
        ->check(CLI::IsMember({"auto", "f32", "bf16"}))
        ->capture_default_str();
  }
  LoadOptions Options() const { return {device, *ParsePrecision(precision)}; }
};

// --- run, curve ---

// Of a run that failed before its first step by what its configuration says.
bool IsWrongConfiguration(const absl::Status& status) {
  return absl::IsInvalidArgument(status) || absl::IsNotFound(status) ||
         absl::IsAlreadyExists(status);
}

int ExitStatusOf(const absl::Status& status, bool begun) {
  if (status.ok()) return 0;
  if (absl::IsCancelled(status)) return kStopped;
  return !begun && IsWrongConfiguration(status) ? kWrongUsage : kFailure;
}

absl::StatusOr<RankPlace> PlaceOfProcess() {
  return ReadRankPlace([](const char* name) { return std::getenv(name); });
}

int RunFirstRank(const TrainOptions& options, const std::string& progress, const RankPlace& place) {
  RunMonitor monitor(options, ParseProgressStyle(progress, stdout), stdout, stderr, place.count);
  const TrainSink sink = monitor.Sink([] { return stop_requested != 0; });
  const absl::StatusOr<std::string> model = Train(options, sink, place);
  const int exit_status = ExitStatusOf(model.status(), monitor.begun());
  monitor.Finish(model, exit_status);
  if (model.ok()) return 0;
  if (!absl::IsCancelled(model.status())) return Fail(model.status(), exit_status);
  const std::string goes_on =
      absl::StrFormat("%s; the same config with 'resume: true' goes on", model.status().message());
  return Fail(absl::CancelledError(goes_on), exit_status);
}

// Rank 0 tells of the run: the others say only what is wrong with them, and write nothing.
int RunOtherRank(const TrainOptions& options, const RankPlace& place) {
  bool begun = false;
  TrainSink sink;
  sink.warned = [&](const std::string& line) {
    absl::FPrintF(stderr, "rank %d: warning: %s\n", place.rank, line);
  };
  sink.stop = [&](int64_t) {
    begun = true;
    return stop_requested != 0;
  };
  const absl::Status status = Train(options, sink, place).status();
  if (status.ok()) return 0;
  return Fail({status.code(), absl::StrFormat("rank %d: %s", place.rank, status.message())},
              ExitStatusOf(status, begun));
}

int RunTraining(const std::string& config, const std::string& progress) {
  const absl::StatusOr<RankPlace> place = PlaceOfProcess();
  if (!place.ok()) return Fail(place.status(), kWrongUsage);
  absl::StatusOr<TrainOptions> options = LoadTrainConfig(config);
  if (!options.ok()) return Fail(options.status(), kWrongUsage);
  std::signal(SIGTERM, [](int) { stop_requested = 1; });
  std::signal(SIGINT, [](int) { stop_requested = 1; });
  std::signal(SIGPIPE, SIG_IGN);  // whoever watched is gone: no reason to lose hours of training
  return place->rank == 0 ? RunFirstRank(*options, progress, *place)
                          : RunOtherRank(*options, *place);
}

int RunCurve(const std::vector<std::string>& logs, const std::string& output) {
  std::vector<CurveRun> runs;
  for (const std::string& log : logs) {
    const absl::StatusOr<CurveRun> run = ReadRun(log);
    if (!run.ok()) return Fail(run.status());
    if (run->records.empty()) {
      return Fail(absl::InvalidArgumentError(absl::StrFormat("no record in '%s'", log)));
    }
    runs.push_back(*run);
  }
  const absl::Status status = WriteCurve(runs, output);
  return status.ok() ? 0 : Fail(status);
}

// --- evaluate ---

constexpr int kSheetWorst = 3;  // of a set: a sheet is to be looked at

void ReportPicture(int done, int total) {
  if (done % 10 == 0 || done == total) absl::FPrintF(stderr, "%d/%d pictures\n", done, total);
}

struct EvaluateFlags {
  std::vector<std::string> models, pairs;
  LoadFlags load;
  EvaluationOptions options;
  ReportOptions report;
  std::string sheet;
  bool json = false;
};

absl::StatusOr<std::vector<PairSet>> ParsePairSets(const std::vector<std::string>& texts) {
  std::vector<PairSet> sets;
  for (const std::string& text : texts) {
    const absl::StatusOr<PairSet> set = ParsePairSet(text);
    if (!set.ok()) return set.status();
    sets.push_back(*set);
  }
  return sets;
}

int RunEvaluate(EvaluateFlags flags) {
  const absl::StatusOr<std::vector<PairSet>> sets = ParsePairSets(flags.pairs);
  if (!sets.ok()) return Fail(sets.status(), kWrongUsage);
  flags.options.load = flags.load.Options();
  flags.options.threads = UsableProcessors();
  flags.options.progress = ReportPicture;
  if (!flags.sheet.empty()) {
    const absl::Status path = CheckPicturePath(flags.sheet);
    if (!path.ok()) return Fail(path, kWrongUsage);
    flags.options.sheet_worst = std::clamp(flags.report.worst, 1, kSheetWorst);
  }
  const absl::StatusOr<Comparison> found = Compare(flags.models, *sets, flags.options);
  if (!found.ok()) return Fail(found.status());
  if (flags.json) {
    Say("%s\n", EvaluationJson(found->evaluations, flags.report));
  } else {
    Say("%s", EvaluationTable(found->evaluations, flags.report));
  }
  if (flags.sheet.empty()) return 0;
  const absl::Status written = WriteSheet(flags.sheet, found->sheet);
  return written.ok() ? 0 : Fail(written);
}

// --- uncertainty ---

struct UncertaintyFlags {
  std::string model, curve;
  std::vector<std::string> pairs;
  LoadFlags load;
  UncertaintySurveyOptions options;
  bool json = false;
};

absl::Status CheckPngPath(const std::string& path) {
  const absl::Status writable = CheckPicturePath(path);
  if (!writable.ok() || *FormatOf(path) == ImageFormat::kPng) return writable;
  return absl::InvalidArgumentError(absl::StrFormat("'%s' would be a PNG: name it so", path));
}

int RunUncertainty(UncertaintyFlags flags) {
  const absl::StatusOr<std::vector<PairSet>> sets = ParsePairSets(flags.pairs);
  if (!sets.ok()) return Fail(sets.status(), kWrongUsage);
  const absl::Status path = flags.curve.empty() ? absl::OkStatus() : CheckPngPath(flags.curve);
  if (!path.ok()) return Fail(path, kWrongUsage);
  flags.options.load = flags.load.Options();
  flags.options.progress = ReportPicture;
  if (flags.options.threads == 0) flags.options.threads = UsableProcessors();
  const absl::StatusOr<std::vector<UncertaintySurvey>> surveys =
      SurveyUncertainty(flags.model, *sets, flags.options);
  if (!surveys.ok()) return Fail(surveys.status());
  if (flags.json) {
    Say("%s\n", UncertaintyJson(*surveys));
  } else {
    Say("%s", UncertaintyTable(*surveys));
  }
  if (flags.curve.empty()) return 0;
  const absl::Status drawn = WritePlots(SparsificationPlots(*surveys), flags.curve);
  return drawn.ok() ? 0 : Fail(drawn);
}

// --- import, inspect, synthesize ---

int RunImport(const std::string& source, const std::string& destination, const std::string& name) {
  const absl::StatusOr<ImportedModel> model = ImportFile(source, destination, name);
  if (!model.ok()) return Fail(model.status());
  for (const std::string& tensor : model->unused) Say("unused: %s\n", tensor);
  if (model->added) {
    Say("wrote %s\n", model->path);
  } else {
    Say("%s is there already\n", model->path);
  }
  Say("model %s version %s\n", model->name, model->version);
  return 0;
}

json Describe(const ModelConfig& config, const NetworkCost& cost, int size_px) {
  return {{"kind", Name(config.kind)},
          {"experts", config.experts},
          {"kept", config.kept},
          {"experts_by_block", config.experts_by_block},
          {"residual_ffn", config.residual_ffn},
          {"embed_dim", config.embed_dim},
          {"depth", config.depth},
          {"heads", config.heads},
          {"head_dim", config.head_dim},
          {"patch", config.patch},
          {"channels", config.channels},
          {"tail_scale", config.tail_scale},
          {"mlp_ratio", config.mlp_ratio},
          {"stem", Name(config.stem)},
          {"first_expert", Name(config.first_expert)},
          {"gate", Name(config.gate)},
          {"tasks", config.tasks},
          {"calibration", Name(config.calibration)},
          {"router_passes", config.router_passes},
          {"router_dropout", config.router_dropout},
          {"residual", config.residual},
          {"tile_px", config.tile_px},
          {"overlap_px", config.overlap_px},
          {"parameters", cost.parameters},
          {"tile_for_macs_px", size_px},
          {"macs_per_tile", cost.macs},
          {"attention_macs_per_tile", cost.attention_macs}};
}

void PrintDescription(const json& description, bool as_json) {
  if (as_json) {
    Say("%s\n", JsonText(description));
    return;
  }
  for (const auto& [name, value] : description.items()) {
    Say("%-24s %s\n", name, value.is_string() ? value.get<std::string>() : JsonText(value));
  }
}

// `head` is printed before the configuration, `tail` after it.
int PrintInspection(const ModelConfig& config, int size_px, json head, const json& tail,
                    bool as_json) {
  const int size = size_px > 0 ? size_px : config.tile_px;
  const absl::StatusOr<NetworkCost> cost = CostOf(config, size);
  if (!cost.ok()) return Fail(cost.status());
  head.update(Describe(config, *cost, size));
  head.update(tail);
  PrintDescription(head, as_json);
  return 0;
}

// What a process holds that restores batches with it.
absl::StatusOr<json> DescribeMemory(BenchOptions options) {
  options.runs = 2;
  options.verify = false;
  const absl::StatusOr<BenchResult> result = RunBench(options);
  if (!result.ok()) return result.status();
  return json{{"batch", result->batch},
              {"tile_for_memory_px", result->size_px},
              {"device", result->device},
              {"precision", result->precision},
              {"resident_bytes", result->resident_bytes_last},
              {"peak_resident_bytes", result->peak_resident_bytes},
              {"peak_device_bytes", result->peak_device_bytes}};
}

// What a file says beside its configuration.
json Provenance(const Inspection& inspection) {
  json provenance = json::object();
  for (const char* key : {"steps", "seed"}) {
    const auto found = inspection.metadata.find(key);
    if (found != inspection.metadata.end()) provenance[key] = found->second;
  }
  return provenance;
}

struct SynthesizeFlags {
  std::string in, out, sheet, weather;
  uint64_t seed = 0;
  int count = 3;
};

int RunSynthesize(const SynthesizeFlags& flags) {
  ContactSheetOptions sheet{.seed = flags.seed, .count = flags.count};
  if (!flags.weather.empty()) {
    const absl::StatusOr<Weather> weather = ParseWeather(flags.weather);
    if (!weather.ok()) return Fail(weather.status(), kWrongUsage);
    sheet.weather = *weather;
  }
  if (flags.out.empty() && flags.sheet.empty()) {
    return Fail(absl::InvalidArgumentError("wanted --output, --sheet or both"), kWrongUsage);
  }
  if (!flags.out.empty() && !sheet.weather) {
    return Fail(absl::InvalidArgumentError("--output needs --weather"), kWrongUsage);
  }
  for (const std::string& path : {flags.out, flags.sheet}) {
    const absl::Status writable = path.empty() ? absl::OkStatus() : CheckPicturePath(path);
    if (!writable.ok()) return Fail(writable, kWrongUsage);
  }
  absl::Status status = absl::OkStatus();
  if (!flags.out.empty()) {
    status = SynthesizeFile(flags.in, flags.out, *sheet.weather, flags.seed);
  }
  if (status.ok() && !flags.sheet.empty()) {
    status = SynthesizeSheet(flags.in, flags.sheet, sheet);
  }
  return status.ok() ? 0 : Fail(status);
}

// --- residuals ---

struct ResidualFlags {
  std::vector<std::string> pairs, weathers;
  std::string clean;
  SurveyOptions survey;
  bool json = false;
};

absl::StatusOr<std::vector<ResidualSurvey>> SurveyAll(const std::vector<PairSet>& sets,
                                                      const std::vector<Weather>& weathers,
                                                      const ResidualFlags& flags) {
  std::vector<ResidualSurvey> surveys;
  for (const PairSet& set : sets) {
    const absl::StatusOr<ResidualSummary> summary = SurveyPairs(set.dir, flags.survey);
    if (!summary.ok()) return summary.status();
    surveys.push_back({"pairs " + set.name, *summary});
  }
  for (const Weather weather : weathers) {
    const auto summary = SurveyWeather(flags.clean, weather, flags.survey);
    if (!summary.ok()) return summary.status();
    surveys.push_back({"synthetic " + std::string(Name(weather)), *summary});
  }
  return surveys;
}

int RunResiduals(const ResidualFlags& flags) {
  const absl::StatusOr<std::vector<PairSet>> sets = ParsePairSets(flags.pairs);
  if (!sets.ok()) return Fail(sets.status(), kWrongUsage);
  std::vector<Weather> weathers;
  for (const std::string& name : flags.weathers) {
    const absl::StatusOr<Weather> weather = ParseWeather(name);
    if (!weather.ok()) return Fail(weather.status(), kWrongUsage);
    weathers.push_back(*weather);
  }
  if (sets->empty() && weathers.empty()) {
    return Fail(absl::InvalidArgumentError("wanted --pairs, or --clean and --weather"),
                kWrongUsage);
  }
  const absl::StatusOr<std::vector<ResidualSurvey>> surveys = SurveyAll(*sets, weathers, flags);
  if (!surveys.ok()) return Fail(surveys.status());
  Say("%s%s", flags.json ? SurveyJson(*surveys) : SurveyTable(*surveys), flags.json ? "\n" : "");
  return 0;
}

// --- bench ---

constexpr double kGiga = 1e-9;

double GflopsOf(int64_t macs, double milliseconds) {
  return 2 * static_cast<double>(macs) / milliseconds * 1e3 * kGiga;
}

json DescribeStages(const BenchResult& result) {
  json stages = json::array();
  for (const TimedStage& stage : result.stages) {
    const double gflops = GflopsOf(stage.cost.macs, stage.milliseconds);
    const double rate = static_cast<double>(stage.cost.bytes) / stage.milliseconds * 1e3 * kGiga;
    stages.push_back({{"stage", stage.cost.stage},
                      {"ms", stage.milliseconds},
                      {"macs", stage.cost.macs},
                      {"bytes", stage.cost.bytes},
                      {"gflops", gflops},
                      {"gigabytes_a_second", rate},
                      {"share_of_peak", gflops / result.peak.gflops},
                      {"share_of_bandwidth", rate / result.peak.gigabytes_a_second}});
  }
  return stages;
}

json DescribeBench(const BenchOptions& options, const BenchResult& result) {
  const double gflops = GflopsOf(result.macs_per_tile, result.median_ms_per_tile);
  json out = {{"ms_per_tile", result.median_ms_per_tile},
              {"min", result.min_ms_per_tile},
              {"tiles_per_second", 1e3 / result.median_ms_per_tile},
              {"gflops", gflops},
              {"parameters", result.parameters},
              {"macs_per_tile", result.macs_per_tile},
              {"device", result.device},
              {"precision", result.precision},
              {"threads", result.threads},
              {"batch", result.batch},
              {"size", result.size_px},
              {"train", options.train || options.run},
              {"ranks", options.place.count},
              {"distance", result.distance},
              {"minor_faults_per_run", result.minor_faults_per_run},
              {"resident_bytes", {result.resident_bytes_first, result.resident_bytes_last}},
              {"peak_resident_bytes", result.peak_resident_bytes},
              {"peak_device_bytes", result.peak_device_bytes},
              {"run_ms", result.run_ms}};
  if (result.stages.empty()) return out;
  out["peak_gflops"] = result.peak.gflops;
  out["peak_gigabytes_a_second"] = result.peak.gigabytes_a_second;
  out["share_of_peak"] = gflops / result.peak.gflops;
  out["stages"] = DescribeStages(result);
  return out;
}

void SayStages(const BenchResult& result) {
  Say("%-10s %9s %9s %9s %8s %7s %7s\n", "stage", "ms", "GFLOP", "GFLOP/s", "of peak", "GB/s",
      "of peak");
  for (const json& stage : DescribeStages(result)) {
    Say("%-10s %9.2f %9.2f %9.1f %7.1f%% %7.1f %6.1f%%\n", stage["stage"].get<std::string>(),
        stage["ms"].get<double>(), 2 * stage["macs"].get<double>() * kGiga,
        stage["gflops"].get<double>(), 100 * stage["share_of_peak"].get<double>(),
        stage["gigabytes_a_second"].get<double>(), 100 * stage["share_of_bandwidth"].get<double>());
  }
  Say("peaks measured: matrix product %.0f GFLOP/s, copy %.1f GB/s\n", result.peak.gflops,
      result.peak.gigabytes_a_second);
}

int RunBenchCommand(const BenchOptions& options, bool as_json) {
  const absl::StatusOr<BenchResult> result = RunBench(options);
  if (!result.ok()) return Fail(result.status());
  if (options.place.rank > 0) return 0;
  if (as_json) {
    Say("%s\n", JsonText(DescribeBench(options, *result)));
    return 0;
  }
  Say("%.1f ms per tile (median; least %.1f), %d parameters, %.2f GMAC, %.0f GFLOP/s, %s, %s, %d "
      "threads\n",
      result->median_ms_per_tile, result->min_ms_per_tile, result->parameters,
      static_cast<double>(result->macs_per_tile) * kGiga,
      GflopsOf(result->macs_per_tile, result->median_ms_per_tile), result->device,
      result->precision, result->threads);
  if (!result->stages.empty()) SayStages(*result);
  return 0;
}

// One line a round; the last is over all of them.
int RunLoadingCommand(const TrainOptions& options, int rounds, int steps) {
  const absl::StatusOr<std::vector<LoadingRound>> result = RunLoadingBench(options, rounds, steps);
  if (!result.ok()) return Fail(result.status());
  double loading = 0, cached = 0;  // seconds a step, summed
  for (const LoadingRound& round : *result) {
    const double rate = round.loading_steps_per_second, bound = round.cached_steps_per_second;
    Say("%.3f steps/s with loading, %.3f on one batch: %.3f\n", rate, bound, rate / bound);
    loading += 1 / rate;
    cached += 1 / bound;
  }
  Say("ratio %.3f over %d rounds of %d steps, %d loader threads\n", cached / loading, rounds, steps,
      options.data.loader_threads);
  return 0;
}

// --- command line ---

// None of `flags` comes with `option`, beside which it would do nothing.
void Exclude(CLI::Option* option, const std::vector<std::string>& flags) {
  for (const std::string& flag : flags) option->excludes(flag);
}

// Flags that describe a network at the paper's size.
struct NetworkFlags {
  std::string kind = "fme";
  std::string stem = "star";
  int experts = 16;
  int kept = 4;

  // The flags go with none of `others`, which name a network themselves.
  void AddTo(CLI::App* command, const std::vector<CLI::Option*>& others) {
    command->add_option("--kind", kind, "Kind of the experts")
        ->check(CLI::IsMember({"fme", "ffn", "dense"}))
        ->capture_default_str();
    command->add_option("--stem", stem, "Stem of fme experts")
        ->check(CLI::IsMember({"star", "none"}))
        ->capture_default_str();
    command->add_option("--experts", experts, "Experts E of a block, 1 to 256")
        ->capture_default_str();
    command->add_option("--kept", kept, "Experts K that work on a token, 1 to E")
        ->capture_default_str();
    for (CLI::Option* other : others) Exclude(other, {"--kind", "--stem", "--experts", "--kept"});
  }
  absl::StatusOr<ModelConfig> Config() const {
    ModelConfig config;
    config.kind = *ParseExpertKind(kind);
    config.stem = *ParseStem(stem);
    config.experts = config.routed() ? experts : 0;
    config.kept = config.routed() ? kept : 0;
    const absl::Status valid = Validate(config);
    if (!valid.ok()) return valid;
    return config;
  }
};

void AddRun(CLI::App& app, int& exit_code) {
  struct Flags {
    std::string config, progress = "auto";
  };
  auto* command = app.add_subcommand("run", "Train a model; progress goes to stdout");
  auto flags = std::make_shared<Flags>();
  command->add_option("--config", flags->config, "TrainConfig in text format")->required();
  command
      ->add_option("--progress", flags->progress,
                   "auto: a bar on a terminal, else lines; json: the lines of log.jsonl")
      ->check(CLI::IsMember({"auto", "bar", "lines", "json"}))
      ->capture_default_str();
  command->callback([=, &exit_code] { exit_code = RunTraining(flags->config, flags->progress); });
}

void AddCurve(CLI::App& app, int& exit_code) {
  auto* command = app.add_subcommand("curve", "Draw the losses and evaluations of runs");
  auto logs = std::make_shared<std::vector<std::string>>();
  auto output = std::make_shared<std::string>();
  command->add_option("LOG", *logs, "log.jsonl of a run; may be repeated")->required();
  command->add_option("-o,--output", *output, "PNG to write")->required();
  command->callback([=, &exit_code] { exit_code = RunCurve(*logs, *output); });
}

void AddTiling(CLI::App* command, TilingChange& tiling) {
  auto* tile =
      command->add_option("--tile", tiling.tile_px, "Side of a tile, px; default: the model's")
          ->check(CLI::Range(1, 4096));
  auto* overlap = command->add_option("--overlap", tiling.overlap_px,
                                      "Least overlap of tiles, px; default: the model's");
  command->add_flag("--whole-image", tiling.whole_image, "Each picture is one tile")
      ->excludes(tile)
      ->excludes(overlap);
}

void AddEvaluate(CLI::App& app, int& exit_code) {
  auto* command = app.add_subcommand("evaluate", "Restore pairs at full size and compare");
  auto flags = std::make_shared<EvaluateFlags>();
  command->add_option("--model", flags->models, "Checkpoint, or identity; may be repeated")
      ->required();
  command
      ->add_option("--pairs", flags->pairs,
                   "Folder with input/ and gt/, or NAME=FOLDER; may be repeated")
      ->required();
  flags->load.AddTo(command);
  AddTiling(command, flags->options.tiling);
  command->add_flag("--calibrated", flags->options.calibrated,
                    "Gates of the router's M passes with dropout, after the model's calibration");
  command->add_option("--task", flags->options.task,
                      "Task of models with a gate for each; default: the set's name");
  command->add_option("-o,--output", flags->options.output_dir,
                      "Existing folder for the restored pictures, PNG");
  command->add_option(
      "--sheet", flags->sheet,
      "Picture to write: input | restored | truth of each set's worst (3 at most), median, best");
  command->add_option("--worst", flags->report.worst, "Worst pictures to list, by gain in PSNR-RGB")
      ->check(CLI::Range(0, 1'000'000))
      ->capture_default_str();
  command->add_flag("--json", flags->json,
                    "Print one JSON object; of several models or sets, one for each under 'sets' "
                    "and one for each model under 'overall'");
  command
      ->add_flag("--per-picture", flags->report.per_picture, "Each picture's figures in the JSON")
      ->needs("--json");
  command->callback([=, &exit_code] { exit_code = RunEvaluate(*flags); });
}

void AddUncertainty(CLI::App& app, int& exit_code) {
  auto* command = app.add_subcommand(
      "uncertainty", "Whether a model's uncertainty tells where its restored pictures are wrong");
  auto flags = std::make_shared<UncertaintyFlags>();
  command->add_option("--model", flags->model, "Checkpoint of a model with routers")->required();
  command
      ->add_option("--pairs", flags->pairs,
                   "Folder with input/ and gt/, or NAME=FOLDER; may be repeated")
      ->required();
  flags->load.AddTo(command);
  command->add_option("--task", flags->options.task,
                      "Task of a model with a gate for each; default: the set's name");
  command
      ->add_option("--pictures", flags->options.pictures,
                   "Of each set the first so many by name; 0: all")
      ->check(CLI::Range(0, 1'000'000))
      ->capture_default_str();
  command->add_option("--threads", flags->options.threads, "0: one per processor")
      ->check(CLI::Range(0, 1024))
      ->capture_default_str();
  command->add_option("-o,--output", flags->curve, "PNG to write: the sparsification curves");
  command->add_flag("--json", flags->json, "Print one JSON object, curves included");
  command->callback([=, &exit_code] { exit_code = RunUncertainty(*flags); });
}

void AddImport(CLI::App& app, int& exit_code) {
  struct Flags {
    std::string source, destination, name;
  };
  auto* command = app.add_subcommand(
      "import", "Turn weights under the authors' names into ours, or store a checkpoint of ours");
  auto flags = std::make_shared<Flags>();
  command->add_option("SRC", flags->source, "safetensors file: the authors', or a checkpoint")
      ->required();
  command
      ->add_option("DST", flags->destination,
                   "Checkpoint to write, or a data folder that gets a version of the model")
      ->required();
  command->add_option("--name", flags->name, "Name of the model; default: its own");
  command->callback(
      [=, &exit_code] { exit_code = RunImport(flags->source, flags->destination, flags->name); });
}

struct InspectFlags {
  std::string model;
  NetworkFlags network;
  LoadFlags load;
  int size = 0;
  int batch = 0;  // 0: nothing is run
  bool json = false;
};

int RunInspect(const InspectFlags& flags) {
  ModelConfig config;
  json head = json::object(), tail = json::object();
  if (flags.model.empty()) {
    const auto described = flags.network.Config();
    if (!described.ok()) return Fail(described.status(), kWrongUsage);
    config = *described;
  } else {
    const absl::StatusOr<Inspection> inspection = InspectFile(flags.model);
    if (!inspection.ok()) return Fail(inspection.status());
    config = inspection->config;
    head = {{"name", config.name}, {"version", inspection->version}};
    tail = Provenance(*inspection);
  }
  if (flags.batch > 0) {
    BenchOptions bench;
    bench.config = config;
    bench.model = flags.model;
    bench.size_px = flags.size > 0 ? flags.size : config.tile_px;
    bench.batch = flags.batch;
    bench.load = flags.load.Options();
    const absl::StatusOr<json> memory = DescribeMemory(std::move(bench));
    if (!memory.ok()) return Fail(memory.status());
    tail.update(*memory);
  }
  return PrintInspection(config, flags.size, head, tail, flags.json);
}

void AddInspect(CLI::App& app, int& exit_code) {
  auto* command = app.add_subcommand(
      "inspect",
      "Print configuration, parameters and MACs of a checkpoint or a paper-size network");
  auto flags = std::make_shared<InspectFlags>();
  auto* model =
      command->add_option("MODEL", flags->model, "Checkpoint; without it the flags describe one");
  flags->network.AddTo(command, {model});
  command->add_option("--size", flags->size, "Side of the tile for the MACs; default: its own")
      ->check(CLI::Range(1, 4096));
  auto* batch = command
                    ->add_option("--batch", flags->batch,
                                 "Restore batches of so many tiles, and print the memory they take")
                    ->check(CLI::Range(1, 256));
  flags->load.AddTo(command);
  for (const char* flag : {"--device", "--precision"}) command->get_option(flag)->needs(batch);
  command->add_flag("--json", flags->json, "Print one JSON object");
  command->callback([=, &exit_code] { exit_code = RunInspect(*flags); });
}

void AddSynthesize(CLI::App& app, int& exit_code) {
  auto* command = app.add_subcommand("synthesize", "Put weather on a picture");
  auto flags = std::make_shared<SynthesizeFlags>();
  command
      ->add_option(
          "IN", flags->in,
          "Picture; taken as 8-bit colour, also if it is grey or has 16 bits, without alpha")
      ->required();
  command->add_option("-o,--output", flags->out, "Picture to write; its extension is the format");
  command->add_option("--sheet", flags->sheet,
                      "Contact sheet to write: the picture's middle as it is and in that weather, "
                      "or in each");
  command->add_option("--weather", flags->weather, "rain, drops, snow, haze or mixed");
  command->add_option("--seed", flags->seed, "Same seed, same weather")->capture_default_str();
  command
      ->add_option("--count", flags->count, "Pictures of each weather on the sheet, from --seed on")
      ->check(CLI::Range(1, 48))
      ->capture_default_str();
  command->callback([=, &exit_code] { exit_code = RunSynthesize(*flags); });
}

void AddResiduals(CLI::App& app, int& exit_code) {
  auto* command = app.add_subcommand(
      "residuals", "Statistics of what weather did to pictures, paired and synthetic");
  auto flags = std::make_shared<ResidualFlags>();
  command->add_option("--pairs", flags->pairs,
                      "Folder with input/ and gt/, or NAME=FOLDER; may be repeated");
  auto* clean = command->add_option("--clean", flags->clean, "Folder of clean pictures");
  auto* weather =
      command->add_option("--weather", flags->weathers, "Weather to put on them; may be repeated");
  clean->needs(weather);
  weather->needs(clean);
  command->add_option("--count", flags->survey.count, "Crops of each")
      ->check(CLI::Range(1, 1'000'000))
      ->capture_default_str();
  command->add_option("--crop", flags->survey.crop_px, "Side of a crop, px; 0: whole pictures")
      ->check(CLI::Range(0, 1'000'000))
      ->capture_default_str();
  command->add_option("--seed", flags->survey.seed, "Draws the crops and the weather")
      ->capture_default_str();
  command->add_flag("--json", flags->json, "Print one JSON object");
  command->callback([=, &exit_code] { exit_code = RunResiduals(*flags); });
}

struct BenchFlags {
  BenchOptions bench;
  NetworkFlags network;
  LoadFlags load;
  std::string run;
  int loading_rounds = 0;
  bool json = false;
};

int RunBenchFlags(BenchFlags flags) {
  if (!flags.run.empty()) {
    absl::StatusOr<TrainOptions> options = LoadTrainConfig(flags.run);
    if (!options.ok()) return Fail(options.status(), kWrongUsage);
    if (flags.loading_rounds > 0) {
      return RunLoadingCommand(*options, flags.loading_rounds, flags.bench.runs);
    }
    flags.bench.run = *std::move(options);
  }
  const auto config = flags.network.Config();
  if (!config.ok()) return Fail(config.status(), kWrongUsage);
  const absl::StatusOr<RankPlace> place = PlaceOfProcess();
  if (!place.ok()) return Fail(place.status(), kWrongUsage);
  flags.bench.place = *place;
  flags.bench.config = *config;
  flags.bench.load = flags.load.Options();
  return RunBenchCommand(flags.bench, flags.json);
}

void AddBench(CLI::App& app, int& exit_code) {
  auto* command = app.add_subcommand("bench", "Time a paper-size network with random weights");
  auto flags = std::make_shared<BenchFlags>();
  auto* model = command->add_option("--model", flags->bench.model, "Time this checkpoint instead");
  auto* run = command->add_option("--config", flags->run, "Time the step of this TrainConfig");
  flags->network.AddTo(command, {model, run});
  flags->load.AddTo(command);
  command->add_option("--size", flags->bench.size_px, "Side of a tile, px")
      ->check(CLI::Range(1, 4096))
      ->capture_default_str();
  command->add_option("--batch", flags->bench.batch, "Tiles at a time")
      ->check(CLI::Range(1, 256))
      ->capture_default_str();
  command->add_option("--runs", flags->bench.runs, "Counted runs")
      ->check(CLI::Range(1, 100'000))
      ->capture_default_str();
  command->add_option("--threads", flags->bench.threads, "0: the config's, or one per processor")
      ->check(CLI::Range(0, 1024))
      ->capture_default_str();
  auto* train = command->add_flag("--train", flags->bench.train, "Time a training step");
  command
      ->add_option(
          "--save", flags->bench.save,
          "File to write first, safetensors: the weights, the tiles, and what becomes of them")
      ->excludes(train)
      ->excludes(run);
  command
      ->add_flag("--stages", flags->bench.stages,
                 "Also time each stage, and hold it against what the machine reaches at best")
      ->excludes(train)
      ->excludes(run);
  auto* loading =
      command
          ->add_option("--loading", flags->loading_rounds,
                       "Rounds of --runs steps on its data as a run loads them, against one batch")
          ->check(CLI::Range(1, 1'000'000))
          ->needs(run);
  command->add_flag("--json", flags->json, "Print one JSON object");
  Exclude(run, {"--model", "--size", "--batch"});
  Exclude(loading, {"--device", "--precision", "--threads", "--json"});
  command->callback([=, &exit_code] { exit_code = RunBenchFlags(*flags); });
}

int Main(int argc, char** argv) {
  CLI::App app{"Trains, evaluates and looks into deweather's models"};
  app.set_version_flag("--version", "deweather-train " DW_VERSION);
  app.require_subcommand(1);
  app.footer(kExitStatuses);
  int exit_code = 0;
  AddRun(app, exit_code);
  AddCurve(app, exit_code);
  AddEvaluate(app, exit_code);
  AddUncertainty(app, exit_code);
  AddImport(app, exit_code);
  AddInspect(app, exit_code);
  AddSynthesize(app, exit_code);
  AddResiduals(app, exit_code);
  AddBench(app, exit_code);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() != 0 && app.get_subcommands().empty() && app.remaining_size() > 0) {
      return Fail(absl::InvalidArgumentError(absl::StrFormat("there is no command '%s'; see --help",
                                                             app.remaining().front())),
                  kWrongUsage);
    }
    return app.exit(error) == 0 ? 0 : kWrongUsage;
  }
  if (exit_code != 0 || !unsaid) return exit_code;
  return Fail(absl::UnavailableError("cannot write to stdout"));
}

}  // namespace
}  // namespace deweather

int main(int argc, char** argv) {
  try {
    return deweather::Main(argc, argv);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "INTERNAL: %s\n", error.what());
    return deweather::kFailure;
  }
}
