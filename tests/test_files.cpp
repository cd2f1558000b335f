// Files and directories that are whole or absent, and what replaces what.
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <functional>
#include <ostream>
#include <set>
#include <utility>

#include "tests/bundles.h"

using namespace stamp;

namespace {

// The disk is full after so many bytes.
class DiskLimit {
 public:
  explicit DiskLimit(rlim_t bytes) {
    getrlimit(RLIMIT_FSIZE, &before_);
    std::signal(SIGXFSZ, SIG_IGN);
    const rlimit limit{bytes, before_.rlim_max};
    setrlimit(RLIMIT_FSIZE, &limit);
  }
  ~DiskLimit() { setrlimit(RLIMIT_FSIZE, &before_); }

 private:
  rlimit before_;
};

// Stands between the library and the file system, for as long as it lives.
struct Renames {
  std::function<void()> before = nullptr;  // what others do just before the first exchange
  bool exchanges = true;                   // NFS and FUSE cannot
  std::set<int> failing = {};              // which renames fail after an exchange was refused, counted from 0
  int count = -1;                          // of these
  static inline Renames* now = nullptr;

  static void run(Renames renames, const std::function<void()>& what) {
    now = &renames;
    try {
      what();
    } catch (...) {
      now = nullptr;
      throw;
    }
    now = nullptr;
  }
};

}  // namespace

extern "C" int renameat2(int from_folder, const char* from, int to_folder, const char* to, unsigned flags) noexcept {
  if (Renames* renames = Renames::now) {
    if (const auto before = std::exchange(renames->before, nullptr)) before();
    if (!renames->exchanges) {
      renames->count = 0;
      errno = EINVAL;
      return -1;
    }
  }
  return static_cast<int>(syscall(SYS_renameat2, from_folder, from, to_folder, to, flags));
}

extern "C" int rename(const char* from, const char* to) noexcept {
  if (Renames* renames = Renames::now; renames && renames->count >= 0 && renames->failing.contains(renames->count++)) {
    errno = EIO;
    return -1;
  }
  return static_cast<int>(syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0));
}

TEST_CASE("a full disk or a failing writer leaves the old file") {
  const check::Folder folder;
  const auto path = folder / "model";
  write_file(path, [](std::ostream& out) { out << "old"; });
  {
    const DiskLimit full(1000);
    CHECK_THROWS_AS(write_file(path, [](std::ostream& out) { out << std::string(100'000, 'x'); }), std::runtime_error);
  }
  CHECK_THROWS_AS(write_file(path, [](std::ostream&) { throw std::runtime_error("no"); }), std::runtime_error);
  CHECK(read_file(path) == "old");
  CHECK(std::distance(std::filesystem::directory_iterator(folder.path()), {}) == 1);
  CHECK_THROWS_AS(write_file(path / "below", [](std::ostream&) {}), std::runtime_error);
  CHECK_THROWS_AS(write_file("", [](std::ostream&) {}), std::runtime_error);
  write_file(folder / "a/new/folder", [](std::ostream& out) { out << "new"; });
  CHECK(read_file(folder / "a/new/folder") == "new");
}

TEST_CASE("a bundle that cannot be written leaves the old one") {
  const check::Folder folder;
  const auto path = folder / "bundle";
  save_bundle(path, small_bundle());
  const auto before = weights_of(load_bundle(path, open_device("cpu")));
  const Bundle other = small_bundle("official");
  {
    const DiskLimit full(100);
    CHECK_THROWS_AS(save_bundle(path, other), std::runtime_error);
  }
  CHECK(weights_of(load_bundle(path, open_device("cpu"))) == before);
  save_bundle(path, other);
  CHECK(weights_of(load_bundle(path, open_device("cpu"))) == weights_of(other));
  CHECK(std::distance(std::filesystem::directory_iterator(folder.path()), {}) == 1);
}

TEST_CASE("a bundle replaces an empty directory and a bundle of nothing but its files") {
  namespace fs = std::filesystem;
  const check::Folder folder;
  const fs::path path = folder / "bundle";
  const auto refused = [&](const fs::path& where, const std::string& why) {
    CHECK_THROWS_WITH_AS(check_bundle_target(where), doctest::Contains(why.c_str()), std::runtime_error);
    CHECK_THROWS_WITH_AS(save_bundle(where, small_bundle()), doctest::Contains(why.c_str()), std::runtime_error);
  };
  fs::create_directory(path);
  for (int i = 0; i < 2; ++i) {
    check_bundle_target(path / "");
    save_bundle(path / "", small_bundle());
  }
  CHECK(load_bundle(path, open_device("cpu")).counts == small_bundle().counts);

  for (const auto& [name, first] :
       std::map<std::string, std::string>{{"precious.csv", "precious.csv, which is not of a saved model"},
                                          {"clusters/precious.csv", "clusters/precious.csv, which"},
                                          {"clusters/more/precious.csv", "clusters/more, which"},
                                          {"pages/index.html", "pages, which"}}) {
    fs::create_directories((path / name).parent_path());
    write_bytes(path / name, "1,2");
    refused(path, concat("it holds ", first));
    CHECK(read_file(path / name) == "1,2");
    fs::remove(path / name);
    for (fs::path of = fs::path(name).parent_path(); of.has_relative_path() && of != "clusters"; of = of.parent_path())
      fs::remove(path / of);
  }
  fs::create_directory(path / "empty");
  refused(path, "it holds empty, which is not of a saved model");
  fs::remove(path / "empty");
  fs::rename(path / "rules.json", folder / "rules.json");
  fs::create_symlink(folder / "rules.json", path / "rules.json");
  refused(path, "it holds rules.json, which");
  fs::remove(path / "rules.json");
  check_bundle_target(path);  // what is missing is nobody else's

  write_bytes(path / "manifest.json", "{}");  // of a web application, say
  refused(path, "it holds manifest.json, which is not that of a saved model");
  write_bytes(path / "manifest.json",
              R"({"format": "stamp-bundle", "version": 1, "files": {"catalog.safetensors": {}}})");
  refused(path, "it holds clusters/2.safetensors, which is not of a saved model");
  fs::remove_all(path / "clusters");
  save_bundle(path, small_bundle());  // over one of an older version

  write_bytes(folder / "data.csv", "1,2");
  refused(folder.path(), "it holds bundle, which is not of a saved model");
  refused(folder / "data.csv", "a file stands there");
  refused(folder / "data.csv/model", "cannot write");
  refused("", "the path is empty");
  refused("/proc", "it is a mount point");
  CHECK(read_file(folder / "data.csv") == "1,2");
  check_bundle_target(folder / "parents/are/made");
  CHECK(!fs::exists(folder / "parents"));
}

TEST_CASE("what is put into a directory while its successor is written stays") {
  const check::Folder folder;
  const auto path = folder / "bundle";
  std::filesystem::create_directory(path);
  const auto any = [](const std::filesystem::path& in) {
    return std::filesystem::exists(in / "precious.csv") ? std::string("precious.csv") : "";
  };
  CHECK_THROWS_AS(write_directory(path, any, [&](const auto&) { write_bytes(path / "precious.csv", "1,2"); }),
                  std::runtime_error);
  CHECK(read_file(path / "precious.csv") == "1,2");
  CHECK(std::distance(std::filesystem::directory_iterator(folder.path()), {}) == 1);
}

TEST_CASE("what is put into a directory just before it is replaced stays") {
  const check::Folder folder;
  const auto path = folder / "bundle";
  for (const bool exchanges : {true, false}) {
    CAPTURE(exchanges);
    save_bundle(path, small_bundle());
    const auto put = [&] { write_bytes(path / "precious.csv", "1,2"); };
    const auto save = [&] { save_bundle(path, small_bundle("official")); };
    CHECK_THROWS_WITH_AS(Renames::run({.before = put, .exchanges = exchanges}, save),
                         doctest::Contains("it holds precious.csv"), std::runtime_error);
    CHECK(read_file(path / "precious.csv") == "1,2");
    std::filesystem::remove(path / "precious.csv");
    CHECK(weights_of(load_bundle(path, open_device("cpu"))) == weights_of(small_bundle()));
    CHECK(std::distance(std::filesystem::directory_iterator(folder.path()), {}) == 1);
  }
}

TEST_CASE("where directories cannot be exchanged, none is lost, whichever rename fails") {
  namespace fs = std::filesystem;
  const check::Folder folder;
  const auto path = folder / "bundle";
  const auto is_there = [](const fs::path& where, const Bundle& bundle) {
    return weights_of(load_bundle(where, open_device("cpu"))) == weights_of(bundle);
  };
  const Bundle older = small_bundle(), newer = small_bundle("official");
  // The error, empty where there is none.
  const auto replaced = [&](std::set<int> failing) -> std::string {
    save_bundle(path, older);
    try {
      Renames::run({.exchanges = false, .failing = std::move(failing)}, [&] { save_bundle(path, newer); });
      return "";
    } catch (const std::runtime_error& error) {
      return error.what();
    }
  };
  const auto entries = [&] { return std::distance(fs::directory_iterator(folder.path()), {}); };
  // Where the message says that the older one is.
  const auto named = [](const std::string& message) {
    return fs::path(message.substr(message.find("is now at ") + 10));
  };

  CHECK(replaced({}) == "");
  CHECK(is_there(path, newer));
  for (int failing : {0, 1}) {
    CAPTURE(failing);
    CHECK(replaced({failing}).find("cannot put ") == 0);
    CHECK(is_there(path, older));
    CHECK(entries() == 1);
  }
  std::string message = replaced({1, 2});
  CHECK(is_there(named(message), older));
  CHECK(!fs::exists(path));
  CHECK(entries() == 1);
  fs::rename(named(message), path);
  message = replaced({2});
  CHECK(is_there(path, newer));
  CHECK(is_there(named(message), older));
}

TEST_CASE("what has changed in a saved model is somebody's own") {
  namespace fs = std::filesystem;
  const check::Folder folder;
  const fs::path path = folder / "bundle";
  save_bundle(path, small_bundle());
  const std::string rules = read_file(path / "rules.json");
  std::string other = rules;
  other[other.find("zones")] = 'Z';  // of the same size
  for (const auto& [name, bytes] :
       {std::pair<std::string, std::string>{"rules.json", "{}"}, {"rules.json", other}, {"catalog.safetensors", "1"}}) {
    CAPTURE(name);
    const std::string before = read_file(path / name);
    write_bytes(path / name, bytes);
    const std::string why = concat("it holds ", name, ", which has changed since the model was saved");
    CHECK_THROWS_WITH_AS(save_bundle(path, small_bundle()), doctest::Contains(why.c_str()), std::runtime_error);
    CHECK(read_file(path / name) == bytes);
    write_bytes(path / name, before);
    check_bundle_target(path);
  }
}

TEST_CASE("the working directory is not replaced, nor what holds it") {
  namespace fs = std::filesystem;
  const check::Folder folder;
  fs::create_directories(folder / "work/below");
  const fs::path before = fs::current_path();
  fs::current_path(folder / "work/below");
  for (const fs::path& path : {fs::path("."), fs::path("./"), folder / "work/below", fs::path("../below")}) {
    CAPTURE(path);
    CHECK_THROWS_WITH_AS(check_bundle_target(path), doctest::Contains("it is the working directory, or holds it"),
                         std::runtime_error);
  }
  const auto none = [](const fs::path&) { return std::string(); };
  CHECK_THROWS_WITH_AS(check_directory("..", none), doctest::Contains("it is the working directory, or holds it"),
                       std::runtime_error);
  fs::create_directory("empty");
  check_bundle_target("empty");
  check_file("file");
  fs::current_path(before);
}

TEST_CASE("what takes the place of something private is private, before it is whole") {
  namespace fs = std::filesystem;
  const check::Folder folder;
  const fs::path path = folder / "bundle", file = folder / "file";
  const auto none = [](const fs::path&) { return std::string(); };
  const auto mode = [](const fs::path& of) { return fs::status(of).permissions(); };
  fs::create_directory(path);
  for (const fs::perms perms : {fs::perms(0700), fs::perms(0750), fs::perms(0500)}) {
    fs::permissions(path, perms);
    write_directory(path, none, [&](const fs::path& in) {
      CHECK(mode(in) == (perms | fs::perms::owner_all));
      write_bytes(in / "f", "1");
    });
    CHECK(mode(path) == perms);
  }
  fs::permissions(path, fs::perms::owner_all);
  write_bytes(file, "1");
  fs::permissions(file, fs::perms(0600));
  write_file(file, [](std::ostream& out) { out << "2"; });
  CHECK(mode(file) == fs::perms(0600));
}

TEST_CASE("no folder is made for a path that leaves it again") {
  namespace fs = std::filesystem;
  const check::Folder folder;
  save_bundle(folder / "missing/../bundle", small_bundle());
  write_file(folder / "missing/more/../../file", [](std::ostream& out) { out << "1"; });
  CHECK(fs::exists(folder / "bundle/manifest.json"));
  CHECK(fs::exists(folder / "file"));
  CHECK(!fs::exists(folder / "missing"));
}

TEST_CASE("symbolic links stay, and what they lead to is replaced") {
  namespace fs = std::filesystem;
  const check::Folder folder;
  fs::create_directory(folder / "releases");
  fs::create_directory_symlink("releases/1", folder / "current");  // to nothing yet
  fs::create_directory_symlink("current", folder / "again");
  check_bundle_target(folder / "again");
  for (const char* name : {"again", "current", "current/", "releases/../again"}) {
    CAPTURE(name);
    save_bundle(folder / name, small_bundle());
    CHECK(fs::is_symlink(folder / "current"));
    CHECK(fs::is_symlink(folder / "again"));
    CHECK(fs::is_directory(fs::symlink_status(folder / "releases/1")));
  }
  CHECK(load_bundle(folder / "current", open_device("cpu")).counts == small_bundle().counts);
  CHECK(std::distance(fs::directory_iterator(folder / "releases"), {}) == 1);

  write_bytes(folder / "releases/1/precious.csv", "1,2");
  CHECK_THROWS_WITH_AS(save_bundle(folder / "again", small_bundle()), doctest::Contains("it holds precious.csv"),
                       std::runtime_error);
  fs::create_symlink(folder / "releases/1/precious.csv", folder / "table");
  CHECK_THROWS_WITH_AS(save_bundle(folder / "table", small_bundle()), doctest::Contains("a file stands there"),
                       std::runtime_error);
  write_file(folder / "table", [](std::ostream& out) { out << "3"; });
  CHECK(fs::is_symlink(folder / "table"));
  CHECK(read_file(folder / "releases/1/precious.csv") == "3");
  fs::create_symlink("circle", folder / "circle");
  const std::string why = concat("cannot write ", (folder / "circle").string(), ": Too many levels of symbolic links");
  CHECK_THROWS_WITH_AS(check_file(folder / "circle"), why.c_str(), std::runtime_error);
  CHECK_THROWS_WITH_AS(check_bundle_target(folder / "circle"), why.c_str(), std::runtime_error);
}

TEST_CASE("files replace files, nothing else") {
  const check::Folder folder;
  const auto refused = [](const std::filesystem::path& path, const char* why) {
    CHECK_THROWS_WITH_AS(check_file(path), doctest::Contains(why), std::runtime_error);
    CHECK_THROWS_WITH_AS(write_file(path, [](std::ostream&) {}), doctest::Contains(why), std::runtime_error);
  };
  refused(folder.path(), "it is a directory");
  refused("/dev/null", "it is no regular file");
  CHECK(std::filesystem::is_character_file("/dev/null"));
  write_bytes(folder / "file", "old");
  refused(folder / "file/below", "cannot write");
  check_file(folder / "file");
  check_file(folder / "not/yet");
  CHECK(read_file(folder / "file") == "old");
  CHECK(std::distance(std::filesystem::directory_iterator(folder.path()), {}) == 1);
}
