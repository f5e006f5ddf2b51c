#include "training/evaluation.h"

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <numeric>
#include <set>
#include <system_error>
#include <tuple>
#include <utility>

#include "absl/strings/str_format.h"
#include "model/base/name.h"
#include "model/base/status_macros.h"
#include "training/report/json_text.h"

namespace deweather {
namespace {

namespace fs = std::filesystem;
using json = nlohmann::ordered_json;

bool SameModel(const Evaluation& a, const Evaluation& b) {
  return a.model == b.model && a.version == b.version;
}

std::string Label(const Evaluation& evaluation) {
  return absl::StrFormat("%s %s%s", evaluation.model, evaluation.version,
                         evaluation.calibrated ? " calibrated" : "");
}

// sum += share of `use`.
void Accumulate(const std::vector<ExpertUse>& use, double share, std::vector<ExpertUse>& sum) {
  sum.resize(use.size());
  for (size_t layer = 0; layer < use.size(); ++layer) {
    sum[layer].load.resize(use[layer].load.size());
    for (size_t e = 0; e < use[layer].load.size(); ++e) {
      sum[layer].load[e] += share * use[layer].load[e];
    }
    sum[layer].entropy_ratio += share * use[layer].entropy_ratio;
  }
}

std::vector<ExpertUse> MeanUse(const std::vector<const Evaluation*>& evaluations) {
  std::vector<ExpertUse> mean;
  for (const Evaluation* one : evaluations) {
    Accumulate(one->routing, 1.0 / static_cast<double>(evaluations.size()), mean);
  }
  return mean;
}

Evaluation OverallOf(const Evaluation& model, const std::vector<Evaluation>& evaluations) {
  Evaluation overall{.set = {"overall", ""}, .model = model.model, .version = model.version};
  overall.calibrated = model.calibrated;
  std::vector<Quality> inputs, restored;
  std::vector<const Evaluation*> its;
  for (const Evaluation& one : evaluations) {
    if (!SameModel(one, model)) continue;
    its.push_back(&one);
    inputs.push_back(one.input);
    restored.push_back(one.restored);
    overall.seconds += one.seconds;
    overall.pictures.insert(overall.pictures.end(), one.pictures.begin(), one.pictures.end());
  }
  overall.input = Mean(inputs);
  overall.restored = Mean(restored);
  overall.routing = MeanUse(its);
  return overall;
}

// --- table ---

std::string Row(const std::string& set, const std::string& what, size_t pictures,
                const Quality& quality) {
  return absl::StrFormat("%-16s %-32s %8d %8.2f %8.2f %8.4f %8.4f\n", set, what, pictures,
                         quality.psnr_y, quality.psnr_rgb, quality.ssim_y, quality.ssim_rgb);
}

// The inputs' row comes before the first model's of a set.
std::string Rows(const std::vector<Evaluation>& evaluations) {
  std::string rows, set;
  for (const Evaluation& one : evaluations) {
    if (one.set.name != set) {
      set = one.set.name;
      rows += Row(set, "input", one.pictures.size(), one.input);
    }
    rows += Row("", Label(one), one.pictures.size(), one.restored);
  }
  return rows;
}

// "experts of small v1: load 3.1 to 9.8 %, entropy 0.91, 0 of 16 dead; ..." with a part for each layer.
std::string RoutingLine(const Evaluation& evaluation) {
  std::string line = absl::StrFormat("experts of %s:", Label(evaluation));
  const char* separator = "";
  for (const ExpertUse& use : evaluation.routing) {
    const auto [least, most] = std::minmax_element(use.load.begin(), use.load.end());
    line +=
        absl::StrFormat("%s load %.1f to %.1f %%, entropy %.2f, %d of %d dead", separator,
                        100 * *least, 100 * *most, use.entropy_ratio, use.dead(), use.load.size());
    separator = ";";
  }
  return line + "\n";
}

// After an empty line; nothing of models that route nothing.
std::string RoutingLines(const std::vector<Evaluation>& overall) {
  std::string lines;
  for (const Evaluation& one : overall) {
    if (!one.routing.empty()) lines += (lines.empty() ? "\n" : "") + RoutingLine(one);
  }
  return lines;
}

std::string WorstOf(const Evaluation& evaluation, int worst) {
  std::string line = absl::StrFormat("worst of %s, %s:", evaluation.set.name, Label(evaluation));
  const std::vector<size_t> order = WorstFirst(evaluation.pictures);
  for (size_t i = 0; i < std::min(order.size(), static_cast<size_t>(worst)); ++i) {
    const EvaluatedPicture& picture = evaluation.pictures[order[i]];
    line += absl::StrFormat("%s %s %.2f dB (%+.2f)", i == 0 ? "" : ",", picture.name,
                            picture.restored.psnr_rgb, picture.gain_db());
  }
  return line + "\n";
}

// --- JSON ---

json ToJson(const TileSpec& tile) {
  return {{"tile_px", tile.tile_px},
          {"overlap_px", tile.overlap_px},
          {"multiple_px", tile.multiple_px},
          {"whole_image", tile.whole_image}};
}

json Figures(const Quality& restored, const Quality& input) {
  return {{"psnr_y", restored.psnr_y},    {"psnr_rgb", restored.psnr_rgb},
          {"ssim_y", restored.ssim_y},    {"ssim_rgb", restored.ssim_rgb},
          {"input_psnr_y", input.psnr_y}, {"input_psnr_rgb", input.psnr_rgb},
          {"input_ssim_y", input.ssim_y}, {"input_ssim_rgb", input.ssim_rgb}};
}

json ToJson(const EvaluatedPicture& picture) {
  json entry = {{"name", picture.name}};
  entry.update(Figures(picture.restored, picture.input));
  return entry;
}

json ToJson(const ExpertUse& use) {
  return {{"load", use.load}, {"entropy_ratio", use.entropy_ratio}, {"dead_experts", use.dead()}};
}

json Head(const Evaluation& evaluation) {
  json entry = {{"model", evaluation.model},
                {"version", evaluation.version},
                {"calibrated", evaluation.calibrated},
                {"images", evaluation.pictures.size()}};
  entry.update(Figures(evaluation.restored, evaluation.input));
  entry["seconds"] = evaluation.seconds;
  for (const ExpertUse& use : evaluation.routing) entry["routing"].push_back(ToJson(use));
  return entry;
}

json ToJson(const Evaluation& evaluation, const ReportOptions& options) {
  json entry = Head(evaluation);
  entry["tiling"] = ToJson(evaluation.tile);
  entry["set"] = evaluation.set.name;
  entry["pairs"] = evaluation.set.dir;
  if (!evaluation.task.empty()) entry["task"] = evaluation.task;
  entry["worst"] = json::array();
  const std::vector<size_t> order = WorstFirst(evaluation.pictures);
  for (size_t i = 0; i < std::min(order.size(), static_cast<size_t>(options.worst)); ++i) {
    entry["worst"].push_back(ToJson(evaluation.pictures[order[i]]));
  }
  if (!options.per_picture) return entry;
  entry["pictures"] = json::array();
  for (const EvaluatedPicture& picture : evaluation.pictures) {
    entry["pictures"].push_back(ToJson(picture));
  }
  return entry;
}

}  // namespace

PairSet FolderOfPairs(const std::string& dir) {
  std::error_code error;
  fs::path path = fs::absolute(dir, error).lexically_normal();
  if (!path.has_filename()) path = path.parent_path();  // after a trailing slash
  return {path.filename().string(), dir};
}

absl::StatusOr<PairSet> ParsePairSet(const std::string& text) {
  const size_t equals = text.find('=');
  if (text.empty() || equals == text.size() - 1) {
    return absl::InvalidArgumentError(absl::StrFormat("'%s' names no folder of pairs", text));
  }
  if (equals == std::string::npos || text.find('/') < equals) return FolderOfPairs(text);
  PairSet set{text.substr(0, equals), text.substr(equals + 1)};
  DW_RETURN_IF_ERROR(ValidateName("name of a set", set.name));
  return set;
}

absl::Status CheckNames(const std::vector<PairSet>& sets) {
  std::set<std::string> names;
  for (const PairSet& set : sets) {
    if (names.insert(set.name).second) continue;
    return absl::InvalidArgumentError(
        absl::StrFormat("two sets are named '%s'; name them with NAME=DIR", set.name));
  }
  return absl::OkStatus();
}

int ExpertUse::dead() const {
  const double least = 0.01 / static_cast<double>(load.size());
  return static_cast<int>(
      std::count_if(load.begin(), load.end(), [&](double share) { return share < least; }));
}

Quality Mean(const std::vector<Quality>& qualities) {
  const auto mean = [&](double Quality::*figure) {
    double sum = 0;
    for (const Quality& quality : qualities) sum += quality.*figure;
    return sum / static_cast<double>(qualities.size());
  };
  return {mean(&Quality::psnr_rgb), mean(&Quality::psnr_y), mean(&Quality::ssim_rgb),
          mean(&Quality::ssim_y)};
}

std::vector<Evaluation> Overall(const std::vector<Evaluation>& evaluations) {
  std::vector<Evaluation> overall;
  for (const Evaluation& model : evaluations) {
    const bool known = std::any_of(overall.begin(), overall.end(), [&](const Evaluation& other) {
      return SameModel(other, model);
    });
    if (!known) overall.push_back(OverallOf(model, evaluations));
  }
  return overall;
}

std::vector<size_t> WorstFirst(const std::vector<EvaluatedPicture>& pictures) {
  std::vector<size_t> order(pictures.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    return std::tuple(pictures[a].gain_db(), pictures[a].restored.psnr_rgb) <
           std::tuple(pictures[b].gain_db(), pictures[b].restored.psnr_rgb);
  });
  return order;
}

std::vector<PickedPicture> PickPictures(const std::vector<Evaluation>& of_one_set, int worst) {
  std::vector<EvaluatedPicture> means = of_one_set.front().pictures;
  for (size_t i = 0; i < means.size(); ++i) {
    std::vector<Quality> restored;
    for (const Evaluation& one : of_one_set) restored.push_back(one.pictures[i].restored);
    means[i].restored = Mean(restored);
  }
  const std::vector<size_t> order = WorstFirst(means);
  const size_t best = order.size() - 1, median = best / 2;
  std::vector<PickedPicture> picked;
  for (size_t i = 0; i < order.size(); ++i) {
    if (i < static_cast<size_t>(worst)) {
      picked.push_back({order[i], absl::StrFormat("worst %d", i + 1)});
    } else if (i == best || i == median) {
      picked.push_back({order[i], i == best ? "best" : "median"});
    }
  }
  return picked;
}

std::string EvaluationTable(const std::vector<Evaluation>& evaluations,
                            const ReportOptions& options) {
  std::string table = absl::StrFormat("%-16s %-32s %8s %8s %8s %8s %8s\n", "set", "model",
                                      "pictures", "PSNR-Y", "PSNR-RGB", "SSIM-Y", "SSIM-RGB");
  table += Rows(evaluations);
  const std::vector<Evaluation> overall = Overall(evaluations);
  if (overall.size() < evaluations.size()) table += Rows(overall);
  table += RoutingLines(overall);
  if (options.worst == 0) return table;
  table += "\n";
  for (const Evaluation& evaluation : evaluations) table += WorstOf(evaluation, options.worst);
  return table;
}

std::string EvaluationJson(const std::vector<Evaluation>& evaluations,
                           const ReportOptions& options) {
  if (evaluations.size() == 1) return JsonText(ToJson(evaluations[0], options));
  json all = {{"sets", json::array()}, {"overall", json::array()}};
  for (const Evaluation& one : evaluations) all["sets"].push_back(ToJson(one, options));
  for (const Evaluation& one : Overall(evaluations)) all["overall"].push_back(Head(one));
  return JsonText(all);
}

}  // namespace deweather
