#!/usr/bin/env bash
# Logs in, calls the server with the API key, and revokes the key. Needs curl and jq.
#
#     examples/log_in.sh http://127.0.0.1:8111 Default
#
# The password comes from the variable PASSWORD, or is typed without being shown. Neither the password nor the key is an
# argument of a program, because every user of the machine can see those.
set -euo pipefail
url=${1:?usage: log_in.sh URL USER} user=${2:?usage: log_in.sh URL USER} key=''
[[ -n ${PASSWORD-} ]] || { read -rsp 'Password: ' PASSWORD && echo >&2; }
export PASSWORD

# call METHOD PATH [BODY]: prints the body of the response. If the response is an error, prints its reason and fails.
call() {
  local response
  response=$(curl -sS --max-time 30 -X "$1" "${url%/}$2" -w '\n%{http_code}' -H @<(printf 'apikey: %s' "$key") \
    -H 'Content-Type: application/json' --data-binary @- <<<"${3-}")
  [[ ${response##*$'\n'} == 2* ]] && { printf '%s' "${response%$'\n'*}"; return; }
  # The body of an error is a problem (RFC 9457). Its `detail` says what is wrong, such as a wrong password.
  jq -r '.detail // .title' <<<"${response%$'\n'*}" >&2
  return 1
}

# A login on the same device returns the same key, so the name must be different on every machine.
login=$(jq -n --arg user "$user" --arg device "log_in.sh on ${HOSTNAME:-?}" \
  '{user: $user, pass: env.PASSWORD, device: $device}')
key=$(call POST /api/auth "$login" | jq -r .apikey)
# A real program keeps the key and logs in again only after a 401.
trap 'call DELETE /api/auth "\"$key\""' EXIT
echo "logged in as $(call GET /api/v3/User/Current | jq -r .Username)"
