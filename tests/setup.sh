# Sourced by tests/run.sh and the examples: the tools, and a virtual environment in .venv.
install_missing() {  # PACKAGES of Debian
  local package missing=()
  for package in "$@"; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'install ok installed' || missing+=("$package")
  done
  if [ ${#missing[@]} -eq 0 ]; then return; fi
  printf '\n== Installing %s\n' "${missing[*]}"
  if [ "$(id -u)" -ne 0 ]; then
    echo "These Debian packages are missing and need root to install: ${missing[*]}" >&2
    exit 1
  fi
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}
install_missing g++ cmake ninja-build nlohmann-json3-dev doctest-dev libboost-context-dev pkg-config python3 python3-dev \
  python3-venv
if [ ! -x .venv/bin/pip ]; then
  printf '\n== Creating the virtual environment .venv\n'
  python3 -m venv .venv
fi
