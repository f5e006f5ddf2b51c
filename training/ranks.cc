#include "training/ranks.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <c10/util/Logging.h>
#include <gloo/common/error.h>
#include <gloo/context.h>
#include <netdb.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>
#include <torch/csrc/distributed/c10d/reducer.hpp>
#include <utility>
#ifdef USE_C10D_NCCL
#include <torch/csrc/distributed/c10d/ProcessGroupNCCL.hpp>
#endif

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "model/base/status_macros.h"
#include "model/torch_errors.h"
#include "training/rank_store.h"

namespace deweather {
namespace {

using Fields = Ranks::Fields;

constexpr char kBegun[] = "begun";              // rank_store.h
constexpr int64_t kFirstBucketBytes = 1 << 20;  // soon under way
constexpr int64_t kBucketBytes = 25 << 20;

// c10d logs, with stacks, what it then throws, and what it tries again.
void SilenceC10d() {
  if (std::getenv("TORCH_CPP_LOG_LEVEL") == nullptr) FLAGS_caffe2_log_level = c10::GLOG_FATAL;
}

// The address by which this machine reaches another: on that one other ranks reach it, too. Its name's
// address, Gloo's own choice, is often the loopback. Empty: not known.
std::string AddressTowards(const RankPlace& place) {
  addrinfo hints = {};
  hints.ai_socktype = SOCK_DGRAM;  // no packet is sent
  addrinfo* found = nullptr;
  const std::string port = absl::StrCat(place.port);
  if (getaddrinfo(place.address.c_str(), port.c_str(), &hints, &found) != 0) return "";
  std::array<char, NI_MAXHOST> name = {};
  const int file = socket(found->ai_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  sockaddr_storage ours = {};
  socklen_t size = sizeof(ours);
  if (file < 0 || connect(file, found->ai_addr, found->ai_addrlen) != 0 ||
      getsockname(file, reinterpret_cast<sockaddr*>(&ours), &size) != 0 ||
      getnameinfo(reinterpret_cast<sockaddr*>(&ours), size, name.data(), name.size(), nullptr, 0,
                  NI_NUMERICHOST) != 0) {
    name = {};
  }
  if (file >= 0) close(file);
  freeaddrinfo(found);
  return name.data();
}

auto GlooDevice(const RankPlace& place) {
  const char* const interface = std::getenv("GLOO_SOCKET_IFNAME");
  if (interface != nullptr) return c10d::ProcessGroupGloo::createDeviceForInterface(interface);
  const std::string address = AddressTowards(place);
  return address.empty() ? c10d::ProcessGroupGloo::createDefaultDevice()
                         : c10d::ProcessGroupGloo::createDeviceForHostname(address);
}

// An error's code and message, or fields, as a text that the store can hold.
std::string Encode(const absl::StatusOr<Fields>& fields) {
  const auto code = static_cast<int>(fields.status().code());
  return absl::StrCat(code, "\n",
                      fields.ok() ? absl::StrJoin(*fields, "\n", absl::PairFormatter("="))
                                  : std::string(fields.status().message()));
}

absl::StatusOr<Fields> Decode(const std::string& text) {
  const std::pair<std::string, std::string> parts = absl::StrSplit(text, absl::MaxSplits('\n', 1));
  int code = 0;
  if (!absl::SimpleAtoi(parts.first, &code)) return absl::InternalError("not of this program");
  if (code != 0) return absl::Status(static_cast<absl::StatusCode>(code), parts.second);
  Fields fields;
  for (const auto line : absl::StrSplit(parts.second, '\n', absl::SkipEmpty())) {
    fields.insert(absl::StrSplit(line, absl::MaxSplits('=', 1)));
  }
  return fields;
}

absl::Status Compare(int rank, const Fields& theirs, const Fields& firsts) {
  const auto value = [](const Fields& fields, const std::string& name) {
    const auto found = fields.find(name);
    return found == fields.end() ? std::string("absent") : absl::StrCat("'", found->second, "'");
  };
  Fields names = firsts;
  names.insert(theirs.begin(), theirs.end());
  for (const auto& [name, ignored] : names) {
    const std::string here = value(theirs, name), there = value(firsts, name);
    if (here == there) continue;
    return absl::InvalidArgumentError(
        absl::StrFormat("ranks train different runs: %s is %s on rank %d and %s on rank 0", name,
                        here, rank, there));
  }
  return absl::OkStatus();
}

absl::Status CompareAll(const std::vector<std::string>& texts) {
  std::vector<Fields> all;
  for (size_t rank = 0; rank < texts.size(); ++rank) {
    absl::StatusOr<Fields> fields = Decode(texts[rank]);
    if (!fields.ok()) {
      return absl::Status(fields.status().code(),
                          absl::StrFormat("rank %d: %s", rank, fields.status().message()));
    }
    DW_RETURN_IF_ERROR(Compare(static_cast<int>(rank), *fields, all.empty() ? *fields : all[0]));
    all.push_back(*std::move(fields));
  }
  return absl::OkStatus();
}

// Torch's advice to leave a flag off that experts need.
struct NoWarnings : c10::WarningHandler {
  void process(const c10::Warning&) override {}
};

// A group whose ranks see that this one waits no longer.
class Gloo : public c10d::ProcessGroupGloo {
 public:
  using c10d::ProcessGroupGloo::ProcessGroupGloo;
  void Close() {
    for (const auto& context : contexts_) context->closeConnections();
  }
};

// Waiting for it, not a connection, was what failed.
bool IsLate(const std::string& what) {
  return absl::StrContains(what, "imed out") || absl::StrContains(what, "imeout");
}

}  // namespace

struct Ranks::Group {
  StorePtr launch;  // null: no launcher's
  StorePtr store;   // null: alone
  c10::intrusive_ptr<Gloo> gloo;
  c10::intrusive_ptr<c10d::ProcessGroup> gradients;
  std::unique_ptr<c10d::Reducer> reducer;
};

Ranks::Ranks() : Ranks(RankPlace{}, absl::ZeroDuration()) {}
Ranks::Ranks(RankPlace place, absl::Duration timeout)
    : place_(std::move(place)), timeout_(timeout) {}
Ranks::~Ranks() { Leave(absl::CancelledError("ended")); }

absl::StatusOr<std::unique_ptr<Ranks>> Ranks::Join(const RankPlace& place, at::Device device,
                                                   absl::Duration timeout) {
  std::unique_ptr<Ranks> ranks(new Ranks(place, timeout));
  if (place.count == 1 && !place.store_is_there) return ranks;
#ifndef USE_C10D_NCCL
  if (place.count > 1 && device.is_cuda()) {
    return absl::FailedPreconditionError(
        "this build has no NCCL, by which ranks on GPUs talk; device: \"cpu\" needs none");
  }
#endif
  SilenceC10d();
  try {
    DW_RETURN_IF_ERROR(ranks->MeetAll());
    if (place.count > 1) ranks->Connect(device);
    return ranks;
  } catch (const std::exception& error) {
    return absl::UnavailableError(
        absl::StrFormat("ranks cannot reach each other: %s", Reason(error.what())));
  }
}

absl::Status Ranks::MeetAll() {
  DW_ASSIGN_OR_RETURN(const Meeting meeting, Meet(place_, timeout_));
  group_ = std::make_unique<Group>();
  group_->store = meeting.attempt;
  if (!place_.store_is_there) return absl::OkStatus();
  group_->launch = meeting.launch;
  if (meeting.launch->check({kBegun})) begun_ = meeting.launch->get_to_str(kBegun);
  return absl::OkStatus();
}

bool Ranks::HasBegun(const std::string& output_dir) const { return begun_ == output_dir; }

void Ranks::TellBegun(const std::string& output_dir) {
  if (group_ != nullptr && group_->launch != nullptr) group_->launch->set(kBegun, output_dir);
}

void Ranks::Connect(at::Device device) {
  const auto options =
      c10d::ProcessGroupGloo::Options::create(absl::ToChronoMilliseconds(timeout_));
  options->devices = {GlooDevice(place_)};
  const auto own = [&](const char* name) {
    return c10::make_intrusive<c10d::PrefixStore>(name, group_->store);
  };
  group_->gloo = c10::make_intrusive<Gloo>(own("gloo"), rank(), count(), options);
  group_->gradients = c10::make_intrusive<c10d::ProcessGroup>(own("gradients"), rank(), count());
  group_->gradients->setBackend(at::kCPU, c10d::ProcessGroup::GLOO, group_->gloo);
  group_->gradients->setDefaultBackend(c10d::ProcessGroup::GLOO);
  if (!device.is_cuda()) return;
#ifdef USE_C10D_NCCL
  const auto nccl = c10d::ProcessGroupNCCL::Options::create();
  nccl->timeout = absl::ToChronoMilliseconds(timeout_);
  group_->gradients->setBackend(
      at::kCUDA, c10d::ProcessGroup::NCCL,
      c10::make_intrusive<c10d::ProcessGroupNCCL>(own("nccl"), rank(), count(), nccl));
  group_->gradients->setDefaultBackend(c10d::ProcessGroup::NCCL);
#endif
}

absl::Status Ranks::Agree(const absl::StatusOr<Fields>& mine) {
  if (count() == 1) return mine.status();
  told_ = !mine.ok();
  const auto exchange = [store = group_->store, mine = Encode(mine), place = place_,
                         timeout = timeout_]() -> absl::StatusOr<std::vector<std::string>> {
    store->set(KeyOf("run", place.rank), mine);
    const std::vector<std::string> keys = KeysOf("run", place.count);
    const std::vector<bool> said = WaitFor(*store, keys, timeout);
    if (std::find(said.begin(), said.end(), false) != said.end()) {
      return absl::UnavailableError(absl::StrFormat(
          "%s did not begin within %s", NameRanks(said, false), absl::FormatDuration(timeout)));
    }
    std::vector<std::string> texts;
    for (const std::string& key : keys) texts.push_back(store->get_to_str(key));
    return texts;
  };
  auto texts = Within(timeout_ + kGrace, [=]() -> absl::StatusOr<std::vector<std::string>> {
    return CatchTorch("the store is lost", exchange);
  });
  if (!mine.ok()) return mine.status();
  if (!texts) return absl::UnavailableError("the store of rank 0 does not answer");
  DW_RETURN_IF_ERROR(texts->status());
  return CompareAll(**texts);
}

void Ranks::Share(std::string& text) {
  if (count() == 1) return;
  std::vector<at::Tensor> size = {at::full({}, static_cast<int64_t>(text.size()), at::kLong)};
  group_->gloo->broadcast(size)->wait();
  std::vector<at::Tensor> bytes = {at::empty({size[0].item<int64_t>()}, at::kByte)};
  auto* const data = bytes[0].mutable_data_ptr<uint8_t>();
  if (first()) std::memcpy(data, text.data(), text.size());
  group_->gloo->broadcast(bytes)->wait();
  text.assign(reinterpret_cast<const char*>(data), static_cast<size_t>(bytes[0].numel()));
}

at::Tensor Ranks::Sum(const at::Tensor& values) {
  if (count() == 1) return values;
  std::vector<at::Tensor> sum = {values.detach().to(at::kCPU, at::kDouble, false, /*copy=*/true)};
  group_->gloo->allreduce(sum)->wait();
  return sum[0].to(values.options());
}

void Ranks::Average(const std::vector<double*>& values) {
  if (count() == 1) return;
  const at::Tensor mean = at::empty({std::ssize(values)}, at::kDouble);
  auto* const mine = mean.mutable_data_ptr<double>();
  for (size_t i = 0; i < values.size(); ++i) mine[i] = *values[i] / count();
  const at::Tensor sum = Sum(mean);
  for (size_t i = 0; i < values.size(); ++i) *values[i] = sum.const_data_ptr<double>()[i];
}

void Ranks::AverageGradientsOf(const std::vector<at::Tensor>& leaves) {
  if (count() == 1) return;
  auto [buckets, limits] =
      c10d::compute_bucket_assignment_by_size(leaves, {kFirstBucketBytes, kBucketBytes});
  // An expert may see no token on a rank: its gradient is waited for by nobody only if the graph is searched
  // for what the loss does not depend on.
  group_->reducer = std::make_unique<c10d::Reducer>(
      leaves, buckets, group_->gradients, std::vector<bool>(leaves.size(), false), kBucketBytes,
      /*find_unused_parameters=*/true, /*gradient_as_bucket_view=*/false,
      std::unordered_map<size_t, std::string>(), kFirstBucketBytes,
      /*skip_all_reduce_unused_params=*/false, /*use_python_reducer=*/false,
      std::vector<int64_t>());
}

void Ranks::AverageNext(const at::Tensor& loss) {
  if (count() == 1) return;
  NoWarnings none;
  const c10::WarningUtils::WarningHandlerGuard quiet(&none);
  group_->reducer->prepare_for_backward({loss});
}

absl::Status Ranks::Guard(const std::function<std::string()>& doing,
                          const std::function<absl::Status()>& work) {
  if (count() == 1) return work();
  try {
    return work();
  } catch (const c10::DistError& error) {
    return Lost(doing(), Reason(error.what_without_backtrace()));
  } catch (const gloo::Exception& error) {
    return Lost(doing(), Reason(error.what()));
  }
}

// What the others answer when one asks who is there.
struct Ranks::Answers {
  std::vector<bool> there = {};
  std::vector<std::string> reasons = {};  // of those who ended
  bool late = false;  // somebody waited in vain: what others see is the end of that
};

absl::StatusOr<Ranks::Answers> Ranks::AskAll(bool late) const {
  const auto ask = [late, store = group_->store, place = place_]() -> absl::StatusOr<Answers> {
    return CatchTorch("", [&]() -> absl::StatusOr<Answers> {
      if (late) store->set("late", "");
      store->set(KeyOf("end", place.rank), "");
      const std::vector<std::string> keys = KeysOf("end", place.count);
      Answers answers{WaitFor(*store, keys, kGrace)};
      for (size_t rank = 0; rank < keys.size(); ++rank) {
        const std::string reason = answers.there[rank] ? store->get_to_str(keys[rank]) : "";
        if (reason.empty()) continue;
        answers.reasons.push_back(absl::StrFormat("rank %d: %s", rank, reason));
      }
      answers.late = store->check({"late"});
      return answers;
    });
  };
  const auto answers = Within(2 * kGrace, ask);
  return answers ? *answers : absl::UnavailableError("no answer");
}

absl::Status Ranks::Lost(const std::string& doing, const std::string& what) {
  told_ = true;
  group_->gloo->Close();  // others may wait for this rank, not for the one that is lost
  const absl::StatusOr<Answers> answers = AskAll(IsLate(what));
  if (!answers.ok()) {
    group_->store = nullptr;  // no farewell, either
    return absl::UnavailableError(absl::StrFormat(
        "%s does not answer in %s: %s",
        place_.store_is_there ? "the launcher's store" : "rank 0, which holds the store,", doing,
        what));
  }
  lost_ = answers->there;
  lost_.flip();
  if (!answers->reasons.empty()) {
    return absl::UnavailableError(absl::StrFormat("other ranks ended in %s: %s", doing,
                                                  absl::StrJoin(answers->reasons, "; ")));
  }
  return absl::UnavailableError(absl::StrFormat(
      "%s (%s)", Describe(doing, NameRanks(answers->there, false), answers->late), what));
}

// Why nobody goes on, where `missing` do not answer.
std::string Ranks::Describe(const std::string& doing, const std::string& missing, bool late) const {
  const std::string limit = absl::FormatDuration(timeout_);
  const bool lost = std::find(lost_.begin(), lost_.end(), true) != lost_.end();
  if (lost && late) {
    return absl::StrFormat("%s did not reach the end of %s; rank_timeout is %s", missing, doing,
                           limit);
  }
  if (lost) return absl::StrFormat("%s went away in %s", missing, doing);
  if (late) {
    return absl::StrFormat("all ranks are there, but %s took longer than rank_timeout, %s", doing,
                           limit);
  }
  return absl::StrFormat("all ranks are there, but not the connections between them, in %s", doing);
}

void Ranks::Leave(const absl::Status& reason) {
  if (group_ == nullptr) return;
  if (group_->store != nullptr) {
    lost_.resize(count());
    std::vector<std::string> left;  // by those for whom rank 0 keeps the store
    for (int rank = 0; rank < count(); ++rank) {
      if (!lost_[rank]) left.push_back(KeyOf("left", rank));
    }
    const auto farewell = [store = group_->store, place = place_, left = std::move(left),
                           text = reason.ok() || told_ ? "" : std::string(reason.message())] {
      try {
        if (!text.empty()) store->set(KeyOf("end", place.rank), text);
        store->set(KeyOf("left", place.rank), "");
        if (place.rank == 0 && !place.store_is_there) WaitFor(*store, left, kGrace);
      } catch (const std::exception&) {  // there is nobody left to tell
      }
      return true;
    };
    static_cast<void>(Within(2 * kGrace, farewell));
  }
  group_ = nullptr;
}

}  // namespace deweather
