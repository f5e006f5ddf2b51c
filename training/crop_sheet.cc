#include "training/crop_sheet.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <string>
#include <utility>

#include "model/base/status_macros.h"
#include "model/image/image.h"

namespace deweather {
namespace {

constexpr int64_t kMostCrops = 12;
constexpr size_t kColumns = 6;  // three crops and their truths

// Of a crop as the data set makes it, [3][side_px][side_px] in [0,1].
absl::StatusOr<SheetCell> CellOf(const std::vector<float>& crop, int side_px, std::string caption) {
  Image image;
  image.width = image.height = side_px;
  const size_t plane = crop.size() / 3;
  for (size_t i = 0; i < crop.size(); ++i) {
    const float value = std::clamp(crop[i % 3 * plane + i / 3], 0.0f, 1.0f);
    image.samples.push_back(static_cast<uint8_t>(std::lround(value * 255.0f)));
  }
  SheetCell cell;
  cell.caption = std::move(caption);
  DW_ASSIGN_OR_RETURN(cell.picture, Thumbnail(image, SheetCellPx(kColumns)));
  return cell;
}

}  // namespace

absl::StatusOr<std::vector<SheetRow>> CropSheet(const TrainOptions& options, Dataset& dataset) {
  const int64_t crops = std::min(int64_t{options.batch} * options.accumulate, kMostCrops);
  std::vector<float> input(dataset.crop_elements()), truth(dataset.crop_elements());
  std::vector<SheetRow> rows;
  for (int64_t index = 0; index < crops; ++index) {
    DW_ASSIGN_OR_RETURN(const CropNote note,
                        dataset.Load(/*step=*/0, index, input.data(), truth.data()));
    if (rows.empty() || rows.back().cells.size() == kColumns) rows.emplace_back();
    const int side_px = options.data.crop_px;
    DW_ASSIGN_OR_RETURN(SheetCell left, CellOf(input, side_px, dataset.tasks()[note.task]));
    DW_ASSIGN_OR_RETURN(SheetCell right, CellOf(truth, side_px, "truth"));
    rows.back().cells.push_back(std::move(left));
    rows.back().cells.push_back(std::move(right));
  }
  return rows;
}

}  // namespace deweather
