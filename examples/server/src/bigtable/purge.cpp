#include "purge.h"

#include <algorithm>

namespace server::bigtable {

namespace {

// A page: some MB at most, and far from the 100,000 mutations that a call may have.
constexpr int kRows = 64;
constexpr int kCellsPerRow = 256;
constexpr std::size_t kMaxRowBytes = 1 << 20;

}  // namespace

void Purge::scan(const Headers& cookies) {
  Calls::ReadRequest request;
  request.set_table_name(connection_.table.name);
  request.set_app_profile_id(connection_.table.app_profile);
  if (!after_.empty()) request.mutable_rows()->add_row_ranges()->set_start_key_open(after_);
  request.set_rows_limit(kRows);
  *request.mutable_filter() = connection_.cells.before(kCellsPerRow, time_);
  page_.clear();
  broken_.clear();
  reader_ = std::make_unique<RowReader>([this](Row row) { page_.push_back(std::move(row)); }, kMaxRowBytes);
  ++connection_.read_calls;
  connection_.calls.read(
      connection_.channels.next(), request, waiting_->deadline(), cookies,
      [self = shared_from_this()](Calls::ReadResponse& response) {
        try {
          self->reader_->feed(response);
          return !self->waiting_->answered();
        } catch (const BrokenStream& error) {
          self->broken_ = error.what();
          return false;
        }
      },
      [self = shared_from_this()](Outcome outcome) { self->scanned(std::move(outcome)); });
}

void Purge::scanned(Outcome outcome) {
  if (broken_.empty() && outcome.status.ok()) {
    try {
      reader_->end();
    } catch (const BrokenStream& error) {
      broken_ = error.what();
    }
  }
  if (!broken_.empty()) outcome = {grpc::Status(grpc::INTERNAL, broken_), {}, {}};
  if (again(Kind::kRead, outcome, &Purge::scan) || !outcome.status.ok()) return;
  if (!page_.empty()) return erase({});
  connection_.deadlines.remove(*waiting_);
  waiting_->answer();
}

void Purge::erase(const Headers& cookies) {
  Calls::WriteRequest request;
  request.set_table_name(connection_.table.name);
  request.set_app_profile_id(connection_.table.app_profile);
  for (const Row& row : page_) {
    auto& entry = *request.add_entries();
    entry.set_row_key(row.key);
    *entry.mutable_mutations() = connection_.cells.erase(row);
  }
  entry_ = {};
  ++connection_.write_calls;
  connection_.calls.write(
      connection_.channels.next(), request, waiting_->deadline(), cookies,
      [self = shared_from_this()](Calls::WriteResponse& response) {
        for (const auto& entry : response.entries())
          if (entry.status().code() != grpc::OK)
            self->entry_ = {
                grpc::Status(static_cast<grpc::StatusCode>(entry.status().code()), entry.status().message()),
                {},
                retry_of(entry.status())};
        return !self->waiting_->answered();
      },
      [self = shared_from_this()](Outcome outcome) { self->erased(std::move(outcome)); });
}

void Purge::erased(Outcome outcome) {
  if (outcome.status.ok()) outcome = entry_;
  if (again(Kind::kWrite, outcome, &Purge::erase) || !outcome.status.ok()) return;
  // A row of more cells than a page takes is looked at once more, and so are those after it.
  for (const Row& row : page_) {
    if (row.cells.size() >= kCellsPerRow) break;
    after_ = row.key;
  }
  scan({});
}

bool Purge::again(Kind kind, const Outcome& outcome, void (Purge::*step)(const Headers&)) {
  if (outcome.status.ok()) {
    repeated_ = false;
    return false;
  }
  const auto delay = outcome.retry_after.value_or(std::chrono::nanoseconds(0));
  const auto left = waiting_->deadline() - std::chrono::steady_clock::now();
  if (repeated_ || connection_.closing || waiting_->answered() || !is_passing(kind, outcome) || delay >= left) {
    connection_.deadlines.remove(*waiting_);
    waiting_->fail(std::make_exception_ptr(
        StoreUnavailable("Bigtable failed with code " + std::to_string(outcome.status.error_code()) +
                         " of gRPC; what is erased so far stays so, and the rest is when this is asked for again")));
    return false;
  }
  repeated_ = true;
  ++connection_.repeated_calls;
  connection_.calls.wait(delay,
                         [self = shared_from_this(), step, cookies = outcome.cookies] { (*self.*step)(cookies); });
  return true;
}

}  // namespace server::bigtable
