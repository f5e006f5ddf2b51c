#include "training/ranks.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/full.h>
#include <ATen/ops/tensor.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdio>
#include <limits>
#include <memory>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>

#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "tests/training/two_ranks.h"

namespace deweather {
namespace {

using testing::AllOf;
using testing::HasSubstr;

constexpr absl::Duration kLong = absl::Seconds(60);

std::unique_ptr<Ranks> Join(const RankPlace& place, absl::Duration timeout = kLong) {
  absl::StatusOr<std::unique_ptr<Ranks>> ranks = Ranks::Join(place, at::kCPU, timeout);
  EXPECT_TRUE(ranks.ok()) << ranks.status();
  return *std::move(ranks);
}

std::string Message(const absl::Status& status) { return std::string(status.message()); }

// As torchrun's agent: its store outlives attempts.
class Launcher {
 public:
  RankPlace Place(int rank, int count) const {
    return {rank, count, rank, count, "127.0.0.1", store_->getPort(), true};
  }
  // Each rank of one attempt.
  void Attempt(int count, const std::function<void(const RankPlace&)>& body) const {
    std::vector<std::thread> threads;
    for (int rank = 0; rank < count; ++rank) {
      threads.emplace_back([=, this] { body(Place(rank, count)); });
    }
    for (std::thread& thread : threads) thread.join();
  }

 private:
  static c10d::TCPStoreOptions Options() {
    c10d::TCPStoreOptions options;
    options.port = 0;
    options.isServer = true;
    options.waitWorkers = false;
    return options;
  }
  const c10::intrusive_ptr<c10d::TCPStore> store_ =
      c10::make_intrusive<c10d::TCPStore>("127.0.0.1", Options());
};

double Value(const at::Tensor& tensor) { return tensor.item<double>(); }

at::Tensor Leaf(double value) { return at::full({1}, value).requires_grad_(); }

TEST(RanksTest, SumsAndMeansAreOverAllRanks) {
  RunRanks(3, [](const RankPlace& place) {
    const auto ranks = Join(place);
    const at::Tensor sum = ranks->Sum(at::full({2}, place.rank + 1, at::kFloat));
    EXPECT_EQ(sum.dtype(), at::kFloat);
    EXPECT_EQ(Value(sum[1]), 6);
    double mean = place.rank, lost = place.rank == 1 ? std::nan("") : 1;
    ranks->Average({&mean, &lost});
    EXPECT_EQ(mean, 1);
    EXPECT_TRUE(std::isnan(lost));
  });
}

TEST(RanksTest, ShareHandsOutWhatRankZeroHas) {
  RunRanks(2, [](const RankPlace& place) {
    const auto ranks = Join(place);
    std::string text = place.rank == 0 ? std::string("of\0zero", 7) : "mine, which is longer";
    ranks->Share(text);
    EXPECT_EQ(text, std::string("of\0zero", 7));
    text.clear();
    ranks->Share(text);
    EXPECT_EQ(text, "");
  });
}

TEST(RanksTest, AloneChangesNothing) {
  Ranks alone;
  double value = 3;
  alone.Average({&value});
  EXPECT_EQ(value, 3);
  EXPECT_EQ(Value(alone.Sum(at::full({}, 5.0))), 5);
  EXPECT_EQ(alone.Agree(absl::NotFoundError("mine")).message(), "mine");
  EXPECT_TRUE(alone.Guard([] { return ""; }, [] { return absl::OkStatus(); }).ok());
}

// --- gradients ---

TEST(RanksTest, GradientsAreMeansOverRanksAndPasses) {
  RunRanks(2, [](const RankPlace& place) {
    const auto ranks = Join(place);
    const at::Tensor a = Leaf(1), b = Leaf(1);
    ranks->AverageGradientsOf({a, b});
    for (int step = 0; step < 3; ++step) {
      const double mine = place.rank == 0 ? 1 : 3;
      (a * mine + b).sum().backward();  // the step's first pass stays at home
      EXPECT_EQ(Value(a.grad()), mine);
      const at::Tensor last = (a * mine * 10 + b).sum();
      ranks->AverageNext(last);
      last.backward();
      EXPECT_FLOAT_EQ(Value(a.grad()), 22);
      EXPECT_FLOAT_EQ(Value(b.grad()), 2);
      a.mutable_grad() = b.mutable_grad() = at::Tensor();
    }
  });
}

// As an expert's weights where no token came to it on a rank, in a pass, or anywhere.
TEST(RanksTest, UnusedWeightsCountAsZero) {
  RunRanks(2, [](const RankPlace& place) {
    const auto ranks = Join(place);
    const at::Tensor all = Leaf(1), one = Leaf(1), early = Leaf(1), none = Leaf(1);
    ranks->AverageGradientsOf({all, one, early, none});
    for (int step = 0; step < 3; ++step) {
      if (place.rank == step % 2) (early * 8).sum().backward();
      const at::Tensor last = (place.rank == 0 ? all + one * 4 : all).sum();
      ranks->AverageNext(last);
      last.backward();
      EXPECT_EQ(Value(all.grad()), 1);
      EXPECT_EQ(Value(one.grad()), 2);
      EXPECT_EQ(Value(early.grad()), 4);
      EXPECT_FALSE(none.grad().defined());
      for (const at::Tensor& leaf : {all, one, early}) leaf.mutable_grad() = at::Tensor();
    }
  });
}

// How long averaging takes where nothing else is done, for docs/ranks.md: 16 MB in leaves of 1 MB.
TEST(RanksTest, DISABLED_TimeOfGradients) {
  constexpr int kLeaves = 16, kSteps = 20;
  RunRanks(2, [](const RankPlace& place) {
    const auto ranks = Join(place);
    std::vector<at::Tensor> leaves;
    for (int i = 0; i < kLeaves; ++i) leaves.push_back(at::full({1 << 18}, 1.0).requires_grad_());
    ranks->AverageGradientsOf(leaves);
    const auto step = [&](bool average) {
      at::Tensor loss = leaves[0].sum();
      for (int i = 1; i < kLeaves; ++i) loss = loss + leaves[i].sum();
      if (average) ranks->AverageNext(loss);
      loss.backward();
      for (at::Tensor& leaf : leaves) leaf.mutable_grad() = at::Tensor();
    };
    const auto least = [&](bool average) {
      absl::Duration found = absl::InfiniteDuration();
      for (int i = 0; i < kSteps; ++i) {
        const absl::Time begin = absl::Now();
        step(average);
        found = std::min(found, absl::Now() - begin);
      }
      return absl::ToDoubleMilliseconds(found);
    };
    const double with = least(true), without = least(false);
    if (place.rank == 0) std::printf("%.1f ms with, %.1f ms without averaging\n", with, without);
  });
}

// --- what must be alike ---

TEST(RanksTest, RanksOfOneRunAgree) {
  RunRanks(2, [](const RankPlace& place) {
    EXPECT_TRUE(Join(place)->Agree(Ranks::Fields{{"name", "a=b"}, {"seed", ""}}).ok());
  });
}

TEST(RanksTest, RanksWithDifferentConfigsAreNamed) {
  RunRanks(3, [](const RankPlace& place) {
    const absl::Status status =
        Join(place)->Agree(Ranks::Fields{{"batch", place.rank == 2 ? "8" : "4"}, {"seed", "0"}});
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
    EXPECT_THAT(std::string(status.message()),
                HasSubstr("batch is '8' on rank 2 and '4' on rank 0"));
  });
}

TEST(RanksTest, OneThatCannotBeginEndsAll) {
  RunRanks(2, [](const RankPlace& place) {
    const auto ranks = Join(place);
    const absl::Status status = place.rank == 1 ? ranks->Agree(absl::NotFoundError("no folder 'x'"))
                                                : ranks->Agree(Ranks::Fields{{"batch", "4"}});
    EXPECT_TRUE(absl::IsNotFound(status)) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr("no folder 'x'"));
  });
}

// --- attempts ---

TEST(RanksTest, RanksOfALaterAttemptIgnoreTheEarlier) {
  const Launcher launcher;
  for (int attempt = 0; attempt < 3; ++attempt) {
    launcher.Attempt(2, [](const RankPlace& place) {
      const auto ranks = Join(place);
      EXPECT_EQ(Value(ranks->Sum(at::full({}, 1.0))), 2);
    });
  }
}

// One that is early finds the attempt before its own, where its rank was another process's, or nobody's yet.
TEST(RanksTest, RankThatIsEarlyWaitsForTheNextAttempt) {
  for (const bool came : {true, false}) {
    const Launcher launcher;
    if (came) {
      launcher.Attempt(2, [](const RankPlace& place) { Join(place); });
    } else {
      const absl::Status alone =
          Ranks::Join(launcher.Place(0, 2), at::kCPU, absl::Milliseconds(100)).status();
      EXPECT_TRUE(absl::IsUnavailable(alone)) << alone;
    }
    std::thread early([&] { EXPECT_EQ(Join(launcher.Place(1, 2))->count(), 2); });
    absl::SleepFor(absl::Milliseconds(200));  // whoever of the two is first, both come together
    EXPECT_EQ(Join(launcher.Place(0, 2))->count(), 2);
    early.join();
  }
}

// As a container that is started again in its place, while rank 0's has not ended yet.
TEST(RanksTest, RankThatCameToAStoreThatEndsMeetsTheNext) {
  const int port = FreePort();
  const auto place = [&](int rank) { return RankPlace{rank, 2, rank, 2, "127.0.0.1", port}; };
  absl::Notification joined;
  std::thread lost([&] {
    Join(place(1));
    joined.Notify();
    EXPECT_EQ(Value(Join(place(1))->Sum(at::full({}, 1.0))), 2);
  });
  auto first = Join(place(0));
  joined.WaitForNotification();
  first = nullptr;
  EXPECT_EQ(Value(Join(place(0))->Sum(at::full({}, 1.0))), 2);
  lost.join();
}

TEST(RanksTest, RanksOfALaunchRememberWhatTheyBegan) {
  const Launcher launcher, other;
  for (const int count : {1, 2}) {
    launcher.Attempt(count, [&](const RankPlace& place) {
      const auto ranks = Join(place);
      EXPECT_EQ(ranks->HasBegun("/a"), count == 2);
      EXPECT_FALSE(ranks->HasBegun("/b"));
      if (place.rank == 0) ranks->TellBegun("/a");
    });
  }
  other.Attempt(1, [](const RankPlace& place) { EXPECT_FALSE(Join(place)->HasBegun("/a")); });
  RunRanks(2, [](const RankPlace& place) {  // nothing outlives rank 0's own store
    const auto ranks = Join(place);
    ranks->TellBegun("/a");
    EXPECT_FALSE(ranks->HasBegun("/a"));
  });
}

// --- ranks that do not come, and that go ---

absl::Status SumForever(Ranks& ranks) {
  return ranks.Guard([] { return "step 7"; },
                     [&] {
                       while (true) ranks.Sum(at::full({}, 1.0));
                       return absl::OkStatus();
                     });
}

TEST(RanksTest, RanksThatDoNotComeAreNamed) {
  const RankPlace place = {0, 3, 0, 1, "127.0.0.1", FreePort()};
  const absl::Status status = Ranks::Join(place, at::kCPU, absl::Milliseconds(300)).status();
  EXPECT_TRUE(absl::IsUnavailable(status)) << status;
  EXPECT_THAT(std::string(status.message()),
              AllOf(HasSubstr("of 3 ranks rank 0 came"), HasSubstr("ranks 1, 2 did not")));
}

TEST(RanksTest, WithoutRankZeroTheAddressIsNamed) {
  const RankPlace place = {1, 2, 0, 1, "127.0.0.1", FreePort()};
  const absl::Status status = Ranks::Join(place, at::kCPU, absl::Milliseconds(300)).status();
  EXPECT_TRUE(absl::IsUnavailable(status)) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("127.0.0.1:"));
}

TEST(RanksTest, PortThatIsTakenIsNamed) {
  const int file = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in6 address = {};
  address.sin6_family = AF_INET6;
  socklen_t size = sizeof(address);
  ASSERT_EQ(bind(file, reinterpret_cast<sockaddr*>(&address), size), 0);
  ASSERT_EQ(listen(file, 1), 0);
  ASSERT_EQ(getsockname(file, reinterpret_cast<sockaddr*>(&address), &size), 0);
  const int port = ntohs(address.sin6_port);
  const absl::Status status =
      Ranks::Join({0, 2, 0, 1, "127.0.0.1", port}, at::kCPU, absl::Seconds(5)).status();
  close(file);
  EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("MASTER_PORT " + std::to_string(port)));
}

// A second rank 1 waits for another attempt, and does nothing to the one that goes on.
TEST(RanksTest, StrayRankIsRefused) {
  RunRanks(3, [](const RankPlace& place) {
    const auto ranks = Join(place);
    ranks->Sum(at::full({}, 1.0));  // all are there
    if (place.rank != 1) {
      const absl::Status status = SumForever(*ranks);
      EXPECT_THAT(Message(status), HasSubstr("rank 1: of its own accord"));
      ranks->Leave(status);
      return;
    }
    const absl::Status stray = Ranks::Join(place, at::kCPU, absl::Seconds(2)).status();
    EXPECT_TRUE(absl::IsFailedPrecondition(stray)) << stray;
    EXPECT_THAT(Message(stray), HasSubstr("another process is rank 1 already"));
    ranks->Leave(absl::CancelledError("of its own accord"));
  });
}

TEST(RanksTest, AddressWithoutMeaningIsNamed) {
  for (const int rank : {0, 1}) {
    const RankPlace place = {rank, 2, 0, 1, "[::1]", FreePort()};
    const absl::Status status = Ranks::Join(place, at::kCPU, absl::Milliseconds(100)).status();
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
    EXPECT_THAT(Message(status), HasSubstr("MASTER_ADDR '[::1]' cannot be resolved"));
  }
}

TEST(RanksTest, RanksOnGpusNeedNccl) {
  const RankPlace place = {1, 2, 0, 1, "127.0.0.1", FreePort()};
  const absl::Status status =
      Ranks::Join(place, at::Device(at::kCUDA, 0), absl::Milliseconds(100)).status();
  if (absl::IsUnavailable(status)) GTEST_SKIP() << "a build with NCCL";
  EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
  EXPECT_THAT(Message(status), HasSubstr("no NCCL"));
}

TEST(RanksTest, RankThatEndsSaysWhy) {
  RunRanks(3, [](const RankPlace& place) {
    const auto ranks = Join(place);
    if (place.rank == 1) {
      ranks->Sum(at::full({}, 1.0));
      ranks->Leave(absl::ResourceExhaustedError("no memory for a crop"));
      return;
    }
    const absl::Status status = SumForever(*ranks);
    EXPECT_TRUE(absl::IsUnavailable(status)) << status;
    EXPECT_THAT(std::string(status.message()),
                AllOf(HasSubstr("rank 1: no memory for a crop"), HasSubstr("step 7")));
    ranks->Leave(status);
  });
}

// By those that had no business with it, too: in a ring that is all but two.
TEST(RanksTest, RankThatGoesAwayIsNamedByAll) {
  RunRanks(6, [](const RankPlace& place) {
    const auto ranks = Join(place);
    ranks->Sum(at::full({100}, 1.0));
    if (place.rank == 2) return ranks->Leave(absl::OkStatus());  // without a word
    const absl::Status status = SumForever(*ranks);
    EXPECT_THAT(Message(status), HasSubstr("rank 2 went away in step 7"));
    ranks->Leave(status);
  });
}

TEST(RanksTest, RankThatHangsIsNamed) {
  std::atomic<int> others = 2;
  RunRanks(3, [&](const RankPlace& place) {
    const auto ranks = Join(place, absl::Seconds(4));
    if (place.rank == 1) {
      while (others > 0) absl::SleepFor(absl::Milliseconds(10));  // it does nothing
      return;
    }
    const absl::Status status = SumForever(*ranks);
    --others;
    EXPECT_TRUE(absl::IsUnavailable(status)) << status;
    EXPECT_THAT(Message(status),
                HasSubstr("rank 1 did not reach the end of step 7; rank_timeout is 4s"));
  });
}

// Both are there, and say so, but one comes later than rank_timeout.
TEST(RanksTest, RankThatIsSlowIsNotCalledLost) {
  RunRanks(2, [&](const RankPlace& place) {
    const auto ranks = Join(place, absl::Seconds(4));
    const absl::Status status = ranks->Guard([] { return "step 7"; },
                                             [&] {
                                               ranks->Sum(at::full({}, 1.0));
                                               if (place.rank == 1)
                                                 absl::SleepFor(absl::Seconds(6));
                                               ranks->Sum(at::full({}, 1.0));
                                               return absl::OkStatus();
                                             });
    EXPECT_TRUE(absl::IsUnavailable(status)) << status;
    EXPECT_THAT(Message(status),
                HasSubstr("all ranks are there, but step 7 took longer than rank_timeout, 4s"));
  });
}

// Only what the others' absence does is theirs to answer for.
TEST(RanksTest, OwnErrorsGoOn) {
  RunRanks(2, [](const RankPlace& place) {
    const auto ranks = Join(place);
    const auto thrown = [&](const std::function<void()>& fail) {
      return [&ranks, fail] {
        static_cast<void>(
            ranks->Guard([] { return "step 1"; }, [&] { return fail(), absl::OkStatus(); }));
      };
    };
    EXPECT_THROW(thrown([] { TORCH_CHECK(false, "mine"); })(), c10::Error);
    EXPECT_THROW(thrown([] { throw std::runtime_error("mine"); })(), std::runtime_error);
    const auto no_thread = [] {
      throw std::system_error(std::make_error_code(std::errc::resource_unavailable_try_again));
    };
    EXPECT_THROW(thrown(no_thread)(), std::system_error);
  });
}

}  // namespace
}  // namespace deweather
