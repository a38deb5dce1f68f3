#!/bin/sh
# Installs what the fabric needs from the machine and a fresh Debian may lack:
# PostgreSQL's server programs, and Python with numpy for the trainer example;
# with the argument softhsm, SoftHSM as well; with router, nginx and HAProxy, and
# with tuner, Optuna and NLopt, which ours are measured beside; with operations,
# Prometheus, Alertmanager and curl, which the runbooks and the guides are tried
# with, with images, buildah, and with console, Chromium and Node.
# It changes nothing when all is there, and makes no system database cluster.
set -eu

missing=""
found=""
for dir in "${PG_BIN_DIR:-}" /usr/lib/postgresql/*/bin /usr/pgsql-*/bin; do
	if [ -x "$dir/initdb" ] && [ -x "$dir/postgres" ]; then found=$dir; fi
done
if [ -z "$found" ] && [ -z "${POSTGRES_DSN:-}" ] && ! command -v initdb >/dev/null 2>&1; then
	missing="$missing postgresql-15"
fi
if ! /usr/bin/python3 -c 'import numpy' >/dev/null 2>&1; then
	missing="$missing python3 python3-numpy"
fi
for wanted in "$@"; do
	case $wanted in
	softhsm) # the token that conformance signs with
		if ! command -v softhsm2-util >/dev/null 2>&1; then missing="$missing softhsm2"; fi ;;
	router) # the proxies that the router is measured beside
		for program in nginx haproxy; do
			package=$program
			if [ "$program" = nginx ]; then package=nginx-light; fi
			if ! command -v $program >/dev/null 2>&1 && [ ! -x /usr/sbin/$program ]; then missing="$missing $package"; fi
		done ;;
	console) # the browser that the console's tests decide in; its driver runs in Node
		if ! command -v chromium >/dev/null 2>&1; then missing="$missing chromium"; fi
		if ! command -v node >/dev/null 2>&1; then missing="$missing nodejs npm"; fi ;;
	tuner) # the optimisers that the tuner is measured beside
		if ! /usr/bin/python3 -c 'import optuna, nlopt' >/dev/null 2>&1; then missing="$missing python3-optuna python3-nlopt"; fi ;;
	operations) # what the runbooks are tried with
		for package in prometheus prometheus-alertmanager curl; do
			if ! command -v $package >/dev/null 2>&1; then missing="$missing $package"; fi
		done
		if ! command -v promtool >/dev/null 2>&1; then missing="$missing prometheus"; fi ;;
	images) # builds and starts container images without a daemon and a registry
		if ! command -v buildah >/dev/null 2>&1; then missing="$missing buildah"; fi ;;
	*)
		echo "usage: debian.sh [softhsm] [router] [tuner] [operations] [images] [console]" >&2
		exit 2 ;;
	esac
done
[ -n "$missing" ] || exit 0

if ! command -v apt-get >/dev/null 2>&1; then
	echo "missing:$missing; install them with this system's package manager, or set POSTGRES_DSN to use your own server" >&2
	exit 69
fi
as_root=""
if [ "$(id -u)" != 0 ]; then
	if command -v sudo >/dev/null 2>&1; then
		as_root=sudo
	else
		echo "missing:$missing; as root: apt-get install -y --no-install-recommends$missing" >&2
		exit 69
	fi
fi
# Without this, Debian's package would start a cluster of its own.
$as_root mkdir -p /etc/postgresql-common/createcluster.d
echo 'create_main_cluster = false' | $as_root tee /etc/postgresql-common/createcluster.d/fabric.conf >/dev/null
# Nor would nginx or HAProxy stay quiet: no service is started by an installation.
policy=/usr/sbin/policy-rc.d
if [ ! -e $policy ]; then
	printf '#!/bin/sh\nexit 101\n' | $as_root tee $policy >/dev/null
	$as_root chmod 755 $policy
	trap '$as_root rm -f $policy' EXIT
fi
$as_root apt-get update -q
# shellcheck disable=SC2086 # the list is words
$as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $missing
