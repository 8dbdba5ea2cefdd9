#include "comm/together.h"

#include <fmt/format.h>

namespace sft {

SaveRound::Do SaveRound::next() {
  switch (at_++) {
    case 0:
      return Do::write;
    case 1:
      return Do::wait;
    case 2:
      if (rank_ == 0) {
        return Do::publish;
      }
      ++at_;
      return Do::wait;
    case 3:
      return Do::wait;
    default:
      return Do::done;
  }
}

std::string SaveRound::barrier() const {
  return fmt::format("save {} {}", step_, at_ <= 2 ? "written" : "visible");
}

void save_together(RankControl& control, int64_t step, const std::function<void()>& write,
                   const std::function<void()>& publish) {
  SaveRound round(control.rank(), step);
  while (true) {
    switch (round.next()) {
      case SaveRound::Do::write:
        write();
        break;
      case SaveRound::Do::wait: {
        const Operation operation(control, round.barrier());
        control.barrier(round.barrier());
        break;
      }
      case SaveRound::Do::publish:
        publish();
        break;
      case SaveRound::Do::done:
        return;
    }
  }
}

std::string decide_together(RankControl& control, const std::string& name,
                            const std::function<std::string()>& find) {
  if (control.rank() == 0) {
    const std::string found = find();
    control.set(name, found);
    return found;
  }
  return control.get(name);
}

}  // namespace sft
