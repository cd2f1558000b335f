#include "batch.h"

#include <algorithm>
#include <chrono>
#include <stdexcept>
#include <utility>

namespace server::bigtable {

namespace {

constexpr std::size_t kMaxRowBytes = 16 << 20;

// Bigtable's message goes to callers, unless it names a visitor, of this request or of another in the call.
bool names_none(const std::string& message, const std::vector<std::string>& keys) {
  return std::ranges::none_of(keys, [&](const std::string& key) { return message.find(key) != message.npos; });
}

grpc::Status without_visitors(const grpc::Status& status, const std::vector<std::string>& keys) {
  constexpr std::size_t kMost = 200;
  const std::string message = status.error_message();
  return grpc::Status(status.error_code(), names_none(message, keys) ? message.substr(0, kMost) : "");
}

std::exception_ptr unavailable(const grpc::Status& status) {
  std::string text = "Bigtable failed with code " + std::to_string(status.error_code()) + " of gRPC";
  if (!status.error_message().empty()) text += ": " + status.error_message();
  return std::make_exception_ptr(StoreUnavailable(text));
}

}  // namespace

bool is_passing(Kind kind, const Outcome& outcome) {
  if (outcome.retry_after) return true;
  switch (outcome.status.error_code()) {
    case grpc::UNAVAILABLE:
    case grpc::DEADLINE_EXCEEDED:
      return true;
    case grpc::ABORTED:
    case grpc::CANCELLED:
      return kind == Kind::kRead;
    case grpc::INTERNAL: {
      std::string message = outcome.status.error_message();
      std::transform(message.begin(), message.end(), message.begin(), [](unsigned char c) { return std::tolower(c); });
      return kind == Kind::kRead &&
             (message.find("rst_stream") != message.npos || message.find("rst stream") != message.npos);
    }
    default:
      return false;
  }
}

template <class Request>
void Batch<Request>::send(const Headers& cookies) {
  std::erase_if(requests_, [](const auto& request) { return request->answered(); });
  if (requests_.empty()) return ended_();
  Deadline latest = Deadline::min();
  for (const auto& request : requests_) latest = std::max(latest, request->deadline());
  call(connection_.channels.next(), latest, cookies);
}

template <class Request>
void Batch<Request>::end(Kind kind, const Outcome& outcome) {
  std::erase_if(requests_, [](const auto& request) { return request->answered(); });
  const auto now = std::chrono::steady_clock::now();
  const auto delay = outcome.retry_after.value_or(std::chrono::nanoseconds(0));
  const bool again = !repeated_ && !connection_.closing && is_passing(kind, outcome);
  std::erase_if(requests_, [&](const auto& request) {
    if (again && request->half_is_left(now) && delay < request->deadline() - now) return false;
    fail(*request, outcome.status);
    return true;
  });
  if (requests_.empty()) return ended_();
  repeated_ = true;
  ++connection_.repeated_calls;
  connection_.calls.wait(delay, [self = this->shared_from_this(), cookies = outcome.cookies] { self->send(cookies); });
}

template <class Request>
void Batch<Request>::fail(Request& request, const grpc::Status& status) {
  connection_.deadlines.remove(request);
  const grpc::Status told = without_visitors(status, keys_);
  const bool by_time = status.error_code() == grpc::DEADLINE_EXCEEDED || status.error_code() == grpc::CANCELLED;
  if (!by_time) {
    refused_ = true;
    ++connection_.failed_requests;
    connection_.complaints.note(told);
  }
  request.fail(unavailable(told));
}

template <class Request>
void Batch<Request>::went_well() {
  if (!refused_) connection_.complaints.note(grpc::Status::OK);
}

template class Batch<Read>;
template class Batch<Write>;

ReadBatch::ReadBatch(Connection& connection, Requests requests, std::function<void()> ended)
    : Batch(connection, std::move(requests), std::move(ended)) {
  std::sort(requests_.begin(), requests_.end(), [](const auto& a, const auto& b) { return a->key < b->key; });
}

void ReadBatch::call(std::shared_ptr<Channels::Stub> stub, Deadline deadline, const Headers& cookies) {
  Calls::ReadRequest request;
  request.set_table_name(connection_.table.name);
  request.set_app_profile_id(connection_.table.app_profile);
  std::int64_t since = requests_.front()->since;
  const std::string* before = nullptr;
  for (const auto& read : requests_) {
    since = std::min(since, read->since);
    if (before && *before == read->key) continue;
    before = &read->key;
    request.mutable_rows()->add_row_keys(read->key);
  }
  request.set_rows_limit(request.rows().row_keys_size());
  *request.mutable_filter() = connection_.cells.latest(requests_.front()->n, since);
  reader_ = std::make_unique<RowReader>([this](Row row) { answer(std::move(row)); }, kMaxRowBytes);
  ++connection_.read_calls;
  const auto self = std::static_pointer_cast<ReadBatch>(shared_from_this());
  connection_.calls.read(
      std::move(stub), request, deadline, cookies,
      [self](Calls::ReadResponse& response) { return self->take(response); },
      [self](Outcome outcome) { self->over(std::move(outcome)); });
}

bool ReadBatch::take(Calls::ReadResponse& response) {
  try {
    reader_->feed(response);
    return true;
  } catch (const BrokenStream& error) {
    broken_ = error.what();
    return false;
  }
}

void ReadBatch::answer(Row row) {
  auto read = std::lower_bound(requests_.begin(), requests_.end(), row.key,
                               [](const auto& request, const std::string& key) { return request->key < key; });
  for (; read != requests_.end() && (*read)->key == row.key; ++read) {
    connection_.deadlines.remove(**read);
    const bool last = std::next(read) == requests_.end() || (*std::next(read))->key != row.key;
    (*read)->answer(connection_.cells.events(last ? std::move(row) : row, (*read)->n, (*read)->since));
    if (last) return;
  }
}

void ReadBatch::over(Outcome outcome) {
  if (broken_.empty() && outcome.status.ok()) {
    try {
      reader_->end();
    } catch (const BrokenStream& error) {
      broken_ = error.what();
    }
  }
  const bool whole = broken_.empty() && outcome.status.ok();
  if (whole) went_well();
  if (broken_.empty())
    for (const auto& read : requests_) {
      if (!whole && read->key > reader_->last_key()) break;
      if (read->answered()) continue;
      connection_.deadlines.remove(*read);
      read->answer({});  // there is no such row
    }
  if (!broken_.empty()) outcome = {grpc::Status(grpc::INTERNAL, broken_), {}, {}};
  end(Kind::kRead, outcome);
}

void WriteBatch::call(std::shared_ptr<Channels::Stub> stub, Deadline deadline, const Headers& cookies) {
  Calls::WriteRequest request;
  request.set_table_name(connection_.table.name);
  request.set_app_profile_id(connection_.table.app_profile);
  for (const auto& write : requests_) {
    auto& entry = *request.add_entries();
    entry.set_row_key(write->key);
    *entry.mutable_mutations() = write->mutations;
  }
  passing_ = {};
  ++connection_.write_calls;
  const auto self = std::static_pointer_cast<WriteBatch>(shared_from_this());
  connection_.calls.write(
      std::move(stub), request, deadline, cookies,
      [self](Calls::WriteResponse& response) { return self->take(response); },
      [self](Outcome outcome) { self->over(std::move(outcome)); });
}

bool WriteBatch::take(const Calls::WriteResponse& response) {
  for (const auto& entry : response.entries()) {
    if (entry.index() < 0 || entry.index() >= static_cast<std::int64_t>(requests_.size())) continue;
    Write& write = *requests_[entry.index()];
    if (entry.status().code() == grpc::OK) {
      connection_.deadlines.remove(write);
      write.answer();
      continue;
    }
    const Outcome outcome{grpc::Status(static_cast<grpc::StatusCode>(entry.status().code()), entry.status().message()),
                          {},
                          retry_of(entry.status())};
    if (is_passing(Kind::kWrite, outcome)) {
      passing_ = outcome;
    } else {
      fail(write, outcome.status);
    }
  }
  return true;
}

void WriteBatch::over(Outcome outcome) {
  if (outcome.status.ok()) {
    if (passing_.status.ok()) went_well();
    outcome.status = passing_.status.ok() ? grpc::Status(grpc::INTERNAL, "it did not say what became of a mutation")
                                          : passing_.status;
    outcome.retry_after = passing_.retry_after;
  }
  end(Kind::kWrite, outcome);
}

}  // namespace server::bigtable
