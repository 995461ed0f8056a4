-- The wrk script of `load.py`. Arguments: WHAT FILE START COUNT THREADS.
--   verify    sends GET with COUNT keys of FILE, from line START on, again and again. Each line is a key of 36 characters.
--   once      sends GET with each of these keys once
--   revoke    revokes each of these keys once
--   login     logs in the users START, START + 1, ... in turn, each from another client network, always on one device
-- Each thread takes every THREADS-th key or user.
local threads = {}

function setup(thread)
  thread:set("number", #threads)
  table.insert(threads, thread)
end

used = 0
ran_out = 0

function init(args)
  local what, path, start, count, of = args[1], args[2], tonumber(args[3]), tonumber(args[4]), tonumber(args[5])
  if what == "login" then
    local path = wrk.path
    function request()
      local user = (used * of + number) % count
      used = used + 1
      local address = string.format("10.%d.%d.%d", number, math.floor(user / 250), user % 250)
      local headers = { ["Content-Type"] = "application/json", ["X-Forwarded-For"] = address }
      local body = string.format('{"user":"user%d","pass":"the right one","device":"bench"}', start + user)
      return wrk.format("POST", path, headers, body)
    end
    return
  end
  local file = assert(io.open(path, "rb"))
  file:seek("set", start * 37)
  local keys = file:read(count * 37)
  file:close()
  local mine = math.floor((count - number + of - 1) / of)
  local template = what == "revoke" and wrk.format("DELETE", "/api/auth?apikey=@")
    or wrk.format("GET", "/api/auth/verify", { apikey = "@" })
  local before, after = template:match("^(.*)@(.*)$")
  function request()
    if used >= mine and what ~= "verify" then
      ran_out = 1
      wrk.thread:stop()
    end
    local at = ((used % mine) * of + number) * 37
    used = used + 1
    return before .. keys:sub(at + 1, at + 36) .. after
  end
end

function done(summary, latency)
  local ran = 0
  for _, thread in ipairs(threads) do
    ran = math.max(ran, thread:get("ran_out"))
  end
  local e = summary.errors
  print(string.format(
    'result {"requests":%d,"seconds":%.6f,"p50":%.3f,"p99":%.3f,"errors":%d,"ran_out":%d}',
    summary.requests, summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3,
    e.status + e.connect + e.read + e.write + e.timeout, ran))
end
