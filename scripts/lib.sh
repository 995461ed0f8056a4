# shellcheck shell=bash
# Functions for the scripts in this folder, which source it.

say() { printf '==> %s\n' "$*"; }

die() {
  printf '%s: %s\n' "${0##*/}" "$*" >&2
  exit 1
}

# at_exit FUNCTION: calls it when the script exits for any reason. A second signal does not interrupt it.
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
  command -v cc >/dev/null || die 'a C compiler is missing: install one that provides "cc", on Debian the packages gcc and libc6-dev'
}

as_root() {
  if ((EUID == 0)); then "$@"; else sudo -n "$@"; fi
}

may_install() { command -v apt-get >/dev/null && as_root true 2>/dev/null; }

# install SENTENCE PACKAGE...: installs packages from Debian, or dies with SENTENCE.
install() {
  local sentence=$1
  shift
  may_install || die "$sentence"
  say "Installing from Debian: $*"
  {
    as_root apt-get update -qq &&
      as_root env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "$@"
  } </dev/null || die "$sentence (apt-get failed)"
}

# --- Jobs ------------------------------------------------------------------------------------------------------------

# start COMMAND...: runs it in the background, in its own process group, so that stop_jobs also stops its children.
start() {
  set -m
  "$@" </dev/null &
  set +m
}

# run COMMAND...: runs it so that the script reacts to signals at once, which a plain command would delay.
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
} 2>/dev/null # bash would report each terminated job

# --- The server ------------------------------------------------------------------------------------------------------

# start_server LOG [NAME=VALUE...]: starts "$program" with these settings on a port that the system chooses, so that no
# other program can take it, and waits until it listens. Sets `server` to its process and `url` to its address, and
# exports the address for commands such as `healthcheck`.
start_server() {
  local log=$1 address
  shift
  # The address is logged at `info`. The caller's settings come last and win.
  start env SHOKO_AUTH_LISTEN=127.0.0.1:0 RUST_LOG=info "$@" "$program" serve &>"$log"
  server=$!
  # The limit only stops the wait for a server that hangs.
  SECONDS=0
  until address=$(sed -nE 's#.*listening on http://([0-9a-f.:[]+]?:[0-9]+)/.*#\1#p' "$log") && [[ -n $address ]]; do
    kill -0 "$server" 2>/dev/null || fail_with_log "$log" 'the server exited before it listened'
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

# fail_with_log LOG SENTENCE: prints the end of the server's log and dies with SENTENCE.
fail_with_log() {
  tail -n 200 "$1" >&2
  die "$2; the end of the server's log is above"
}

# --- A throw-away PostgreSQL -----------------------------------------------------------------------------------------

# Sets postgres_bin to the folder of PostgreSQL's programs, which Debian does not add to the PATH.
find_postgres() {
  local initdb
  initdb=$(command -v initdb) || initdb=$(printf '%s\n' /usr/lib/postgresql/*/bin/initdb | sort -V | tail -n 1)
  [[ -x $initdb ]] && postgres_bin=$(dirname "$(readlink -f "$initdb")")
}

# install_postgres SENTENCE: installs it without the cluster that Debian's package would create and start.
install_postgres() (
  may_install || die "$1"
  folder=/etc/postgresql-common/createcluster.d
  # shellcheck disable=SC2317 # called by at_exit
  remove_config() {
    as_root rm -f "$folder/shoko-auth-test.conf"
    as_root rmdir -p --ignore-fail-on-non-empty "$folder"
  }
  at_exit remove_config
  as_root mkdir -p "$folder"
  as_root tee "$folder/shoko-auth-test.conf" <<<'create_main_cluster = false' >/dev/null
  install "$1" postgresql
)

need_pgbouncer() {
  command -v pgbouncer >/dev/null ||
    install 'PgBouncer is missing: as root, run "apt-get install pgbouncer"' pgbouncer
}

# Runs a command as the owner of the database. PostgreSQL refuses to run as root.
as_postgres() (
  cd "$postgres_dir" || exit
  if ((EUID == 0)); then
    exec setpriv --reuid="$postgres_user" --regid="$(id -g "$postgres_user")" --clear-groups "$@"
  fi
  exec "$@"
)

# Settings for tests, whose databases need not survive: nothing waits for the disk.
no_durability='fsync = off
synchronous_commit = off
full_page_writes = off'

# start_postgres [SETTINGS]: starts a new server on a socket that only its user and root can reach, and sets
# TEST_DATABASE_URL. SETTINGS are lines of its configuration. Call find_postgres first.
start_postgres() {
  local settings=${1-$no_durability}
  # Not in TMPDIR: the path of a socket may have at most 107 bytes, and the server's user must be able to reach it.
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
  # The folder of a socket is written as a percent-encoded host.
  export TEST_DATABASE_URL="postgres://shoko_auth_test@${postgres_dir//\//%2F}/postgres"
}

# need_postgres SENTENCE [SETTINGS]: finds or installs PostgreSQL and starts it.
need_postgres() {
  find_postgres || {
    install_postgres "$1"
    find_postgres || die 'PostgreSQL has been installed, but its initdb cannot be found'
  }
  start_postgres "${@:2}"
}

# use_new_database NAME: creates a database and exports the settings that make servers and commands use it.
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
