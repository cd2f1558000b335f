// Visits in a table of Google's Bigtable, by its own protocol: the store of many servers. What the cells are, rows.h
// says.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "batch.h"
#include "calls.h"
#include "channels.h"
#include "deadlines.h"
#include "gather.h"
#include "rows.h"
#include "table.h"
#include "visits.h"

namespace server {

// Nothing here waits: callbacks run on the threads that take answers and should be short. A request is answered by its
// deadline, whatever the server does, within a millisecond. Requests that come while as many calls are in flight as may
// be go together in the next. A call that failed in passing is repeated once if half the time is left.
//
// Errors: StoreUnavailable; std::invalid_argument for an event's time that cannot be. append() may have written what it
// calls unavailable. erase() erases the family of a visitor's row; erase_before() passes over the whole table, so that
// a table of many visitors wants garbage collection by age instead, which is the shop's.
class BigtableVisits : public Visits {
 public:
  // Connects aside: requests wait for the first connection, by their deadlines. Throws std::invalid_argument with the
  // key of what cannot be.
  explicit BigtableVisits(const VisitsOptions& options);
  static void check(const VisitsOptions& options);  // throws the same, and connects to nothing
  BigtableVisits(const VisitsOptions& options, bigtable::ChannelOptions channels);
  ~BigtableVisits() override;  // whoever waits is told StoreUnavailable; not from a callback

  void append(std::string visitor, std::vector<Event> events, Deadline deadline, Done done) override;
  void last(std::string visitor, int n, std::int64_t since, Deadline deadline, Found found) override;
  void erase(std::string visitor, Deadline deadline, Done done) override;
  void erase_before(std::int64_t time, Deadline deadline, Done done) override;
  std::vector<std::pair<std::string, double>> figures() const override;

 private:
  template <class Request>
  void add(bigtable::Gather<Request>& gather, std::shared_ptr<Request> request);

  const int max_events_;
  const std::int64_t max_age_ms_;
  const bigtable::Table table_;
  const bigtable::RowKeys keys_;
  bigtable::Cells cells_;
  bigtable::Connection connection_;
  bigtable::Gather<bigtable::Read> reads_;
  bigtable::Gather<bigtable::Write> writes_;
  bigtable::Deadlines deadlines_;
  bigtable::Calls calls_;
  bigtable::Channels channels_;  // last: it opens the gates
};

}  // namespace server
