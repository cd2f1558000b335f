// The store on disk: what is acknowledged outlives the process, a full disk costs no more than the writes that it does
// not take, a directory is one's own.
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <climits>
#include <cstring>
#include <fstream>
#include <set>

#include "temporary_directory.h"
#include "visits_contract.h"
#include "visits_embedded.h"

using contract::append;
using contract::erase;
using contract::erase_before;
using contract::last;
using contract::last_items;
using server::EmbeddedVisits;
using server::Event;
using namespace std::chrono_literals;

// The disk as the store sees it: these stand before the C library's.
namespace disk {

std::atomic<long> room = LONG_MAX;      // bytes that stores' files may still take
std::atomic<bool> broken = false;       // whatever stores write to their files fails
std::atomic<bool> tables_hang = false;  // no table gets further
std::atomic<int> flushes = 0;           // of the write-ahead log
std::atomic<int> flush_ms = 0;          // how long each takes

std::string name_of(int file) {
  char name[PATH_MAX];
  const ssize_t size = ::readlink(("/proc/self/fd/" + std::to_string(file)).c_str(), name, sizeof name);
  return size > 0 ? std::string(name, static_cast<std::size_t>(size)) : "";
}
bool of_store(const std::string& name) { return name.find("/stamp-server-") != std::string::npos; }

int flush(int file) {
  if (of_store(name_of(file)) && name_of(file).ends_with(".log")) {
    ++flushes;
    std::this_thread::sleep_for(std::chrono::milliseconds(flush_ms));
  }
  return 0;  // of what a killed process has written nothing is lost without
}

}  // namespace disk

extern "C" ssize_t write(int file, const void* bytes, size_t size) {
  if (disk::room != LONG_MAX || disk::tables_hang || disk::broken) {
    const std::string name = disk::name_of(file);
    if (disk::broken && disk::of_store(name) && name.find("/room") == std::string::npos) {
      errno = EIO;
      return -1;
    }
    while (disk::tables_hang && disk::of_store(name) && name.ends_with(".sst")) ::usleep(1000);
    if (disk::room != LONG_MAX && disk::of_store(name)) {
      const long left = disk::room.fetch_sub(static_cast<long>(size));
      if (left <= 0) {
        errno = ENOSPC;
        return -1;
      }
      size = std::min(size, static_cast<size_t>(left));  // as much of it as there is room for
    }
  }
  return ::syscall(SYS_write, file, bytes, size);
}
extern "C" int fsync(int file) { return disk::flush(file); }
extern "C" int fdatasync(int file) { return disk::flush(file); }

namespace {

const std::int64_t kNow = server::now_ms();

server::VisitsOptions options_of(const std::filesystem::path& path) {
  server::VisitsOptions options;
  options.path = path;
  options.max_events = 10000;
  return options;
}

double figure(const server::Visits& visits, const std::string& name) {
  for (const auto& [known, value] : visits.figures())
    if (known == name) return value;
  FAIL("no figure " << name);
  return 0;
}

std::string incompressible(std::size_t size) {
  static std::mt19937 random(1);
  std::string text(size, ' ');
  for (char& c : text) c = static_cast<char>('!' + random() % 90);
  return text;
}

// Until it holds, for half a minute: housekeeping has no moment at which it must be done.
template <class Condition>
bool eventually(Condition&& condition) {
  for (int i = 0; i < 3000; ++i) {
    if (condition()) return true;
    std::this_thread::sleep_for(10ms);
  }
  return false;
}

std::string why_not(const server::VisitsOptions& options) {
  try {
    EmbeddedVisits visits(options);
  } catch (const std::runtime_error& error) {
    return error.what();
  }
  return "";
}

// This program once more, for one of its test cases alone, with a pipe to read from.
class Child {
 public:
  Child(const char* test_case, const std::filesystem::path& path, std::uint64_t first) {
    int ends[2];
    REQUIRE(::pipe(ends) == 0);
    const std::string to = std::to_string(ends[1]), from = std::to_string(first);
    const std::string only = std::string("--test-case=") + test_case;
    id_ = ::fork();
    if (id_ == 0) {
      ::setenv("STORE", path.c_str(), 1);
      ::setenv("FIRST", from.c_str(), 1);
      ::setenv("ACKNOWLEDGE_TO", to.c_str(), 1);
      ::execl("/proc/self/exe", "test", only.c_str(), "--no-skip", "--minimal", static_cast<char*>(nullptr));
      ::_exit(1);
    }
    ::close(ends[1]);
    from_ = ends[0];
  }
  ~Child() {
    kill();
    ::close(from_);
  }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  bool read(std::vector<std::uint64_t>& acknowledged) {  // one more; false at the end
    std::uint64_t number;
    if (::read(from_, &number, sizeof number) != sizeof number) return false;
    acknowledged.push_back(number);
    return true;
  }
  void kill() {
    if (id_ <= 0) return;
    ::kill(id_, SIGKILL);
    ::waitpid(id_, nullptr, 0);
    id_ = -1;
  }

 private:
  pid_t id_;
  int from_;
};

std::string visitor_of(std::uint64_t number) { return "visitor" + std::to_string(number % 32); }
Event event_of(std::uint64_t number) {
  return {kNow - 1000000 + static_cast<std::int64_t>(number % 100), "t",
          std::to_string(number) + " " + std::string(300, 'x')};
}

}  // namespace

TEST_CASE("a child that appends until it is killed" * doctest::skip()) {
  EmbeddedVisits visits(options_of(std::getenv("STORE")));
  const int to = std::stoi(std::getenv("ACKNOWLEDGE_TO"));
  std::atomic<std::uint64_t> next = std::stoull(std::getenv("FIRST"));
  std::vector<std::thread> threads;
  for (int i = 0; i < 3; ++i)
    threads.emplace_back([&] {
      for (;;) {
        const std::uint64_t number = next++;
        append(visits, visitor_of(number), {event_of(number)});
        if (::write(to, &number, sizeof number) != sizeof number) return;
      }
    });
  for (std::thread& thread : threads) thread.join();
}

TEST_CASE("killed at 50 random moments: every acknowledged event is there, once") {
  const TemporaryDirectory directory;
  std::mt19937 random(17);
  std::vector<std::uint64_t> acknowledged;
  for (std::uint64_t round = 0; round < 50; ++round) {
    Child child("a child that appends until it is killed", directory.path(), round << 32);
    if (round % 5 != 0) REQUIRE(child.read(acknowledged));  // else perhaps while it opens the store
    std::thread killer([&, wait = std::chrono::microseconds(random() % 30000)] {
      std::this_thread::sleep_for(wait);
      child.kill();
    });
    while (child.read(acknowledged)) {
    }
    killer.join();
  }
  CHECK(acknowledged.size() > 500);
  EmbeddedVisits visits(options_of(directory.path()));
  std::set<std::uint64_t> found;
  for (std::uint64_t i = 0; i < 32; ++i) {
    const std::vector<Event> events = last(visits, visitor_of(i), 10000);
    REQUIRE(events.size() < 10000);
    for (const Event& event : events) {
      CHECK(event.item.size() > 300);
      CHECK(found.insert(std::stoull(event.item)).second);
    }
  }
  std::size_t missing = 0;
  for (const std::uint64_t number : acknowledged) missing += !found.contains(number);
  CHECK(missing == 0);
}

TEST_CASE("opened again: events, their order, and what was erased") {
  const TemporaryDirectory directory;
  for (const char* item : {"1", "2", "3"}) {
    EmbeddedVisits visits(options_of(directory.path()));
    append(visits, "a", {{kNow, "t", item}, {kNow, "t", "again"}});
    append(visits, "gone", {{kNow, "t", item}});
    append(visits, "b", {{kNow - 1000, "t", item}});
  }
  {
    EmbeddedVisits visits(options_of(directory.path()));
    CHECK(last_items(visits, "a") == "1 again 2 again 3 again");
    erase(visits, "gone");
    erase_before(visits, kNow - 500);
    append(visits, "b", {{kNow - 2000, "t", "4"}});
    erase_before(visits, kNow - 5000);
  }
  EmbeddedVisits visits(options_of(directory.path()));
  CHECK(last_items(visits, "a") == "1 again 2 again 3 again");
  CHECK(last(visits, "gone").empty());
  CHECK(last_items(visits, "b") == "4");
}

TEST_CASE("times at the ends of what can be written") {
  const TemporaryDirectory directory;
  EmbeddedVisits visits(options_of(directory.path()));
  constexpr std::int64_t kFirst = std::numeric_limits<std::int64_t>::min();
  constexpr std::int64_t kLast = std::numeric_limits<std::int64_t>::max();
  append(visits, "a", {{kLast, "t", "last"}, {kFirst, "t", "first"}, {-1, "t", "before"}, {kNow, "t", "now"}});
  CHECK(last_items(visits, "a", 10, kFirst) == "now last");
  CHECK(last_items(visits, "a", 10, kLast) == "last");
  erase_before(visits, kLast);
  CHECK(last_items(visits, "a", 10, kFirst) == "last");
  CHECK(last(visits, "a", -1, kFirst).empty());
}

TEST_CASE("a visitor that cannot be") {
  const TemporaryDirectory directory;
  EmbeddedVisits visits(options_of(directory.path()));
  for (const std::string& visitor : {std::string(), std::string("a\0b", 3)}) {
    CHECK_THROWS_AS(append(visits, visitor, {{kNow, "t", "1"}}), std::invalid_argument);
    CHECK_THROWS_AS(last(visits, visitor), std::invalid_argument);
    CHECK_THROWS_AS(erase(visits, visitor), std::invalid_argument);
  }
}

TEST_CASE("with sync_ms of 0 each answer waits for an fsync, which writers that come together share") {
  const TemporaryDirectory directory;
  server::VisitsOptions options = options_of(directory.path());
  options.sync_ms = 0;
  EmbeddedVisits visits(options);
  for (int i = 0; i < 20; ++i) {
    const int before = disk::flushes;
    append(visits, "a", {{kNow, "t", "1"}});
    CHECK(disk::flushes > before);
  }
  constexpr int kThreads = 8, kEvents = 10;
  disk::flush_ms = 5;
  const int before = disk::flushes;
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i)
    threads.emplace_back([&] {
      for (int k = 0; k < kEvents; ++k) append(visits, "a", {{kNow, "t", "1"}});
    });
  for (std::thread& thread : threads) thread.join();
  disk::flush_ms = 0;
  CHECK(disk::flushes - before >= kEvents);
  CHECK(disk::flushes - before < kThreads * kEvents);
  CHECK(figure(visits, "fsyncs") >= 20 + kEvents);
  CHECK(last(visits, "a").size() == 20 + kThreads * kEvents);
}

TEST_CASE("with another sync_ms the log reaches the disk soon, erasures before they are answered") {
  const TemporaryDirectory directory;
  server::VisitsOptions options = options_of(directory.path());
  options.sync_ms = 10;
  EmbeddedVisits visits(options);
  int before = disk::flushes;
  append(visits, "a", {{kNow, "t", "1"}});
  CHECK(eventually([&] { return disk::flushes > before; }));

  options.path = directory.path() / "slow";
  options.sync_ms = 60000;
  EmbeddedVisits slow(options);
  before = disk::flushes;
  append(slow, "a", {{kNow, "t", "1"}});
  erase(slow, "a");
  CHECK(disk::flushes > before);
  before = disk::flushes;
  erase_before(slow, kNow);
  CHECK(disk::flushes > before);
}

TEST_CASE("a full disk: reads go on, appends fail and are counted, and work again when there is room") {
  const TemporaryDirectory directory;
  std::vector<Event> written;
  const auto event = [&] { return Event{kNow, "t", incompressible(4000)}; };
  for (const long room : {200000l, 20000000l}) {  // full before the first table is written, and while it is
    CAPTURE(room);
    EmbeddedVisits visits(options_of(directory.path()));
    disk::room = room;
    int failed = 0;
    for (int i = 0; i < 6000 && failed < 50; ++i) {
      const Event next = event();
      try {
        append(visits, "a", {next});
        written.push_back(next);
      } catch (const server::StoreUnavailable&) {
        ++failed;
      }
    }
    CHECK(failed == 50);
    CHECK(figure(visits, "appends_failed") == 50);
    CHECK(last(visits, "a", 10000) == written);
    std::this_thread::sleep_for(1500ms);  // it tries to go on, in vain
    CHECK_THROWS_AS(append(visits, "a", {event()}), server::StoreUnavailable);
    CHECK(last(visits, "a", 10000) == written);

    disk::room = LONG_MAX;
    CHECK(eventually([&] {
      const Event next = event();
      try {
        append(visits, "a", {next});
      } catch (const server::StoreUnavailable&) {
        return false;
      }
      written.push_back(next);
      return true;
    }));
    CHECK(last(visits, "a", 10000) == written);
  }
  EmbeddedVisits visits(options_of(directory.path()));
  CHECK(last(visits, "a", 10000) == written);
}

TEST_CASE("a disk that fails for a while") {
  const TemporaryDirectory directory;
  EmbeddedVisits visits(options_of(directory.path()));
  append(visits, "a", {{kNow, "t", "1"}});
  disk::broken = true;
  CHECK_THROWS_AS(append(visits, "a", {{kNow, "t", "2"}}), server::StoreUnavailable);
  CHECK_THROWS_AS(append(visits, "a", {{kNow, "t", "3"}}), server::StoreUnavailable);
  CHECK(last_items(visits, "a") == "1");
  for (int i = 0; i < 2; ++i) {  // it tries to open the store anew, in vain
    std::this_thread::sleep_for(1200ms);
    CHECK(eventually([&] {
      try {
        return last_items(visits, "a") == "1";
      } catch (const server::StoreUnavailable&) {
        return false;
      }
    }));
    CHECK_THROWS_AS(append(visits, "a", {{kNow, "t", "3"}}), server::StoreUnavailable);
  }
  disk::broken = false;
  CHECK(eventually([&] {
    try {
      append(visits, "a", {{kNow, "t", "4"}});
    } catch (const server::StoreUnavailable&) {
      return false;
    }
    return true;
  }));
  CHECK(last_items(visits, "a") == "1 4");
}

TEST_CASE("a disk that hangs behind the log: an append holds up nobody, and is refused in the end") {
  const TemporaryDirectory directory;
  EmbeddedVisits visits(options_of(directory.path()));
  disk::tables_hang = true;
  const std::string item = incompressible(100000);
  int taken = 0;
  for (bool waits = false; !waits && taken < 2000;) {  // 200 MB are more than all write buffers
    const auto answered = std::make_shared<std::promise<std::exception_ptr>>();
    std::future<std::exception_ptr> answer = answered->get_future();
    visits.append("a", {{kNow, "t", item}}, std::chrono::steady_clock::now() + 200ms,
                  [answered](std::exception_ptr wrong) { answered->set_value(wrong); });
    waits = answer.wait_for(0s) != std::future_status::ready;  // the call has come back, and the append has not ended
    if (!waits && !answer.get()) ++taken;
    if (waits) {
      CHECK(last(visits, "a", 10000).size() == static_cast<std::size_t>(taken));
      CHECK_THROWS_AS(std::rethrow_exception(answer.get()), server::StoreUnavailable);
      CHECK(figure(visits, "appends_failed") == 1);
    }
  }
  CHECK(taken < 2000);
  // What waits is bounded, too.
  std::atomic<int> answers = 0, bounced = 0;
  constexpr int kMany = 1500;
  const std::thread::id here = std::this_thread::get_id();
  for (int i = 0; i < kMany; ++i)
    visits.append("b", {{kNow, "t", item}}, std::chrono::steady_clock::now() + 300ms, [&](std::exception_ptr wrong) {
      bounced += wrong && std::this_thread::get_id() == here;
      ++answers;
    });
  CHECK(bounced > 0);
  CHECK(eventually([&] { return answers == kMany; }));
  CHECK(figure(visits, "write_buffer_bytes") < 80e6);
  disk::tables_hang = false;
  append(visits, "a", {{kNow, "t", item}});
  CHECK(last(visits, "a", 10000).size() == static_cast<std::size_t>(taken) + 1);
}

TEST_CASE("what nobody can read any more leaves the disk") {
  const TemporaryDirectory directory;
  server::VisitsOptions options = options_of(directory.path());

  SUBCASE("too old") {
    const auto age = [&](std::int64_t max_age_s) { options.max_age_s = max_age_s; };
    age(86400);
    {
      EmbeddedVisits visits(options);
      append(visits, "a", {{kNow - 7200000, "t", "old"}, {kNow, "t", "new"}});
    }
    CHECK(eventually([&] {
      age(3600);
      {
        EmbeddedVisits visits(options);
        CHECK(last_items(visits, "a") == "new");
        erase_before(visits, 0);  // nothing, but all is looked through
        std::this_thread::sleep_for(100ms);
      }
      age(86400);
      EmbeddedVisits visits(options);
      return last_items(visits, "a") == "new";
    }));
  }

  SUBCASE("erased") {
    EmbeddedVisits visits(options);
    for (int i = 0; i < 5000; ++i)
      append(visits, "v" + std::to_string(i), {{kNow - (i % 2 ? 0 : 5000), "t", incompressible(2000)}});
    for (int i = 0; i < 5000; i += 4) erase(visits, "v" + std::to_string(i + 1));
    CHECK(figure(visits, "disk_bytes") > 9e6);
    erase_before(visits, kNow - 1000);
    CHECK(eventually([&] { return figure(visits, "disk_bytes") < 3e6; }));
    for (int i = 0; i < 100; ++i) CHECK(last(visits, "v" + std::to_string(i)).size() == (i % 4 == 3 ? 1 : 0));
  }

  SUBCASE("one too many, late ones and those that come the wrong way round, too") {
    int round = 0;
    std::size_t most = 0;
    CHECK(eventually([&] {
      options.max_events = 20;
      {
        EmbeddedVisits visits(options);
        for (int i = 0; i < 1000; ++i) append(visits, "a", {{kNow - 1000 * round - i, "t", "1"}});
        for (int i = 0; i < 10; ++i) append(visits, "b", {{kNow, "t", "1"}});
        CHECK(last(visits, "a").size() == 20);
        std::this_thread::sleep_for(20ms);
      }
      options.max_events = 10000;
      EmbeddedVisits visits(options);
      most = std::max(most, last(visits, "a", 10000).size());
      // Beyond 20 they may be trimmed to as many, at random.
      const std::size_t appended = 10 * ++round, kept = last(visits, "b").size();
      CHECK(kept >= std::min<std::size_t>(20, appended));
      CHECK(kept <= appended);
      return round == 5;
    }));
    CHECK(most < 600);
  }
}

TEST_CASE("a directory that another process holds") {
  const TemporaryDirectory directory;
  {
    Child child("a child that appends until it is killed", directory.path(), 0);
    std::vector<std::uint64_t> acknowledged;
    REQUIRE(child.read(acknowledged));
    CHECK(why_not(options_of(directory.path())).find("another process has") != std::string::npos);
  }
  EmbeddedVisits visits(options_of(directory.path()));
  CHECK(why_not(options_of(directory.path())).find("has this store of visits open") != std::string::npos);
  CHECK(!last(visits, visitor_of(0)).empty());
}

TEST_CASE("a directory that is somebody else's stays as it is") {
  const TemporaryDirectory directory;
  const auto write_to = [&](const char* name, const std::string& text) {
    std::ofstream(directory.path() / name, std::ios::binary) << text;
  };
  write_to("000007.log", "names that RocksDB would take for its own, and remove");
  write_to("000008.sst", "and this");
  CHECK(why_not(options_of(directory.path())).find("is no store of visits, and not empty") != std::string::npos);
  std::set<std::string> names;
  for (const auto& file : std::filesystem::directory_iterator(directory.path())) names.insert(file.path().filename());
  CHECK(names == std::set<std::string>{"000007.log", "000008.sst"});

  write_to("file", "");
  CHECK(why_not(options_of(directory.path() / "file")).find("cannot hold a store") != std::string::npos);
  CHECK(why_not(options_of("/proc/nowhere")).find("cannot hold a store") != std::string::npos);
}

TEST_CASE("a store of another version, or a damaged one, is not opened") {
  const TemporaryDirectory directory;
  const std::filesystem::path path = directory.path() / "made" / "here";
  { EmbeddedVisits visits(options_of(path)); }
  const auto mark = [&](const std::string& text) { std::ofstream(path / "STAMP_VISITS", std::ios::binary) << text; };
  mark("stamp visits, version 2\n");
  CHECK(why_not(options_of(path)).find("of version 2; this server reads 1") != std::string::npos);
  mark("something else");
  CHECK(why_not(options_of(path)).find("does not say that this is a store") != std::string::npos);
  mark("stamp visits, version 1\n");
  CHECK(why_not(options_of(path)).empty());
  std::ofstream(path / "CURRENT", std::ios::binary) << "nonsense";
  CHECK(why_not(options_of(path)).find("cannot be opened") != std::string::npos);
}
