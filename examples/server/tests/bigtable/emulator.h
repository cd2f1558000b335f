// Google's emulator of Bigtable, a process of its own, where there is one.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

namespace server::bigtable::testing {

// Of the first that is there: what STAMP_CBTEMULATOR names, cbtemulator of the path, that of Google's Cloud SDK. Empty:
// none.
std::string find_emulator();

// In an emulator that runs already.
void create_table(const std::string& address, const std::string& instance, const std::string& table,
                  const std::vector<std::string>& families);

class Emulator {
 public:
  explicit Emulator(const std::string& program, int port = 0);  // 0: one that is free
  ~Emulator();
  Emulator(const Emulator&) = delete;

  std::string address() const { return "127.0.0.1:" + std::to_string(port_); }
  int port() const { return port_; }
  void create_table(const std::string& instance, const std::string& table,
                    const std::vector<std::string>& families) const {
    testing::create_table(address(), instance, table, families);
  }
  void stop();  // hangs from here
  void go_on();
  void kill();

 private:
  int port_;
  pid_t process_ = -1;
};

}  // namespace server::bigtable::testing
