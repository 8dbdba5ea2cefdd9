// What the ranks do together, as steps that either a program with threads or the simulation takes:
// saving a checkpoint (all write, rank 0 makes it visible when all have confirmed) and choosing the
// checkpoint to go on from (rank 0 looks, the others take its word). Used by the trainer.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "control/rank_control.h"

namespace sft {

// The steps of one save on one rank: take `next`, do it, call `next` again.
class SaveRound {
 public:
  enum class Do { write, wait, publish, done };
  SaveRound(int rank, int64_t step) : rank_(rank), step_(step) {}
  Do next();
  // The barrier to wait at, after `wait`.
  std::string barrier() const;

 private:
  int rank_;
  int64_t step_;
  int at_ = 0;
};

// Every rank calls it. `write` writes this rank's part and makes it durable; `publish` is called on
// rank 0 only, after all have written, and makes the whole visible (a rename). Nothing is visible
// when any of them throws or dies before.
void save_together(RankControl& control, int64_t step, const std::function<void()>& write,
                   const std::function<void()>& publish);

// What rank 0 finds is what all get ("" where there is nothing), so that a file system that shows
// files late cannot make ranks begin at different steps. `name` is used once in a run.
std::string decide_together(RankControl& control, const std::string& name,
                            const std::function<std::string()>& find);

}  // namespace sft
