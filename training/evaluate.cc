#include "training/evaluate.h"

#include <ATen/Parallel.h>
#include <ATen/ops/from_blob.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <iterator>
#include <numeric>
#include <set>
#include <utility>

#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "model/base/annotate.h"
#include "model/base/file.h"
#include "model/base/name.h"
#include "model/base/status_macros.h"
#include "model/checkpoint.h"
#include "model/image/codec.h"
#include "model/image/tiling.h"
#include "model/restorer.h"
#include "training/dataset.h"
#include "training/tile_pass.h"
#include "training/tools.h"

namespace deweather {
namespace {

namespace fs = std::filesystem;

constexpr int kBatch = 4;  // tiles in one forward pass
constexpr int kMaxSheetRows = 64;
constexpr int kMaxTilePx = 4096;

// A set before any model has seen it: `inputs` are the pictures as they were given.
struct MeasuredSet {
  PairSet set;
  std::vector<PicturePair> pairs;
  std::vector<Quality> inputs;
};

std::string FileName(const std::string& path) { return fs::path(path).filename().string(); }

// --- what there is to do, checked before any of it is done ---

absl::StatusOr<TileSpec> Changed(TileSpec spec, const TilingChange& change) {
  if (change.tile_px.value_or(0) > kMaxTilePx) {
    return absl::InvalidArgumentError(
        absl::StrFormat("tile is %d px, the limit is %d", *change.tile_px, kMaxTilePx));
  }
  spec.tile_px = change.tile_px.value_or(spec.tile_px);
  spec.overlap_px = change.overlap_px.value_or(spec.overlap_px);
  spec.whole_image = spec.whole_image || change.whole_image;
  DW_RETURN_IF_ERROR(Validate(spec));
  return spec;
}

absl::Status NoGates(const std::string& model) {
  return absl::InvalidArgumentError(absl::StrFormat(
      "model '%s' routes nothing: it has no gates that could be calibrated", model));
}

absl::Status CheckCalibration(const std::string& model, const ModelConfig& config) {
  if (!config.routed()) return NoGates(model);
  if (config.calibration != Calibration::kNone) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrFormat(
      "model '%s' has calibration '%s': its gates are those of one pass, not of several", model,
      Name(config.calibration)));
}

absl::StatusOr<Restorer> Open(const std::string& model, const EvaluationOptions& options) {
  if (model == "identity") {
    if (options.calibrated) return NoGates(model);
    return IdentityRestorer(TileSpec{});
  }
  DW_ASSIGN_OR_RETURN(const Checkpoint checkpoint, LoadCheckpoint(model));
  if (options.calibrated) DW_RETURN_IF_ERROR(CheckCalibration(model, checkpoint.config));
  return MakeRestorer(checkpoint, options.load);
}

absl::StatusOr<Restorer> Load(const std::string& model, const EvaluationOptions& options) {
  DW_ASSIGN_OR_RETURN(Restorer restorer, Open(model, options));
  DW_ASSIGN_OR_RETURN(restorer.spec.tile, Changed(restorer.spec.tile, options.tiling));
  return restorer;
}

absl::StatusOr<std::vector<Restorer>> LoadAll(const std::vector<std::string>& models,
                                              const EvaluationOptions& options) {
  std::vector<Restorer> restorers;
  std::set<std::pair<std::string, std::string>> seen;
  for (const std::string& model : models) {
    DW_ASSIGN_OR_RETURN(Restorer restorer, Load(model, options));
    if (!seen.insert({restorer.spec.name, restorer.spec.version}).second) {
      return absl::InvalidArgumentError(absl::StrFormat("model '%s' is given twice: %s %s", model,
                                                        restorer.spec.name, restorer.spec.version));
    }
    restorers.push_back(std::move(restorer));
  }
  return restorers;
}

absl::Status CheckSheet(size_t sets, int worst) {
  const size_t rows = worst > 0 ? sets * (static_cast<size_t>(worst) + 2) : 0;
  if (rows <= kMaxSheetRows) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrFormat("the sheet would have %d rows, the limit is %d", rows, kMaxSheetRows));
}

// --- routing ---

// Over all tiles so far.
class RoutingSum {
 public:
  explicit RoutingSum(const RoutingSpec& spec) : entropy_(static_cast<size_t>(spec.layers)) {
    for (size_t layer = 0; layer < entropy_.size(); ++layer) {
      const int experts =
          spec.experts_by_layer.empty() ? spec.experts : spec.experts_by_layer[layer];
      places_.emplace_back(static_cast<size_t>(experts));
    }
  }

  void Add(const Restored& restored) {
    const auto tokens = restored.tokens.accessor<int64_t, 3>();
    const auto ratio = restored.entropy.accessor<double, 2>();
    for (int64_t tile = 0; tile < tokens.size(0); ++tile) {
      for (size_t layer = 0; layer < places_.size(); ++layer) {
        AddTile(tokens[tile][static_cast<int64_t>(layer)], ratio[tile][static_cast<int64_t>(layer)],
                layer);
      }
    }
  }

  std::vector<ExpertUse> Use() const {
    std::vector<ExpertUse> use;
    for (size_t layer = 0; layer < places_.size(); ++layer) {
      const double all = std::accumulate(places_[layer].begin(), places_[layer].end(), 0.0);
      ExpertUse& one = use.emplace_back();
      for (const double places : places_[layer]) one.load.push_back(places / all);
      one.entropy_ratio = entropy_[layer] / all;
    }
    return use;
  }

 private:
  void AddTile(const at::TensorAccessor<int64_t, 1>& tokens, double ratio, size_t layer) {
    double all = 0;
    for (size_t expert = 0; expert < places_[layer].size(); ++expert) {
      const auto count = static_cast<double>(tokens[static_cast<int64_t>(expert)]);
      places_[layer][expert] += count;
      all += count;
    }
    entropy_[layer] += ratio * all;
  }

  std::vector<std::vector<double>> places_;  // [L][E] units times K that each expert was kept for
  std::vector<double> entropy_;              // [L] each tile's ratio times its places
};

// --- pictures ---

absl::StatusOr<Quality> ComparePair(const Image& image, const Image& truth,
                                    const PicturePair& pair) {
  absl::StatusOr<Quality> quality = CompareImages(image, truth);
  if (quality.ok()) return quality;
  return absl::Status(
      quality.status().code(),
      absl::StrFormat("'%s' and '%s': %s", pair.input, pair.truth, quality.status().message()));
}

absl::StatusOr<MeasuredSet> MeasureInputs(const PairSet& set, const std::function<bool()>& stop) {
  MeasuredSet measured{set, {}, {}};
  DW_ASSIGN_OR_RETURN(measured.pairs, ListPairs(set.dir + "/input", set.dir + "/gt"));
  for (const PicturePair& pair : measured.pairs) {
    DW_ASSIGN_OR_RETURN(const Image input, DecodeFile(pair.input));
    DW_ASSIGN_OR_RETURN(const Image truth, DecodeFile(pair.truth));
    DW_ASSIGN_OR_RETURN(const Quality quality, ComparePair(input, truth, pair));
    measured.inputs.push_back(quality);
    if (stop && stop()) {
      return absl::CancelledError("stopped before the first picture was restored");
    }
  }
  return measured;
}

// How a model restores the pictures of one set.
struct Pass {
  const Restorer& restorer;
  bool calibrated = false;
  int task = -1;
};

absl::StatusOr<Pass> PassFor(const Restorer& restorer, const PairSet& set,
                             const EvaluationOptions& options) {
  DW_ASSIGN_OR_RETURN(const int task, TaskOf(restorer.spec, set, options.task));
  return Pass{restorer, options.calibrated, task};
}

absl::Status RestoreImage(const Pass& pass, Image* image, RoutingSum& routing) {
  const TileSpec& spec = pass.restorer.spec.tile;
  const TileGrid grid(image->width, image->height, spec);
  int next = 0;
  const RunTiles run = [&](int count, const float* tiles, float* restored) -> absl::Status {
    const at::Tensor batch = at::from_blob(
        const_cast<float*>(tiles), {count, 3, grid.tile_height(), grid.tile_width()}, at::kFloat);
    ForwardOptions options = OptionsFor(grid, next, count, pass.task);
    options.calibrated = pass.calibrated;
    DW_ASSIGN_OR_RETURN(const Restored output, pass.restorer.forward(batch, options));
    std::memcpy(restored, output.tiles.const_data_ptr<float>(), output.tiles.nbytes());
    routing.Add(output);
    next += count;
    return absl::OkStatus();
  };
  return RestoreTiled(image, spec, kBatch, /*strength=*/1, run);
}

absl::StatusOr<Image> RestoreFile(const Pass& pass, const std::string& path, double& seconds,
                                  RoutingSum& routing) {
  DW_ASSIGN_OR_RETURN(Image image, DecodeFile(path));
  const absl::Time begin = absl::Now();
  const absl::Status status = RestoreImage(pass, &image, routing);
  seconds += absl::ToDoubleSeconds(absl::Now() - begin);
  if (status.ok()) return image;
  return Annotate(status, path);
}

absl::Status WritePng(const Image& image, const std::string& folder, const std::string& name) {
  const std::string stem = fs::path(name).stem().string();
  EncodeOptions png;
  png.format = ImageFormat::kPng;
  DW_ASSIGN_OR_RETURN(const std::string bytes, EncodeImage(image, png));
  return WriteFileAtomically(folder + "/" + stem + ".png", bytes);
}

// --- one model on one set ---

absl::StatusOr<EvaluatedPicture> EvaluatePair(const Pass& pass, const PicturePair& pair,
                                              const std::string& output_dir, double& seconds,
                                              RoutingSum& routing) {
  EvaluatedPicture picture;
  picture.name = FileName(pair.input);
  DW_ASSIGN_OR_RETURN(const Image image, RestoreFile(pass, pair.input, seconds, routing));
  DW_ASSIGN_OR_RETURN(const Image truth, DecodeFile(pair.truth));
  DW_ASSIGN_OR_RETURN(picture.restored, ComparePair(image, truth, pair));
  if (!output_dir.empty()) DW_RETURN_IF_ERROR(WritePng(image, output_dir, picture.name));
  return picture;
}

// `pass` as an evaluation tells of it.
Evaluation Begun(const Pass& pass, const PairSet& set) {
  const RestorerSpec& spec = pass.restorer.spec;
  Evaluation evaluation{.set = set, .model = spec.name, .version = spec.version};
  evaluation.tile = spec.tile;
  evaluation.calibrated = pass.calibrated;
  if (pass.task >= 0) evaluation.task = spec.tasks[static_cast<size_t>(pass.task)];
  return evaluation;
}

absl::StatusOr<Evaluation> EvaluateSet(const Pass& pass, const MeasuredSet& measured,
                                       const std::string& output_dir,
                                       const std::function<absl::Status()>& done) {
  Evaluation evaluation = Begun(pass, measured.set);
  RoutingSum routing(pass.restorer.spec.routing);
  std::vector<Quality> restored;
  for (size_t i = 0; i < measured.pairs.size(); ++i) {
    DW_ASSIGN_OR_RETURN(EvaluatedPicture picture, EvaluatePair(pass, measured.pairs[i], output_dir,
                                                               evaluation.seconds, routing));
    picture.input = measured.inputs[i];
    restored.push_back(picture.restored);
    evaluation.pictures.push_back(std::move(picture));
    DW_RETURN_IF_ERROR(done());
  }
  evaluation.input = Mean(measured.inputs);
  evaluation.restored = Mean(restored);
  evaluation.routing = routing.Use();
  return evaluation;
}

// --- where restored pictures go ---

// The model's name, and its version where another model has that name.
std::string Label(const Restorer& restorer, const std::vector<Restorer>& all) {
  const auto same = std::count_if(all.begin(), all.end(), [&](const Restorer& other) {
    return other.spec.name == restorer.spec.name;
  });
  return same == 1 ? restorer.spec.name : restorer.spec.name + "-" + restorer.spec.version;
}

absl::StatusOr<std::string> Subfolder(const std::string& parent, const std::string& name) {
  const std::string path = parent + "/" + name;
  std::error_code error;
  fs::create_directory(path, error);
  if (!error) return path;
  return absl::NotFoundError(absl::StrFormat("cannot make folder '%s': %s", path, error.message()));
}

// One folder for each model, of one set out of `sets`.
absl::StatusOr<std::vector<std::string>> OutputDirs(const std::string& parent,
                                                    const std::vector<Restorer>& restorers,
                                                    const PairSet& set, size_t sets) {
  std::vector<std::string> folders(restorers.size(), parent);
  if (parent.empty()) return folders;
  for (size_t m = 0; m < restorers.size(); ++m) {
    if (restorers.size() > 1) {
      const std::string name = Label(restorers[m], restorers);
      DW_RETURN_IF_ERROR(ValidateName("name of a model", name));
      DW_ASSIGN_OR_RETURN(folders[m], Subfolder(folders[m], name));
    }
    if (sets > 1) {
      DW_ASSIGN_OR_RETURN(folders[m], Subfolder(folders[m], set.name));
    }
  }
  return folders;
}

// Restored pictures have the names of those they are of, and must replace none.
absl::Status CheckApart(const std::vector<std::string>& folders, const PairSet& set) {
  for (const std::string& folder : folders) {
    for (const char* part : {"/input", "/gt"}) {
      std::error_code ignored;
      if (!fs::equivalent(folder, set.dir + part, ignored)) continue;
      return absl::InvalidArgumentError(
          absl::StrFormat("restored pictures in '%s' would replace those of the set", folder));
    }
  }
  return absl::OkStatus();
}

// Of each set, its OutputDirs.
absl::StatusOr<std::vector<std::vector<std::string>>> MakeOutputDirs(
    const std::string& parent, const std::vector<Restorer>& restorers,
    const std::vector<PairSet>& sets) {
  std::error_code ignored;
  if (!parent.empty() && !fs::is_directory(parent, ignored)) {
    return absl::NotFoundError(absl::StrFormat("no folder '%s' for restored pictures", parent));
  }
  std::vector<std::vector<std::string>> folders(sets.size());
  for (size_t i = 0; i < sets.size(); ++i) {
    DW_ASSIGN_OR_RETURN(folders[i], OutputDirs(parent, restorers, sets[i], sets.size()));
    if (parent.empty()) continue;
    for (const PairSet& set : sets) DW_RETURN_IF_ERROR(CheckApart(folders[i], set));
  }
  return folders;
}

// --- the sheet ---

absl::Status AddCell(SheetRow& row, const Image& image, int side_px, std::string caption) {
  DW_ASSIGN_OR_RETURN(Image thumbnail, Thumbnail(image, side_px));
  row.cells.push_back({std::move(thumbnail), std::move(caption)});
  return absl::OkStatus();
}

// The picture is restored once more: to keep all until the worst are known would take their memory.
absl::StatusOr<SheetRow> RowOf(const PickedPicture& picked, const MeasuredSet& measured,
                               const std::vector<Restorer>& restorers,
                               const std::vector<Evaluation>& of_set,
                               const EvaluationOptions& options) {
  const PicturePair& pair = measured.pairs[picked.index];
  const int side_px = SheetCellPx(static_cast<int>(restorers.size()) + 2);
  SheetRow row;
  row.title = absl::StrFormat("%s: %s (%s)", measured.set.name, FileName(pair.input), picked.rank);
  DW_ASSIGN_OR_RETURN(const Image input, DecodeFile(pair.input));
  const double input_db = measured.inputs[picked.index].psnr_rgb;
  DW_RETURN_IF_ERROR(AddCell(row, input, side_px, absl::StrFormat("%.2f dB input", input_db)));
  for (size_t m = 0; m < restorers.size(); ++m) {
    double ignored_seconds = 0;
    RoutingSum ignored(restorers[m].spec.routing);
    DW_ASSIGN_OR_RETURN(const Pass pass, PassFor(restorers[m], measured.set, options));
    DW_ASSIGN_OR_RETURN(const Image image, RestoreFile(pass, pair.input, ignored_seconds, ignored));
    const double db = of_set[m].pictures[picked.index].restored.psnr_rgb;
    const std::string caption = absl::StrFormat("%.2f dB %s", db, Label(restorers[m], restorers));
    DW_RETURN_IF_ERROR(AddCell(row, image, side_px, caption));
  }
  DW_ASSIGN_OR_RETURN(const Image truth, DecodeFile(pair.truth));
  DW_RETURN_IF_ERROR(AddCell(row, truth, side_px, "truth"));
  return row;
}

// A set as it was when it was evaluated.
absl::StatusOr<MeasuredSet> Recall(const Evaluation& evaluation) {
  MeasuredSet measured{evaluation.set, {}, {}};
  DW_ASSIGN_OR_RETURN(measured.pairs,
                      ListPairs(measured.set.dir + "/input", measured.set.dir + "/gt"));
  for (const EvaluatedPicture& picture : evaluation.pictures) {
    measured.inputs.push_back(picture.input);
  }
  if (measured.pairs.size() == measured.inputs.size()) return measured;
  return absl::FailedPreconditionError(absl::StrFormat("set '%s' had %d pictures and has %d",
                                                       measured.set.name, measured.inputs.size(),
                                                       measured.pairs.size()));
}

// --- all models on all sets ---

absl::StatusOr<std::vector<MeasuredSet>> MeasureAll(const std::vector<PairSet>& sets,
                                                    const std::function<bool()>& stop) {
  std::vector<MeasuredSet> measured;
  for (const PairSet& set : sets) {
    DW_ASSIGN_OR_RETURN(MeasuredSet next, MeasureInputs(set, stop));
    measured.push_back(std::move(next));
  }
  return measured;
}

// `done` is called after each picture.
absl::Status CompareOn(const MeasuredSet& measured, const std::vector<Restorer>& restorers,
                       const std::vector<std::string>& output_dirs,
                       const EvaluationOptions& options, const std::function<absl::Status()>& done,
                       Comparison& comparison) {
  std::vector<Evaluation> of_set;
  for (size_t m = 0; m < restorers.size(); ++m) {
    DW_ASSIGN_OR_RETURN(const Pass pass, PassFor(restorers[m], measured.set, options));
    DW_ASSIGN_OR_RETURN(Evaluation evaluation, EvaluateSet(pass, measured, output_dirs[m], done));
    of_set.push_back(std::move(evaluation));
  }
  if (options.sheet_worst > 0) {
    for (const PickedPicture& picked : PickPictures(of_set, options.sheet_worst)) {
      DW_ASSIGN_OR_RETURN(SheetRow row, RowOf(picked, measured, restorers, of_set, options));
      comparison.sheet.push_back(std::move(row));
    }
  }
  std::move(of_set.begin(), of_set.end(), std::back_inserter(comparison.evaluations));
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Comparison> Compare(const std::vector<std::string>& models,
                                   const std::vector<PairSet>& sets,
                                   const EvaluationOptions& options) {
  DW_RETURN_IF_ERROR(CheckNames(sets));
  DW_RETURN_IF_ERROR(CheckSheet(sets.size(), options.sheet_worst));
  DW_ASSIGN_OR_RETURN(const std::vector<Restorer> restorers, LoadAll(models, options));
  DW_RETURN_IF_ERROR(CheckTasks(restorers, sets, options.task));
  DW_ASSIGN_OR_RETURN(const auto folders, MakeOutputDirs(options.output_dir, restorers, sets));
  DW_ASSIGN_OR_RETURN(const std::vector<MeasuredSet> measured, MeasureAll(sets, options.stop));
  if (options.threads > 0) at::set_num_threads(options.threads);
  size_t total = 0, done = 0;
  for (const MeasuredSet& set : measured) total += set.pairs.size() * restorers.size();
  const auto count = [&]() -> absl::Status {
    ++done;
    if (options.progress) options.progress(static_cast<int>(done), static_cast<int>(total));
    if (!options.stop || !options.stop()) return absl::OkStatus();
    return absl::CancelledError(absl::StrFormat("stopped after %d of %d pictures", done, total));
  };
  Comparison comparison;
  for (size_t i = 0; i < measured.size(); ++i) {
    DW_RETURN_IF_ERROR(CompareOn(measured[i], restorers, folders[i], options, count, comparison));
  }
  return comparison;
}

absl::StatusOr<std::vector<SheetRow>> SheetOf(const std::string& model,
                                              const std::vector<Evaluation>& evaluations, int worst,
                                              const std::function<bool()>& stop) {
  DW_RETURN_IF_ERROR(CheckSheet(evaluations.size(), worst));
  const EvaluationOptions options;
  DW_ASSIGN_OR_RETURN(const std::vector<Restorer> restorers, LoadAll({model}, options));
  std::vector<SheetRow> rows;
  for (const Evaluation& evaluation : evaluations) {
    DW_ASSIGN_OR_RETURN(const MeasuredSet measured, Recall(evaluation));
    for (const PickedPicture& picked : PickPictures({evaluation}, worst)) {
      DW_ASSIGN_OR_RETURN(SheetRow row, RowOf(picked, measured, restorers, {evaluation}, options));
      rows.push_back(std::move(row));
      if (stop()) return absl::CancelledError("stopped");
    }
  }
  return rows;
}

absl::Status CheckPairs(const PairSet& set, const std::function<bool()>& stop) {
  return MeasureInputs(set, stop).status();
}

absl::StatusOr<Evaluation> Evaluate(const std::string& model, const std::string& pairs_dir,
                                    const EvaluationOptions& options) {
  DW_ASSIGN_OR_RETURN(Comparison comparison, Compare({model}, {FolderOfPairs(pairs_dir)}, options));
  return std::move(comparison.evaluations.front());
}

}  // namespace deweather
