# Sourced after tests/setup.sh by whatever tests the server: a browser, for its page (370 MB on disk, half a minute), and
# network namespaces, for replicas on hosts of their own.
install_missing chromium-headless-shell iproute2
