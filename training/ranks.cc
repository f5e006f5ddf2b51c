#include "training/ranks.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <c10/util/Logging.h>
#include <netdb.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <future>
#include <optional>
#include <thread>
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>
#include <torch/csrc/distributed/c10d/reducer.hpp>
#include <utility>
#ifdef USE_C10D_NCCL
#include <torch/csrc/distributed/c10d/ProcessGroupNCCL.hpp>
#endif

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "model/base/status_macros.h"
#include "model/torch_errors.h"

namespace deweather {
namespace {

using Fields = Ranks::Fields;
using StorePtr = c10::intrusive_ptr<c10d::Store>;

constexpr absl::Duration kGrace = absl::Seconds(5);  // for ranks to say that they are still there
constexpr int64_t kFirstBucketBytes = 1 << 20;       // soon under way
constexpr int64_t kBucketBytes = 25 << 20;

std::chrono::milliseconds Milliseconds(absl::Duration duration) {
  return absl::ToChronoMilliseconds(duration);
}

std::string KeyOf(const char* what, int rank) { return absl::StrCat(what, "/", rank); }

std::vector<std::string> KeysOf(const char* what, int count) {
  std::vector<std::string> keys;
  for (int rank = 0; rank < count; ++rank) keys.push_back(KeyOf(what, rank));
  return keys;
}

// What `body` returns, or throws; nothing if it takes longer. A store whose holder is stopped never answers:
// then the thread stays behind, with what `body` has captured.
template <typename Body>
auto Within(absl::Duration limit, Body body) -> std::optional<decltype(body())> {
  auto task = std::make_shared<std::packaged_task<decltype(body())()>>(std::move(body));
  auto result = task->get_future();
  std::thread([task] { (*task)(); }).detach();
  if (result.wait_for(Milliseconds(limit)) != std::future_status::ready) return std::nullopt;
  return result.get();
}

// Which of the keys are there before the time is over.
std::vector<bool> WaitFor(c10d::Store& store, const std::vector<std::string>& keys,
                          absl::Duration timeout) {
  try {
    store.wait(keys, Milliseconds(timeout));
    return std::vector<bool>(keys.size(), true);
  } catch (const c10::DistError&) {
    std::vector<bool> there;
    for (const std::string& key : keys) there.push_back(store.check({key}));
    return there;
  }
}

// What Gloo or c10d says, in a line, without the place in its sources.
std::string Reason(std::string_view text) {
  const std::string_view line = FirstLine(text);
  const size_t end = line.starts_with('[') ? line.find("] ") : line.npos;
  return std::string(end == line.npos ? line : line.substr(end + 2));
}

// c10d logs, with stacks, what it then throws, and what it tries again.
void SilenceC10d() {
  if (std::getenv("TORCH_CPP_LOG_LEVEL") == nullptr) FLAGS_caffe2_log_level = c10::GLOG_FATAL;
}

std::string NameRanks(const std::vector<bool>& which, bool value) {
  std::vector<int> ranks;
  for (size_t rank = 0; rank < which.size(); ++rank) {
    if (which[rank] == value) ranks.push_back(static_cast<int>(rank));
  }
  if (ranks.empty()) return "no rank";
  return absl::StrCat(ranks.size() == 1 ? "rank " : "ranks ", absl::StrJoin(ranks, ", "));
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

}  // namespace

struct Ranks::Group {
  StorePtr store;
  c10::intrusive_ptr<c10d::ProcessGroupGloo> gloo;
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
  if (place.count == 1) return ranks;
  SilenceC10d();
  ranks->group_ = std::make_unique<Group>();
  try {
    DW_RETURN_IF_ERROR(ranks->MeetAll());
    ranks->Connect(device);
    return ranks;
  } catch (const std::exception& error) {
    return absl::UnavailableError(
        absl::StrFormat("ranks cannot reach each other: %s", Reason(error.what())));
  }
}

absl::Status Ranks::MeetAll() {
  const std::string where = absl::StrCat(place_.address, ":", place_.port);
  c10d::TCPStoreOptions options;
  options.port = static_cast<uint16_t>(place_.port);
  options.isServer = first() && !place_.store_is_there;
  options.waitWorkers = false;
  options.timeout = Milliseconds(timeout_);
  try {
    // An attempt's keys are its own: torchrun's store outlives it.
    const std::string prefix = absl::StrFormat("deweather/%d/%d", place_.restarts, place_.count);
    group_->store = c10::make_intrusive<c10d::PrefixStore>(
        prefix, c10::make_intrusive<c10d::TCPStore>(place_.address, options));
  } catch (const c10::DistError& error) {
    const std::string line = Reason(error.what_without_backtrace());
    if (options.isServer) {
      return absl::FailedPreconditionError(
          absl::StrFormat("rank 0 cannot listen at MASTER_PORT %d: %s", place_.port, line));
    }
    return absl::UnavailableError(
        absl::StrFormat("nobody answers at MASTER_ADDR:MASTER_PORT %s: %s", where, line));
  }
  if (group_->store->add(KeyOf("came", rank()), 1) > 1) {
    return absl::FailedPreconditionError(absl::StrFormat(
        "another process is rank %d already at MASTER_ADDR:MASTER_PORT %s", rank(), where));
  }
  const std::vector<bool> came = WaitFor(*group_->store, KeysOf("came", count()), timeout_);
  if (std::find(came.begin(), came.end(), false) == came.end()) return absl::OkStatus();
  return absl::UnavailableError(absl::StrFormat(
      "of %d ranks %s came to %s within %s, %s did not", count(), NameRanks(came, true), where,
      absl::FormatDuration(timeout_), NameRanks(came, false)));
}

void Ranks::Connect(at::Device device) {
  const auto options = c10d::ProcessGroupGloo::Options::create(Milliseconds(timeout_));
  options->devices = {GlooDevice(place_)};
  const auto own = [&](const char* name) {
    return c10::make_intrusive<c10d::PrefixStore>(name, group_->store);
  };
  group_->gloo = c10::make_intrusive<c10d::ProcessGroupGloo>(own("gloo"), rank(), count(), options);
  group_->gradients = c10::make_intrusive<c10d::ProcessGroup>(own("gradients"), rank(), count());
  group_->gradients->setBackend(at::kCPU, c10d::ProcessGroup::GLOO, group_->gloo);
  group_->gradients->setDefaultBackend(c10d::ProcessGroup::GLOO);
  if (!device.is_cuda()) return;
#ifdef USE_C10D_NCCL
  const auto nccl = c10d::ProcessGroupNCCL::Options::create();
  nccl->timeout = Milliseconds(timeout_);
  group_->gradients->setBackend(
      at::kCUDA, c10d::ProcessGroup::NCCL,
      c10::make_intrusive<c10d::ProcessGroupNCCL>(own("nccl"), rank(), count(), nccl));
  group_->gradients->setDefaultBackend(c10d::ProcessGroup::NCCL);
#else
  throw std::runtime_error(
      "this build has no NCCL, by which ranks on GPUs talk; device: \"cpu\" needs none");
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

absl::Status Ranks::Guard(const std::function<int64_t()>& step,
                          const std::function<absl::Status()>& work) {
  if (count() == 1) return work();
  try {
    return work();
  } catch (const c10::DistError& error) {
    return Lost(step(), Reason(error.what_without_backtrace()));
  } catch (const c10::Error&) {
    throw;                                     // our own
  } catch (const std::runtime_error& error) {  // Gloo's
    return Lost(step(), Reason(error.what()));
  }
}

absl::Status Ranks::Lost(int64_t step, const std::string& what) {
  told_ = true;
  struct Answers {
    std::vector<bool> there;
    std::vector<std::string> reasons;
  };
  const auto ask = [store = group_->store, place = place_]() -> absl::StatusOr<Answers> {
    return CatchTorch("", [&]() -> absl::StatusOr<Answers> {
      store->set(KeyOf("end", place.rank), "");
      const std::vector<std::string> keys = KeysOf("end", place.count);
      Answers answers{WaitFor(*store, keys, kGrace), {}};
      for (size_t rank = 0; rank < keys.size(); ++rank) {
        const std::string reason = answers.there[rank] ? store->get_to_str(keys[rank]) : "";
        if (!reason.empty())
          answers.reasons.push_back(absl::StrFormat("rank %d: %s", rank, reason));
      }
      return answers;
    });
  };
  const auto answers = Within(2 * kGrace, ask);
  const std::string where = absl::StrFormat("in step %d", step);
  if (!answers || !answers->ok()) {
    return absl::UnavailableError(absl::StrFormat(
        "%s does not answer %s: %s",
        place_.store_is_there ? "the launcher's store" : "rank 0, which holds the store,", where,
        what));
  }
  const auto& [there, reasons] = **answers;
  if (!reasons.empty()) {
    return absl::UnavailableError(
        absl::StrFormat("other ranks ended %s: %s", where, absl::StrJoin(reasons, "; ")));
  }
  return absl::UnavailableError(
      absl::StrFormat("%s did not reach the end of step %d; rank_timeout is %s (%s)",
                      NameRanks(there, false), step, absl::FormatDuration(timeout_), what));
}

void Ranks::Leave(const absl::Status& reason) {
  if (group_ == nullptr) return;
  if (group_->store != nullptr) {
    const auto farewell = [store = group_->store, place = place_,
                           text = reason.ok() || told_ ? "" : std::string(reason.message())] {
      try {
        if (!text.empty()) store->set(KeyOf("end", place.rank), text);
        if (store->add("left", 1) == place.count) store->set("all left", "");
        if (place.rank == 0 && !place.store_is_there)
          store->wait({"all left"}, Milliseconds(kGrace));
      } catch (const std::exception&) {  // there is nobody left to tell
      }
      return true;
    };
    static_cast<void>(Within(2 * kGrace, farewell));
  }
  group_ = nullptr;
}

}  // namespace deweather
