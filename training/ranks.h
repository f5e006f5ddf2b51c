// The processes that train one model together, each on crops of its own: torchrun's contract on c10d.
// Every rank calls the same collectives in the same order; all have the same weights after each step.
//
// Math     gradients are means over ranks: where each rank's loss is a mean over its crops, and all have the
//          same number of them, that is the gradient of the mean over all crops
// Owns     the store by which ranks find each other, unless the launcher does, and the groups: Gloo for what
//          is small and for the CPU's gradients, NCCL for a GPU's
// Threads  thread-compatible: the run's own. c10d has threads of its own
// Errors   what waits for other ranks throws c10d's exceptions; Guard makes a status of them

#ifndef DEWEATHER_TRAINING_RANKS_H_
#define DEWEATHER_TRAINING_RANKS_H_

#include <ATen/core/Tensor.h>
#include <c10/core/Device.h>

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "training/rank_place.h"

namespace deweather {

class Ranks {
 public:
  using Fields = std::map<std::string, std::string>;

  // Alone: no sockets, no threads, and what follows does nothing.
  Ranks();

  // Waits up to `timeout` until all are there; nothing later waits longer for another rank.
  // FAILED_PRECONDITION a GPU, and no NCCL in this build; else as Meet (training/rank_store.h).
  static absl::StatusOr<std::unique_ptr<Ranks>> Join(const RankPlace& place, at::Device device,
                                                     absl::Duration timeout);
  // A rank that ends tells the others why; rank 0 keeps its store for them, but not for long.
  ~Ranks();

  Ranks(const Ranks&) = delete;
  Ranks& operator=(const Ranks&) = delete;

  int rank() const { return place_.rank; }
  int count() const { return place_.count; }
  bool first() const { return place_.rank == 0; }  // that writes and decides

  // Whether an earlier attempt of this launch has told that it began the run of that folder. Only the
  // launcher's store remembers: without one, no.
  bool HasBegun(const std::string& output_dir) const;
  void TellBegun(const std::string& output_dir);

  // What all must have alike before they begin. The error of whichever rank has one, by its number;
  // INVALID_ARGUMENT a field differs from rank 0's: rank, field and both values.
  absl::Status Agree(const absl::StatusOr<Fields>& mine);

  // Everybody's becomes rank 0's.
  void Share(std::string& text);

  // Over ranks, of a tensor of the same shape everywhere; exact for counts. Not finite on one rank: so it is
  // on all.
  at::Tensor Sum(const at::Tensor& values);
  void Average(const std::vector<double*>& values);

  // From here on the gradients of these leaves are averaged by those passes that AverageNext announces,
  // in buckets that travel while the backward pass goes on. Gradients come in the reverse order, best.
  void AverageGradientsOf(const std::vector<at::Tensor>& leaves);

  // Before the backward pass of `loss`: after it the gradients, with those of the passes since the last
  // time, are means over ranks. A leaf that no rank has used keeps none; one that some have not used counts
  // as 0 there.
  void AverageNext(const at::Tensor& loss);

  // What `work` returns. If it throws as other ranks are gone or do not come: UNAVAILABLE, which names them
  // and what was being done, as `doing` says when it is asked; what else it throws goes on.
  absl::Status Guard(const std::function<std::string()>& doing,
                     const std::function<absl::Status()>& work);

  // Why this rank ends, for the others to tell. Once.
  void Leave(const absl::Status& reason);

 private:
  struct Group;
  struct Answers;

  Ranks(RankPlace place, absl::Duration timeout);
  absl::Status MeetAll();
  void Connect(at::Device device);
  absl::StatusOr<Answers> AskAll(bool late) const;
  absl::Status Lost(const std::string& doing, const std::string& what);
  std::string Describe(const std::string& doing, const std::string& missing, bool late) const;

  const RankPlace place_;
  const absl::Duration timeout_;
  std::unique_ptr<Group> group_;  // null: alone, or it has left
  std::string begun_;             // output_dir, as an earlier attempt has told
  bool told_ = false;             // the others know how this rank ends
  std::vector<bool> lost_;        // which ranks did not answer; empty: none was asked
};

}  // namespace deweather

#endif  // DEWEATHER_TRAINING_RANKS_H_
