#!/usr/bin/env bash
# Copyright The Reflex Authors
# SPDX-License-Identifier: Apache-2.0
#
# tools/require.sh WHAT:PACKAGE...
#
# Sees to it that every WHAT (a command, or an absolute path) is there. What is
# missing is installed from the system's own package sources when run as root
# with apt, and named otherwise. The sources themselves are never changed.
set -euo pipefail

missing=()
for pair in "$@"; do
	what=${pair%%:*} package=${pair##*:}
	case $what in
	/*) [[ -e $what ]] || missing+=("$package") ;;
	*) command -v "$what" >/dev/null || missing+=("$package") ;;
	esac
done
[[ ${#missing[@]} -eq 0 ]] && exit 0

if [[ $(id -u) -ne 0 ]] || ! command -v apt-get >/dev/null; then
	echo "missing: ${missing[*]}" >&2
	echo "install with: sudo apt-get install -y --no-install-recommends ${missing[*]}" >&2
	exit 1
fi

echo "installing ${missing[*]}" >&2
export DEBIAN_FRONTEND=noninteractive
install() { apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null; }
# Package lists age: a first failure is answered by fresh lists, once.
install 2>/dev/null || { apt-get update -qq && install; }
