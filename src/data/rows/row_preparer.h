// One row from the file to token ids and labels, cut to length: what the token pass, the rows that
// are made while training runs and `sft inspect` have in common.
#pragma once

#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "data/dataset.h"
#include "data/rows/render.h"
#include "data/rows/row_table.h"
#include "data/rows/shapes.h"

namespace sft {

// Room to tokenise in, lent to whichever thread works.
class Scratches {
 public:
  explicit Scratches(const Tokenizer& tokenizer) : tokenizer_(tokenizer) {}
  std::unique_ptr<Tokenizer::Scratch> take();
  void give(std::unique_ptr<Tokenizer::Scratch> scratch);

 private:
  const Tokenizer& tokenizer_;
  std::mutex mutex_;
  std::vector<std::unique_ptr<Tokenizer::Scratch>> free_;
};

class RowPreparer {
 public:
  // `first`: the first rows of each data set, never none; `columns`: those of files with a schema.
  // They say what to expect, and decide nothing about other rows. Keeps references to options and
  // context. D052, D051, D053, D054 and the errors of RowShape and Renderer.
  RowPreparer(const DataOptions& options, bool packing, const DataContext& context,
              std::span<const SourceRow> first, std::span<const std::string> columns = {});

  // Whether every token is trained of rows like the first ones, so that only empty rows train
  // nothing.
  bool trains_all() const;

  RenderedRow render(const SourceRow& row, Tokenizer::Scratch& scratch,
                     Losses losses = Losses::refuse) const {
    return renderer_->render(row.json(&shape_->used_columns()), row.raw.place(), scratch, losses);
  }
  // Cuts the row to max_length, unless rows are packed, and says whether it is kept; counts what
  // happens to it.
  bool finish(RenderedRow& row, DataStatistics& stats) const;

  // "training data: …": the line that says what was read.
  std::string report(Part part, const std::string& source, int64_t rows) const;
  // D049, with the first row.
  [[noreturn]] void fail_untrained(int64_t rows, const DataStatistics& stats) const;
  const std::string& first_place() const { return first_place_; }
  // What is odd about the rows and trained all the same; "" when nothing is.
  const std::string& warning() const { return warning_; }

 private:
  const DataOptions& options_;
  const bool packing_;
  std::optional<RowShape> shape_;
  std::optional<Renderer> renderer_;
  std::string first_row_, first_place_, warning_;
};

}  // namespace sft
