// JPEG through libjpeg-turbo. Its errors arrive by longjmp and end in Guarded().

// jpeglib.h needs FILE and size_t, jerror.h needs jpeglib.h.
// clang-format off
#include <cstdio>
#include <jpeglib.h>
#include <jerror.h>
// clang-format on

#include <csetjmp>
#include <cstdlib>
#include <cstring>
#include <memory>

#include "absl/base/attributes.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "model/base/status_macros.h"
#include "model/image/codec_formats.h"
#include "model/image/exif.h"
#include "model/image/jpeg_quality.h"

namespace deweather {
namespace {

// Progressive files have about ten scans. Each costs a walk over the whole picture however few bytes
// it takes, so their number is bounded.
constexpr int kMaxScans = 100;
constexpr int kMaxSide = 65535;
constexpr size_t kMaxSegmentBytes = 65533;
constexpr int kDefaultQuality = 95;
// Optimised Huffman tables save a few percent and cost 2 bytes per sample: not for large pictures.
constexpr int64_t kMaxOptimisedPixels = 16'000'000;
// Of the ten blocks of an interleaved MCU, two are chroma.
constexpr int kMaxLumaBlocks = 8;
constexpr std::string_view kExifHeader("Exif\0\0", 6);

struct JpegErrors {
  jpeg_error_mgr manager;  // first: libjpeg hands back a pointer to it
  std::jmp_buf jump;
  char message[JMSG_LENGTH_MAX];
};

[[noreturn]] void OnError(j_common_ptr codec) {
  JpegErrors* errors = reinterpret_cast<JpegErrors*>(codec->err);
  errors->manager.format_message(codec, errors->message);
  std::longjmp(errors->jump, 1);
}

// Warnings that mean lost pixels are errors: libjpeg would fill in grey.
void OnMessage(j_common_ptr codec, int level) {
  if (level >= 0) return;  // a trace
  switch (codec->err->msg_code) {
    case JWRN_EXTRANEOUS_DATA:
    case JWRN_ADOBE_XFORM:
    case JWRN_JFIF_MAJOR:
    case JWRN_BOGUS_PROGRESSION:
    case JWRN_BOGUS_ICC:
      return;
    default:
      OnError(codec);
  }
}

void OnProgress(j_common_ptr codec) {
  const j_decompress_ptr decoder = reinterpret_cast<j_decompress_ptr>(codec);
  if (decoder->input_scan_number <= kMaxScans) return;
  JpegErrors* errors = reinterpret_cast<JpegErrors*>(codec->err);
  std::snprintf(errors->message, sizeof(errors->message), "more than %d scans", kMaxScans);
  std::longjmp(errors->jump, 1);
}

jpeg_error_mgr* InitErrors(JpegErrors& errors) {
  jpeg_std_error(&errors.manager);
  errors.manager.error_exit = OnError;
  errors.manager.emit_message = OnMessage;
  errors.message[0] = '\0';
  return &errors.manager;
}

// Runs libjpeg calls. REQUIRES: `calls` leaves no object with a destructor behind when an error
// jumps out of the middle of it.
template <typename Calls>
ABSL_ATTRIBUTE_NOINLINE absl::Status Guarded(JpegErrors& errors, Calls calls) {
  if (setjmp(errors.jump) != 0) {
    return absl::InvalidArgumentError(absl::StrCat("bad JPEG: ", errors.message));
  }
  calls();
  return absl::OkStatus();
}

class JpegReader {
 public:
  JpegReader() = default;
  ~JpegReader() { jpeg_destroy_decompress(&decoder_); }
  JpegReader(const JpegReader&) = delete;
  JpegReader& operator=(const JpegReader&) = delete;

  absl::Status ReadHeader(std::string_view bytes) {
    decoder_.err = InitErrors(errors_);
    progress_.progress_monitor = OnProgress;
    DW_RETURN_IF_ERROR(Guarded(errors_, [&] {
      jpeg_create_decompress(&decoder_);
      decoder_.progress = &progress_;
      jpeg_mem_src(&decoder_, reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size());
      jpeg_save_markers(&decoder_, JPEG_APP0 + 1, 0xFFFF);
      jpeg_save_markers(&decoder_, JPEG_APP0 + 2, 0xFFFF);
      jpeg_read_header(&decoder_, TRUE);
    }));
    return CheckColours();
  }

  absl::Status ReadPixels(Image& image) {
    DW_RETURN_IF_ERROR(Guarded(errors_, [&] {
      decoder_.out_color_space = image.channels == 1 ? JCS_GRAYSCALE : JCS_RGB;
      jpeg_start_decompress(&decoder_);
    }));
    return Guarded(errors_, [&] {
      while (decoder_.output_scanline < decoder_.output_height) {
        JSAMPROW row = AppendRow(image);
        jpeg_read_scanlines(&decoder_, &row, 1);
      }
      jpeg_finish_decompress(&decoder_);
    });
  }

  ImageInfo info() const {
    return {.format = ImageFormat::kJpeg,
            .width = static_cast<int>(decoder_.image_width),
            .height = static_cast<int>(decoder_.image_height),
            .channels = decoder_.num_components};
  }

  std::string_view exif() const {
    for (jpeg_saved_marker_ptr marker = decoder_.marker_list; marker; marker = marker->next) {
      const std::string_view data(reinterpret_cast<const char*>(marker->data), marker->data_length);
      if (marker->marker == JPEG_APP0 + 1 && data.starts_with(kExifHeader)) {
        return data.substr(kExifHeader.size());
      }
    }
    return {};
  }

  // Empty when there is none or its segments do not fit together.
  absl::StatusOr<std::string> IccProfile() {
    JOCTET* data = nullptr;
    unsigned int size = 0;
    DW_RETURN_IF_ERROR(Guarded(errors_, [&] {
      if (!jpeg_read_icc_profile(&decoder_, &data, &size)) size = 0;
    }));
    const std::unique_ptr<JOCTET, decltype(&std::free)> owner(data, &std::free);
    return size == 0 ? std::string() : std::string(reinterpret_cast<char*>(data), size);
  }

  // What encoding again needs to know.
  void DescribeCompression(Image& image) const {
    const jpeg_component_info* luma = &decoder_.comp_info[0];
    const int number = luma->quant_tbl_no;  // as in the file, unchecked
    const JQUANT_TBL* table =
        number >= 0 && number < NUM_QUANT_TBLS ? decoder_.quant_tbl_ptrs[number] : nullptr;
    image.jpeg_quality = table == nullptr ? 0 : EstimateJpegQuality(table->quantval);
    image.jpeg_chroma_step_x = image.jpeg_chroma_step_y = 1;
    if (decoder_.num_components != 3) return;
    const jpeg_component_info* chroma = &decoder_.comp_info[1];
    if (chroma->h_samp_factor < 1 || chroma->v_samp_factor < 1) return;
    image.jpeg_chroma_step_x = luma->h_samp_factor / chroma->h_samp_factor;
    image.jpeg_chroma_step_y = luma->v_samp_factor / chroma->v_samp_factor;
  }

 private:
  absl::Status CheckColours() const {
    if (decoder_.jpeg_color_space == JCS_CMYK || decoder_.jpeg_color_space == JCS_YCCK) {
      return absl::InvalidArgumentError(absl::StrFormat(
          "unsupported format CMYK JPEG (%d components, %s)", decoder_.num_components,
          decoder_.jpeg_color_space == JCS_YCCK ? "YCCK" : "CMYK"));
    }
    if (decoder_.num_components == 1 || decoder_.num_components == 3) return absl::OkStatus();
    return absl::InvalidArgumentError(absl::StrFormat(
        "unsupported format JPEG with %d components; 1 and 3 are read", decoder_.num_components));
  }

  JpegErrors errors_;
  jpeg_progress_mgr progress_ = {};
  jpeg_decompress_struct decoder_ = {};
};

class JpegWriter {
 public:
  JpegWriter() = default;
  ~JpegWriter() {
    jpeg_destroy_compress(&encoder_);
    std::free(buffer_);
  }
  JpegWriter(const JpegWriter&) = delete;
  JpegWriter& operator=(const JpegWriter&) = delete;

  absl::Status Start(const EncodeSource& source) {
    encoder_.err = InitErrors(errors_);
    return Guarded(errors_, [&] {
      jpeg_create_compress(&encoder_);
      jpeg_mem_dest(&encoder_, &buffer_, &size_);
      Configure(source);
      jpeg_start_compress(&encoder_, TRUE);
    });
  }

  absl::Status WriteExif(const std::string& segment) {
    return Guarded(errors_, [&] {
      jpeg_write_marker(&encoder_, JPEG_APP0 + 1, reinterpret_cast<const JOCTET*>(segment.data()),
                        static_cast<unsigned int>(segment.size()));
    });
  }

  absl::Status WriteIcc(std::string_view profile) {
    return Guarded(errors_, [&] {
      jpeg_write_icc_profile(&encoder_, reinterpret_cast<const JOCTET*>(profile.data()),
                             static_cast<unsigned int>(profile.size()));
    });
  }

  absl::Status WritePixels(PixelRows& rows) {
    return Guarded(errors_, [&] {
      for (int y = 0; y < rows.height(); ++y) {
        JSAMPROW row = const_cast<JSAMPROW>(rows.Row(y));
        jpeg_write_scanlines(&encoder_, &row, 1);
      }
      jpeg_finish_compress(&encoder_);
    });
  }

  std::string TakeFile() const { return std::string(reinterpret_cast<char*>(buffer_), size_); }

 private:
  void Configure(const EncodeSource& source) {
    encoder_.image_width = static_cast<JDIMENSION>(source.rows.width());
    encoder_.image_height = static_cast<JDIMENSION>(source.rows.height());
    encoder_.input_components = source.rows.channels();
    encoder_.in_color_space = source.rows.channels() == 1 ? JCS_GRAYSCALE : JCS_RGB;
    const int quality = source.quality > 0 ? source.quality : kDefaultQuality;
    jpeg_set_defaults(&encoder_);
    jpeg_set_quality(&encoder_, quality, TRUE);
    encoder_.optimize_coding =
        int64_t{source.rows.width()} * source.rows.height() <= kMaxOptimisedPixels;
    if (source.rows.channels() == 1) return;
    const int step_x = source.image.jpeg_chroma_step_x;
    const int step_y = source.image.jpeg_chroma_step_y;
    const bool known = step_x >= 1 && step_y >= 1 && step_x * step_y <= kMaxLumaBlocks;
    const int otherwise = quality >= 90 ? 1 : 2;
    encoder_.comp_info[0].h_samp_factor = known ? step_x : otherwise;
    encoder_.comp_info[0].v_samp_factor = known ? step_y : otherwise;
  }

  JpegErrors errors_;
  jpeg_compress_struct encoder_ = {};
  unsigned char* buffer_ = nullptr;
  unsigned long size_ = 0;  // libjpeg's own type
};

absl::Status CheckEncodable(const EncodeSource& source) {
  const PixelRows& rows = source.rows;
  if (rows.has_alpha()) {
    return absl::InvalidArgumentError("a JPEG cannot hold alpha; choose png, webp, tiff or bmp");
  }
  if (rows.width() > kMaxSide || rows.height() > kMaxSide) {
    return absl::InvalidArgumentError(
        absl::StrFormat("picture of %dx%d pixels is over JPEG's limit of %d pixels a side",
                        rows.width(), rows.height(), kMaxSide));
  }
  if (source.exif.size() + kExifHeader.size() > kMaxSegmentBytes) {
    return absl::InvalidArgumentError(
        absl::StrFormat("EXIF of %d bytes is over JPEG's limit of %d bytes; strip the metadata",
                        source.exif.size(), kMaxSegmentBytes - kExifHeader.size()));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Header> ReadJpegHeader(std::string_view bytes) {
  JpegReader reader;
  DW_RETURN_IF_ERROR(reader.ReadHeader(bytes));
  return Header{reader.info(), ExifOrientation(reader.exif())};
}

absl::StatusOr<Decoded> DecodeJpeg(std::string_view bytes) {
  JpegReader reader;
  DW_RETURN_IF_ERROR(reader.ReadHeader(bytes));
  Decoded decoded;
  Image& image = decoded.image;
  image.width = reader.info().width;
  image.height = reader.info().height;
  image.channels = reader.info().channels;
  image.lossless = false;
  reader.DescribeCompression(image);
  image.exif = std::string(reader.exif());
  decoded.orientation = ExifOrientation(image.exif);
  DW_ASSIGN_OR_RETURN(image.icc_profile, reader.IccProfile());
  DW_RETURN_IF_ERROR(reader.ReadPixels(image));
  return decoded;
}

absl::StatusOr<std::string> EncodeJpeg(const EncodeSource& source) {
  DW_RETURN_IF_ERROR(CheckEncodable(source));
  JpegWriter writer;
  DW_RETURN_IF_ERROR(writer.Start(source));
  if (!source.exif.empty()) {
    DW_RETURN_IF_ERROR(writer.WriteExif(std::string(kExifHeader).append(source.exif)));
  }
  if (!source.icc_profile.empty()) DW_RETURN_IF_ERROR(writer.WriteIcc(source.icc_profile));
  DW_RETURN_IF_ERROR(writer.WritePixels(source.rows));
  return writer.TakeFile();
}

}  // namespace deweather
