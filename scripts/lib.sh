# shellcheck shell=bash
# Shared by the scripts of this folder: sourced, never run.

say() { printf '==> %s\n' "$*"; }

die() {
  printf '%s: %s\n' "${0##*/}" "$*" >&2
  exit 1
}

# at_exit FUNCTION: called however the script ends. A second signal must not cut it short.
at_exit() {
  # shellcheck disable=SC2064 # expanded now on purpose
  trap "trap '' HUP INT TERM; $1" EXIT
  trap 'exit 129' HUP
  trap 'exit 130' INT
  trap 'exit 143' TERM
}

# --- Programs --------------------------------------------------------------------------------------------------------

need_rust() {
  command -v cargo >/dev/null || die 'cargo is missing: install Rust, for example with rustup'
  command -v cc >/dev/null || die 'a C compiler is missing: install one that answers to "cc", on Debian the packages gcc and libc6-dev'
}

as_root() {
  if ((EUID == 0)); then "$@"; else sudo -n "$@"; fi
}

may_install() { command -v apt-get >/dev/null && as_root true 2>/dev/null; }

# install REFUSAL PACKAGE...: from Debian, or dies with the sentence REFUSAL.
install() {
  local refusal=$1
  shift
  may_install || die "$refusal"
  say "Installing from Debian: $*"
  {
    as_root apt-get update -qq &&
      as_root env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "$@"
  } </dev/null || die "$refusal (apt-get could not do it)"
}

# --- Jobs ------------------------------------------------------------------------------------------------------------

# start COMMAND...: in the background, in a process group of its own, so that stop_jobs ends all that it started.
start() {
  set -m
  "$@" </dev/null &
  set +m
}

# run COMMAND...: unlike a plain command, it lets the script act on a signal at once.
run() {
  start "$@"
  wait "$!"
}

stop_jobs() {
  local group
  for group in $(jobs -p); do
    kill -TERM -- "-$group" || true
  done
  wait
} 2>/dev/null # bash would report each job that was ended

# --- The server ------------------------------------------------------------------------------------------------------

# start_server LOG [NAME=VALUE...]: starts "$program" with these settings on a port that the system chooses, so that no other
# program can take it, and waits until it listens. Sets `server` to its process and `url` to its address, and exports the
# address for commands such as `healthcheck`.
start_server() {
  local log=$1 address
  shift
  # The address is logged at `info`. The caller's settings come last and win.
  start env SHOKO_AUTH_LISTEN=127.0.0.1:0 RUST_LOG=info "$@" "$program" serve &>"$log"
  server=$!
  # The limit only ends a server that hangs.
  SECONDS=0
  until address=$(sed -nE 's|.*listening on http://([0-9.]+:[0-9]+)/.*|\1|p' "$log") && [[ -n $address ]]; do
    kill -0 "$server" 2>/dev/null || fail_with_log "$log" 'the server ended before it listened'
    ((SECONDS < 120)) || fail_with_log "$log" 'the server does not listen after two minutes'
    sleep 0.05
  done
  url=http://$address
  export SHOKO_AUTH_LISTEN=$address
}

stop_server() {
  kill "$server"
  wait "$server" || true
}

# fail_with_log LOG SENTENCE
fail_with_log() {
  tail -n 200 "$1" >&2
  die "$2; the end of the server's log is above"
}

# --- A throw-away PostgreSQL -----------------------------------------------------------------------------------------

# Sets postgres_bin to the folder of the server's programs, which Debian keeps off the PATH.
find_postgres() {
  local initdb
  initdb=$(command -v initdb) || initdb=$(printf '%s\n' /usr/lib/postgresql/*/bin/initdb | sort -V | tail -n 1)
  [[ -x $initdb ]] && postgres_bin=$(dirname "$(readlink -f "$initdb")")
}

# install_postgres REFUSAL: without the cluster that Debian's package makes and starts by itself.
install_postgres() (
  may_install || die "$1"
  folder=/etc/postgresql-common/createcluster.d
  # shellcheck disable=SC2317 # called by at_exit
  forget() {
    as_root rm -f "$folder/shoko-auth-test.conf"
    as_root rmdir -p --ignore-fail-on-non-empty "$folder"
  }
  at_exit forget
  as_root mkdir -p "$folder"
  as_root tee "$folder/shoko-auth-test.conf" <<<'create_main_cluster = false' >/dev/null
  install "$1" postgresql
)

# As root the server runs as somebody else: it refuses root.
as_postgres() (
  cd "$postgres_dir" || exit
  if ((EUID == 0)); then
    exec setpriv --reuid="$postgres_user" --regid="$(id -g "$postgres_user")" --clear-groups "$@"
  fi
  exec "$@"
)

# What tests set: nothing in their databases has to outlive them, so nothing waits for the disk.
careless='fsync = off
synchronous_commit = off
full_page_writes = off'

# start_postgres [SETTINGS]: after find_postgres, starts a new server on a socket that only its user and root reach, and
# sets TEST_DATABASE_URL. SETTINGS are lines of its configuration, by default the careless ones.
start_postgres() {
  local settings=${1-$careless}
  # Not in TMPDIR: a socket's path has at most 107 bytes, and the server's user must be able to go there.
  postgres_dir=$(TMPDIR=/tmp mktemp -d)
  if ((EUID == 0)); then
    postgres_user=$(id -un postgres 2>/dev/null || echo nobody)
    chown "$postgres_user" "$postgres_dir"
  fi
  {
    as_postgres "$postgres_bin/initdb" --pgdata=data --username=shoko_auth_test --auth=trust \
      --encoding=UTF8 --locale=C --no-sync &&
      cat >>"$postgres_dir/data/postgresql.conf" <<END &&
listen_addresses = ''
unix_socket_directories = '$postgres_dir'
max_connections = 300
$settings
END
      as_postgres "$postgres_bin/pg_ctl" start --wait --pgdata=data --log=log
  } &>"$postgres_dir/start.log" || {
    cat "$postgres_dir"/*log >&2
    die 'PostgreSQL did not start'
  }
  # A socket's folder is named as a percent-encoded host.
  export TEST_DATABASE_URL="postgres://shoko_auth_test@${postgres_dir//\//%2F}/postgres"
}

# need_postgres REFUSAL [SETTINGS]: start_postgres, after its programs were found, or installed from Debian.
need_postgres() {
  find_postgres || {
    install_postgres "$1"
    find_postgres || die 'PostgreSQL was installed, but its initdb is nowhere to be found'
  }
  start_postgres "${@:2}"
}

# use_new_database NAME: lets what is started from now on use a new, empty database of that PostgreSQL.
use_new_database() {
  as_postgres "$postgres_bin/createdb" --host="$postgres_dir" --username=shoko_auth_test "$1"
  export DATABASE_URL=${TEST_DATABASE_URL%/*}/$1
  SHOKO_AUTH_SECRET_KEY=$(head -c 32 /dev/urandom | base64)
  export SHOKO_AUTH_SECRET_KEY
}

stop_postgres() {
  [[ -n ${postgres_dir-} ]] || return 0
  as_postgres "$postgres_bin/pg_ctl" stop --mode=immediate --pgdata=data &>/dev/null || true
  rm -rf "$postgres_dir"
}
