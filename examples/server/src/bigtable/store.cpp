#include "store.h"

#include <algorithm>
#include <chrono>
#include <stdexcept>

#include "clock.h"
#include "purge.h"

namespace server {

using namespace bigtable;

namespace {

std::exception_ptr unavailable(const char* why) { return std::make_exception_ptr(StoreUnavailable(why)); }

}  // namespace

void BigtableVisits::check(const VisitsOptions& options) {
  bigtable::Table{options.bigtable};
  bigtable::RowKeys{options.bigtable.row_key};
  bigtable::Cells{options.bigtable};
}

BigtableVisits::BigtableVisits(const VisitsOptions& options)
    : BigtableVisits(options, ChannelOptions::of(options.bigtable)) {}

BigtableVisits::BigtableVisits(const VisitsOptions& options, ChannelOptions channels)
    : max_events_(options.max_events),
      max_age_ms_(1000 * options.max_age_s),
      table_(options.bigtable),
      keys_(options.bigtable.row_key),
      cells_(options.bigtable),
      connection_{table_, channels_, calls_, deadlines_, cells_},
      reads_(options.bigtable.calls, options.bigtable.rows_per_call, options.bigtable.max_waiting,
             [this](auto reads) {
               std::make_shared<ReadBatch>(connection_, std::move(reads), [this] { reads_.ended(); })->send();
             }),
      writes_(options.bigtable.calls, options.bigtable.rows_per_call, options.bigtable.max_waiting,
              [this](auto writes) {
                std::make_shared<WriteBatch>(connection_, std::move(writes), [this] { writes_.ended(); })->send();
              }),
      calls_(table_, options.bigtable.threads),
      channels_(table_, std::move(channels), [this] {
        reads_.open();
        writes_.open();
      }) {}

BigtableVisits::~BigtableVisits() {
  connection_.closing = true;
  const auto error = unavailable("the store is closed");
  const auto fail = [&](const auto& requests) {
    for (const auto& request : requests) {
      deadlines_.remove(*request);
      request->fail(error);
    }
  };
  fail(reads_.close());
  fail(writes_.close());
  calls_.close();
}

template <class Request>
void BigtableVisits::add(Gather<Request>& gather, std::shared_ptr<Request> request) {
  deadlines_.add(request);
  if (gather.add(request)) return;
  deadlines_.remove(*request);
  request->fail(unavailable("too many requests wait for Bigtable"));
}

void BigtableVisits::append(std::string visitor, std::vector<Event> events, Deadline deadline, Done done) {
  if (events.empty()) return done(nullptr);
  Cells::Mutations mutations;
  try {
    mutations = cells_.set(std::move(events));
  } catch (const std::invalid_argument&) {
    return done(std::current_exception());
  }
  add(writes_, std::make_shared<Write>(keys_.of(visitor), std::move(mutations), deadline, std::move(done)));
}

void BigtableVisits::last(std::string visitor, int n, std::int64_t since, Deadline deadline, Found found) {
  if (n <= 0) return found({}, nullptr);
  add(reads_, std::make_shared<Read>(keys_.of(visitor), std::min(n, max_events_),
                                     std::max(since, now_ms() - max_age_ms_), deadline, std::move(found)));
}

void BigtableVisits::erase(std::string visitor, Deadline deadline, Done done) {
  add(writes_, std::make_shared<Write>(keys_.of(visitor), cells_.erase(), deadline, std::move(done)));
}

void BigtableVisits::erase_before(std::int64_t time, Deadline deadline, Done done) {
  if (time <= 0) return done(nullptr);
  if (!channels_.next()) return done(unavailable("Bigtable is not connected yet"));
  const auto waiting = std::make_shared<Write>("", Cells::Mutations(), deadline, std::move(done));
  deadlines_.add(waiting);
  std::make_shared<Purge>(connection_, time, waiting)->start();
}

std::vector<std::pair<std::string, double>> BigtableVisits::figures() const {
  const Channels::Figures channels = channels_.figures();
  const auto number = [](auto value) { return static_cast<double>(value); };
  return {{"read_calls", number(connection_.read_calls.load())},
          {"write_calls", number(connection_.write_calls.load())},
          {"repeated_calls", number(connection_.repeated_calls.load())},
          {"failed_requests", number(connection_.failed_requests.load())},
          {"unanswered", number(deadlines_.size())},
          {"channels_open", number(channels.open)},
          {"channels_refreshed", number(channels.refreshed)},
          {"channels_not_warmed", number(channels.not_warmed)},
          {"channels_without_credentials", number(channels.without_credentials)}};
}

}  // namespace server
