# Sourced by examples/server/run.sh and the server's tests, after tests/setup.sh: what the server is built of.
server_missing=()
for package in libboost-dev libsimdjson-dev librocksdb-dev libgrpc++-dev libprotobuf-dev protobuf-compiler \
  protobuf-compiler-grpc libssl-dev pkg-config curl; do
  dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'install ok installed' || server_missing+=("$package")
done
if [ ${#server_missing[@]} -gt 0 ]; then
  printf '\n== Installing %s\n' "${server_missing[*]}"
  if [ "$(id -u)" -ne 0 ]; then
    echo "These Debian packages are missing and need root to install: ${server_missing[*]}" >&2
    exit 1
  fi
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${server_missing[@]}" >/dev/null
fi
