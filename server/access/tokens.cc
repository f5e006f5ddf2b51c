#include "server/access/tokens.h"

#include <algorithm>
#include <array>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "deweather/v1/access_tokens.pb.h"
#include "model/base/sha256.h"
#include "model/base/status_macros.h"
#include "proto/config/text_format.h"

namespace deweather {
namespace {

constexpr size_t kMaxNameBytes = 64;
constexpr size_t kMaxShownBytes = 80;
constexpr int kTokenChars = 43;  // of 32 bytes in base64

struct NamedGroup {
  Group group;
  v1::AccessTokens::Group message;
  const char* name;
};
constexpr std::array<NamedGroup, 3> kGroups = {{{kInfer, v1::AccessTokens::GROUP_INFER, "infer"},
                                                {kTrain, v1::AccessTokens::GROUP_TRAIN, "train"},
                                                {kAdmin, v1::AccessTokens::GROUP_ADMIN, "admin"}}};

struct MethodGroups {
  std::string_view service;
  std::string_view method;
  Groups groups;
};

constexpr std::string_view kRestoration = "deweather.v1.RestorationService";
constexpr std::string_view kTraining = "deweather.v1.TrainingService";
constexpr std::string_view kModel = "deweather.v1.ModelService";
constexpr std::string_view kInference = "inference.GRPCInferenceService";

constexpr MethodGroups kMethods[] = {
    {kRestoration, "Restore", kInfer},       {kRestoration, "RestoreLarge", kInfer},
    {kRestoration, "RestoreStream", kInfer}, {kTraining, "SubmitJob", kTrain},
    {kTraining, "GetJob", kTrain},           {kTraining, "ListJobs", kTrain},
    {kTraining, "CancelJob", kTrain},        {kTraining, "ResumeJob", kTrain},
    {kTraining, "DeleteJob", kTrain},        {kTraining, "WatchJob", kTrain},
    {kTraining, "StreamLogs", kTrain},       {kTraining, "ListCheckpoints", kTrain},
    {kTraining, "DownloadArtifact", kTrain}, {kTraining, "ListDatasets", kTrain},
    {kTraining, "UploadDataset", kTrain},    {kModel, "ListModels", kAnyGroup},
    {kModel, "GetModel", kAnyGroup},         {kModel, "PromoteModel", kAdmin},
    {kModel, "RollbackModel", kAdmin},       {kModel, "DeleteVersion", kAdmin},
    {kModel, "ImportModel", kAdmin},         {kInference, "ServerLive", kAnyGroup},
    {kInference, "ServerReady", kAnyGroup},  {kInference, "ServerMetadata", kAnyGroup},
    {kInference, "ModelReady", kInfer},      {kInference, "ModelMetadata", kInfer},
    {kInference, "ModelInfer", kInfer},      {kInference, "ModelConfig", kInfer},
    {kInference, "RepositoryIndex", kInfer},
};

std::string Shown(std::string_view value) {
  const std::string text = absl::CHexEscape({value.data(), std::min(value.size(), kMaxShownBytes)});
  return value.size() <= kMaxShownBytes ? text : text + "...";
}

absl::Status Wrong(std::string_view field, std::string_view why) {
  return absl::InvalidArgumentError(absl::StrCat(absl::string_view(field.data(), field.size()), " ",
                                                 absl::string_view(why.data(), why.size())));
}

bool IsNameByte(char c) { return absl::ascii_isalnum(c) || c == '.' || c == '_' || c == '-'; }

// A token that was written where its hash belongs must not be shown.
absl::Status CheckHash(const std::string& field, const std::string& hash) {
  if (IsSha256(absl::AsciiStrToLower(hash))) return absl::OkStatus();
  const size_t bad =
      std::find_if_not(hash.begin(), hash.end(), absl::ascii_isxdigit) - hash.begin();
  return Wrong(field,
               bad < hash.size()
                   ? absl::StrFormat("has %d bytes, of which byte %d is no hexadecimal "
                                     "digit; it must be 64 hexadecimal digits",
                                     hash.size(), bad + 1)
                   : absl::StrFormat("has %d hexadecimal digits; it must have 64", hash.size()));
}

absl::StatusOr<Groups> ToGroups(const std::string& field, const v1::AccessTokens::Token& message) {
  Groups groups = 0;
  for (int i = 0; i < message.group_size(); ++i) {
    const auto* const found =
        std::find_if(kGroups.begin(), kGroups.end(),
                     [&](const NamedGroup& group) { return group.message == message.group(i); });
    if (found == kGroups.end()) {
      return Wrong(absl::StrFormat("%s.group[%d]", field, i),
                   absl::StrFormat("is %d; it must be GROUP_INFER, GROUP_TRAIN or GROUP_ADMIN",
                                   static_cast<int>(message.group(i))));
    }
    groups |= found->group;
  }
  if (groups != 0) return groups;
  return Wrong(absl::StrCat(field, ".group"),
               absl::StrFormat("is empty, of the token of '%s'; it must have GROUP_INFER, "
                               "GROUP_TRAIN or GROUP_ADMIN",
                               Shown(message.name())));
}

absl::Status Add(const std::string& field, const v1::AccessTokens::Token& message, Tokens* tokens) {
  const absl::Status name = CheckTokenName(message.name());
  if (!name.ok()) return Wrong(absl::StrCat(field, ".name"), std::string(name.message()));
  DW_RETURN_IF_ERROR(CheckHash(absl::StrCat(field, ".sha256"), message.sha256()));
  DW_ASSIGN_OR_RETURN(const Groups groups, ToGroups(field, message));
  const auto [place, added] =
      tokens->try_emplace(absl::AsciiStrToLower(message.sha256()), Token{message.name(), groups});
  if (added) return absl::OkStatus();
  return Wrong(absl::StrCat(field, ".sha256"),
               absl::StrFormat("is '%s', which '%s' has already; each token must be listed once",
                               message.sha256(), place->second.name));
}

absl::StatusOr<Tokens> ToTokens(const v1::AccessTokens& message) {
  if (message.token().empty()) return Wrong("token", "is missing; there must be at least one");
  Tokens tokens;
  for (int i = 0; i < message.token_size(); ++i) {
    DW_RETURN_IF_ERROR(Add(absl::StrFormat("token[%d]", i), message.token(i), &tokens));
  }
  return tokens;
}

}  // namespace

std::string NamesOf(Groups groups) {
  std::vector<std::string> names;
  for (const NamedGroup& group : kGroups) {
    if ((groups & group.group) != 0) names.emplace_back(group.name);
  }
  return absl::StrJoin(names, ", ");
}

bool LooksLikeToken(std::string_view text) {
  int run = 0;
  return std::any_of(text.begin(), text.end(), [&run](char c) {
    run = absl::ascii_isalnum(c) || c == '_' || c == '-' ? run + 1 : 0;
    return run == kTokenChars;
  });
}

absl::Status CheckTokenName(std::string_view name) {
  if (LooksLikeToken(name)) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "looks like a token, which must not be in the log; it must have fewer than %d letters, "
        "digits, '_' and '-' on end",
        kTokenChars));
  }
  if (!name.empty() && name.size() <= kMaxNameBytes &&
      std::all_of(name.begin(), name.end(), IsNameByte)) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(absl::StrFormat(
      "is '%s'; it must be 1 to %d letters, digits, '.', '_' or '-'", Shown(name), kMaxNameBytes));
}

absl::StatusOr<Tokens> ParseTokens(const std::string& text, const std::string& file) {
  v1::AccessTokens message;
  FieldPlaces places{file, {}, /*secret=*/true};
  DW_RETURN_IF_ERROR(ParseText(text, &message, &places));
  absl::StatusOr<Tokens> tokens = ToTokens(message);
  if (!tokens.ok()) return AtField(tokens.status(), message, places);
  return tokens;
}

std::optional<Groups> GroupsOf(std::string_view service, std::string_view method) {
  for (const MethodGroups& known : kMethods) {
    if (known.service == service && known.method == method) return known.groups;
  }
  return std::nullopt;
}

}  // namespace deweather
