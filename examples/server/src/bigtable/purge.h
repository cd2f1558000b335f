// Erases every event before a time: one pass over the table, page by page. What is erased stays erased if it breaks
// off.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "batch.h"

namespace server::bigtable {

// Not thread-safe: goes from one callback of its calls to the next.
class Purge : public std::enable_shared_from_this<Purge> {
 public:
  // `waiting` is answered at the end; once it is, the pass goes no further.
  Purge(Connection& connection, std::int64_t time, std::shared_ptr<Write> waiting)
      : connection_(connection), time_(time), waiting_(std::move(waiting)) {}

  void start() { scan({}); }

 private:
  void scan(const Headers& cookies);
  void erase(const Headers& cookies);
  void scanned(Outcome outcome);
  void erased(Outcome outcome);
  // Whether the step is to be done again; else, if it failed, whoever waits is told.
  bool again(Kind kind, const Outcome& outcome, void (Purge::*step)(const Headers&));

  Connection& connection_;
  const std::int64_t time_;
  const std::shared_ptr<Write> waiting_;
  std::string after_;  // rows up to this are done; empty: none
  std::vector<Row> page_;
  std::unique_ptr<RowReader> reader_;
  std::string broken_;
  Outcome entry_;          // of an entry that failed
  bool repeated_ = false;  // the step at hand
};

}  // namespace server::bigtable
