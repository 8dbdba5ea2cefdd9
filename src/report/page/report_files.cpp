#include "report/page/report_files.h"

#include "core/file_writer.h"
#include "report/page/page.h"

namespace sft {

ShownRun shown(const RunFollower& run) {
  const fs::path folder = fs::absolute(run.folder()).lexically_normal();
  const std::string last =
      (folder.has_filename() ? folder : folder.parent_path()).filename().string();
  return {last.empty() ? "run" : last, &run.history(), run.folder().string()};
}

void write_report(RunFollower& run, double now, std::optional<double> price) {
  run.read_all();
  const ShownRun one = shown(run);
  PageView view;
  view.now = now;
  view.price = price;
  write_text(run.folder() / kReportFile, page_document({&one, 1}, view));
  ChartView picture;
  picture.width = 720;
  picture.height = 320;
  picture.alone = true;
  write_text(run.folder() / kLossPicture, draw_chart(loss_chart({&one, 1}), picture) + "\n");
}

}  // namespace sft
