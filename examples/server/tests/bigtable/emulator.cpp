#include "emulator.h"

#include <arpa/inet.h>
#include <grpcpp/grpcpp.h>
#include <netinet/in.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <sstream>
#include <stdexcept>

#include "admin.grpc.pb.h"

extern char** environ;

namespace server::bigtable::testing {

namespace {

int free_port() {
  const int socket = ::socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  const bool bound = bind(socket, reinterpret_cast<sockaddr*>(&address), size) == 0 &&
                     getsockname(socket, reinterpret_cast<sockaddr*>(&address), &size) == 0;
  close(socket);
  if (!bound) throw std::runtime_error("no port is free");
  return ntohs(address.sin_port);
}

}  // namespace

std::string find_emulator() {
  std::vector<std::string> places;
  if (const char* named = std::getenv("STAMP_CBTEMULATOR")) places.emplace_back(named);
  if (const char* path = std::getenv("PATH")) {
    std::istringstream directories(path);
    for (std::string directory; std::getline(directories, directory, ':');)
      places.push_back(directory + "/cbtemulator");
  }
  const std::string in_sdk = "/platform/bigtable-emulator/cbtemulator";
  if (const char* home = std::getenv("HOME")) places.push_back(home + ("/google-cloud-sdk" + in_sdk));
  for (const char* root : {"/usr/lib/google-cloud-sdk", "/usr/share/google-cloud-sdk", "/opt/google-cloud-sdk",
                           "/snap/google-cloud-cli/current"})
    places.push_back(root + in_sdk);
  for (const std::string& place : places)
    if (access(place.c_str(), X_OK) == 0) return place;
  return "";
}

Emulator::Emulator(const std::string& program, int port) : port_(port == 0 ? free_port() : port) {
  std::string number = std::to_string(port_);
  std::vector<std::string> words{program, "-host", "127.0.0.1", "-port", number};
  std::vector<char*> arguments;
  for (std::string& word : words) arguments.push_back(word.data());
  arguments.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", 1 /* O_WRONLY */, 0);
  const int error = posix_spawn(&process_, program.c_str(), &actions, nullptr, arguments.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  if (error != 0) throw std::runtime_error(program + " cannot be started");
  const auto channel = grpc::CreateChannel(address(), grpc::InsecureChannelCredentials());
  if (!channel->WaitForConnected(std::chrono::system_clock::now() + std::chrono::seconds(20))) {
    kill();
    throw std::runtime_error(program + " does not listen");
  }
}

Emulator::~Emulator() { kill(); }

void create_table(const std::string& address, const std::string& instance, const std::string& table,
                  const std::vector<std::string>& families) {
  namespace admin = google::bigtable::admin::v2;
  const auto stub =
      admin::BigtableTableAdmin::NewStub(grpc::CreateChannel(address, grpc::InsecureChannelCredentials()));
  admin::CreateTableRequest request;
  request.set_parent(instance);
  request.set_table_id(table);
  for (const std::string& family : families) (*request.mutable_table()->mutable_column_families())[family];
  grpc::ClientContext context;
  context.set_wait_for_ready(true);  // it may be starting
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(20));
  admin::Table answer;
  const grpc::Status status = stub->CreateTable(&context, request, &answer);
  if (!status.ok()) throw std::runtime_error("no table: " + status.error_message());
}

void Emulator::stop() { ::kill(process_, SIGSTOP); }
void Emulator::go_on() { ::kill(process_, SIGCONT); }

void Emulator::kill() {
  if (process_ < 0) return;
  ::kill(process_, SIGKILL);
  waitpid(process_, nullptr, 0);
  process_ = -1;
}

}  // namespace server::bigtable::testing
