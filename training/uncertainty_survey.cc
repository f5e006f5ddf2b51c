#include "training/uncertainty_survey.h"

#include <ATen/Parallel.h>
#include <ATen/ops/from_blob.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdlib>
#include <iterator>
#include <limits>
#include <nlohmann/json.hpp>
#include <numeric>
#include <utility>

#include "absl/strings/str_format.h"
#include "model/base/annotate.h"
#include "model/base/file.h"
#include "model/base/status_macros.h"
#include "model/image/codec.h"
#include "model/image/tiling.h"
#include "model/restorer.h"
#include "training/dataset.h"
#include "training/report/json_text.h"
#include "training/tile_pass.h"
#include "training/tools.h"

namespace deweather {
namespace {

using json = nlohmann::ordered_json;

constexpr int kBatch = 4;  // tiles in one forward pass
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

// --- patches ---

// The same tile as the network was given it, as it should be, and as it became: [3][height][width].
struct TileViews {
  const float* input;
  const float* truth;
  const float* restored;
};

// The tile along one axis whose middle is nearest to `at`.
int Nearest(const std::vector<int>& edges, int size, int at) {
  const auto distance = [&](int edge) { return std::abs(2 * (at - edge) - size); };
  const auto nearest = std::min_element(edges.begin(), edges.end(),
                                        [&](int a, int b) { return distance(a) < distance(b); });
  return static_cast<int>(nearest - edges.begin());
}

// Whether tile `index` is where the patch at (x, y) of the picture counts.
bool Counts(const TileGrid& grid, int index, int x, int y, int patch) {
  if (x + patch > grid.width() || y + patch > grid.height()) return false;
  return Nearest(grid.x(), grid.tile_width(), x + patch / 2) == index % grid.columns() &&
         Nearest(grid.y(), grid.tile_height(), y + patch / 2) == index / grid.columns();
}

struct Patch {
  int x = 0, y = 0, size = 0;  // in the tile
};

// Mean of f(a, b) over the patch's pixels and channels.
template <typename F>
double MeanOver(const float* a, const float* b, const TileRect& rect, const Patch& patch, F f) {
  double sum = 0;
  for (int channel = 0; channel < 3; ++channel) {
    for (int y = patch.y; y < patch.y + patch.size; ++y) {
      const int64_t row = (int64_t{channel} * rect.height + y) * rect.width;
      for (int x = patch.x; x < patch.x + patch.size; ++x) sum += f(a[row + x], b[row + x]);
    }
  }
  return sum / (3.0 * patch.size * patch.size);
}

double MeanSquare(const TileViews& tile, const TileRect& rect, const Patch& patch) {
  const auto square = [](double restored, double truth) {
    return (restored - truth) * (restored - truth);
  };
  return MeanOver(tile.restored, tile.truth, rect, patch, square);
}

double MeanChange(const TileViews& tile, const TileRect& rect, const Patch& patch) {
  const auto change = [](double restored, double input) { return std::abs(restored - input); };
  return MeanOver(tile.restored, tile.input, rect, patch, change);
}

// At the tile's far edges, where there is no next pixel, the difference is 0.
double MeanGradient(const TileViews& tile, const TileRect& rect, const Patch& patch) {
  const int64_t plane = int64_t{rect.width} * rect.height;
  const auto grey = [&](int x, int y) {
    const int64_t at =
        int64_t{std::min(y, rect.height - 1)} * rect.width + std::min(x, rect.width - 1);
    return (tile.input[at] + tile.input[at + plane] + tile.input[at + 2 * plane]) / 3.0;
  };
  double sum = 0;
  for (int y = patch.y; y < patch.y + patch.size; ++y) {
    for (int x = patch.x; x < patch.x + patch.size; ++x) {
      sum += std::hypot(grey(x + 1, y) - grey(x, y), grey(x, y + 1) - grey(x, y));
    }
  }
  return sum / (1.0 * patch.size * patch.size);
}

// `uncertainty` is [L,h,w].
void AddTile(const TileGrid& grid, int index, const TileViews& tile,
             const at::TensorAccessor<float, 3>& uncertainty, PatchFigures& figures) {
  const TileRect rect = grid.tile(index);
  const int size = rect.height / static_cast<int>(uncertainty.size(1));
  for (int y = 0; y < rect.height; y += size) {
    for (int x = 0; x < rect.width; x += size) {
      if (!Counts(grid, index, rect.x + x, rect.y + y, size)) continue;
      double sum = 0;
      for (int64_t layer = 0; layer < uncertainty.size(0); ++layer) {
        sum += uncertainty[layer][y / size][x / size];
      }
      figures.uncertainty.push_back(sum / static_cast<double>(uncertainty.size(0)));
      figures.error.push_back(MeanSquare(tile, rect, {x, y, size}));
      figures.gradient.push_back(MeanGradient(tile, rect, {x, y, size}));
      figures.change.push_back(MeanChange(tile, rect, {x, y, size}));
    }
  }
}

// --- pictures ---

absl::StatusOr<PatchFigures> MeasureImages(const Restorer& restorer, int task, const Image& input,
                                           const Image& truth) {
  const TileGrid grid(input.width, input.height, restorer.spec.tile);
  const TileSource inputs(&input), truths(&truth);
  const size_t tile = size_t{3} * static_cast<size_t>(grid.tile_width() * grid.tile_height());
  std::vector<float> batch(kBatch * tile), wanted(tile);
  PatchFigures figures;
  for (int first = 0; first < grid.size(); first += kBatch) {
    const int count = std::min(kBatch, grid.size() - first);
    for (int i = 0; i < count; ++i) {
      inputs.Gather(grid.tile(first + i), batch.data() + static_cast<size_t>(i) * tile);
    }
    ForwardOptions options = OptionsFor(grid, first, count, task);
    options.uncertainty = true;
    const at::Tensor tiles =
        at::from_blob(batch.data(), {count, 3, grid.tile_height(), grid.tile_width()}, at::kFloat);
    DW_ASSIGN_OR_RETURN(const Restored output, restorer.forward(tiles, options));
    const auto uncertainty = output.uncertainty.accessor<float, 4>();
    for (int i = 0; i < count; ++i) {
      truths.Gather(grid.tile(first + i), wanted.data());
      const size_t at = static_cast<size_t>(i) * tile;
      const TileViews views{batch.data() + at, wanted.data(),
                            output.tiles.const_data_ptr<float>() + at};
      AddTile(grid, first + i, views, uncertainty[i], figures);
    }
  }
  return figures;
}

absl::StatusOr<PatchFigures> MeasurePair(const Restorer& restorer, int task,
                                         const PicturePair& pair) {
  DW_ASSIGN_OR_RETURN(const Image input, DecodeFile(pair.input));
  DW_ASSIGN_OR_RETURN(const Image truth, DecodeFile(pair.truth));
  absl::StatusOr<PatchFigures> figures = MeasureImages(restorer, task, input, truth);
  if (figures.ok()) return figures;
  return Annotate(figures.status(), pair.input);
}

absl::StatusOr<ImageInfo> InfoOf(const std::string& path) {
  DW_ASSIGN_OR_RETURN(const std::string bytes, ReadFile(path));
  const absl::StatusOr<ImageInfo> info = ReadImageInfo(bytes, {});
  if (info.ok()) return info;
  return Annotate(info.status(), path);
}

absl::Status CheckPair(const PicturePair& pair, int patch_px) {
  DW_ASSIGN_OR_RETURN(const ImageInfo input, InfoOf(pair.input));
  DW_ASSIGN_OR_RETURN(const ImageInfo truth, InfoOf(pair.truth));
  if (input.width != truth.width || input.height != truth.height) {
    return absl::InvalidArgumentError(absl::StrFormat("'%s' is %dx%d but '%s' is %dx%d", pair.input,
                                                      input.width, input.height, pair.truth,
                                                      truth.width, truth.height));
  }
  if (std::min(input.width, input.height) >= patch_px) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrFormat("'%s' is %dx%d, smaller than a patch of %d px",
                                                    pair.input, input.width, input.height,
                                                    patch_px));
}

// What there is to do for one set.
struct OpenedSet {
  std::string name;
  int task = -1;  // index into the model's
  std::vector<PicturePair> pairs = {};
};

absl::StatusOr<OpenedSet> OpenSet(const Restorer& restorer, const PairSet& set,
                                  const UncertaintySurveyOptions& options) {
  OpenedSet opened{set.name};
  DW_ASSIGN_OR_RETURN(opened.task, TaskOf(restorer.spec, set, options.task));
  DW_ASSIGN_OR_RETURN(opened.pairs, ListPairs(set.dir + "/input", set.dir + "/gt"));
  const auto most = static_cast<size_t>(options.pictures);
  if (most > 0 && opened.pairs.size() > most) opened.pairs.resize(most);
  for (const PicturePair& pair : opened.pairs) {
    DW_RETURN_IF_ERROR(CheckPair(pair, restorer.spec.tile.multiple_px));
  }
  return opened;
}

// --- summaries ---

Foresight Foretell(const std::vector<double>& values, const std::vector<double>& errors) {
  return {Correlate(values, errors), Ause(Sparsify(values, errors), Sparsify(errors, errors))};
}

Foresights ForetellAll(const PatchFigures& figures) {
  return {Foretell(figures.uncertainty, figures.error), Foretell(figures.gradient, figures.error),
          Foretell(figures.change, figures.error),
          CorrelateGiven(figures.uncertainty, figures.error, figures.gradient, figures.change)};
}

// Every figure of a Foresights.
std::vector<double*> Figures(Foresights& all) {
  std::vector<double*> figures;
  for (Foresight* one : {&all.uncertainty, &all.gradient, &all.change}) {
    figures.push_back(&one->correlation.pearson);
    figures.push_back(&one->correlation.spearman);
    figures.push_back(&one->ause);
  }
  figures.push_back(&all.given_others.pearson);
  figures.push_back(&all.given_others.spearman);
  return figures;
}

double MeanOf(const std::vector<double>& values) {
  return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

// `pictures` are Figures of each.
void SummarizeWithin(const std::vector<std::vector<double>>& pictures, UncertaintySurvey& survey) {
  for (size_t i = 0; i < Figures(survey.within).size(); ++i) {
    std::vector<double> answers;
    for (const std::vector<double>& picture : pictures) {
      if (!std::isnan(picture[i])) answers.push_back(picture[i]);
    }
    const Interval interval = MeanInterval(answers);
    *Figures(survey.within)[i] = MeanOf(answers);
    *Figures(survey.within_low)[i] = interval.low;
    *Figures(survey.within_high)[i] = interval.high;
  }
}

std::vector<double> FiguresOf(const PatchFigures& picture) {
  Foresights all = ForetellAll(picture);
  std::vector<double> values;
  for (const double* figure : Figures(all)) values.push_back(*figure);
  return values;
}

void Append(const std::vector<double>& from, std::vector<double>& to) {
  to.insert(to.end(), from.begin(), from.end());
}

// --- table and JSON ---

std::string Figure(double value) {
  return std::isnan(value) ? "-" : absl::StrFormat("%.3f", value);
}

// A predictor's figures over all patches, within pictures, and the ends of the interval of the latter.
using Columns = std::array<Foresight, 4>;

std::string Row(const std::string& set, const std::string& what, const Columns& columns) {
  std::string row = absl::StrFormat("%-16s %-24s", set, what);
  for (const Foresight& one : {columns[0], columns[1]}) {
    row += absl::StrFormat(" %8s %8s %8s", Figure(one.correlation.pearson),
                           Figure(one.correlation.spearman), Figure(one.ause));
  }
  return row + absl::StrFormat("  %s to %s\n", Figure(columns[2].correlation.spearman),
                               Figure(columns[3].correlation.spearman));
}

std::string Rows(const UncertaintySurvey& survey) {
  const auto of = [&](Foresight Foresights::*predictor) -> Columns {
    return {survey.pooled.*predictor, survey.within.*predictor, survey.within_low.*predictor,
            survey.within_high.*predictor};
  };
  const auto given = [](const Foresights& all) -> Foresight { return {all.given_others, kNan}; };
  return Row(survey.set, "uncertainty", of(&Foresights::uncertainty)) +
         Row(absl::StrFormat("%d pictures", survey.pictures), "input's gradient",
             of(&Foresights::gradient)) +
         Row(absl::StrFormat("%d patches", survey.patches), "change made",
             of(&Foresights::change)) +
         Row("", "uncertainty given those",
             {given(survey.pooled), given(survey.within), given(survey.within_low),
              given(survey.within_high)});
}

json ToJson(const Correlation& correlation) {
  return {{"pearson", correlation.pearson}, {"spearman", correlation.spearman}};
}

json ToJson(const Foresight& foresight) {
  json entry = ToJson(foresight.correlation);
  entry["ause"] = foresight.ause;
  return entry;
}

json ToJson(const Foresights& all) {
  return {{"uncertainty", ToJson(all.uncertainty)},
          {"gradient", ToJson(all.gradient)},
          {"change", ToJson(all.change)},
          {"uncertainty_given_others", ToJson(all.given_others)}};
}

std::vector<double> Removed() {
  std::vector<double> shares;
  for (int i = 0; i < kRemovals; ++i) shares.push_back(static_cast<double>(i) / kRemovals);
  return shares;
}

std::vector<double> GreyLevels(std::vector<double> curve) {
  for (double& value : curve) value *= 255;
  return curve;
}

}  // namespace

UncertaintySurvey Summarize(const std::string& set, const std::vector<PatchFigures>& pictures) {
  PatchFigures all;
  std::vector<std::vector<double>> each;
  for (const PatchFigures& picture : pictures) {
    Append(picture.uncertainty, all.uncertainty);
    Append(picture.gradient, all.gradient);
    Append(picture.change, all.change);
    Append(picture.error, all.error);
    each.push_back(FiguresOf(picture));
  }
  UncertaintySurvey survey;
  survey.set = set;
  survey.pictures = static_cast<int64_t>(pictures.size());
  survey.patches = static_cast<int64_t>(all.error.size());
  survey.mean_uncertainty = MeanOf(all.uncertainty);
  survey.pooled = ForetellAll(all);
  SummarizeWithin(each, survey);
  survey.uncertainty_curve = Sparsify(all.uncertainty, all.error);
  survey.gradient_curve = Sparsify(all.gradient, all.error);
  survey.change_curve = Sparsify(all.change, all.error);
  survey.oracle_curve = Sparsify(all.error, all.error);
  return survey;
}

absl::StatusOr<std::vector<UncertaintySurvey>> SurveyUncertainty(
    const std::string& model, const std::vector<PairSet>& sets,
    const UncertaintySurveyOptions& options) {
  DW_RETURN_IF_ERROR(CheckNames(sets));
  DW_ASSIGN_OR_RETURN(const Restorer restorer, LoadRestorer(model, options.load));
  DW_RETURN_IF_ERROR(CheckTasks({restorer}, sets, options.task));
  std::vector<OpenedSet> opened;
  size_t total = 0, done = 0;
  for (const PairSet& set : sets) {
    DW_ASSIGN_OR_RETURN(opened.emplace_back(), OpenSet(restorer, set, options));
    total += opened.back().pairs.size();
  }
  if (options.threads > 0) at::set_num_threads(options.threads);
  std::vector<UncertaintySurvey> surveys;
  std::vector<PatchFigures> all;
  for (const OpenedSet& set : opened) {
    std::vector<PatchFigures> pictures;
    for (const PicturePair& pair : set.pairs) {
      DW_ASSIGN_OR_RETURN(pictures.emplace_back(), MeasurePair(restorer, set.task, pair));
      ++done;
      if (options.progress) options.progress(static_cast<int>(done), static_cast<int>(total));
    }
    surveys.push_back(Summarize(set.name, pictures));
    std::move(pictures.begin(), pictures.end(), std::back_inserter(all));
  }
  if (sets.size() > 1) surveys.push_back(Summarize("overall", all));
  return surveys;
}

std::string UncertaintyTable(const std::vector<UncertaintySurvey>& surveys) {
  std::string table =
      absl::StrFormat("%-41s %26s %26s  %s\n%-16s %-24s", "", "all patches pooled",
                      "mean within pictures", "95 % of", "set", "predictor of the error");
  for (int i = 0; i < 2; ++i)
    table += absl::StrFormat(" %8s %8s %8s", "Pearson", "Spearman", "AUSE");
  table += "  that Spearman\n";
  for (const UncertaintySurvey& one : surveys) table += Rows(one);
  return table;
}

std::string UncertaintyJson(const std::vector<UncertaintySurvey>& surveys) {
  json all = json::array();
  for (const UncertaintySurvey& one : surveys) {
    all.push_back({{"set", one.set},
                   {"pictures", one.pictures},
                   {"patches", one.patches},
                   {"mean_uncertainty", one.mean_uncertainty},
                   {"pooled", ToJson(one.pooled)},
                   {"within", ToJson(one.within)},
                   {"within_low", ToJson(one.within_low)},
                   {"within_high", ToJson(one.within_high)},
                   {"removed", Removed()},
                   {"curves",
                    {{"uncertainty", one.uncertainty_curve},
                     {"gradient", one.gradient_curve},
                     {"change", one.change_curve},
                     {"oracle", one.oracle_curve}}}});
  }
  return JsonText({{"uncertainty", all}});
}

std::vector<LinePlot> SparsificationPlots(const std::vector<UncertaintySurvey>& surveys) {
  std::vector<LinePlot> plots;
  for (const UncertaintySurvey& one : surveys) {
    LinePlot plot{one.set + ": RMSE of the patches left, of 255",
                  "share of patches taken away",
                  Removed(),
                  {}};
    const std::vector<double> chance(kRemovals, one.oracle_curve[0]);
    plot.lines = {{"uncertainty", GreyLevels(one.uncertainty_curve)},
                  {"input's gradient", GreyLevels(one.gradient_curve)},
                  {"change made", GreyLevels(one.change_curve)},
                  {"oracle", GreyLevels(one.oracle_curve)},
                  {"chance", GreyLevels(chance)}};
    plots.push_back(std::move(plot));
  }
  return plots;
}

}  // namespace deweather
