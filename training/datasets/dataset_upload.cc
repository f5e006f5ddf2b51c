#include <limits>
#include <map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "model/base/error_reason.h"
#include "model/base/file.h"
#include "model/base/name.h"
#include "model/base/sha256.h"
#include "model/base/status_macros.h"
#include "model/image/codec.h"
#include "training/datasets/dataset_folder.h"
#include "training/datasets/datasets.h"
#include "training/datasets/datasets_state.h"

namespace deweather {
namespace {

struct File {
  std::string path;
  int64_t bytes = 0;
  std::string sha256;
  std::string have;  // of its bytes
};

// A picture that arrived, or began to.
struct Picture {
  std::string path;
  int width = 0;  // 0: not there yet
  int height = 0;
};

absl::Status Invalid(const char* reason, const std::string& message) {
  return WithReason(absl::InvalidArgumentError(message), reason);
}

absl::Status CheckFile(const File& file, const DatasetOptions& options) {
  if (file.bytes < 1 || file.bytes > options.max_file_bytes) {
    return Invalid("FILE_SIZE", absl::StrFormat("'%s' has %d bytes; it must have 1 to %d",
                                                file.path, file.bytes, options.max_file_bytes));
  }
  if (IsSha256(file.sha256)) return absl::OkStatus();
  return Invalid(
      "CHECKSUM",
      absl::StrFormat("sha256 of '%s' is not 64 hexadecimal digits in lower case", file.path));
}

absl::Status CheckChecksum(const File& file) {
  const std::string sha256 = Sha256Hex(file.have);
  if (sha256 == file.sha256) return absl::OkStatus();
  return WithReason(absl::DataLossError(absl::StrFormat("'%s' has SHA-256 %s; its sha256 was %s",
                                                        file.path, sha256, file.sha256)),
                    "CHECKSUM");
}

// By decoding all of it: what passes, training can read.
absl::StatusOr<Picture> Decode(const File& file, int64_t max_pixels) {
  const DecodeLimits no_limit{.max_pixels = std::numeric_limits<int64_t>::max()};
  const absl::StatusOr<Image> image = DecodeImage(file.have, {.max_pixels = max_pixels});
  if (image.ok()) return Picture{file.path, image->width, image->height};
  const absl::Status error(image.status().code(),
                           absl::StrFormat("'%s': %s", file.path, image.status().message()));
  if (absl::IsResourceExhausted(error)) return error;  // no fault of the file
  const bool too_large = ReadImageInfo(file.have, {.max_pixels = max_pixels}).status() !=
                         ReadImageInfo(file.have, no_limit).status();
  return WithReason(error, too_large ? "PIXEL_LIMIT" : "INVALID_IMAGE");
}

absl::Status CheckPartners(const Picture& one, const Picture& other) {
  if (one.width == other.width && one.height == other.height) return absl::OkStatus();
  return Invalid("PAIRS_MISMATCH",
                 absl::StrFormat("'%s' is %dx%d but '%s' is %dx%d", one.path, one.width, one.height,
                                 other.path, other.width, other.height));
}

// "gt/a" of "input/a", and the other way round.
std::string PartnerKey(const std::string& key) {
  const size_t slash = key.find('/');
  const bool is_input = key.substr(0, slash) == kInputSide;
  return absl::StrCat(is_input ? kTruthSide : kInputSide, key.substr(slash));
}

}  // namespace

struct DatasetUpload::State {
  State(std::shared_ptr<Datasets::State> datasets, const std::string& name, DatasetKind kind);
  ~State();

  absl::Status MakeFolders() const;
  absl::Status BeginFile(const std::string& path, int64_t bytes, const std::string& sha256);
  absl::Status Append(std::string_view chunk);
  absl::StatusOr<Dataset> Commit(absl::Time now);

  absl::Status CheckComplete() const;
  absl::Status FinishFile();
  absl::Status CheckPairs() const;
  absl::Status MoveIntoPlace() const;

  const std::shared_ptr<Datasets::State> owner;
  const std::string folder;  // .tmp-*
  Dataset dataset;           // as it will be; its bytes are reserved
  absl::Status failure;      // the first
  bool committed = false;
  std::optional<File> file;                 // under way
  std::map<std::string, Picture> pictures;  // by PictureKey
};

DatasetUpload::State::State(std::shared_ptr<Datasets::State> datasets, const std::string& name,
                            DatasetKind kind)
    : owner(std::move(datasets)),
      folder(UniqueName(absl::StrCat(owner->folder, "/", kUploadPrefix, name, "-"))),
      dataset{.name = name, .kind = kind, .dir = absl::StrCat(owner->folder, "/", name)} {}

DatasetUpload::State::~State() {
  if (committed) return;
  RemoveAll(folder);
  owner->Release(dataset.name, dataset.bytes);
}

absl::Status DatasetUpload::State::MakeFolders() const {
  for (const std::string& side : SidesOf(dataset.kind)) {
    DW_RETURN_IF_ERROR(MakeFolder(absl::StrCat(folder, "/", side)));
  }
  return absl::OkStatus();
}

// Fewer bytes than announced.
absl::Status DatasetUpload::State::CheckComplete() const {
  if (!file.has_value()) return absl::OkStatus();
  return Invalid("FILE_SIZE", absl::StrFormat("'%s' ends after %d of its %d bytes", file->path,
                                              file->have.size(), file->bytes));
}

absl::Status DatasetUpload::State::BeginFile(const std::string& path, int64_t bytes,
                                             const std::string& sha256) {
  DW_RETURN_IF_ERROR(CheckComplete());
  DW_RETURN_IF_ERROR(CheckPicturePath(dataset.kind, path));
  const File next = {path, bytes, sha256, {}};
  DW_RETURN_IF_ERROR(CheckFile(next, owner->options));
  const auto [there, added] = pictures.emplace(PictureKey(dataset.kind, path), Picture{path});
  if (!added) {
    return Invalid("FILE_PATH", absl::StrFormat("'%s' comes after '%s' of the same name", path,
                                                there->second.path));
  }
  if (std::ssize(pictures) > owner->options.max_files) {
    return WithReason(absl::ResourceExhaustedError(
                          absl::StrFormat("'%s' is file %d; datasets.max_files is %d", path,
                                          pictures.size(), owner->options.max_files)),
                      "FILE_QUOTA");
  }
  DW_RETURN_IF_ERROR(owner->Reserve(bytes));
  dataset.bytes += bytes;
  file = next;
  return absl::OkStatus();
}

absl::Status DatasetUpload::State::Append(std::string_view chunk) {
  if (pictures.empty()) {
    return Invalid("MESSAGE_OUT_OF_ORDER", "a chunk came before the file that it belongs to");
  }
  if (!file.has_value()) return Invalid("FILE_SIZE", "a file has more bytes than it announced");
  const auto left = static_cast<size_t>(file->bytes) - file->have.size();
  if (chunk.empty() || chunk.size() > left) {
    return Invalid("FILE_SIZE",
                   absl::StrFormat("a chunk of '%s' has %d bytes; it must have 1 to %d", file->path,
                                   chunk.size(), left));
  }
  file->have.append(chunk);
  return chunk.size() == left ? FinishFile() : absl::OkStatus();
}

absl::Status DatasetUpload::State::FinishFile() {
  const File done = *std::exchange(file, std::nullopt);
  DW_RETURN_IF_ERROR(CheckChecksum(done));
  Picture picture;
  {
    const MutexLock lock(owner->decoding);
    DW_ASSIGN_OR_RETURN(picture, Decode(done, owner->options.max_image_pixels));
  }
  const std::string key = PictureKey(dataset.kind, done.path);
  if (dataset.kind == DatasetKind::kPairs) {
    const auto partner = pictures.find(PartnerKey(key));
    if (partner != pictures.end()) DW_RETURN_IF_ERROR(CheckPartners(picture, partner->second));
  }
  pictures[key] = picture;
  return WriteAndSync(absl::StrCat(folder, "/", done.path), done.have);
}

absl::Status DatasetUpload::State::CheckPairs() const {
  for (const auto& [key, picture] : pictures) {
    if (pictures.contains(PartnerKey(key))) continue;
    return Invalid("PAIRS_MISMATCH",
                   absl::StrFormat("'%s' has no partner '%s'", picture.path, PartnerKey(key)));
  }
  return absl::OkStatus();
}

// On the disk with all its files first; the rename makes it a data set.
absl::Status DatasetUpload::State::MoveIntoPlace() const {
  for (const std::string& side : SidesOf(dataset.kind)) {
    DW_RETURN_IF_ERROR(SyncFolderOf(absl::StrCat(folder, "/", side, "/.")));
  }
  DW_RETURN_IF_ERROR(WriteDatasetFile(dataset, folder));
  DW_RETURN_IF_ERROR(Rename(folder, dataset.dir));
  absl::Status synced = SyncFolderOf(dataset.dir);
  if (!synced.ok()) RemoveAll(dataset.dir);
  return synced;
}

absl::StatusOr<Dataset> DatasetUpload::State::Commit(absl::Time now) {
  DW_RETURN_IF_ERROR(CheckComplete());
  if (pictures.empty()) return Invalid("DATASET_EMPTY", "no file was sent");
  const bool pairs = dataset.kind == DatasetKind::kPairs;
  if (pairs) DW_RETURN_IF_ERROR(CheckPairs());
  dataset.pictures = std::ssize(pictures) / (pairs ? 2 : 1);
  dataset.create_time = absl::FromUnixSeconds(absl::ToUnixSeconds(now));  // as the file keeps it
  DW_RETURN_IF_ERROR(MoveIntoPlace());
  committed = true;
  owner->Add(dataset);
  return dataset;
}

DatasetUpload::DatasetUpload(std::unique_ptr<State> state) : state_(std::move(state)) {}
DatasetUpload::DatasetUpload(DatasetUpload&&) noexcept = default;
DatasetUpload::~DatasetUpload() = default;

absl::StatusOr<DatasetUpload> Datasets::BeginUpload(const std::string& name, DatasetKind kind) {
  const absl::Status valid = ValidateName("name", name);
  if (!valid.ok()) return WithReason(valid, "DATASET_NAME");
  DW_RETURN_IF_ERROR(state_->TakeName(name));
  auto upload = std::make_unique<DatasetUpload::State>(state_, name, kind);
  DW_RETURN_IF_ERROR(state_->Reserve(0));
  DW_RETURN_IF_ERROR(upload->MakeFolders());
  return DatasetUpload(std::move(upload));
}

absl::Status DatasetUpload::BeginFile(const std::string& path, int64_t bytes,
                                      const std::string& sha256) {
  if (state_->failure.ok()) state_->failure = state_->BeginFile(path, bytes, sha256);
  return state_->failure;
}

absl::Status DatasetUpload::Append(std::string_view chunk) {
  if (state_->failure.ok()) state_->failure = state_->Append(chunk);
  return state_->failure;
}

absl::StatusOr<Dataset> DatasetUpload::Commit(absl::Time now) {
  if (!state_->failure.ok()) return state_->failure;
  absl::StatusOr<Dataset> dataset = state_->Commit(now);
  state_->failure =
      dataset.ok() ? absl::FailedPreconditionError("the upload is over") : dataset.status();
  return dataset;
}

}  // namespace deweather
