# Sourced after tests/setup.sh by whatever builds the server: what it is built of.
install_missing libboost-dev libsimdjson-dev librocksdb-dev libgrpc++-dev libprotobuf-dev protobuf-compiler \
  protobuf-compiler-grpc libsqlite3-dev libssl-dev pkg-config curl
