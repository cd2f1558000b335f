#include "mock.h"

#include <algorithm>
#include <chrono>
#include <stdexcept>
#include <tuple>

namespace server::bigtable::testing {

Mock::Mock(int port) {
  grpc::ServerBuilder builder;
  builder.AddListeningPort("127.0.0.1:" + std::to_string(port), grpc::InsecureServerCredentials(), &port_);
  builder.RegisterService(this);
  server_ = builder.BuildAndStart();
  if (!server_ || port_ == 0) throw std::runtime_error("the mock of Bigtable cannot listen");
}

Mock::~Mock() {
  server_->Shutdown(std::chrono::system_clock::now());
  server_->Wait();
}

std::size_t Mock::cells() const {
  const std::lock_guard lock(mutex_);
  std::size_t cells = 0;
  for (const auto& [key, row] : table_)
    for (const auto& [name, column] : row) cells += column.size();
  return cells;
}

void Mock::put(const std::string& row, const std::string& family, const std::string& qualifier, std::int64_t micros,
               const std::string& value) {
  const std::lock_guard lock(mutex_);
  table_[row][{family, qualifier}][micros] = value;
}

template <class Request>
void Mock::note(std::vector<Seen<Request>>& seen, const grpc::ServerContext& context, const Request& request) {
  Seen<Request> call{request, {}, context.peer()};
  for (const auto& [name, value] : context.client_metadata())
    call.headers.emplace(std::string(name.data(), name.size()), std::string(value.data(), value.size()));
  const std::lock_guard lock(mutex_);
  seen.push_back(std::move(call));
}

grpc::Status Mock::ReadRows(grpc::ServerContext* context, const v2::ReadRowsRequest* request,
                            grpc::ServerWriter<v2::ReadRowsResponse>* writer) {
  note(reads_, *context, *request);
  if (on_read)
    if (const auto status = on_read(*context, *request, *writer)) return *status;
  std::vector<std::pair<std::string, Cells>> found;
  {
    const std::lock_guard lock(mutex_);
    for (const auto& [key, row] : table_) {
      const auto& rows = request->rows();
      bool wanted = rows.row_keys_size() == 0 && rows.row_ranges_size() == 0;
      for (const std::string& wanted_key : rows.row_keys()) wanted |= wanted_key == key;
      for (const auto& range : rows.row_ranges())
        wanted |= range.has_start_key_open() ? key > range.start_key_open() : key >= range.start_key_closed();
      if (!wanted) continue;
      Cells cells;
      for (const auto& [name, column] : row)
        for (const auto& [timestamp, value] : column) cells.push_back({name.first, name.second, timestamp, value});
      if (request->has_filter()) cells = apply(request->filter(), std::move(cells));
      if (cells.empty()) continue;
      found.emplace_back(key, std::move(cells));
      if (request->rows_limit() > 0 && static_cast<std::int64_t>(found.size()) == request->rows_limit()) break;
    }
  }
  if (awkward) {
    for (const auto& [key, cells] : found) send(key, cells, *writer);
    return grpc::Status::OK;
  }
  v2::ReadRowsResponse response;
  for (const auto& [key, cells] : found)
    for (const Cell& cell : cells) {
      auto& chunk = *response.add_chunks();
      chunk.set_row_key(key);
      chunk.mutable_family_name()->set_value(cell.family);
      chunk.mutable_qualifier()->set_value(cell.qualifier);
      chunk.set_timestamp_micros(cell.timestamp);
      chunk.set_value(cell.value);
      if (&cell == &cells.back()) chunk.set_commit_row(true);
    }
  if (response.chunks_size() > 0) writer->Write(response);
  return grpc::Status::OK;
}

void Mock::send(const std::string& key, const Cells& cells, grpc::ServerWriter<v2::ReadRowsResponse>& writer) const {
  // First a beginning that comes to nothing.
  v2::ReadRowsResponse nothing;
  auto& chunk = *nothing.add_chunks();
  chunk.set_row_key(key);
  chunk.mutable_family_name()->set_value("elsewhere");
  chunk.mutable_qualifier()->set_value("nothing");
  chunk.set_value("nothing");
  nothing.add_chunks()->set_reset_row(true);
  writer.Write(nothing);
  const Cell* before = nullptr;
  for (const Cell& cell : cells) {
    const bool other_family = !before || before->family != cell.family;
    const std::size_t half = cell.value.size() / 2;
    v2::ReadRowsResponse first, second;
    auto& piece = *first.add_chunks();
    if (!before) piece.set_row_key(key);
    if (other_family) piece.mutable_family_name()->set_value(cell.family);
    if (other_family || before->qualifier != cell.qualifier) piece.mutable_qualifier()->set_value(cell.qualifier);
    piece.set_timestamp_micros(cell.timestamp);
    piece.set_value(cell.value.substr(0, half));
    if (half > 0) piece.set_value_size(static_cast<int>(cell.value.size()));
    auto& end = half > 0 ? *second.add_chunks() : piece;
    end.set_value(cell.value.substr(half));
    if (&cell == &cells.back()) end.set_commit_row(true);
    writer.Write(first);
    if (half > 0) writer.Write(second);
    before = &cell;
  }
}

Mock::Cells Mock::apply(const v2::RowFilter& filter, Cells cells) {
  using Filter = v2::RowFilter;
  switch (filter.filter_case()) {
    case Filter::kChain:
      for (const auto& part : filter.chain().filters()) cells = apply(part, std::move(cells));
      return cells;
    case Filter::kInterleave: {
      Cells all;
      for (const auto& part : filter.interleave().filters()) {
        Cells some = apply(part, cells);
        all.insert(all.end(), some.begin(), some.end());
      }
      std::stable_sort(all.begin(), all.end(), [](const Cell& a, const Cell& b) {
        return std::tie(a.family, a.qualifier, b.timestamp) < std::tie(b.family, b.qualifier, a.timestamp);
      });
      return all;
    }
    case Filter::kColumnRangeFilter: {
      const auto& range = filter.column_range_filter();
      std::erase_if(cells, [&](const Cell& cell) {
        if (cell.family != range.family_name()) return true;
        if (range.has_start_qualifier_closed() && cell.qualifier < range.start_qualifier_closed()) return true;
        if (range.has_end_qualifier_closed() && cell.qualifier > range.end_qualifier_closed()) return true;
        return range.has_end_qualifier_open() && cell.qualifier >= range.end_qualifier_open();
      });
      return cells;
    }
    case Filter::kTimestampRangeFilter: {
      const auto& range = filter.timestamp_range_filter();
      std::erase_if(cells, [&](const Cell& cell) {
        return cell.timestamp < range.start_timestamp_micros() ||
               (range.end_timestamp_micros() != 0 && cell.timestamp >= range.end_timestamp_micros());
      });
      return cells;
    }
    case Filter::kCellsPerRowLimitFilter:
      cells.resize(std::min<std::size_t>(cells.size(), filter.cells_per_row_limit_filter()));
      return cells;
    case Filter::kCellsPerColumnLimitFilter: {
      Cells kept;
      int of_column = 0;
      for (Cell& cell : cells) {
        const bool same = !kept.empty() && kept.back().family == cell.family && kept.back().qualifier == cell.qualifier;
        of_column = same ? of_column + 1 : 1;
        if (of_column <= filter.cells_per_column_limit_filter()) kept.push_back(std::move(cell));
      }
      return kept;
    }
    case Filter::kStripValueTransformer:
      for (Cell& cell : cells) cell.value.clear();
      return cells;
    case Filter::FILTER_NOT_SET:
      break;
  }
  throw std::logic_error("the mock of Bigtable does not know this filter");
}

grpc::Status Mock::MutateRows(grpc::ServerContext* context, const v2::MutateRowsRequest* request,
                              grpc::ServerWriter<v2::MutateRowsResponse>* writer) {
  note(writes_, *context, *request);
  if (on_write)
    if (const auto status = on_write(*context, *request, *writer)) return *status;
  v2::MutateRowsResponse response;
  {
    const std::lock_guard lock(mutex_);
    for (const auto& entry : request->entries()) {
      Row& row = table_[entry.row_key()];
      for (const auto& mutation : entry.mutations()) mutate(row, mutation);
      auto& answer = *response.add_entries();
      answer.set_index(response.entries_size() - 1);
      answer.mutable_status();
    }
  }
  writer->Write(response);
  return grpc::Status::OK;
}

void Mock::mutate(Row& row, const v2::Mutation& mutation) {
  switch (mutation.mutation_case()) {
    case v2::Mutation::kSetCell: {
      const auto& cell = mutation.set_cell();
      row[{cell.family_name(), cell.column_qualifier()}][cell.timestamp_micros()] = cell.value();
      return;
    }
    case v2::Mutation::kDeleteFromColumn: {
      const auto& gone = mutation.delete_from_column();
      Column& column = row[{gone.family_name(), gone.column_qualifier()}];
      const auto& range = gone.time_range();
      std::erase_if(column, [&](const auto& cell) {
        return cell.first >= range.start_timestamp_micros() &&
               (range.end_timestamp_micros() == 0 || cell.first < range.end_timestamp_micros());
      });
      return;
    }
    case v2::Mutation::kDeleteFromFamily:
      std::erase_if(
          row, [&](const auto& column) { return column.first.first == mutation.delete_from_family().family_name(); });
      return;
    case v2::Mutation::MUTATION_NOT_SET:
      break;
  }
  throw std::logic_error("the mock of Bigtable does not know this mutation");
}

grpc::Status Mock::PingAndWarm(grpc::ServerContext* context, const v2::PingAndWarmRequest* request,
                               v2::PingAndWarmResponse*) {
  note(pings_, *context, *request);
  return on_ping ? on_ping() : grpc::Status::OK;
}

}  // namespace server::bigtable::testing
