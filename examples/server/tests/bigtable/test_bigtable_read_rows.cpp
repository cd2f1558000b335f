// Rows from chunks: the public cases of all of Bigtable's clients, and what no case has.
#include <doctest/doctest.h>

#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <vector>

#include "read_rows.h"

using server::bigtable::BrokenStream;
using server::bigtable::Row;
using server::bigtable::RowReader;
using Response = RowReader::Response;
using Json = nlohmann::json;

namespace {

constexpr std::size_t kLarge = 1 << 20;

std::string from_base64(const std::string& text) {
  std::string out;
  unsigned group = 0;
  int bits = 0;
  for (const char c : text) {
    const std::size_t digit =
        std::string_view("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/").find(c);
    if (digit == std::string_view::npos) continue;
    group = group << 6 | static_cast<unsigned>(digit);
    if ((bits += 6) >= 8) out += static_cast<char>(group >> (bits -= 8) & 255);
  }
  return out;
}

void read_chunk(const Json& json, Response::CellChunk& chunk) {
  if (json.contains("rowKey")) chunk.set_row_key(from_base64(json["rowKey"]));
  if (json.contains("familyName")) chunk.mutable_family_name()->set_value(json["familyName"]);
  if (json.contains("qualifier")) chunk.mutable_qualifier()->set_value(from_base64(json["qualifier"]));
  if (json.contains("timestampMicros"))
    chunk.set_timestamp_micros(std::stoll(json["timestampMicros"].get<std::string>()));
  if (json.contains("labels"))
    for (const Json& label : json["labels"]) chunk.add_labels(label);
  if (json.contains("value")) chunk.set_value(from_base64(json["value"]));
  if (json.contains("valueSize")) chunk.set_value_size(json["valueSize"]);
  if (json.contains("resetRow")) chunk.set_reset_row(json["resetRow"]);
  if (json.contains("commitRow")) chunk.set_commit_row(json["commitRow"]);
}

// Each cell as the cases write it.
Json cells_of(const std::vector<Row>& rows) {
  Json cells = Json::array();
  for (const Row& row : rows)
    for (const auto& cell : row.cells) {
      Json json = {{"rowKey", row.key}, {"familyName", cell.family}, {"qualifier", cell.qualifier}};
      if (cell.timestamp != 0) json["timestampMicros"] = std::to_string(cell.timestamp);
      if (!cell.value.empty()) json["value"] = cell.value;
      if (!cell.labels.empty()) json["label"] = cell.labels.front();
      cells.push_back(json);
    }
  return cells;
}

Response::CellChunk* add(Response& response, const char* row, const char* value, bool commit) {
  auto* chunk = response.add_chunks();
  chunk->set_row_key(row);
  chunk->mutable_family_name()->set_value("f");
  chunk->mutable_qualifier()->set_value("q");
  chunk->set_value(value);
  if (commit) chunk->set_commit_row(true);
  return chunk;
}

}  // namespace

TEST_CASE("the public cases, in one message and chunk by chunk") {
  const char* path = std::getenv("STAMP_READ_ROWS_CASES");
  if (!path || !*path) {
    MESSAGE("SKIPPED: STAMP_READ_ROWS_CASES names no file; tests/bigtable/read_rows_cases.py gets it");
    return;
  }
  const Json cases = Json::parse(std::ifstream(path)).at("readRowsTests");
  REQUIRE(cases.size() == 48);
  int failing = 0;
  for (const bool together : {true, false})
    for (const Json& one : cases) {
      CAPTURE(one["description"]);
      Json expected = Json::array();
      bool fails = false;
      for (const Json& result : one.value("results", Json::array())) {
        if (result.value("error", false)) {
          fails = true;
          continue;
        }
        Json cell = result;
        for (const char* key : {"value", "label"})
          if (cell.contains(key) && cell[key] == "") cell.erase(key);
        expected.push_back(cell);
      }
      failing += fails;
      std::vector<Response> responses(1);
      for (const Json& chunk : one["chunks"]) {
        if (!together) responses.emplace_back();
        read_chunk(chunk, *responses.back().add_chunks());
      }
      std::vector<Row> rows;
      RowReader reader([&](Row row) { rows.push_back(std::move(row)); }, kLarge);
      const auto read = [&] {
        for (Response& response : responses) reader.feed(response);
        reader.end();
      };
      if (fails) {
        CHECK_THROWS_AS(read(), BrokenStream);
      } else {
        CHECK_NOTHROW(read());
      }
      CHECK(cells_of(rows) == expected);
    }
  CHECK(failing == 2 * 14);
}

TEST_CASE("scanned keys count as keys, and none comes within a row") {
  std::vector<Row> rows;
  const auto use = [&](Row row) { rows.push_back(std::move(row)); };
  {
    RowReader reader(use, kLarge);
    Response first;
    first.set_last_scanned_row_key("m");
    reader.feed(first);
    CHECK(reader.last_key() == "m");
    Response before;
    add(before, "l", "v", true);
    CHECK_THROWS_AS(reader.feed(before), BrokenStream);
  }
  {
    RowReader reader(use, kLarge);
    Response begun;
    add(begun, "a", "v", false);
    reader.feed(begun);
    Response scanned;
    scanned.set_last_scanned_row_key("b");
    CHECK_THROWS_AS(reader.feed(scanned), BrokenStream);
  }
  CHECK(rows.empty());
}

TEST_CASE("a row that is too large ends the stream, in one value or in many cells") {
  RowReader one([](Row) {}, 1000);
  Response response;
  add(response, "a", std::string(2000, 'v').c_str(), true);
  CHECK_THROWS_AS(one.feed(response), BrokenStream);

  int rows = 0;
  RowReader many([&](Row) { ++rows; }, 1000);
  Response small;
  add(small, "a", "v", true);
  many.feed(small);
  const auto grow = [&] {
    for (int i = 0; i < 1000; ++i) {
      Response cell;
      add(cell, "b", "v", false);
      many.feed(cell);
    }
  };
  CHECK_THROWS_AS(grow(), BrokenStream);
  CHECK(rows == 1);
}

TEST_CASE("whatever chunks come, rows are complete, their keys increase, and the reader throws at worst") {
  std::mt19937 random(7);
  const auto one_of = [&](int n) { return static_cast<int>(random() % n); };
  int used = 0, broken = 0;
  for (int round = 0; round < 20000; ++round) {
    std::string before;
    RowReader reader(
        [&](Row row) {
          ++used;
          CHECK(row.key > before);
          CHECK(!row.cells.empty());
          for (const auto& cell : row.cells) CHECK_MESSAGE(!cell.family.empty(), round);
          before = row.key;
        },
        200);
    try {
      for (int i = one_of(8); i >= 0; --i) {
        Response response;
        for (int j = one_of(3); j >= 0; --j) {
          auto& chunk = *response.add_chunks();
          if (one_of(3)) chunk.set_row_key(std::string(1, static_cast<char>('a' + one_of(4))));
          if (one_of(3)) chunk.mutable_family_name()->set_value("f");
          if (one_of(4)) chunk.mutable_qualifier()->set_value(one_of(2) ? "q" : "");
          if (one_of(2)) chunk.set_value(std::string(one_of(30), 'v'));
          if (one_of(4) == 0) chunk.set_value_size(one_of(40) - 5);
          if (one_of(3) == 0) chunk.set_commit_row(true);
          if (one_of(8) == 0) {
            if (one_of(2)) chunk.Clear();
            chunk.set_reset_row(true);
          }
        }
        if (one_of(10) == 0) response.set_last_scanned_row_key(std::string(1, static_cast<char>('a' + one_of(4))));
        reader.feed(response);
      }
      reader.end();
    } catch (const BrokenStream&) {
      ++broken;
    }
  }
  CHECK(used > 1000);
  CHECK(broken > 1000);
}
