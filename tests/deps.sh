#!/bin/bash
# Installs those of the Debian packages given that are missing; silent when none is.
set -eu
if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
	echo "deps: no apt here; needed (by their Debian names): $*" >&2
	exit 0
fi
have=$(dpkg-query -W -f='${db:Status-Status} ${Package}\n' "$@" 2>/dev/null || true)
missing=()
for p in "$@"; do
	grep -qxF "installed $p" <<<"$have" || missing+=("$p")
done
[ ${#missing[@]} -eq 0 ] && exit 0
echo "installing: ${missing[*]}"
sudo=()
if [ "$(id -u)" != 0 ]; then
	command -v sudo >/dev/null || { echo "deps: not root and no sudo; install: ${missing[*]}" >&2; exit 1; }
	sudo=(sudo)
fi
install=("${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends)
"${install[@]}" "${missing[@]}" >/dev/null 2>&1 || {
	"${sudo[@]}" apt-get update >/dev/null
	"${install[@]}" "${missing[@]}" >/dev/null
}
