#include "visits_embedded.h"

#include <fcntl.h>
#include <rocksdb/cache.h>
#include <rocksdb/compaction_filter.h>
#include <rocksdb/db.h>
#include <rocksdb/env.h>
#include <rocksdb/filter_policy.h>
#include <rocksdb/listener.h>
#include <rocksdb/slice_transform.h>
#include <rocksdb/statistics.h>
#include <rocksdb/table.h>
#include <rocksdb/write_batch.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <condition_variable>
#include <cstdarg>
#include <cstdio>
#include <cstring>
#include <deque>
#include <filesystem>
#include <mutex>
#include <set>
#include <shared_mutex>
#include <stop_token>
#include <system_error>
#include <thread>

#include "clock.h"

namespace server {

namespace {

using rocksdb::Slice;
using rocksdb::Status;
using namespace std::chrono_literals;

// An event is one key: visitor, zero, inverted time, inverted number, both of 8 bytes, big-endian: a visitor's events
// stand together, the latest first. Its value: type, zero, item. No visitor is empty, so keys that begin with zero are
// the store's own.
constexpr std::size_t kAfterVisitor = 17;
constexpr char kOpenings[] = "\0openings";  // how often the store was opened
constexpr char kErasures[] = "\0erasures";  // what erase_before() erased

constexpr std::size_t kWriteBuffer = 16 << 20;
constexpr std::size_t kMostWaiting = 1024;     // calls that wait for the disk
constexpr int kWaiters = 8;                    // threads that do: what they write at once shares an fsync
constexpr std::size_t kMostToTrim = 1024;      // visitors that wait to be looked through; one more is not
constexpr std::size_t kMostSkipped = 1 << 14;  // what is deleted already and is skipped, looking a visitor through

Slice own_key(const auto& literal) { return Slice(literal, sizeof literal - 1); }

void put_number(std::string& out, std::uint64_t number) {
  for (int shift = 56; shift >= 0; shift -= 8) out.push_back(static_cast<char>(number >> shift));
}

std::uint64_t number_at(const char* bytes) {
  std::uint64_t number = 0;
  for (int i = 0; i < 8; ++i) number = number << 8 | static_cast<unsigned char>(bytes[i]);
  return number;
}

// The other way round of itself, too: order of times becomes reverse order of bytes.
constexpr std::uint64_t inverted(std::int64_t time) { return ~(static_cast<std::uint64_t>(time) ^ 1ull << 63); }
constexpr std::int64_t time_of(std::uint64_t inverted) { return static_cast<std::int64_t>(~inverted ^ 1ull << 63); }

std::int64_t event_time(const Slice& key) { return time_of(number_at(key.data() + key.size() - 16)); }
std::uint64_t event_number(const Slice& key) { return ~number_at(key.data() + key.size() - 8); }

std::string prefix_of(std::string visitor) {
  if (visitor.empty() || visitor.find('\0') != std::string::npos)
    throw std::invalid_argument("a visitor is of one byte or more, none of them zero");
  visitor.push_back('\0');
  return visitor;
}

// What can be searched for in a filter: the visitor with its zero.
class VisitorPrefix : public rocksdb::SliceTransform {
 public:
  const char* Name() const override { return "stamp.visitor"; }
  Slice Transform(const Slice& key) const override { return Slice(key.data(), length(key) + 1); }
  bool InDomain(const Slice& key) const override { return length(key) < key.size(); }

 private:
  static std::size_t length(const Slice& key) { return strnlen(key.data(), key.size()); }
};

// What erase_before() erased: events earlier than `time` that were appended before `number`. An event that comes later
// is none of them, whatever its time: what was wrong is erased and imported anew.
class Erasures {
 public:
  Erasures() = default;
  explicit Erasures(const Slice& bytes) {
    if (bytes.size() % 16 != 0) throw std::runtime_error("what was erased cannot be read");
    for (std::size_t i = 0; i < bytes.size(); i += 16)
      erasures_.push_back({time_of(number_at(bytes.data() + i)), number_at(bytes.data() + i + 8)});
  }

  void add(std::int64_t time, std::uint64_t number) {
    std::erase_if(erasures_, [&](const Erasure& other) { return other.time <= time; });  // this one covers them
    erasures_.push_back({time, number});
  }
  bool have(std::int64_t time, std::uint64_t number) const {
    // Times fall and numbers rise: of those with a later time the last one reaches furthest.
    const auto past = std::partition_point(erasures_.begin(), erasures_.end(),
                                           [&](const Erasure& erasure) { return erasure.time > time; });
    return past != erasures_.begin() && std::prev(past)->number > number;
  }
  std::string bytes() const {
    std::string out;
    for (const Erasure& erasure : erasures_) put_number(out, inverted(erasure.time)), put_number(out, erasure.number);
    return out;
  }

 private:
  struct Erasure {
    std::int64_t time;
    std::uint64_t number;
  };
  std::vector<Erasure> erasures_;
};

// The erasures in force, for readers and compactions at once.
class SharedErasures {
 public:
  std::shared_ptr<const Erasures> get() const {
    const std::lock_guard lock(mutex_);
    return erasures_;
  }
  void set(Erasures erasures) {
    auto shared = std::make_shared<const Erasures>(std::move(erasures));
    const std::lock_guard lock(mutex_);
    erasures_ = std::move(shared);
  }

 private:
  mutable std::mutex mutex_;
  std::shared_ptr<const Erasures> erasures_ = std::make_shared<const Erasures>();
};

// Lets go, while files are merged, what is not read any more. (A count is none of its business: it sees events that
// erase() has deleted, and would take them for newer ones.)
class DeadEvents : public rocksdb::CompactionFilter {
 public:
  DeadEvents(std::int64_t oldest, std::shared_ptr<const Erasures> erasures)
      : oldest_(oldest), erasures_(std::move(erasures)) {}
  const char* Name() const override { return "stamp.dead_events"; }
  bool Filter(int, const Slice& key, const Slice&, std::string*, bool*) const override {
    if (key.empty() || key[0] == '\0') return false;
    const std::int64_t time = event_time(key);
    return time < oldest_ || erasures_->have(time, event_number(key));
  }

 private:
  const std::int64_t oldest_;
  const std::shared_ptr<const Erasures> erasures_;
};

class DeadEventsFactory : public rocksdb::CompactionFilterFactory {
 public:
  DeadEventsFactory(std::int64_t max_age_ms, const SharedErasures& erasures)
      : max_age_ms_(max_age_ms), erasures_(erasures) {}
  const char* Name() const override { return "stamp.dead_events"; }
  std::unique_ptr<rocksdb::CompactionFilter> CreateCompactionFilter(
      const rocksdb::CompactionFilter::Context&) override {
    return std::make_unique<DeadEvents>(now_ms() - max_age_ms_, erasures_.get());
  }

 private:
  const std::int64_t max_age_ms_;
  const SharedErasures& erasures_;
};

// What RocksDB says of its work. Into a file of its own it would, once more, be an assertion where the disk is full;
// what goes wrong comes as a Status, too.
class NoLog : public rocksdb::Logger {
 public:
  using Logger::Logv;
  void Logv(const char*, va_list) override {}
};

// Says when RocksDB meets an error, and keeps it from going on by itself: it would write to a log that has failed,
// which is an assertion of its own.
class Errors : public rocksdb::EventListener {
 public:
  explicit Errors(std::atomic<bool>& met) : met_(met) {}
  void OnBackgroundError(rocksdb::BackgroundErrorReason, Status*) override { met_ = true; }
  void OnErrorRecoveryBegin(rocksdb::BackgroundErrorReason, Status, bool* recovers) override { *recovers = false; }

 private:
  std::atomic<bool>& met_;
};

// Holds the directory: by a file that says what the directory is, locked as long as this lives (and not beyond the
// process, however that ends).
class HeldDirectory {
 public:
  explicit HeldDirectory(const std::filesystem::path& path) {
    const std::filesystem::path mark = path / "STAMP_VISITS";
    const std::string name = path.string();
    try {
      std::filesystem::create_directories(path);
      if (!exists(mark) && !is_empty(path))
        throw std::runtime_error(name +
                                 ": is no store of visits, and not empty; a store's directory, an empty one or "
                                 "one that is yet to be made is expected");
    } catch (const std::filesystem::filesystem_error& error) {
      throw std::runtime_error(name + ": cannot hold a store of visits: " + error.code().message());
    }
    file_ = ::open(mark.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (file_ < 0) throw std::runtime_error(mark.string() + ": " + std::strerror(errno));
    try {
      if (::flock(file_, LOCK_EX | LOCK_NB) != 0)
        throw std::runtime_error(name + (errno == EWOULDBLOCK ? ": another process has this store of visits open"
                                                              : std::string(": ") + std::strerror(errno)));
      check(mark.string());
    } catch (...) {
      ::close(file_);
      throw;
    }
  }
  ~HeldDirectory() { ::close(file_); }
  HeldDirectory(const HeldDirectory&) = delete;
  HeldDirectory& operator=(const HeldDirectory&) = delete;

 private:
  static constexpr char kMark[] = "stamp visits, version %d\n";
  static constexpr int kVersion = 1;

  void check(const std::string& name) const {
    char text[128];
    const ssize_t size = ::pread(file_, text, sizeof text - 1, 0);
    if (size < 0) throw std::runtime_error(name + ": " + std::strerror(errno));
    if (size == 0) {  // made just now
      const int length = std::snprintf(text, sizeof text, kMark, kVersion);
      if (::pwrite(file_, text, length, 0) != length || ::fsync(file_) != 0)
        throw std::runtime_error(name + ": " + std::strerror(errno));
      return;
    }
    text[size] = '\0';
    int version = 0;
    if (std::sscanf(text, kMark, &version) != 1)
      throw std::runtime_error(name + ": does not say that this is a store of visits");
    if (version != kVersion)
      throw std::runtime_error(name + ": the store is of version " + std::to_string(version) + "; this server reads " +
                               std::to_string(kVersion));
  }

  int file_ = -1;
};

void check(const Status& status) {
  if (!status.ok()) throw StoreUnavailable("the store of visits: " + status.ToString());
}

std::exception_ptr what_went_wrong(auto&& call) {
  try {
    call();
  } catch (...) {
    return std::current_exception();
  }
  return nullptr;
}

}  // namespace

class EmbeddedVisits::Store {
 public:
  explicit Store(const VisitsOptions& options)
      : path_(options.path),
        max_events_(options.max_events),
        max_age_ms_(1000 * options.max_age_s),
        sync_every_(options.sync_ms),
        held_(path_) {
    configure(options);
    if (const Status status = open(); !status.ok())
      throw std::runtime_error(path_.string() + ": the store of visits cannot be opened: " + status.ToString());
    try {
      read_own();
    } catch (const std::exception& error) {
      throw std::runtime_error(path_.string() + ": " + error.what());
    }
    if (sync_every_ > 0ms) syncing_ = std::jthread([this](std::stop_token stop) { sync(stop); });
    housekeeping_ = std::jthread([this](std::stop_token stop) { keep_house(stop); });
  }

  ~Store() {
    housekeeping_.request_stop();
    {
      const std::shared_lock lock(opening_);
      if (db_) db_->DisableManualCompaction();  // ends one that goes on
    }
    housekeeping_ = {};
    syncing_ = {};
    if (unsynced_) sync_logs();
  }

  // What is to be written, where it has to wait for the disk; else it is.
  std::shared_ptr<rocksdb::WriteBatch> append(std::string visitor, const std::vector<Event>& events) {
    const std::string prefix = prefix_of(std::move(visitor));
    auto batch = std::make_shared<rocksdb::WriteBatch>();
    std::uint64_t number = next_number_.fetch_add(events.size());
    std::string key, value;
    bool trims = false;
    for (const Event& event : events) {
      key = prefix;
      put_number(key, inverted(event.time));
      put_number(key, ~number++);
      value = event.type;
      value.push_back('\0');
      value += event.item;
      check(batch->Put(key, value));
      trims |= std::hash<std::string>()(key) % max_events_ == 0;
    }
    if (trims) trim_later(prefix);
    if (sync_every_ == 0ms || !write_now(*batch)) return batch;
    return nullptr;
  }
  void append(rocksdb::WriteBatch& batch, Deadline deadline) { write(batch, sync_every_ == 0ms, deadline); }
  void count_failed() { ++appends_failed_; }

  std::vector<Event> last(std::string visitor, int n, std::int64_t since) {
    const std::string prefix = prefix_of(std::move(visitor));
    const std::size_t most = static_cast<std::size_t>(std::clamp<std::int64_t>(n, 0, max_events_));
    const std::shared_ptr<const Erasures> erasures = erasures_.get();
    std::vector<Event> events;
    std::string end = prefix;  // the first key that is too old
    put_number(end, inverted(std::max(since, now_ms() - max_age_ms_)) + 1);
    const Slice bound = end;
    rocksdb::ReadOptions options;
    options.prefix_same_as_start = true;
    options.iterate_upper_bound = &bound;
    const auto open = while_open();
    const std::unique_ptr<rocksdb::Iterator> at(db_->NewIterator(options));
    for (at->Seek(prefix); events.size() < most && at->Valid(); at->Next()) {
      const std::int64_t time = event_time(at->key());
      if (erasures->have(time, event_number(at->key()))) continue;
      const std::string_view value = at->value().ToStringView();
      const std::size_t zero = std::min(value.find('\0'), value.size());
      events.push_back(
          {time, std::string(value.substr(0, zero)), std::string(value.substr(std::min(zero + 1, value.size())))});
    }
    check(at->status());
    std::reverse(events.begin(), events.end());
    return events;
  }

  void erase(std::string visitor, Deadline deadline) {
    const std::string prefix = prefix_of(std::move(visitor));
    std::string end = prefix;
    end.back() = '\1';
    rocksdb::WriteBatch batch;
    check(batch.DeleteRange(prefix, end));
    write(batch, true, deadline);
  }

  void erase_before(std::int64_t time, Deadline deadline) {
    {
      const std::lock_guard lock(erasing_);
      Erasures erasures = *erasures_.get();
      erasures.add(time, next_number_);
      rocksdb::WriteBatch batch;
      check(batch.Put(own_key(kErasures), erasures.bytes()));
      write(batch, true, deadline);
      erasures_.set(std::move(erasures));
    }
    const std::lock_guard lock(mutex_);
    compaction_due_ = true;
    wake_.notify_one();
  }

  std::vector<std::pair<std::string, double>> figures() const {
    const std::shared_lock lock(opening_);
    const auto property = [&](const std::string& name) {
      std::uint64_t value = 0;
      if (db_) db_->GetIntProperty(name, &value);
      return static_cast<double>(value);
    };
    double disk = 0;
    std::error_code error;  // files come and go
    for (std::filesystem::directory_iterator file(path_, error), end; !error && file != end; file.increment(error)) {
      std::error_code gone;
      const std::uintmax_t size = file->file_size(gone);
      if (!gone) disk += static_cast<double>(size);
    }
    return {{"disk_bytes", disk},
            {"write_buffer_bytes", property(rocksdb::DB::Properties::kSizeAllMemTables)},
            {"cache_bytes", static_cast<double>(cache_->GetUsage())},
            {"events", property(rocksdb::DB::Properties::kEstimateNumKeys)},
            {"appends_failed", static_cast<double>(appends_failed_)},
            {"fsyncs", static_cast<double>(fsyncs_ + statistics_->getTickerCount(rocksdb::WAL_FILE_SYNCED))}};
  }

 private:
  void configure(const VisitsOptions& options) {
    cache_ = rocksdb::NewLRUCache(static_cast<std::size_t>(options.cache_mb) << 20);
    rocksdb::BlockBasedTableOptions table;
    table.block_cache = cache_;
    table.cache_index_and_filter_blocks = true;  // all of them within the cache's bound
    table.pin_l0_filter_and_index_blocks_in_cache = true;
    table.filter_policy.reset(rocksdb::NewBloomFilterPolicy(10));
    table.whole_key_filtering = false;  // visitors alone are looked for
    table.format_version = 5;

    options_.create_if_missing = true;
    options_.table_factory.reset(rocksdb::NewBlockBasedTableFactory(table));
    options_.prefix_extractor = std::make_shared<VisitorPrefix>();
    options_.memtable_prefix_bloom_size_ratio = 0.05;
    options_.compaction_filter_factory = std::make_shared<DeadEventsFactory>(max_age_ms_, erasures_);
    options_.write_buffer_size = kWriteBuffer;
    options_.max_write_buffer_number = 3;
    options_.target_file_size_base = kWriteBuffer;
    options_.max_bytes_for_level_base = 4 * kWriteBuffer;
    options_.level_compaction_dynamic_level_bytes = true;  // all but a tenth on the last level, where nothing is double
    options_.compression = rocksdb::kLZ4Compression;
    options_.max_background_jobs = 2;   // one flushes, one compacts
    options_.bytes_per_sync = 1 << 20;  // no bursts that an fsync of the log would wait for
    options_.max_open_files = 512;
    options_.max_manifest_file_size = kWriteBuffer;
    // What is too old and what is erased goes though nobody writes.
    options_.ttl = options_.periodic_compaction_seconds = std::max<std::uint64_t>(3600, options.max_age_s / 10);
    options_.info_log = std::make_shared<NoLog>();
    options_.listeners.push_back(std::make_shared<Errors>(failed_));
    options_.stats_dump_period_sec = options_.stats_persist_period_sec = 0;
    options_.statistics = statistics_ = rocksdb::CreateDBStatistics();
    statistics_->set_stats_level(rocksdb::kExceptHistogramOrTimers);
    options_.env->LowerThreadPoolCPUPriority(rocksdb::Env::LOW, rocksdb::CpuPriority::kLow);
    options_.env->LowerThreadPoolIOPriority(rocksdb::Env::LOW);
  }

  Status open() {
    rocksdb::DB* opened = nullptr;
    const Status status = rocksdb::DB::Open(options_, path_.string(), &opened);
    db_.reset(opened);
    return status;
  }

  // After an error RocksDB is not asked to go on (Resume()): it may use the log that failed, or refuse to write for
  // ever. Opened anew it has all that was acknowledged, from its log. If that fails it can still be read.
  void open_anew() {
    reopening_ = true;  // so that calls end, and none begins
    const std::unique_lock lock(opening_);
    db_.reset();
    failed_ = false;
    if (!open().ok()) {
      failed_ = true;
      rocksdb::DB* opened = nullptr;
      rocksdb::DB::OpenForReadOnly(options_, path_.string(), &opened);
      db_.reset(opened);
    }
    reopening_ = false;
  }

  // What opening may write: buffers that are not tables yet.
  bool has_room() const {
    const std::string name = path_ / "room";
    const int file = ::open(name.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (file < 0) return false;
    ::unlink(name.c_str());
    const std::vector<char> some(1 << 20);
    std::size_t taken = 0;
    while (taken < 4 * kWriteBuffer && ::write(file, some.data(), some.size()) == static_cast<ssize_t>(some.size()))
      taken += some.size();
    ::close(file);
    return taken >= 4 * kWriteBuffer;
  }

  // For as long as the lock is held, db_ stays.
  std::shared_lock<std::shared_mutex> while_open() const {
    if (!reopening_)
      if (std::shared_lock lock(opening_); db_) return lock;
    throw StoreUnavailable("the store of visits: is being opened anew");
  }

  // Numbers of events rise for ever: by openings, then by appends.
  void read_own() {
    std::string text;
    const auto read = [&](const Slice& key) {
      text.clear();
      const Status status = db_->Get({}, key, &text);
      if (!status.IsNotFound()) check(status);
      return !status.IsNotFound();
    };
    if (read(own_key(kErasures))) erasures_.set(Erasures(text));
    std::uint64_t openings = 0;
    if (read(own_key(kOpenings))) {
      if (text.size() != 8) throw std::runtime_error("how often the store was opened cannot be read");
      openings = number_at(text.data());
    }
    next_number_ = ++openings << 40;
    text.clear();
    put_number(text, openings);
    rocksdb::WriteOptions durable;
    durable.sync = true;
    check(db_->Put(durable, own_key(kOpenings), text));
  }

  // Where RocksDB would make the writer sleep this asks again until the deadline.
  void write(rocksdb::WriteBatch& batch, bool sync, Deadline deadline) {
    Status status;
    while ((status = try_to_write(batch, sync)).IsIncomplete() && std::chrono::steady_clock::now() + 1ms < deadline)
      std::this_thread::sleep_for(1ms);
    check(status);
  }

  bool write_now(rocksdb::WriteBatch& batch) {  // false: compaction is behind
    const Status status = try_to_write(batch, false);
    if (status.IsIncomplete()) return false;
    check(status);
    return true;
  }

  Status try_to_write(rocksdb::WriteBatch& batch, bool sync) {
    rocksdb::WriteOptions options;
    options.sync = sync;
    options.no_slowdown = true;
    const auto open = while_open();
    if (failed_)
      throw StoreUnavailable(
          "the store of visits: the disk is full or fails; nothing is written until it has room again");
    const Status status = db_->Write(options, &batch);
    if (status.ok() && !sync) unsynced_.store(true, std::memory_order_relaxed);
    return status;
  }

  void sync(std::stop_token stop) {
    std::mutex mutex;
    std::condition_variable_any never;
    std::unique_lock lock(mutex);
    while (never.wait_for(lock, stop, sync_every_, [] { return false; }), !stop.stop_requested())
      if (unsynced_.exchange(false) && !sync_logs()) unsynced_ = true;
  }

  // Not SyncWAL(): where a write to the log has failed that is an assertion in RocksDB (and Debian's has them), which
  // would end the server when the disk is full.
  bool sync_logs() {
    std::set<std::filesystem::path> logs;  // in the order they were begun
    std::error_code error;
    for (std::filesystem::directory_iterator file(path_, error), end; !error && file != end; file.increment(error))
      if (file->path().extension() == ".log") logs.insert(file->path());
    bool synced = !error;
    for (const std::filesystem::path& log : logs) synced &= sync_file(log);
    if (!logs.empty() && *logs.rbegin() != newest_log_) {  // its name is to be there, too
      synced &= sync_file(path_);
      if (synced) newest_log_ = *logs.rbegin();
    }
    return synced;
  }
  bool sync_file(const std::filesystem::path& path) {
    const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (file < 0) return errno == ENOENT;  // what was in a log that is gone is in tables
    const bool synced = ::fsync(file) == 0;
    ::close(file);
    ++fsyncs_;
    return synced;
  }

  void trim_later(const std::string& prefix) {
    const std::lock_guard lock(mutex_);
    if (to_trim_.size() >= kMostToTrim) return;
    to_trim_.push_back(prefix);
    wake_.notify_one();
  }

  void keep_house(std::stop_token stop) {
    std::unique_lock lock(mutex_);
    while (!stop.stop_requested()) {
      wake_.wait_for(lock, stop, 1s, [&] { return compaction_due_ || !to_trim_.empty(); });
      if (failed_) {
        lock.unlock();
        if (has_room()) open_anew();
        lock.lock();
        if (failed_) wake_.wait_for(lock, stop, 1s, [] { return false; });
        continue;
      }
      if (compaction_due_) {
        compaction_due_ = false;
        lock.unlock();
        rocksdb::CompactRangeOptions everything;
        everything.exclusive_manual_compaction = false;
        db_->CompactRange(everything, nullptr, nullptr);  // of what it leaves, later compactions let go
        lock.lock();
      }
      if (!to_trim_.empty()) {
        const std::string prefix = std::move(to_trim_.front());
        to_trim_.pop_front();
        lock.unlock();
        trim(prefix);
        lock.lock();
      }
    }
  }

  // Deletes a visitor's events beyond the latest max_events. One by one: an event that comes meanwhile, or comes anew
  // after an erase(), is not among them.
  void trim(const std::string& prefix) {
    const std::shared_ptr<const Erasures> erasures = erasures_.get();
    rocksdb::ReadOptions options;
    options.prefix_same_as_start = true;
    options.fill_cache = false;
    options.max_skippable_internal_keys = kMostSkipped;
    if (!db_) return;
    const std::unique_ptr<rocksdb::Iterator> at(db_->NewIterator(options));
    rocksdb::WriteBatch batch;
    std::int64_t kept = 0;
    for (at->Seek(prefix); at->Valid() && batch.Count() < kMostSkipped; at->Next()) {
      if (kept == max_events_)
        batch.Delete(at->key());
      else
        kept += !erasures->have(event_time(at->key()), event_number(at->key()));
    }
    rocksdb::WriteOptions unhurried;
    unhurried.no_slowdown = true;  // or not at all: another append asks again
    if (batch.Count() > 0) db_->Write(unhurried, &batch);
  }

  const std::filesystem::path path_;
  const std::int64_t max_events_;
  const std::int64_t max_age_ms_;
  const std::chrono::milliseconds sync_every_;
  const HeldDirectory held_;
  SharedErasures erasures_;
  std::shared_ptr<rocksdb::Cache> cache_;
  std::shared_ptr<rocksdb::Statistics> statistics_;
  rocksdb::Options options_;
  std::atomic<bool> failed_ = false;  // RocksDB met an error, and is not written to until it is opened anew

  // Replaced by the housekeeping alone, which therefore reads it without the lock; null if it cannot be opened.
  std::unique_ptr<rocksdb::DB> db_;
  mutable std::shared_mutex opening_;
  std::atomic<bool> reopening_ = false;

  std::atomic<std::uint64_t> next_number_ = 0;
  std::atomic<std::uint64_t> appends_failed_ = 0;
  std::atomic<std::uint64_t> fsyncs_ = 0;
  std::atomic<bool> unsynced_ = false;
  std::filesystem::path newest_log_;  // that was synced
  std::mutex erasing_;

  std::mutex mutex_;  // of the housekeeping's work
  std::condition_variable_any wake_;
  std::deque<std::string> to_trim_;
  bool compaction_due_ = false;
  std::jthread syncing_;
  std::jthread housekeeping_;
};

EmbeddedVisits::EmbeddedVisits(const VisitsOptions& options)
    : store_(std::make_unique<Store>(options)), waiting_(kMostWaiting, kWaiters) {}
EmbeddedVisits::~EmbeddedVisits() = default;

void EmbeddedVisits::later(std::function<void()> call, const Done& done) {
  if (!waiting_.add([call = std::move(call), done] { done(what_went_wrong(call)); }))
    done(std::make_exception_ptr(StoreUnavailable("the store of visits: the disk does not keep up")));
}

void EmbeddedVisits::append(std::string visitor, std::vector<Event> events, Deadline deadline, Done done) {
  const auto counted = [this, done = std::move(done)](std::exception_ptr wrong) {
    if (wrong) store_->count_failed();
    done(wrong);
  };
  std::shared_ptr<rocksdb::WriteBatch> batch;
  const std::exception_ptr wrong = what_went_wrong([&] { batch = store_->append(std::move(visitor), events); });
  if (wrong || !batch) return counted(wrong);
  later([this, batch, deadline] { store_->append(*batch, deadline); }, counted);
}

void EmbeddedVisits::last(std::string visitor, int n, std::int64_t since, Deadline, Found found) {
  std::vector<Event> events;
  const std::exception_ptr wrong = what_went_wrong([&] { events = store_->last(std::move(visitor), n, since); });
  found(std::move(events), wrong);
}

void EmbeddedVisits::erase(std::string visitor, Deadline deadline, Done done) {
  later([this, visitor = std::move(visitor), deadline] { store_->erase(visitor, deadline); }, done);
}

void EmbeddedVisits::erase_before(std::int64_t time, Deadline deadline, Done done) {
  later([this, time, deadline] { store_->erase_before(time, deadline); }, done);
}

std::vector<std::pair<std::string, double>> EmbeddedVisits::figures() const { return store_->figures(); }

}  // namespace server
