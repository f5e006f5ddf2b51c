#include "proto/config/job_config.h"

#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>
#include <google/protobuf/text_format.h>

#include <algorithm>
#include <set>
#include <string_view>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "model/base/annotate.h"
#include "model/base/name.h"
#include "model/base/status_macros.h"
#include "proto/config/config.h"
#include "proto/config/messages.h"
#include "proto/config/text_format.h"

namespace deweather {
namespace {

constexpr std::string_view kJobPrefix = "job:";
constexpr size_t kJobIdChars = 12;
constexpr size_t kVersionDigits = 12;

enum class Kind { kPairs, kClean };

absl::Status Wrong(std::string_view field, const std::string& value, std::string_view wanted) {
  constexpr size_t kShown = 100;
  std::string shown = absl::CHexEscape(value);
  if (shown.size() > kShown) shown = shown.substr(0, kShown) + "...";
  return absl::InvalidArgumentError(absl::StrFormat("%s is '%s'; %s", field, shown, wanted));
}

// The same error, whose message begins with a path within the configuration.
absl::Status InConfig(const absl::Status& error) {
  if (error.ok()) return error;
  return {error.code(), absl::StrFormat("config.%s", error.message())};
}

bool IsJobId(std::string_view text) {
  return text.size() == kJobIdChars && std::all_of(text.begin(), text.end(), [](char c) {
           return absl::ascii_isdigit(c) || absl::ascii_islower(c);
         });
}

bool IsVersion(std::string_view text) {
  return text.size() == kVersionDigits && std::all_of(text.begin(), text.end(), [](char c) {
           return absl::ascii_isdigit(c) || (c >= 'a' && c <= 'f');
         });
}

// "NAME", "NAME/VERSION" or "job:ID"; whether there is such a one is not looked at.
absl::StatusOr<InitFrom> ParseInitFrom(std::string_view field, const std::string& text) {
  InitFrom from;
  if (text.starts_with(kJobPrefix)) {
    from.job = text.substr(kJobPrefix.size());
    if (IsJobId(from.job)) return from;
  } else {
    const size_t slash = text.find('/');
    from.model = text.substr(0, slash);
    if (slash != std::string::npos) from.version = text.substr(slash + 1);
    const bool version_is_sound = slash == std::string::npos || IsVersion(from.version);
    if (ValidateName("", from.model).ok() && version_is_sound) return from;
  }
  return Wrong(field, text, "it must be NAME, NAME/VERSION or job:ID");
}

// Ranges, and which fields go together: as of a file, but for what only a file has.
absl::Status CheckFields(const v1::TrainConfig& submitted) {
  DW_RETURN_IF_ERROR(CheckValues(submitted, "config"));
  if (!submitted.output_dir().empty()) {
    return Wrong("config.output_dir", submitted.output_dir(),
                 "it must be left out: a job has a folder of its own");
  }
  if (submitted.resume()) {
    return Wrong("config.resume", "true",
                 "it must be left out: a job always goes on; ResumeJob makes a new one");
  }
  absl::StatusOr<TrainOptions> options = ToOptions(submitted);
  if (!options.ok()) return InConfig(options.status());
  options->output_dir = "run";  // anything: it is not the caller's
  return InConfig(Validate(*options));
}

class Resolver {
 public:
  explicit Resolver(const JobConfigRules& rules) : rules_(rules) {}

  absl::Status Resolve(v1::TrainConfig* config) const {
    v1::Data& data = *config->mutable_data();
    for (int i = 0; i < data.pairs_size(); ++i) {
      DW_RETURN_IF_ERROR(
          Pairs(absl::StrFormat("config.data.pairs[%d].", i), data.mutable_pairs(i)));
    }
    for (int i = 0; i < data.clean_size(); ++i) {
      DW_RETURN_IF_ERROR(Folder(absl::StrFormat("config.data.clean[%d].dir", i), Kind::kClean,
                                data.mutable_clean(i)->mutable_dir()));
    }
    if (config->has_evaluate()) DW_RETURN_IF_ERROR(Measured(config->mutable_evaluate()));
    if (!config->init_from().empty()) {
      DW_RETURN_IF_ERROR(Weights("config.init_from", config->mutable_init_from()));
    }
    if (config->has_distill()) {
      std::string* teacher = config->mutable_distill()->mutable_teacher();
      DW_RETURN_IF_ERROR(Weights("config.distill.teacher", teacher));
    }
    LimitThreads(config);
    return absl::OkStatus();
  }

 private:
  // From the name of a data set to its folder.
  absl::Status Folder(const std::string& field, Kind kind, std::string* name) const {
    if (!ValidateName(field, *name).ok()) {
      return Wrong(field, *name,
                   "it must be the name of a data set: 1 to 64 letters, digits, '.', '_' and '-'");
    }
    absl::StatusOr<JobDataset> dataset = rules_.dataset(*name);
    if (!dataset.ok()) return OfField(field, dataset.status());
    if (dataset->pairs && kind == Kind::kClean) {
      return Wrong(field, *name, "that data set holds pairs; it must be one of clean pictures");
    }
    if (!dataset->pairs && kind == Kind::kPairs) {
      return Wrong(field, *name, "that data set holds clean pictures; it must be one of pairs");
    }
    *name = std::move(dataset->dir);
    return absl::OkStatus();
  }

  absl::Status Pairs(const std::string& field, v1::Data::Pairs* pairs) const {
    if (!pairs->task().empty() && !ValidateName("", pairs->task()).ok()) {
      return Wrong(field + "task", pairs->task(),
                   "it must be 1 to 64 letters, digits, '.', '_' and '-'");
    }
    if (pairs->dir().empty()) {
      DW_RETURN_IF_ERROR(Folder(field + "input_dir", Kind::kClean, pairs->mutable_input_dir()));
      return Folder(field + "truth_dir", Kind::kClean, pairs->mutable_truth_dir());
    }
    if (pairs->task().empty()) pairs->set_task(pairs->dir());
    return Folder(field + "dir", Kind::kPairs, pairs->mutable_dir());
  }

  // Figures bear the names of the sets, whatever their folders are called.
  absl::Status Measured(v1::Evaluate* evaluate) const {
    std::set<std::string> names;
    for (int i = 0; i < evaluate->pairs_dir_size(); ++i) {
      const std::string field = absl::StrFormat("config.evaluate.pairs_dir[%d]", i);
      std::string& set = *evaluate->mutable_pairs_dir(i);
      const std::string name = set;
      if (!names.insert(name).second) return Wrong(field, name, "it must be named once");
      DW_RETURN_IF_ERROR(Folder(field, Kind::kPairs, &set));
      set = absl::StrCat(name, "=", set);
    }
    return absl::OkStatus();
  }

  // From whose weights they are to the path of the checkpoint.
  absl::Status Weights(std::string_view field, std::string* weights) const {
    DW_ASSIGN_OR_RETURN(const InitFrom from, ParseInitFrom(field, *weights));
    absl::StatusOr<std::string> path = rules_.init_from(from);
    if (!path.ok()) return OfField(field, path.status());
    *weights = *std::move(path);
    return absl::OkStatus();
  }

  void LimitThreads(v1::TrainConfig* config) const {
    const int most = rules_.max_threads;
    if (most <= 0) return;
    const int threads = config->threads();  // 0: one per processor
    config->set_threads(threads == 0 ? most : std::min(threads, most));
    if (config->data().loader_threads() > most) config->mutable_data()->set_loader_threads(most);
  }

  const JobConfigRules& rules_;
};

}  // namespace

absl::Status CheckJobConfig(const v1::TrainConfig& submitted, const JobConfigRules& rules) {
  return JobConfigText(submitted, rules, "run").status();
}

absl::StatusOr<std::string> JobConfigText(const v1::TrainConfig& submitted,
                                          const JobConfigRules& rules,
                                          const std::string& output_dir) {
  DW_RETURN_IF_ERROR(CheckFields(submitted));
  v1::TrainConfig config = submitted;
  DW_RETURN_IF_ERROR(Resolver(rules).Resolve(&config));
  config.set_output_dir(output_dir);
  config.set_resume(true);
  std::string text = ToText(config);
  if (text.size() <= kMaxConfigBytes) return text;
  return absl::InvalidArgumentError(
      absl::StrFormat("config has %d bytes as text; it may have %d", text.size(), kMaxConfigBytes));
}

std::string ToText(const v1::TrainConfig& submitted) {
  std::string text;
  google::protobuf::TextFormat::PrintToString(submitted, &text);
  return text;
}

absl::StatusOr<v1::TrainConfig> ParseJobConfig(const std::string& text, const std::string& file) {
  v1::TrainConfig config;
  FieldPlaces places{file, {}};
  DW_RETURN_IF_ERROR(ParseText(text, &config, &places));
  return config;
}

std::string StableBytes(const google::protobuf::Message& message) {
  std::string bytes;
  google::protobuf::io::StringOutputStream stream(&bytes);
  google::protobuf::io::CodedOutputStream coded(&stream);
  coded.SetSerializationDeterministic(true);
  message.SerializeToCodedStream(&coded);
  coded.Trim();
  return bytes;
}

}  // namespace deweather
