// EXIF blocks, patched in place: maker notes hold offsets that no rewriting would keep right.
// Private to this folder.
//
// A block is a small TIFF file: "II*\0" or "MM\0*", the offset of IFD0, directories of 12-byte
// entries (tag, type, count, value or its offset), each followed by the offset of the next one.
// All offsets count from the block's first byte.

#ifndef DEWEATHER_MODEL_IMAGE_EXIF_H_
#define DEWEATHER_MODEL_IMAGE_EXIF_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace deweather {

// 1..8; 1 when there is none or the block is damaged.
int ExifOrientation(std::string_view exif);

// For pixels that have been turned upright: orientation 1, no thumbnail (it would show the old
// picture), pixel dimensions as given. A block that is not EXIF comes back empty.
std::string UprightExif(std::string_view exif, int width, int height);

// A block with what a TIFF file's first directory says about the photograph: the EXIF and GPS
// directories and the descriptive text tags. Empty when there is nothing, and for a BigTIFF.
std::string ExifFromTiff(std::string_view file);

// False when a value of the first directory, or of its EXIF directory, lies beyond the file's end.
// True for a BigTIFF, whose directories are not read here.
bool TiffDirectoriesAreComplete(std::string_view file);

// The descriptive text tags of a block's IFD0, for TIFFSetField. Not NUL-terminated.
struct ExifText {
  uint16_t tag;
  std::string_view text;
};
std::vector<ExifText> ExifTexts(std::string_view exif);

// Byte order of a block: true for "MM".
bool ExifIsBigEndian(std::string_view exif);

// The EXIF and GPS directories of a block, copied for a place `file_offset` bytes into a TIFF file:
// their offsets count from that file's first byte.
struct PlacedExif {
  std::string bytes;
  uint32_t exif_ifd = 0;  // where the directory begins in the file; 0: there is none
  uint32_t gps_ifd = 0;
};
PlacedExif PlaceExif(std::string_view exif, uint32_t file_offset);

}  // namespace deweather

#endif  // DEWEATHER_MODEL_IMAGE_EXIF_H_
