#include "training/evaluate.h"

#include <ATen/Parallel.h>
#include <ATen/ops/from_blob.h>

#include <cstring>
#include <filesystem>

#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "model/base/file.h"
#include "model/base/status_macros.h"
#include "model/image/codec.h"
#include "model/image/tiling.h"
#include "model/restorer.h"
#include "training/dataset.h"

namespace deweather {
namespace {

constexpr int kBatch = 4;  // tiles in one forward pass

absl::StatusOr<Restorer> Load(const std::string& model, const LoadOptions& options) {
  if (model == "identity") return IdentityRestorer(TileSpec{});
  return LoadRestorer(model, options);
}

absl::StatusOr<TileSpec> Changed(TileSpec spec, const TilingChange& change) {
  spec.tile_px = change.tile_px.value_or(spec.tile_px);
  spec.overlap_px = change.overlap_px.value_or(spec.overlap_px);
  spec.whole_image = spec.whole_image || change.whole_image;
  DW_RETURN_IF_ERROR(Validate(spec));
  return spec;
}

absl::StatusOr<Image> DecodeFile(const std::string& path) {
  DW_ASSIGN_OR_RETURN(const std::string bytes, ReadFile(path));
  absl::StatusOr<Image> image = DecodeImage(bytes, DecodeLimits{});
  if (image.ok()) return image;
  return absl::Status(image.status().code(),
                      absl::StrFormat("'%s': %s", path, image.status().message()));
}

absl::Status RestoreImage(const Restorer& restorer, Image* image) {
  const TileGrid grid(image->width, image->height, restorer.spec.tile);
  const RunTiles run = [&](int count, const float* tiles, float* restored) -> absl::Status {
    const at::Tensor batch = at::from_blob(
        const_cast<float*>(tiles), {count, 3, grid.tile_height(), grid.tile_width()}, at::kFloat);
    DW_ASSIGN_OR_RETURN(const Restored output, restorer.forward(batch, ForwardOptions{}));
    std::memcpy(restored, output.tiles.const_data_ptr<float>(), output.tiles.nbytes());
    return absl::OkStatus();
  };
  return RestoreTiled(image, restorer.spec.tile, kBatch, /*strength=*/1, run);
}

absl::Status WritePng(const Image& image, const std::string& folder, const std::string& name) {
  const std::string stem = std::filesystem::path(name).stem().string();
  EncodeOptions png;
  png.format = ImageFormat::kPng;
  DW_ASSIGN_OR_RETURN(const std::string bytes, EncodeImage(image, png));
  return WriteFileAtomically(folder + "/" + stem + ".png", bytes);
}

Quality Add(const Quality& a, const Quality& b) {
  return {a.psnr_rgb + b.psnr_rgb, a.psnr_y + b.psnr_y, a.ssim_rgb + b.ssim_rgb,
          a.ssim_y + b.ssim_y};
}

Quality Over(const Quality& sum, double count) {
  return {sum.psnr_rgb / count, sum.psnr_y / count, sum.ssim_rgb / count, sum.ssim_y / count};
}

absl::StatusOr<EvaluatedPicture> EvaluatePair(const Restorer& restorer, const PicturePair& pair,
                                              const std::string& output_dir, double& seconds) {
  DW_ASSIGN_OR_RETURN(Image image, DecodeFile(pair.input));
  DW_ASSIGN_OR_RETURN(const Image truth, DecodeFile(pair.truth));
  EvaluatedPicture picture;
  picture.name = std::filesystem::path(pair.input).filename().string();
  DW_ASSIGN_OR_RETURN(picture.input, CompareImages(image, truth));
  const absl::Time begin = absl::Now();
  DW_RETURN_IF_ERROR(RestoreImage(restorer, &image));
  seconds += absl::ToDoubleSeconds(absl::Now() - begin);
  DW_ASSIGN_OR_RETURN(picture.restored, CompareImages(image, truth));
  if (!output_dir.empty()) DW_RETURN_IF_ERROR(WritePng(image, output_dir, picture.name));
  return picture;
}

}  // namespace

absl::StatusOr<Evaluation> Evaluate(const std::string& model, const std::string& pairs_dir,
                                    const EvaluationOptions& options) {
  DW_ASSIGN_OR_RETURN(const std::vector<PicturePair> pairs,
                      ListPairs(pairs_dir + "/input", pairs_dir + "/gt"));
  DW_ASSIGN_OR_RETURN(Restorer restorer, Load(model, options.load));
  DW_ASSIGN_OR_RETURN(restorer.spec.tile, Changed(restorer.spec.tile, options.tiling));
  if (options.threads > 0) at::set_num_threads(options.threads);
  Evaluation evaluation;
  evaluation.model = restorer.spec.name;
  evaluation.version = restorer.spec.version;
  evaluation.tile = restorer.spec.tile;
  for (const PicturePair& pair : pairs) {
    DW_ASSIGN_OR_RETURN(EvaluatedPicture picture,
                        EvaluatePair(restorer, pair, options.output_dir, evaluation.seconds));
    evaluation.input = Add(evaluation.input, picture.input);
    evaluation.restored = Add(evaluation.restored, picture.restored);
    evaluation.pictures.push_back(std::move(picture));
    if (options.progress) {
      options.progress(static_cast<int>(evaluation.pictures.size()),
                       static_cast<int>(pairs.size()));
    }
  }
  const auto count = static_cast<double>(pairs.size());
  evaluation.input = Over(evaluation.input, count);
  evaluation.restored = Over(evaluation.restored, count);
  return evaluation;
}

}  // namespace deweather
