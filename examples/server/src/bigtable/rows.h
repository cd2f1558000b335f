// How visits lie in the shop's table: a visitor is a row, an event a cell of one family.
//
//   row key    by a form of the shop's, as "{hash:4}#{visitor}"
//   qualifier  COLUMN#TTTTTTTTTTTTSSSSSSSSSSSSSWWWWWW#TYPE: T the event's time (12 hexadecimal digits, ms), S its
//   sequence
//              (13 digits), both counted down from their greatest, so that a row begins with its latest event and a
//              filter can count; W the server that wrote it (6 digits)
//   timestamp  the event's time
//   value      the product's id
//
// A sequence is the time of writing in µs, or one more than the last: unique for its writer, and of events of one time
// the later written is the greater. A mutation sent twice is the same cell.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "bigtable.pb.h"
#include "config.h"
#include "read_rows.h"
#include "visits.h"

namespace server::bigtable {

// Keys of rows by a form: text with {visitor}, {visitor_reversed} (by characters) and {hash:N}, the first N (1 to 64)
// hexadecimal digits of the visitor's SHA-256. Thread-safe.
class RowKeys {
 public:
  // Throws std::invalid_argument for a form that cannot be, or that gives two visitors one key.
  explicit RowKeys(std::string_view form);

  std::string of(std::string_view visitor) const;

 private:
  enum class Kind { kText, kVisitor, kReversed, kHash };
  struct Part {
    Kind kind;
    std::string text;
    std::size_t digits = 0;
  };
  std::vector<Part> parts_;
};

// Thread-safe.
class Cells {
 public:
  using Mutations = google::protobuf::RepeatedPtrField<google::bigtable::v2::Mutation>;
  using Filter = google::bigtable::v2::RowFilter;

  // Throws std::invalid_argument with the key of what cannot be.
  explicit Cells(const BigtableOptions& options);

  // Sets a cell for each event. Throws std::invalid_argument for a time that cannot be one.
  Mutations set(std::vector<Event> events);
  // Erases what of a row are events.
  Mutations erase() const;
  Mutations erase(const Row& row) const;

  // The latest n events of each row at or after a time (ms); of other columns the latest n of each.
  Filter latest(int n, std::int64_t since) const;
  // Up to n events of each row before a time, without their values.
  Filter before(int n, std::int64_t time) const;

  // The latest n events of a row at or after a time, oldest first. Cells that are none of ours are left out.
  std::vector<Event> events(Row row, int n, std::int64_t since) const;

 private:
  using Mutation = google::bigtable::v2::Mutation;

  Filter columns(int limit_of_each) const;  // 0: all
  std::int64_t reserve(std::size_t events);

  std::string family_;
  std::string prefix_;  // COLUMN#
  std::string writer_;
  std::vector<std::pair<std::string, std::string>> others_;  // qualifier and type
  std::atomic<std::int64_t> sequence_{0};
};

}  // namespace server::bigtable
