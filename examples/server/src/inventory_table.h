// The file of what is set of products: a table of SQLite (https://www.sqlite.org), which outlives kill -9 and a power
// failure.
#pragma once

#include <cstdint>
#include <limits>
#include <memory>
#include <span>
#include <string>
#include <unordered_map>
#include <utility>

struct sqlite3;

namespace server {

template <class T>
struct SetValue {
  T value{};
  std::int64_t time = std::numeric_limits<std::int64_t>::min();  // ms since 1970; the least: it is not set
};

struct InventoryEntry {
  SetValue<bool> available;
  SetValue<float> price;
};

// One process has the file open. For one thread at a time.
class InventoryTable {
 public:
  // Makes the file where it is missing. Throws std::runtime_error for one that is none of ours (and is left as it is),
  // that another process has open, that is of a newer version, or that cannot be opened.
  explicit InventoryTable(const std::string& path);
  ~InventoryTable();

  // By the product's id. Throws std::runtime_error.
  std::unordered_map<std::string, InventoryEntry> read();
  // All of them or none, on disk when this returns. Throws Error 503.
  void write(std::span<const std::pair<std::string, InventoryEntry>> entries);
  // Products of which nothing later than `before` is set. Throws Error 503.
  void forget(std::int64_t before);

 private:
  class Statement;
  void run(const char* sql);
  template <class Change>
  void change(const Change& change);  // in one transaction
  std::int64_t number(const char* sql);

  const std::string path_;
  struct Close {
    void operator()(sqlite3* database) const;
  };
  std::unique_ptr<sqlite3, Close> database_;
};

}  // namespace server
