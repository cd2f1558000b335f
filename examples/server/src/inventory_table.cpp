#include "inventory_table.h"

#include <sqlite3.h>

#include <stdexcept>

#include "error.h"

namespace server {

namespace {

constexpr int kApplication = 0x73746d69;  // "stmi": whose file this is
constexpr int kVersion = 1;

}  // namespace

// A statement that is run once or many times.
class InventoryTable::Statement {
 public:
  Statement(sqlite3* database, const char* sql) : database_(database) {
    check(sqlite3_prepare_v2(database, sql, -1, &statement_, nullptr));
  }
  ~Statement() { sqlite3_finalize(statement_); }
  Statement(const Statement&) = delete;
  Statement& operator=(const Statement&) = delete;

  // A time that is the least stands for what is not set: both are null.
  template <class T>
  void bind(int at, const SetValue<T>& set) {
    if (set.time == SetValue<T>().time) {
      check(sqlite3_bind_null(statement_, at));
      check(sqlite3_bind_null(statement_, at + 1));
      return;
    }
    check(sqlite3_bind_double(statement_, at, static_cast<double>(set.value)));
    check(sqlite3_bind_int64(statement_, at + 1, set.time));
  }
  void bind(int at, std::int64_t number) { check(sqlite3_bind_int64(statement_, at, number)); }
  void bind(int at, const std::string& text) {
    check(sqlite3_bind_text(statement_, at, text.data(), static_cast<int>(text.size()), SQLITE_STATIC));
  }
  template <class T>
  SetValue<T> value(int at) {
    if (sqlite3_column_type(statement_, at) == SQLITE_NULL) return {};
    return {static_cast<T>(sqlite3_column_double(statement_, at)), sqlite3_column_int64(statement_, at + 1)};
  }
  std::string text(int at) {
    const auto* bytes = reinterpret_cast<const char*>(sqlite3_column_text(statement_, at));
    return {bytes, static_cast<std::size_t>(sqlite3_column_bytes(statement_, at))};
  }
  std::int64_t number(int at) { return sqlite3_column_int64(statement_, at); }

  bool step() {  // whether there is a row
    const int result = sqlite3_step(statement_);
    if (result != SQLITE_ROW && result != SQLITE_DONE) check(result);
    return result == SQLITE_ROW;
  }
  void again() { check(sqlite3_reset(statement_)); }

 private:
  void check(int result) {
    if (result != SQLITE_OK) throw std::runtime_error(sqlite3_errmsg(database_));
  }

  sqlite3* database_;
  sqlite3_stmt* statement_ = nullptr;
};

void InventoryTable::Close::operator()(sqlite3* database) const { sqlite3_close(database); }

InventoryTable::~InventoryTable() = default;

void InventoryTable::run(const char* sql) {
  Statement statement(database_.get(), sql);
  while (statement.step()) {
  }
}

std::int64_t InventoryTable::number(const char* sql) {
  Statement statement(database_.get(), sql);
  return statement.step() ? statement.number(0) : 0;
}

InventoryTable::InventoryTable(const std::string& path) : path_(path) {
  sqlite3* opened = nullptr;
  const int result = sqlite3_open_v2(path.c_str(), &opened, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, nullptr);
  database_.reset(opened);
  try {
    if (result != SQLITE_OK) throw std::runtime_error(opened ? sqlite3_errmsg(opened) : "there is no memory");
    run("PRAGMA locking_mode = EXCLUSIVE");
    const std::int64_t application = number("PRAGMA application_id"), version = number("PRAGMA user_version");
    const bool is_new = number("SELECT count(*) FROM sqlite_master") == 0;
    if (application != kApplication && !is_new)
      throw std::runtime_error("is another program's; inventory.path should be a file of its own");
    if (version > kVersion)
      throw std::runtime_error("is of version " + std::to_string(version) + "; this server reads " +
                               std::to_string(kVersion));
    run("PRAGMA journal_mode = WAL");
    run("PRAGMA synchronous = FULL");
    run("BEGIN IMMEDIATE");  // and the lock, which is kept
    if (is_new) {
      run(("PRAGMA application_id = " + std::to_string(kApplication)).c_str());
      run(("PRAGMA user_version = " + std::to_string(kVersion)).c_str());
      run("CREATE TABLE inventory (product TEXT PRIMARY KEY, available REAL, available_time INTEGER, price REAL,"
          " price_time INTEGER) WITHOUT ROWID");
    }
    run("COMMIT");
  } catch (const std::exception& error) {
    throw std::runtime_error(path + ": the inventory cannot be opened: " + error.what());
  }
}

std::unordered_map<std::string, InventoryEntry> InventoryTable::read() {
  std::unordered_map<std::string, InventoryEntry> entries;
  try {
    Statement all(database_.get(), "SELECT product, available, available_time, price, price_time FROM inventory");
    while (all.step())
      entries.emplace(all.text(0), InventoryEntry{.available = all.value<bool>(1), .price = all.value<float>(3)});
  } catch (const std::runtime_error& error) {
    throw std::runtime_error(path_ + ": the inventory cannot be read: " + error.what());
  }
  return entries;
}

template <class Change>
void InventoryTable::change(const Change& change) {
  try {
    run("BEGIN IMMEDIATE");
    change();
    run("COMMIT");
  } catch (const std::exception& error) {
    const std::string why = error.what();
    if (!sqlite3_get_autocommit(database_.get())) run("ROLLBACK");
    throw Error(503, "the inventory cannot be stored now: " + why);
  }
}

void InventoryTable::write(std::span<const std::pair<std::string, InventoryEntry>> entries) {
  if (entries.empty()) return;
  change([&] {
    Statement put(database_.get(), "REPLACE INTO inventory VALUES (?, ?, ?, ?, ?)");
    for (const auto& [product, entry] : entries) {
      put.bind(1, product);
      put.bind(2, entry.available);
      put.bind(4, entry.price);
      put.step();
      put.again();
    }
  });
}

void InventoryTable::forget(std::int64_t before) {
  change([&] {
    Statement gone(database_.get(),
                   "DELETE FROM inventory WHERE ifnull(available_time, ?1) <= ?1 AND ifnull(price_time, ?1) <= ?1");
    gone.bind(1, before);
    gone.step();
  });
}

}  // namespace server
