// A Bigtable of our own, on loopback: one table in memory, and whatever a test wants it to do instead.
#pragma once

#include <grpcpp/grpcpp.h>

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "bigtable.grpc.pb.h"

namespace server::bigtable::testing {

namespace v2 = google::bigtable::v2;

class Mock : private v2::Bigtable::Service {
 public:
  using Read = std::function<std::optional<grpc::Status>(grpc::ServerContext&, const v2::ReadRowsRequest&,
                                                         grpc::ServerWriter<v2::ReadRowsResponse>&)>;
  using Write = std::function<std::optional<grpc::Status>(grpc::ServerContext&, const v2::MutateRowsRequest&,
                                                          grpc::ServerWriter<v2::MutateRowsResponse>&)>;
  template <class Request>
  struct Seen {
    Request request;
    std::multimap<std::string, std::string> headers;
    std::string peer;  // the connection
  };

  explicit Mock(int port = 0);  // 0: one that is free
  ~Mock() override;             // ends every call at once

  std::string address() const { return "127.0.0.1:" + std::to_string(port_); }
  int port() const { return port_; }

  // In place of the table, for every call; without a value the table answers. Set before calls come.
  Read on_read;
  Write on_write;
  std::function<grpc::Status()> on_ping;
  // Answers as a server may that shows a client no mercy: nothing said twice, values in pieces, one chunk a message,
  // rows that begin anew.
  bool awkward = false;

  std::vector<Seen<v2::ReadRowsRequest>> reads() const { return copy(reads_); }
  std::vector<Seen<v2::MutateRowsRequest>> writes() const { return copy(writes_); }
  std::vector<Seen<v2::PingAndWarmRequest>> pings() const { return copy(pings_); }
  std::size_t cells() const;  // in the table
  void put(const std::string& row, const std::string& family, const std::string& qualifier, std::int64_t micros,
           const std::string& value);

 private:
  struct Cell {
    std::string family, qualifier;
    std::int64_t timestamp;
    std::string value;
  };
  using Cells = std::vector<Cell>;
  using Column = std::map<std::int64_t, std::string, std::greater<>>;
  using Row = std::map<std::pair<std::string, std::string>, Column>;

  grpc::Status ReadRows(grpc::ServerContext* context, const v2::ReadRowsRequest* request,
                        grpc::ServerWriter<v2::ReadRowsResponse>* writer) override;
  grpc::Status MutateRows(grpc::ServerContext* context, const v2::MutateRowsRequest* request,
                          grpc::ServerWriter<v2::MutateRowsResponse>* writer) override;
  grpc::Status PingAndWarm(grpc::ServerContext* context, const v2::PingAndWarmRequest* request,
                           v2::PingAndWarmResponse* response) override;

  template <class Request>
  std::vector<Seen<Request>> copy(const std::vector<Seen<Request>>& seen) const {
    const std::lock_guard lock(mutex_);
    return seen;
  }
  template <class Request>
  void note(std::vector<Seen<Request>>& seen, const grpc::ServerContext& context, const Request& request);
  void send(const std::string& key, const Cells& cells, grpc::ServerWriter<v2::ReadRowsResponse>& writer) const;
  static Cells apply(const v2::RowFilter& filter, Cells cells);
  static void mutate(Row& row, const v2::Mutation& mutation);

  mutable std::mutex mutex_;
  std::map<std::string, Row> table_;
  std::vector<Seen<v2::ReadRowsRequest>> reads_;
  std::vector<Seen<v2::MutateRowsRequest>> writes_;
  std::vector<Seen<v2::PingAndWarmRequest>> pings_;
  int port_ = 0;
  std::unique_ptr<grpc::Server> server_;
};

}  // namespace server::bigtable::testing
