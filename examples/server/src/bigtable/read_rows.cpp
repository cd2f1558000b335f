#include "read_rows.h"

#include <utility>

namespace server::bigtable {

namespace {

[[noreturn]] void broken(const char* what) {
  throw BrokenStream(std::string("Bigtable's stream of rows is broken: ") + what);
}

}  // namespace

void RowReader::feed(Response& response) {
  for (Chunk& chunk : *response.mutable_chunks()) take(chunk);
  if (!response.last_scanned_row_key().empty()) {
    if (in_row_) broken("it scanned on within a row");
    if (any_key_ && response.last_scanned_row_key() <= last_key_) broken("scanned keys do not increase");
    last_key_ = std::move(*response.mutable_last_scanned_row_key());
    any_key_ = true;
  }
}

void RowReader::end() const {
  if (in_row_) broken("it ended within a row");
}

void RowReader::take(Chunk& chunk) {
  if (chunk.reset_row()) {
    if (!in_row_) broken("it drops a row before there is one");
    if (!chunk.row_key().empty() || chunk.has_family_name() || chunk.has_qualifier() || chunk.timestamp_micros() != 0 ||
        chunk.labels_size() > 0 || !chunk.value().empty() || chunk.value_size() != 0)
      broken("it drops a row and says more of it");
    return drop_row();
  }
  if (!in_row_) {
    begin_row(chunk);
  } else if (!chunk.row_key().empty() && chunk.row_key() != row_.key) {
    broken("a row begins before the one before it is complete");
  }
  if (in_cell_) {
    if (chunk.has_family_name() || chunk.has_qualifier() || chunk.timestamp_micros() != 0 || chunk.labels_size() > 0)
      broken("a cell begins before the value of the one before it is complete");
  } else {
    begin_cell(chunk);
  }
  if (chunk.value_size() < 0) broken("a value of negative size");
  Cell& cell = row_.cells.back();
  bytes_ += chunk.value().size();
  if (bytes_ > max_row_bytes_)
    throw BrokenStream("a row in Bigtable has more than " + std::to_string(max_row_bytes_) + " bytes");
  if (in_cell_) {
    cell.value += chunk.value();
  } else {
    cell.value = std::move(*chunk.mutable_value());
  }
  in_cell_ = chunk.value_size() > 0;
  if (chunk.commit_row()) {
    if (in_cell_) broken("a row is complete before its last value is");
    last_key_ = row_.key;
    any_key_ = true;
    Row row = std::move(row_);
    drop_row();
    use_(std::move(row));
  }
}

void RowReader::begin_row(const Chunk& chunk) {
  if (chunk.row_key().empty()) broken("a row without a key");
  if (any_key_ && chunk.row_key() <= last_key_) broken("keys of rows do not increase");
  row_.key = chunk.row_key();
  in_row_ = true;
}

void RowReader::begin_cell(const Chunk& chunk) {
  if (chunk.has_family_name()) {
    if (!chunk.has_qualifier()) broken("a family without a qualifier");
    family_ = chunk.family_name().value();
    has_family_ = true;
  }
  if (chunk.has_qualifier()) {
    qualifier_ = chunk.qualifier().value();
    has_qualifier_ = true;
  }
  if (!has_family_) broken("a row's first cell without a family");
  if (!has_qualifier_) broken("a row's first cell without a qualifier");
  Cell& cell = row_.cells.emplace_back();
  cell.family = family_;
  cell.qualifier = qualifier_;
  cell.timestamp = chunk.timestamp_micros();
  cell.labels.assign(chunk.labels().begin(), chunk.labels().end());
  bytes_ += sizeof(Cell) + family_.size() + qualifier_.size();
}

void RowReader::drop_row() {
  row_ = Row();
  in_row_ = in_cell_ = has_family_ = has_qualifier_ = false;
  bytes_ = 0;
}

}  // namespace server::bigtable
