// Pictures side by side with captions, for people to look at.
//
// Errors   INVALID_ARGUMENT nothing to show, or more than a sheet holds; never throws
// Threads  pure functions

#ifndef DEWEATHER_TRAINING_REPORT_SHEET_H_
#define DEWEATHER_TRAINING_REPORT_SHEET_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "model/image/image.h"

namespace deweather {

struct SheetCell {
  Image picture;  // shown as large as it is
  std::string caption;
};

struct SheetRow {
  std::string title;  // above the row; empty: none
  std::vector<SheetCell> cells;
};

// Side of a cell, px, at which a sheet of so many columns is at most 2000 px wide; at most 480.
int SheetCellPx(int columns);

// `picture` in 8-bit RGB, scaled down to fit a square of that side, never up. Of a picture more than
// twice as large only the middle is shown, so that details can be seen.
absl::StatusOr<Image> Thumbnail(const Image& picture, int side_px);

// Cells of a column are aligned; captions stand under the pictures, what does not fit is cut, and
// what is not ASCII is shown as '?'. At most 100 megapixels.
absl::StatusOr<Image> DrawSheet(const std::vector<SheetRow>& rows);

// Draws the sheet into a file, atomically; the format follows its extension.
absl::Status WriteSheet(const std::string& path, const std::vector<SheetRow>& rows);

// By the path's extension. INVALID_ARGUMENT one that is no picture's.
absl::StatusOr<ImageFormat> FormatOf(const std::string& path);

// Before there is a picture to write: what FormatOf says, NOT_FOUND no such folder.
absl::Status CheckPicturePath(const std::string& path);

}  // namespace deweather

#endif  // DEWEATHER_TRAINING_REPORT_SHEET_H_
