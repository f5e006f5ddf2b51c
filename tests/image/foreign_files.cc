#include "tests/image/foreign_files.h"

#include <gtest/gtest.h>
#include <png.h>
#include <tiffio.h>
#include <webp/encode.h>
#include <webp/mux.h>
#include <zlib.h>

#include <algorithm>
#include <bit>
#include <cstdlib>
#include <cstring>

// jpeglib.h needs FILE and size_t.
// clang-format off
#include <cstdio>
#include <jpeglib.h>
// clang-format on

namespace deweather {
namespace {

void AppendBig32(std::string& bytes, uint32_t value) {
  for (int shift = 24; shift >= 0; shift -= 8) bytes += static_cast<char>(value >> shift & 0xFF);
}

void AppendToString(png_structp png, png_bytep data, size_t count) {
  static_cast<std::string*>(png_get_io_ptr(png))->append(reinterpret_cast<char*>(data), count);
}

struct TiffFile {
  std::string bytes;
  size_t at = 0;
};

TiffFile& FileOf(thandle_t handle) { return *static_cast<TiffFile*>(handle); }

tmsize_t TiffRead(thandle_t handle, void* buffer, tmsize_t count) {
  TiffFile& file = FileOf(handle);
  const size_t got = std::min(static_cast<size_t>(count), file.bytes.size() - file.at);
  std::memcpy(buffer, file.bytes.data() + file.at, got);
  file.at += got;
  return static_cast<tmsize_t>(got);
}

tmsize_t TiffWrite(thandle_t handle, void* buffer, tmsize_t count) {
  TiffFile& file = FileOf(handle);
  const size_t end = file.at + static_cast<size_t>(count);
  if (end > file.bytes.size()) file.bytes.resize(end);
  std::memcpy(file.bytes.data() + file.at, buffer, static_cast<size_t>(count));
  file.at = end;
  return count;
}

toff_t TiffSeek(thandle_t handle, toff_t offset, int whence) {
  TiffFile& file = FileOf(handle);
  if (whence == SEEK_CUR) offset += file.at;
  if (whence == SEEK_END) offset += file.bytes.size();
  return file.at = offset;
}

int TiffClose(thandle_t) { return 0; }
toff_t TiffSize(thandle_t handle) { return FileOf(handle).bytes.size(); }

void SetTiffTags(TIFF* tiff, int width, int height, const TiffVariant& variant) {
  TIFFSetField(tiff, TIFFTAG_IMAGEWIDTH, width);
  TIFFSetField(tiff, TIFFTAG_IMAGELENGTH, height);
  TIFFSetField(tiff, TIFFTAG_BITSPERSAMPLE, variant.bits);
  TIFFSetField(tiff, TIFFTAG_SAMPLESPERPIXEL, variant.samples);
  TIFFSetField(tiff, TIFFTAG_PHOTOMETRIC, variant.photometric);
  TIFFSetField(tiff, TIFFTAG_COMPRESSION, variant.compression);
  TIFFSetField(tiff, TIFFTAG_SAMPLEFORMAT, variant.sample_format);
  TIFFSetField(tiff, TIFFTAG_ORIENTATION, variant.orientation);
  TIFFSetField(tiff, TIFFTAG_PLANARCONFIG,
               variant.separate ? PLANARCONFIG_SEPARATE : PLANARCONFIG_CONTIG);
  if (variant.photometric == PHOTOMETRIC_YCBCR) {
    TIFFSetField(tiff, TIFFTAG_JPEGCOLORMODE, JPEGCOLORMODE_RGB);
    TIFFSetField(tiff, TIFFTAG_YCBCRSUBSAMPLING, 2, 2);
  }
  if (variant.alpha != 0) {
    const uint16_t kind = static_cast<uint16_t>(variant.alpha);
    TIFFSetField(tiff, TIFFTAG_EXTRASAMPLES, 1, &kind);
  }
  if (!variant.palette.empty()) {
    const uint16_t* reds = variant.palette.data();
    const size_t colours = variant.palette.size() / 3;
    TIFFSetField(tiff, TIFFTAG_COLORMAP, reds, reds + colours, reds + 2 * colours);
  }
  if (variant.tile_px > 0) {
    TIFFSetField(tiff, TIFFTAG_TILEWIDTH, variant.tile_px);
    TIFFSetField(tiff, TIFFTAG_TILELENGTH, variant.tile_px);
  } else {
    TIFFSetField(tiff, TIFFTAG_ROWSPERSTRIP, 16);
  }
}

// Bytes of one plane out of a row of pixels.
std::vector<uint8_t> PlaneOf(const std::vector<uint8_t>& row, int plane,
                             const TiffVariant& variant) {
  if (!variant.separate) return row;
  const size_t bytes = static_cast<size_t>(variant.bits / 8);
  const size_t pixel = bytes * static_cast<size_t>(variant.samples);
  std::vector<uint8_t> samples;
  for (size_t at = static_cast<size_t>(plane) * bytes; at + bytes <= row.size(); at += pixel) {
    samples.insert(samples.end(), row.begin() + static_cast<std::ptrdiff_t>(at),
                   row.begin() + static_cast<std::ptrdiff_t>(at + bytes));
  }
  return samples;
}

void WriteTiles(TIFF* tiff, int width, const std::vector<std::vector<uint8_t>>& rows, int plane,
                const TiffVariant& variant) {
  const size_t pixel =
      static_cast<size_t>(TIFFTileRowSize(tiff)) / static_cast<size_t>(variant.tile_px);
  const size_t stride = static_cast<size_t>(TIFFTileRowSize(tiff));
  for (int y = 0; y < static_cast<int>(rows.size()); y += variant.tile_px) {
    for (int x = 0; x < width; x += variant.tile_px) {
      std::vector<uint8_t> tile(static_cast<size_t>(TIFFTileSize(tiff)));
      for (int r = 0; r < variant.tile_px && y + r < static_cast<int>(rows.size()); ++r) {
        const std::vector<uint8_t> row =
            PlaneOf(rows[static_cast<size_t>(y) + static_cast<size_t>(r)], plane, variant);
        const int n = std::min(variant.tile_px, width - x);
        std::memcpy(tile.data() + static_cast<size_t>(r) * stride,
                    row.data() + static_cast<size_t>(x) * pixel, static_cast<size_t>(n) * pixel);
      }
      EXPECT_GE(TIFFWriteTile(tiff, tile.data(), static_cast<uint32_t>(x), static_cast<uint32_t>(y),
                              0, static_cast<uint16_t>(plane)),
                0);
    }
  }
}

void WriteStrips(TIFF* tiff, const std::vector<std::vector<uint8_t>>& rows, int plane,
                 const TiffVariant& variant) {
  for (size_t y = 0; y < rows.size(); ++y) {
    std::vector<uint8_t> row = PlaneOf(rows[y], plane, variant);
    EXPECT_GE(
        TIFFWriteScanline(tiff, row.data(), static_cast<uint32_t>(y), static_cast<uint16_t>(plane)),
        0);
  }
}

void WritePage(TIFF* tiff, int width, const std::vector<std::vector<uint8_t>>& rows,
               const TiffVariant& variant) {
  SetTiffTags(tiff, width, static_cast<int>(rows.size()), variant);
  for (int plane = 0; plane < (variant.separate ? variant.samples : 1); ++plane) {
    if (variant.tile_px > 0) {
      WriteTiles(tiff, width, rows, plane, variant);
    } else {
      WriteStrips(tiff, rows, plane, variant);
    }
  }
  EXPECT_TRUE(TIFFWriteDirectory(tiff));
}

void ConfigureJpeg(jpeg_compress_struct& encoder, const Image& picture,
                   const JpegVariant& variant) {
  encoder.image_width = static_cast<JDIMENSION>(picture.width);
  encoder.image_height = static_cast<JDIMENSION>(picture.height);
  encoder.input_components = picture.channels;
  encoder.in_color_space = variant.cmyk            ? JCS_CMYK
                           : picture.channels == 1 ? JCS_GRAYSCALE
                                                   : JCS_RGB;
  jpeg_set_defaults(&encoder);
  if (variant.cmyk) jpeg_set_colorspace(&encoder, JCS_YCCK);
  jpeg_set_quality(&encoder, variant.quality, TRUE);
  encoder.comp_info[0].h_samp_factor = variant.chroma_step;
  encoder.comp_info[0].v_samp_factor = variant.chroma_step;
  if (variant.progressive) jpeg_simple_progression(&encoder);
  encoder.restart_in_rows = variant.restart_rows;
}

// Repeats a progressive file's first scan, which any number of times means the same.
void RepeatFirstScan(std::string& jpeg, int times) {
  const size_t begin = jpeg.find("\xFF\xDA");
  const size_t end = jpeg.find("\xFF\xC4", begin);  // the tables of the next one
  const std::string scan = jpeg.substr(begin, end - begin);
  for (int i = 0; i < times; ++i) jpeg.insert(end, scan);
}

WebPPicture ToWebp(const Image& picture) {
  WebPPicture webp;
  EXPECT_TRUE(WebPPictureInit(&webp));
  webp.width = picture.width;
  webp.height = picture.height;
  webp.use_argb = 1;
  const int stride = static_cast<int>(picture.row_bytes());
  EXPECT_TRUE(picture.channels == 4 ? WebPPictureImportRGBA(&webp, picture.samples.data(), stride)
                                    : WebPPictureImportRGB(&webp, picture.samples.data(), stride));
  return webp;
}

}  // namespace

std::string WriteJpeg(const Image& picture, const JpegVariant& variant) {
  jpeg_compress_struct encoder;
  jpeg_error_mgr errors;
  unsigned char* buffer = nullptr;
  unsigned long size = 0;  // libjpeg's own type
  encoder.err = jpeg_std_error(&errors);
  jpeg_create_compress(&encoder);
  jpeg_mem_dest(&encoder, &buffer, &size);
  ConfigureJpeg(encoder, picture, variant);
  jpeg_start_compress(&encoder, TRUE);
  for (int y = 0; y < picture.height; ++y) {
    JSAMPROW row = const_cast<JSAMPROW>(picture.row(y));
    jpeg_write_scanlines(&encoder, &row, 1);
  }
  jpeg_finish_compress(&encoder);
  jpeg_destroy_compress(&encoder);
  std::string file(reinterpret_cast<char*>(buffer), size);
  std::free(buffer);
  RepeatFirstScan(file, variant.repeated_scans);
  return file;
}

std::string WritePng(int width, int height, const std::vector<std::vector<uint8_t>>& rows,
                     const PngVariant& variant) {
  std::string file;
  png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, nullptr, nullptr, nullptr);
  png_infop info = png_create_info_struct(png);
  png_set_write_fn(png, &file, AppendToString, nullptr);
  png_set_IHDR(png, info, static_cast<png_uint_32>(width), static_cast<png_uint_32>(height),
               variant.bit_depth, variant.colour_type,
               variant.interlaced ? PNG_INTERLACE_ADAM7 : PNG_INTERLACE_NONE,
               PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
  if (!variant.palette.empty()) {
    png_set_PLTE(png, info, reinterpret_cast<png_const_colorp>(variant.palette.data()),
                 static_cast<int>(variant.palette.size() / 3));
  }
  if (!variant.palette_alpha.empty()) {
    png_set_tRNS(png, info, variant.palette_alpha.data(),
                 static_cast<int>(variant.palette_alpha.size()), nullptr);
  }
  if (variant.transparent_grey >= 0) {
    png_color_16 colour = {};
    colour.gray = static_cast<png_uint_16>(variant.transparent_grey);
    png_set_tRNS(png, info, nullptr, 0, &colour);
  }
  std::string exif = variant.exif;
  if (!exif.empty()) {
    png_set_eXIf_1(png, info, static_cast<png_uint_32>(exif.size()),
                   reinterpret_cast<png_bytep>(exif.data()));
  }
  std::vector<png_bytep> pointers;
  pointers.reserve(rows.size());
  for (const std::vector<uint8_t>& row : rows)
    pointers.push_back(const_cast<png_bytep>(row.data()));
  png_set_rows(png, info, pointers.data());
  png_write_png(png, info, PNG_TRANSFORM_IDENTITY, nullptr);
  png_destroy_write_struct(&png, &info);
  return file;
}

std::string PngChunk(std::string_view type, std::string_view data) {
  std::string chunk;
  AppendBig32(chunk, static_cast<uint32_t>(data.size()));
  chunk += type;
  chunk += data;
  const Bytef* body = reinterpret_cast<const Bytef*>(chunk.data()) + 4;
  AppendBig32(chunk, static_cast<uint32_t>(crc32(0, body, static_cast<uInt>(chunk.size() - 4))));
  return chunk;
}

std::string RepairChecksums(std::string png) {
  for (size_t at = 8; at + 12 <= png.size();) {
    size_t length = 0;
    for (size_t i = 0; i < 4; ++i) length = length << 8 | static_cast<uint8_t>(png[at + i]);
    if (length > png.size() - at - 12) break;
    const std::string chunk = PngChunk(png.substr(at + 4, 4), png.substr(at + 8, length));
    png.replace(at, chunk.size(), chunk);
    at += chunk.size();
  }
  return png;
}

std::string ClaimingPng(uint32_t width, uint32_t height) {
  std::string header;
  AppendBig32(header, width);
  AppendBig32(header, height);
  header += std::string("\x08\x02\0\0\0", 5);
  const std::string nothing("\x78\x9C\x63\x60\x00\x00\x00\x02\x00\x01\xE5\x27", 12);  // one zero
  return "\x89PNG\r\n\x1A\n" + PngChunk("IHDR", header) + PngChunk("IDAT", nothing) +
         PngChunk("IEND", "");
}

std::string WriteTiff(int width, int height, const std::vector<std::vector<uint8_t>>& rows,
                      const TiffVariant& variant) {
  EXPECT_EQ(rows.size(), static_cast<size_t>(height));
  TiffFile file;
  TIFF* tiff = TIFFClientOpen("test", variant.mode, &file, TiffRead, TiffWrite, TiffSeek, TiffClose,
                              TiffSize, nullptr, nullptr);
  for (int page = 0; page < variant.pages; ++page) WritePage(tiff, width, rows, variant);
  if (variant.thumbnail) {
    TIFFSetField(tiff, TIFFTAG_SUBFILETYPE, FILETYPE_REDUCEDIMAGE);
    WritePage(tiff, width, rows, variant);
  }
  TIFFClose(tiff);
  return file.bytes;
}

std::string WriteLossyWebp(const Image& picture, float quality) {
  uint8_t* bytes = nullptr;
  const int stride = static_cast<int>(picture.row_bytes());
  const auto encode = picture.channels == 4 ? WebPEncodeRGBA : WebPEncodeRGB;
  const size_t size =
      encode(picture.samples.data(), picture.width, picture.height, stride, quality, &bytes);
  std::string file(reinterpret_cast<char*>(bytes), size);
  WebPFree(bytes);
  return file;
}

std::string WriteAnimatedWebp(const Image& first, const Image& second) {
  WebPAnimEncoder* encoder = WebPAnimEncoderNew(first.width, first.height, nullptr);
  int time_ms = 0;
  for (const Image* picture : {&first, &second}) {
    WebPPicture webp = ToWebp(*picture);
    EXPECT_TRUE(WebPAnimEncoderAdd(encoder, &webp, time_ms, nullptr));
    WebPPictureFree(&webp);
    time_ms += 100;
  }
  WebPData data;
  WebPAnimEncoderAdd(encoder, nullptr, time_ms, nullptr);
  EXPECT_TRUE(WebPAnimEncoderAssemble(encoder, &data));
  WebPAnimEncoderDelete(encoder);
  std::string file(reinterpret_cast<const char*>(data.bytes), data.size);
  WebPDataClear(&data);
  return file;
}

std::vector<std::vector<uint8_t>> Rows(const Image& picture, bool big_endian_16) {
  std::vector<std::vector<uint8_t>> rows;
  for (int y = 0; y < picture.height; ++y) {
    std::vector<uint8_t> row(picture.row(y), picture.row(y) + picture.row_bytes());
    if (big_endian_16 && picture.bytes_per_sample == 2 &&
        std::endian::native == std::endian::little) {
      for (size_t i = 0; i + 1 < row.size(); i += 2) std::swap(row[i], row[i + 1]);
    }
    rows.push_back(std::move(row));
  }
  return rows;
}

}  // namespace deweather
