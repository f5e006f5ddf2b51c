// deweather-train: trains, evaluates and looks into models.

#include <CLI/CLI.hpp>
#include <csignal>
#include <cstdio>
#include <exception>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/strings/str_format.h"
#include "model/base/load_options.h"
#include "model/base/processors.h"
#include "proto/config/config.h"
#include "training/bench.h"
#include "training/evaluate.h"
#include "training/tools.h"
#include "training/train.h"

// Read by jemalloc at its start. Freed activations stay mapped: every step wants them again, and mapping
// them anew costs more than computing on them.
extern "C" const char* malloc_conf;
const char* malloc_conf = "oversize_threshold:0,dirty_decay_ms:-1,muzzy_decay_ms:-1";

namespace deweather {
namespace {

using json = nlohmann::ordered_json;

constexpr int kFailure = 1;
constexpr int kWrongUsage = 2;

volatile std::sig_atomic_t stop_requested = 0;

int Fail(const absl::Status& status, int exit_code = kFailure) {
  absl::FPrintF(stderr, "%s: %s\n", absl::StatusCodeToString(status.code()), status.message());
  return exit_code;
}

template <typename... Args>
void Say(const absl::FormatSpec<Args...>& format, const Args&... args) {
  absl::PrintF(format, args...);
  std::fflush(stdout);
}

// One line; a file name that is not UTF-8 is no reason to fail.
std::string Dump(const json& value) {
  return value.dump(-1, ' ', false, json::error_handler_t::replace);
}

// --- run ---

void PrintProgress(const TrainProgress& at) {
  Say("step %d/%d  loss %.6f  balance %.3f  lr %.2e  grad %.3f  %.1f images/s  %s\n", at.step,
      at.steps, at.loss, at.balance, at.learning_rate, at.gradient_norm, at.images_per_second,
      absl::FormatDuration(absl::Trunc(at.elapsed, absl::Seconds(1))));
}

int RunTraining(const std::string& config) {
  const absl::StatusOr<TrainOptions> options = LoadTrainConfig(config);
  if (!options.ok()) return Fail(options.status(), kWrongUsage);
  std::signal(SIGTERM, [](int) { stop_requested = 1; });
  std::signal(SIGINT, [](int) { stop_requested = 1; });
  const TrainSink sink{
      .progress = PrintProgress,
      .evaluated =
          [](int64_t step, const Evaluation& evaluation) {
            Say("step %d  evaluation: PSNR-Y %.2f dB (input %.2f), PSNR-RGB %.2f dB\n", step,
                evaluation.restored.psnr_y, evaluation.input.psnr_y, evaluation.restored.psnr_rgb);
          },
      .stop = [] { return stop_requested != 0; }};
  const absl::StatusOr<std::string> model = Train(*options, sink);
  if (!model.ok()) return Fail(model.status());
  Say("wrote %s\n", *model);
  return 0;
}

// --- evaluate ---

json ToJson(const TileSpec& tile) {
  return {{"tile_px", tile.tile_px},
          {"overlap_px", tile.overlap_px},
          {"multiple_px", tile.multiple_px},
          {"whole_image", tile.whole_image}};
}

json ToJson(const Evaluation& evaluation) {
  return {{"model", evaluation.model},
          {"version", evaluation.version},
          {"tiling", ToJson(evaluation.tile)},
          {"images", evaluation.pictures.size()},
          {"psnr_y", evaluation.restored.psnr_y},
          {"psnr_rgb", evaluation.restored.psnr_rgb},
          {"ssim_y", evaluation.restored.ssim_y},
          {"ssim_rgb", evaluation.restored.ssim_rgb},
          {"input_psnr_y", evaluation.input.psnr_y},
          {"input_psnr_rgb", evaluation.input.psnr_rgb},
          {"input_ssim_y", evaluation.input.ssim_y},
          {"input_ssim_rgb", evaluation.input.ssim_rgb},
          {"seconds", evaluation.seconds}};
}

void PrintEvaluation(const std::string& pairs, const Evaluation& evaluation) {
  Say("%s %s on %s, %d pictures, %.1f s\n", evaluation.model, evaluation.version, pairs,
      evaluation.pictures.size(), evaluation.seconds);
  Say("%10s %9s %9s %9s %9s\n", "", "PSNR-Y", "PSNR-RGB", "SSIM-Y", "SSIM-RGB");
  const auto row = [](const char* name, const Quality& quality) {
    Say("%10s %9.2f %9.2f %9.4f %9.4f\n", name, quality.psnr_y, quality.psnr_rgb, quality.ssim_y,
        quality.ssim_rgb);
  };
  row("input", evaluation.input);
  row("restored", evaluation.restored);
}

void ReportPicture(int done, int total) {
  if (done % 10 == 0 || done == total) absl::FPrintF(stderr, "%d/%d pictures\n", done, total);
}

int RunEvaluate(const std::vector<std::string>& models, const std::vector<std::string>& pairs,
                EvaluationOptions options, bool as_json) {
  options.threads = UsableProcessors();
  options.progress = ReportPicture;
  json sets = json::array();
  for (const std::string& model : models) {
    for (const std::string& dir : pairs) {
      const absl::StatusOr<Evaluation> evaluation = Evaluate(model, dir, options);
      if (!evaluation.ok()) return Fail(evaluation.status());
      json entry = ToJson(*evaluation);
      entry["pairs"] = dir;
      sets.push_back(std::move(entry));
      if (!as_json) PrintEvaluation(dir, *evaluation);
    }
  }
  if (as_json) Say("%s\n", Dump(sets.size() == 1 ? sets[0] : json{{"sets", sets}}));
  return 0;
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
    Say("%s\n", Dump(description));
    return;
  }
  for (const auto& [name, value] : description.items()) {
    Say("%-24s %s\n", name, value.is_string() ? value.get<std::string>() : Dump(value));
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

int RunInspectFile(const std::string& path, int size_px, bool as_json) {
  const absl::StatusOr<Inspection> inspection = InspectFile(path);
  if (!inspection.ok()) return Fail(inspection.status());
  json tail = json::object();
  for (const char* key : {"steps", "seed"}) {
    const auto found = inspection->metadata.find(key);
    if (found != inspection->metadata.end()) tail[key] = found->second;
  }
  const json head = {{"name", inspection->config.name}, {"version", inspection->version}};
  return PrintInspection(inspection->config, size_px, head, tail, as_json);
}

int RunSynthesize(const std::string& source, const std::string& destination,
                  const std::string& weather_name, uint64_t seed) {
  const absl::StatusOr<Weather> weather = ParseWeather(weather_name);
  if (!weather.ok()) return Fail(weather.status(), kWrongUsage);
  const absl::Status status = SynthesizeFile(source, destination, *weather, seed);
  return status.ok() ? 0 : Fail(status);
}

// --- bench ---

int RunBenchCommand(const BenchOptions& options, bool as_json) {
  const absl::StatusOr<BenchResult> result = RunBench(options);
  if (!result.ok()) return Fail(result.status());
  if (!as_json) {
    Say("%.1f ms per tile (median; least %.1f), %d parameters, %.2f GMAC, %s, %s, %d threads\n",
        result->median_ms_per_tile, result->min_ms_per_tile, result->parameters,
        static_cast<double>(result->macs_per_tile) * 1e-9, result->device, result->precision,
        result->threads);
    return 0;
  }
  const json out = {{"ms_per_tile", result->median_ms_per_tile},
                    {"min", result->min_ms_per_tile},
                    {"parameters", result->parameters},
                    {"macs_per_tile", result->macs_per_tile},
                    {"device", result->device},
                    {"precision", result->precision},
                    {"threads", result->threads},
                    {"batch", options.batch},
                    {"size", options.size_px},
                    {"train", options.train}};
  Say("%s\n", Dump(out));
  return 0;
}

// --- command line ---

// Flags that describe a network at the paper's size.
struct NetworkFlags {
  std::string kind = "fme";
  std::string stem = "star";
  int experts = 16;
  int kept = 4;

  void AddTo(CLI::App* command) {
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

void AddRun(CLI::App& app, int& exit_code) {
  auto* command = app.add_subcommand("run", "Train a model; progress goes to stdout");
  auto config = std::make_shared<std::string>();
  command->add_option("--config", *config, "TrainConfig in text format")->required();
  command->callback([=, &exit_code] { exit_code = RunTraining(*config); });
}

void AddTiling(CLI::App* command, TilingChange& tiling) {
  auto* tile =
      command->add_option("--tile", tiling.tile_px, "Side of a tile, px; default: the model's");
  auto* overlap = command->add_option("--overlap", tiling.overlap_px,
                                      "Least overlap of tiles, px; default: the model's");
  command->add_flag("--whole-image", tiling.whole_image, "Each picture is one tile")
      ->excludes(tile)
      ->excludes(overlap);
}

void AddEvaluate(CLI::App& app, int& exit_code) {
  struct Flags {
    std::vector<std::string> models, pairs;
    LoadFlags load;
    TilingChange tiling;
    std::string output;
    bool json = false;
  };
  auto* command = app.add_subcommand("evaluate", "Restore pairs at full size and compare");
  auto flags = std::make_shared<Flags>();
  command->add_option("--model", flags->models, "Checkpoint, or identity; may be repeated")
      ->required();
  command->add_option("--pairs", flags->pairs, "Folder with input/ and gt/; may be repeated")
      ->required();
  flags->load.AddTo(command);
  AddTiling(command, flags->tiling);
  command->add_option("-o,--output", flags->output,
                      "Existing folder for the restored pictures, PNG");
  command->add_flag("--json", flags->json, "Print one JSON object");
  command->callback([=, &exit_code] {
    exit_code =
        RunEvaluate(flags->models, flags->pairs,
                    {flags->load.Options(), flags->tiling, 0, flags->output, {}}, flags->json);
  });
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

void AddInspect(CLI::App& app, int& exit_code) {
  struct Flags {
    std::string model;
    NetworkFlags network;
    int size = 0;
    bool json = false;
  };
  auto* command = app.add_subcommand(
      "inspect",
      "Print configuration, parameters and MACs of a checkpoint or a paper-size network");
  auto flags = std::make_shared<Flags>();
  command->add_option("MODEL", flags->model, "Checkpoint; without it the flags describe one");
  flags->network.AddTo(command);
  command->add_option("--size", flags->size, "Side of the tile for the MACs; default: its own")
      ->check(CLI::PositiveNumber);
  command->add_flag("--json", flags->json, "Print one JSON object");
  command->callback([=, &exit_code] {
    if (!flags->model.empty()) {
      exit_code = RunInspectFile(flags->model, flags->size, flags->json);
      return;
    }
    const auto config = flags->network.Config();
    exit_code = config.ok() ? PrintInspection(*config, flags->size, json::object(), json::object(),
                                              flags->json)
                            : Fail(config.status(), kWrongUsage);
  });
}

void AddSynthesize(CLI::App& app, int& exit_code) {
  struct Flags {
    std::string in, out, weather;
    uint64_t seed = 0;
  };
  auto* command = app.add_subcommand("synthesize", "Put weather on a picture");
  auto flags = std::make_shared<Flags>();
  command->add_option("IN", flags->in, "Picture")->required();
  command->add_option("-o,--output", flags->out, "Picture to write; its extension is the format")
      ->required();
  command->add_option("--weather", flags->weather, "rain")->required();
  command->add_option("--seed", flags->seed, "Same seed, same weather")->capture_default_str();
  command->callback([=, &exit_code] {
    exit_code = RunSynthesize(flags->in, flags->out, flags->weather, flags->seed);
  });
}

void AddBench(CLI::App& app, int& exit_code) {
  struct Flags {
    BenchOptions bench;
    NetworkFlags network;
    LoadFlags load;
    bool json = false;
  };
  auto* command = app.add_subcommand("bench", "Time a paper-size network with random weights");
  auto flags = std::make_shared<Flags>();
  flags->network.AddTo(command);
  flags->load.AddTo(command);
  command->add_option("--model", flags->bench.model, "Time this checkpoint instead");
  command->add_option("--size", flags->bench.size_px, "Side of a tile, px")->capture_default_str();
  command->add_option("--batch", flags->bench.batch, "Tiles at a time")->capture_default_str();
  command->add_option("--runs", flags->bench.runs, "Counted runs")->capture_default_str();
  command->add_option("--threads", flags->bench.threads, "0: one per processor")
      ->capture_default_str();
  command->add_flag("--train", flags->bench.train, "Time a training step");
  command->add_flag("--json", flags->json, "Print one JSON object");
  command->callback([=, &exit_code] {
    const auto config = flags->network.Config();
    if (!config.ok()) {
      exit_code = Fail(config.status(), kWrongUsage);
      return;
    }
    flags->bench.config = *config;
    flags->bench.load = flags->load.Options();
    exit_code = RunBenchCommand(flags->bench, flags->json);
  });
}

int Main(int argc, char** argv) {
  CLI::App app{"Trains, evaluates and looks into deweather's models"};
  app.set_version_flag("--version", "deweather-train " DW_VERSION);
  app.require_subcommand(1);
  int exit_code = 0;
  AddRun(app, exit_code);
  AddEvaluate(app, exit_code);
  AddImport(app, exit_code);
  AddInspect(app, exit_code);
  AddSynthesize(app, exit_code);
  AddBench(app, exit_code);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : kWrongUsage;
  }
  return exit_code;
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
