// Rows from the chunks in which Bigtable sends them: keys, families and qualifiers that are not repeated, values in
// several pieces, rows that begin anew. No calls here: what a stream brought is fed to it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <stdexcept>
#include <string>
#include <vector>

#include "bigtable.pb.h"

namespace server::bigtable {

struct Cell {
  std::string family;
  std::string qualifier;
  std::int64_t timestamp = 0;  // µs since 1970
  std::string value;
  std::vector<std::string> labels;
};

struct Row {
  std::string key;
  std::vector<Cell> cells;  // as sent: by family, by qualifier, the latest first
};

// The stream breaks Bigtable's rules: what it says cannot be trusted.
class BrokenStream : public std::runtime_error {
 public:
  using runtime_error::runtime_error;
};

// Not thread-safe: one stream, one thread at a time.
class RowReader {
 public:
  using Response = google::bigtable::v2::ReadRowsResponse;
  using UseRow = std::function<void(Row)>;

  // `use` is called with each row as soon as it is complete. An unfinished row may take `max_row_bytes`.
  RowReader(UseRow use, std::size_t max_row_bytes) : use_(std::move(use)), max_row_bytes_(max_row_bytes) {}

  // Throws BrokenStream; what was complete before it has been used, and nothing may be fed afterwards.
  void feed(Response& response);  // takes its values
  void end() const;               // the stream ended well: throws BrokenStream if a row was not finished

  // The greatest key that the stream has spoken of: every row up to it has been used or is not there.
  const std::string& last_key() const { return last_key_; }

 private:
  using Chunk = Response::CellChunk;

  void take(Chunk& chunk);
  void begin_row(const Chunk& chunk);
  void begin_cell(const Chunk& chunk);
  void drop_row();

  UseRow use_;
  const std::size_t max_row_bytes_;
  std::string last_key_;
  bool any_key_ = false;  // last_key_ is one
  Row row_;
  bool in_row_ = false;
  bool in_cell_ = false;  // its value is not complete
  bool has_family_ = false;
  bool has_qualifier_ = false;
  std::string family_;  // of the cell before, for one that names none
  std::string qualifier_;
  std::size_t bytes_ = 0;  // of the row so far
};

}  // namespace server::bigtable
