#include "model/version_store.h"

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <system_error>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "model/base/file.h"
#include "model/base/name.h"
#include "model/base/sha256.h"
#include "model/base/status_macros.h"

namespace deweather {
namespace {

namespace fs = std::filesystem;
using json = nlohmann::ordered_json;

constexpr size_t kVersionDigits = 12;
constexpr char kWeights[] = "model.safetensors";
constexpr char kManifest[] = "manifest.json";

bool IsFolder(const std::string& path) {
  std::error_code ignored;
  return fs::is_directory(path, ignored);
}

// Names of the folders in a folder, in no order; none if it cannot be read.
std::vector<std::string> FoldersIn(const std::string& path) {
  std::vector<std::string> names;
  std::error_code error;
  for (fs::directory_iterator entry(path, error), end; !error && entry != end;
       entry.increment(error)) {
    if (IsFolder(entry->path().string())) names.push_back(entry->path().filename().string());
  }
  return names;
}

std::string NameFolder(const std::string& models, const std::string& name) {
  return absl::StrCat(models, "/", name);
}

std::string VersionFolder(const std::string& models, const std::string& name,
                          const std::string& version) {
  return absl::StrCat(models, "/", name, "/", version);
}

absl::Status Torn(const std::string& path, std::string_view why) {
  return absl::DataLossError(absl::StrFormat("'%s': %s", path, why));
}

absl::Status CheckVersion(std::string_view version) {
  if (IsVersion(version)) return absl::OkStatus();
  return absl::InvalidArgumentError("version is not made of 12 hexadecimal digits in lower case");
}

absl::Status CheckPlace(std::string_view name, std::string_view version) {
  DW_RETURN_IF_ERROR(ValidateName("name", name));
  return CheckVersion(version);
}

std::string TextField(const json& object, const char* name) {
  const auto found = object.find(name);
  return found != object.end() && found->is_string() ? found->get<std::string>() : "";
}

double NumberField(const json& object, const char* name) {
  const auto found = object.find(name);
  return found != object.end() && found->is_number() ? found->get<double>() : 0;
}

// A JSON object in a file; DATA_LOSS if it is something else.
absl::StatusOr<json> ReadObject(const std::string& path) {
  DW_ASSIGN_OR_RETURN(const std::string text, ReadFile(path));
  json object = json::parse(text, nullptr, false);
  if (!object.is_object()) return Torn(path, "is not a JSON object");
  return object;
}

std::string Dump(const json& object) {
  return absl::StrCat(object.dump(2, ' ', false, json::error_handler_t::replace), "\n");
}

std::string ToText(const VersionManifest& manifest) {
  return Dump({{"name", manifest.name},
               {"version", manifest.version},
               {"created_time",
                absl::FormatTime(absl::RFC3339_sec, manifest.created_time, absl::UTCTimeZone())},
               {"bytes", manifest.bytes},
               {"sha256", manifest.sha256},
               {"source", manifest.source}});
}

// Empty times and sizes stand for fields that are missing or no such thing.
VersionManifest ManifestOf(const json& object) {
  VersionManifest manifest = {.name = TextField(object, "name"),
                              .version = TextField(object, "version"),
                              .created_time = absl::InfinitePast(),
                              .bytes = -1,
                              .sha256 = TextField(object, "sha256"),
                              .source = TextField(object, "source")};
  std::string ignored;
  absl::ParseTime(absl::RFC3339_full, TextField(object, "created_time"), &manifest.created_time,
                  &ignored);
  const auto bytes = object.find("bytes");
  if (bytes != object.end() && bytes->is_number_integer()) manifest.bytes = bytes->get<int64_t>();
  return manifest;
}

absl::Status CheckManifest(const VersionManifest& manifest, const std::string& name,
                           const std::string& version, const std::string& path) {
  if (manifest.name != name || manifest.version != version) {
    return Torn(path, absl::StrFormat("is of '%s' version '%s', in the folder of '%s' version '%s'",
                                      manifest.name, manifest.version, name, version));
  }
  if (manifest.sha256.substr(0, kVersionDigits) != version) {
    return Torn(path, absl::StrFormat("sha256 is '%s', which is not of version %s", manifest.sha256,
                                      version));
  }
  if (manifest.created_time == absl::InfinitePast()) return Torn(path, "has no created_time");
  return absl::OkStatus();
}

absl::Status CheckSize(const std::string& path, int64_t bytes) {
  std::error_code error;
  const auto size = static_cast<int64_t>(fs::file_size(path, error));
  if (error) return Torn(path, "is not there");
  if (size == bytes) return absl::OkStatus();
  return Torn(path, absl::StrFormat("has %d bytes; its manifest says %d", size, bytes));
}

// One that cannot be read is none: the live version is served all the same.
void ReadCanary(const json& object, const std::string& path, LiveRecord& record) {
  const auto canary = object.find("canary");
  if (canary == object.end()) return;
  const std::string version = canary->is_object() ? TextField(*canary, "version") : "";
  const double percent = canary->is_object() ? NumberField(*canary, "percent") : 0;
  if (IsVersion(version) && IsCanaryPercent(percent)) {
    record.canary = version;
    record.canary_percent = percent;
    return;
  }
  record.problem = absl::StrFormat("'%s': says canary '%s' of %g percent", path, version, percent);
}

// Of a version whose folder is there.
absl::StatusOr<VersionManifest> ReadPlaced(const std::string& models, const std::string& name,
                                           const std::string& version) {
  const std::string path = absl::StrCat(VersionFolder(models, name, version), "/", kManifest);
  const absl::StatusOr<json> object = ReadObject(path);
  if (absl::IsNotFound(object.status())) return Torn(path, "is not there");
  if (!object.ok()) return object.status();
  VersionManifest manifest = ManifestOf(*object);
  DW_RETURN_IF_ERROR(CheckManifest(manifest, name, version, path));
  DW_RETURN_IF_ERROR(CheckSize(VersionPath(models, name, version), manifest.bytes));
  return manifest;
}

// The newest ones, for messages.
std::string KnownVersions(const std::string& models, const std::string& name) {
  std::vector<std::string> known;
  for (const VersionManifest& manifest : ListVersions(models, name).versions) {
    known.push_back(manifest.version);
  }
  return ShownNames(known);
}

absl::Status UnknownVersion(const std::string& models, const std::string& name,
                            const std::string& version) {
  return absl::NotFoundError(absl::StrFormat("model '%s' has no version %s; stored: %s", name,
                                             version, KnownVersions(models, name)));
}

// Beside the versions, and nobody else's.
std::string TemporaryFolder(const std::string& models, const std::string& name,
                            const std::string& version) {
  return UniqueName(absl::StrCat(NameFolder(models, name), "/.tmp-", version, "-"));
}

// Puts the whole folder `from` where the version belongs; a torn one that is there makes way.
absl::Status MoveIntoPlace(const std::string& from, const std::string& to) {
  const std::string torn = absl::StrCat(from, "-torn");
  const absl::Cleanup remove = [&torn] { RemoveAll(torn); };
  if (IsFolder(to)) DW_RETURN_IF_ERROR(Rename(to, torn));
  DW_RETURN_IF_ERROR(Rename(from, to));
  return SyncFolderOf(to);
}

absl::Status Write(const std::string& models, const VersionManifest& manifest,
                   std::string_view checkpoint) {
  const std::string folder = TemporaryFolder(models, manifest.name, manifest.version);
  DW_RETURN_IF_ERROR(MakeFolder(folder));
  const absl::Cleanup remove = [&folder] { RemoveAll(folder); };
  DW_RETURN_IF_ERROR(WriteFileAtomically(absl::StrCat(folder, "/", kWeights), checkpoint));
  DW_RETURN_IF_ERROR(WriteFileAtomically(absl::StrCat(folder, "/", kManifest), ToText(manifest)));
  // A whole one never makes way, not even for a moment: others read it.
  if (ReadVersion(models, manifest.name, manifest.version).ok()) {
    return absl::AlreadyExistsError("somebody else has put it there");
  }
  return MoveIntoPlace(folder, VersionFolder(models, manifest.name, manifest.version));
}

}  // namespace

bool IsVersion(std::string_view text) {
  return text.size() == kVersionDigits && std::all_of(text.begin(), text.end(), [](char c) {
           return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
         });
}

bool IsCanaryPercent(double percent) { return percent > 0 && percent < 100; }

std::string VersionPath(const std::string& models, const std::string& name,
                        const std::string& version) {
  return absl::StrCat(VersionFolder(models, name, version), "/", kWeights);
}

absl::StatusOr<AddedVersion> AddVersion(const std::string& models, const std::string& name,
                                        std::string_view checkpoint, const std::string& source,
                                        absl::Time now) {
  DW_RETURN_IF_ERROR(ValidateName("name", name));
  const std::string sha256 = Sha256Hex(checkpoint);
  const std::string version = sha256.substr(0, kVersionDigits);
  const std::string path = VersionPath(models, name, version);
  if (ReadVersion(models, name, version).ok()) {
    DW_ASSIGN_OR_RETURN(VersionManifest there, ReadManifest(models, name, version));
    return AddedVersion{std::move(there), path, false};
  }
  const VersionManifest manifest = {.name = name,
                                    .version = version,
                                    .created_time = now,
                                    .bytes = static_cast<int64_t>(checkpoint.size()),
                                    .sha256 = sha256,
                                    .source = source};
  DW_RETURN_IF_ERROR(MakeFolder(NameFolder(models, name)));
  const absl::Status written = Write(models, manifest, checkpoint);
  // Somebody else may have put the same version there in the meantime.
  if (!written.ok() && !ReadVersion(models, name, version).ok()) return written;
  return AddedVersion{manifest, path, written.ok()};
}

absl::StatusOr<VersionManifest> ReadManifest(const std::string& models, const std::string& name,
                                             const std::string& version) {
  DW_RETURN_IF_ERROR(CheckPlace(name, version));
  if (IsFolder(VersionFolder(models, name, version))) return ReadPlaced(models, name, version);
  return UnknownVersion(models, name, version);
}

absl::StatusOr<std::string> ReadVersion(const std::string& models, const std::string& name,
                                        const std::string& version) {
  DW_ASSIGN_OR_RETURN(const VersionManifest manifest, ReadManifest(models, name, version));
  const std::string path = VersionPath(models, name, version);
  DW_ASSIGN_OR_RETURN(std::string bytes, ReadFile(path));
  const std::string sha256 = Sha256Hex(bytes);
  if (sha256 == manifest.sha256) return bytes;
  return Torn(path,
              absl::StrFormat("has SHA-256 %s; its manifest says %s", sha256, manifest.sha256));
}

absl::Status DeleteVersion(const std::string& models, const std::string& name,
                           const std::string& version) {
  DW_RETURN_IF_ERROR(CheckPlace(name, version));
  const std::string folder = VersionFolder(models, name, version);
  if (!IsFolder(folder)) return UnknownVersion(models, name, version);
  const std::string deleted = TemporaryFolder(models, name, version);
  DW_RETURN_IF_ERROR(Rename(folder, deleted));
  const absl::Status synced = SyncFolderOf(folder);
  RemoveAll(deleted);
  std::error_code not_empty;
  fs::remove(NameFolder(models, name), not_empty);
  return synced;
}

VersionList ListVersions(const std::string& models, const std::string& name) {
  VersionList list;
  if (!ValidateName("name", name).ok()) return list;
  for (const std::string& version : FoldersIn(NameFolder(models, name))) {
    if (!IsVersion(version)) continue;
    absl::StatusOr<VersionManifest> manifest = ReadPlaced(models, name, version);
    if (manifest.ok()) {
      list.versions.push_back(*std::move(manifest));
    } else {
      list.skipped.push_back(manifest.status());
    }
  }
  std::sort(list.versions.begin(), list.versions.end(), [](const auto& a, const auto& b) {
    return std::pair(b.created_time, b.version) < std::pair(a.created_time, a.version);
  });
  return list;
}

std::vector<std::string> ListStoredNames(const std::string& models) {
  std::vector<std::string> names = FoldersIn(models);
  std::erase_if(names, [](const std::string& name) { return !ValidateName("name", name).ok(); });
  std::sort(names.begin(), names.end());
  return names;
}

absl::StatusOr<std::optional<LiveRecord>> ReadLive(const std::string& models,
                                                   const std::string& name) {
  DW_RETURN_IF_ERROR(ValidateName("name", name));
  const std::string path = absl::StrCat(NameFolder(models, name), "/live.json");
  const absl::StatusOr<json> object = ReadObject(path);
  if (absl::IsNotFound(object.status())) return std::nullopt;
  if (!object.ok()) return object.status();
  LiveRecord record{.version = TextField(*object, "version"),
                    .previous = TextField(*object, "previous")};
  ReadCanary(*object, path, record);
  if (IsVersion(record.version) && (record.previous.empty() || IsVersion(record.previous))) {
    return record;
  }
  return Torn(path, absl::StrFormat("says version '%s' and previous '%s'", record.version,
                                    record.previous));
}

absl::Status WriteLive(const std::string& models, const std::string& name,
                       const LiveRecord& record) {
  DW_RETURN_IF_ERROR(CheckPlace(name, record.version));
  if (!record.previous.empty()) DW_RETURN_IF_ERROR(CheckVersion(record.previous));
  json object = {{"version", record.version}, {"previous", record.previous}};
  if (!record.canary.empty()) {
    DW_RETURN_IF_ERROR(CheckVersion(record.canary));
    if (!IsCanaryPercent(record.canary_percent)) {
      return absl::InvalidArgumentError(absl::StrFormat(
          "canary_percent is %g; it must be above 0 and below 100", record.canary_percent));
    }
    object["canary"] = {{"version", record.canary}, {"percent", record.canary_percent}};
  }
  DW_RETURN_IF_ERROR(MakeFolder(NameFolder(models, name)));
  return WriteFileAtomically(absl::StrCat(NameFolder(models, name), "/live.json"), Dump(object));
}

}  // namespace deweather
