#include "training/report/sheet.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <system_error>

#include "absl/strings/str_format.h"
#include "model/base/file.h"
#include "model/base/status_macros.h"
#include "model/image/codec.h"
#include "opencv2/imgproc.hpp"

namespace deweather {
namespace {

constexpr int kMaxWidthPx = 2000;
constexpr int kMaxCellPx = 480;
constexpr int kGapPx = 12;
constexpr int kLinePx = 22;          // height of a line of text
constexpr int kLeastColumnPx = 120;  // room for a caption under a tiny picture
constexpr double kMaxPixels = 100e6;
constexpr int kFont = cv::FONT_HERSHEY_SIMPLEX;
constexpr double kFontScale = 0.45;

uint8_t Sample8(const Image& image, const uint8_t* row, size_t index) {
  if (image.bytes_per_sample == 1) return row[index];
  uint16_t value;
  std::memcpy(&value, row + 2 * index, sizeof(value));
  return static_cast<uint8_t>((value + 128) / 257);
}

cv::Mat ToMat(const Image& image) {
  cv::Mat pixels(image.height, image.width, CV_8UC3);
  const auto channels = static_cast<size_t>(image.channels);
  for (int y = 0; y < image.height; ++y) {
    uint8_t* to = pixels.ptr<uint8_t>(y);
    for (size_t i = 0; i < 3 * static_cast<size_t>(image.width); ++i) {
      to[i] = Sample8(image, image.row(y), i / 3 * channels + (channels < 3 ? 0 : i % 3));
    }
  }
  return pixels;
}

Image ToImage(const cv::Mat& pixels) {
  Image image;
  image.width = pixels.cols;
  image.height = pixels.rows;
  for (int y = 0; y < pixels.rows; ++y) {
    const uint8_t* row = pixels.ptr<uint8_t>(y);
    image.samples.insert(image.samples.end(), row, row + image.row_bytes());
  }
  return image;
}

absl::Status CheckPicture(const Image& picture) {
  const bool whole =
      picture.width > 0 && picture.height > 0 &&
      picture.samples.size() == picture.row_bytes() * static_cast<size_t>(picture.height);
  return whole ? absl::OkStatus() : absl::InvalidArgumentError("a picture without its pixels");
}

// Where everything stands.
struct Layout {
  std::vector<int> column_x, column_width;
  std::vector<int> row_y;  // of the title, or of the pictures where there is none
  int width = kGapPx;
  int height = kGapPx;
};

int HeightOf(const SheetRow& row) {
  int tallest = 0;
  for (const SheetCell& cell : row.cells) tallest = std::max(tallest, cell.picture.height);
  return tallest + kLinePx + (row.title.empty() ? 0 : kLinePx);
}

Layout Arrange(const std::vector<SheetRow>& rows) {
  Layout layout;
  for (const SheetRow& row : rows) {
    layout.row_y.push_back(layout.height);
    layout.height += HeightOf(row) + kGapPx;
    layout.column_width.resize(std::max(layout.column_width.size(), row.cells.size()),
                               kLeastColumnPx);
    for (size_t i = 0; i < row.cells.size(); ++i) {
      layout.column_width[i] = std::max(layout.column_width[i], row.cells[i].picture.width);
    }
  }
  for (const int width : layout.column_width) {
    layout.column_x.push_back(layout.width);
    layout.width += width + kGapPx;
  }
  return layout;
}

int TextWidth(const std::string& text) {
  int baseline = 0;
  return cv::getTextSize(text, kFont, kFontScale, 1, &baseline).width;
}

std::string Fitting(std::string text, int width) {
  for (char& letter : text) {
    if (letter < ' ' || letter > '~') letter = '?';
  }
  if (TextWidth(text) <= width) return text;
  while (!text.empty() && TextWidth(text + "..") > width) text.pop_back();
  return text + "..";
}

// A line of text whose upper left corner is at (x, y).
void Write(cv::Mat& sheet, const std::string& text, int x, int y, int width) {
  cv::putText(sheet, Fitting(text, width), {x, y + kLinePx - 7}, kFont, kFontScale,
              cv::Scalar::all(30), 1, cv::LINE_AA);
}

void DrawRow(cv::Mat& sheet, const SheetRow& row, const Layout& layout, int y) {
  if (!row.title.empty()) {
    Write(sheet, row.title, kGapPx, y, layout.width - 2 * kGapPx);
    y += kLinePx;
  }
  for (size_t i = 0; i < row.cells.size(); ++i) {
    const Image& picture = row.cells[i].picture;
    const int x = layout.column_x[i];
    ToMat(picture).copyTo(sheet(cv::Rect(x, y, picture.width, picture.height)));
    Write(sheet, row.cells[i].caption, x, y + picture.height, layout.column_width[i]);
  }
}

}  // namespace

int SheetCellPx(int columns) {
  return std::clamp((kMaxWidthPx - kGapPx) / columns - kGapPx, 1, kMaxCellPx);
}

absl::StatusOr<Image> Thumbnail(const Image& picture, int side_px) {
  DW_RETURN_IF_ERROR(CheckPicture(picture));
  const cv::Size shown(std::min(picture.width, 2 * side_px), std::min(picture.height, 2 * side_px));
  const cv::Rect middle({(picture.width - shown.width) / 2, (picture.height - shown.height) / 2},
                        shown);
  const cv::Mat pixels = ToMat(picture)(middle);
  const double scale = static_cast<double>(side_px) / std::max(shown.width, shown.height);
  if (scale >= 1) return ToImage(pixels);
  const cv::Size size(std::max(1, static_cast<int>(std::lround(scale * shown.width))),
                      std::max(1, static_cast<int>(std::lround(scale * shown.height))));
  cv::Mat small;
  cv::resize(pixels, small, size, 0, 0, cv::INTER_AREA);
  return ToImage(small);
}

absl::StatusOr<Image> DrawSheet(const std::vector<SheetRow>& rows) {
  for (const SheetRow& row : rows) {
    for (const SheetCell& cell : row.cells) DW_RETURN_IF_ERROR(CheckPicture(cell.picture));
  }
  const Layout layout = Arrange(rows);
  if (layout.column_x.empty()) return absl::InvalidArgumentError("a sheet without pictures");
  if (static_cast<double>(layout.width) * layout.height > kMaxPixels) {
    return absl::InvalidArgumentError(
        absl::StrFormat("a sheet of %dx%d pixels, the limit is %.0f megapixels", layout.width,
                        layout.height, kMaxPixels / 1e6));
  }
  cv::Mat sheet(layout.height, layout.width, CV_8UC3, cv::Scalar::all(255));
  for (size_t i = 0; i < rows.size(); ++i) DrawRow(sheet, rows[i], layout, layout.row_y[i]);
  return ToImage(sheet);
}

absl::Status WriteSheet(const std::string& path, const std::vector<SheetRow>& rows) {
  EncodeOptions encode;
  DW_ASSIGN_OR_RETURN(encode.format, FormatOf(path));
  DW_ASSIGN_OR_RETURN(const Image sheet, DrawSheet(rows));
  DW_ASSIGN_OR_RETURN(const std::string bytes, EncodeImage(sheet, encode));
  return WriteFileAtomically(path, bytes);
}

absl::StatusOr<ImageFormat> FormatOf(const std::string& path) {
  const std::string extension = std::filesystem::path(path).extension().string();
  return ParseImageFormat(extension.empty() ? "" : extension.substr(1));
}

absl::Status CheckPicturePath(const std::string& path) {
  DW_RETURN_IF_ERROR(FormatOf(path).status());
  std::error_code ignored;
  const auto folder = std::filesystem::absolute(path, ignored).parent_path();
  if (std::filesystem::is_directory(folder, ignored)) return absl::OkStatus();
  return absl::NotFoundError(absl::StrFormat("no folder '%s' for '%s'", folder.string(), path));
}

}  // namespace deweather
