// Chunks in which Bigtable sends rows: what RowReader makes of any is what a plain statement of the rules makes of
// them. A line is a chunk, of words that begin with what they say: k key, f family, q qualifier, t timestamp, l label,
// v value, s size of the value, c commit, r reset. ">KEY" is the last scanned key, and ends a message.
#include "read_rows.h"

#include <algorithm>
#include <cstdlib>
#include <optional>

#include "fuzz.h"

namespace {

using server::bigtable::Cell;
using server::bigtable::Row;
using server::bigtable::RowReader;
using Response = RowReader::Response;
using Chunk = Response::CellChunk;

constexpr std::size_t kMaxRowBytes = 1000;

// The text before the separator, which it takes with it.
std::string_view cut(std::string_view& text, char separator) {
  const std::size_t end = std::min(text.find(separator), text.size());
  const std::string_view part = text.substr(0, end);
  text.remove_prefix(std::min(end + 1, text.size()));
  return part;
}

std::vector<Response> read(std::string_view text) {
  std::vector<Response> messages(1);
  while (!text.empty()) {
    std::string_view line = cut(text, '\n');
    if (line.starts_with('>')) {
      messages.back().set_last_scanned_row_key(std::string(line.substr(1)));
      messages.emplace_back();
      continue;
    }
    Chunk& chunk = *messages.back().add_chunks();
    while (!line.empty()) {
      const std::string word(cut(line, ' '));
      if (word.empty()) continue;
      const std::string said = word.substr(1);
      switch (word[0]) {
        case 'k':
          chunk.set_row_key(said);
          break;
        case 'f':
          chunk.mutable_family_name()->set_value(said);
          break;
        case 'q':
          chunk.mutable_qualifier()->set_value(said);
          break;
        case 't':
          chunk.set_timestamp_micros(std::atoll(said.c_str()));
          break;
        case 'l':
          chunk.add_labels(said);
          break;
        case 'v':
          chunk.set_value(said);
          break;
        case 's':
          chunk.set_value_size(std::atoi(said.c_str()));
          break;
        case 'c':
          chunk.set_commit_row(true);
          break;
        case 'r':
          chunk.set_reset_row(true);
          break;
      }
    }
  }
  return messages;
}

struct Read {
  std::vector<Row> rows;
  std::string last_key;
  bool broken = false;
};

bool begins_a_cell(const Chunk& chunk) {
  return chunk.has_family_name() || chunk.has_qualifier() || chunk.timestamp_micros() != 0 || chunk.labels_size() > 0;
}

// What chunks from a row's first on say; none where they cannot be.
std::optional<Row> row_of(const std::vector<Chunk>& chunks) {
  Row row{chunks.front().row_key(), {}};
  std::size_t bytes = 0;
  for (std::size_t i = 0; i < chunks.size(); ++i) {
    const Chunk& chunk = chunks[i];
    const bool goes_on = i > 0 && chunks[i - 1].value_size() > 0;
    if (!chunk.row_key().empty() && chunk.row_key() != row.key) return {};
    if (chunk.value_size() < 0 || (chunk.value_size() > 0 && chunk.commit_row())) return {};
    if (goes_on && begins_a_cell(chunk)) return {};
    if (!goes_on) {
      if (chunk.has_family_name() && !chunk.has_qualifier()) return {};
      if (row.cells.empty() && !chunk.has_family_name()) return {};
      Cell cell;
      cell.family = chunk.has_family_name() ? chunk.family_name().value() : row.cells.back().family;
      cell.qualifier = chunk.has_qualifier() ? chunk.qualifier().value() : row.cells.back().qualifier;
      cell.timestamp = chunk.timestamp_micros();
      cell.labels = {chunk.labels().begin(), chunk.labels().end()};
      bytes += sizeof(Cell) + cell.family.size() + cell.qualifier.size();
      row.cells.push_back(cell);
    }
    row.cells.back().value += chunk.value();
    bytes += chunk.value().size();
  }
  if (bytes > kMaxRowBytes) return {};
  return row;
}

Read expected(const std::vector<Response>& messages) {
  Read read;
  bool any_key = false;
  std::vector<Chunk> chunks;  // of the row that is not complete
  read.broken = true;
  for (const Response& message : messages) {
    for (const Chunk& chunk : message.chunks()) {
      if (chunk.reset_row()) {
        Chunk bare;
        bare.set_reset_row(true);
        if (chunks.empty() || chunk.ByteSizeLong() != bare.ByteSizeLong()) return read;
        chunks.clear();
        continue;
      }
      if (chunks.empty() && (chunk.row_key().empty() || (any_key && chunk.row_key() <= read.last_key))) return read;
      chunks.push_back(chunk);
      const auto row = row_of(chunks);
      if (!row) return read;
      if (!chunk.commit_row()) continue;
      read.rows.push_back(*row);
      read.last_key = row->key;
      any_key = true;
      chunks.clear();
    }
    const std::string& scanned = message.last_scanned_row_key();
    if (scanned.empty()) continue;
    if (!chunks.empty() || (any_key && scanned <= read.last_key)) return read;
    read.last_key = scanned;
    any_key = true;
  }
  read.broken = !chunks.empty();
  return read;
}

Read by_reader(std::vector<Response> messages) {
  Read read;
  RowReader reader([&](Row row) { read.rows.push_back(std::move(row)); }, kMaxRowBytes);
  try {
    for (Response& message : messages) reader.feed(message);
    reader.end();
  } catch (const server::bigtable::BrokenStream&) {
    read.broken = true;
  }
  read.last_key = reader.last_key();
  return read;
}

}  // namespace

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::vector<Response> messages = read(text_of(data, size));
  const Read right = expected(messages), made = by_reader(messages);
  FUZZ_CHECK(made.broken == right.broken && made.last_key == right.last_key);
  FUZZ_CHECK(made.rows.size() == right.rows.size());
  for (std::size_t i = 0; i < made.rows.size(); ++i) {
    const Row &row = made.rows[i], &other = right.rows[i];
    FUZZ_CHECK(row.key == other.key && row.cells.size() == other.cells.size());
    for (std::size_t j = 0; j < row.cells.size(); ++j) {
      const Cell &cell = row.cells[j], &wanted = other.cells[j];
      FUZZ_CHECK(cell.family == wanted.family && cell.qualifier == wanted.qualifier && cell.value == wanted.value);
      FUZZ_CHECK(cell.timestamp == wanted.timestamp && cell.labels == wanted.labels);
    }
  }
  return 0;
}
