-- The wrk script of `load.py`. Arguments: WHAT FILE START COUNT THREADS.
--   one            sends the request that wrk's command line describes
--   cycle, walk    sends GET with COUNT keys of FILE, from line START on. Each line is a key of 36 characters. `cycle`
--                  sends the keys again and again. `walk` sends each key once. Each thread sends every THREADS-th key.
--   login, new     logs in the users START, START + 1, ... in turn. `login` always uses the same device. `new` uses a
--                  new device for each login.
local threads = {}

function setup(thread)
  thread:set("number", #threads)
  table.insert(threads, thread)
end

used = 0
ran_out = 0
refusal = ""

function init(args)
  local what, path, start, count, of = args[1], args[2], tonumber(args[3]), tonumber(args[4]), tonumber(args[5])
  if what == "cycle" or what == "walk" then
    local file = assert(io.open(path, "rb"))
    file:seek("set", start * 37)
    local keys = file:read(count * 37)
    file:close()
    local mine = math.floor((count - number + of - 1) / of)
    local head = wrk.format("GET", nil, { apikey = "@" })
    local before, after = head:match("^(.*)@(.*)$")
    function request()
      if used >= mine and what == "walk" then
        ran_out = 1
        wrk.thread:stop()
      end
      local at = ((used % mine) * of + number) * 37
      used = used + 1
      return before .. keys:sub(at + 1, at + 36) .. after
    end
  elseif what == "login" or what == "new" then
    local headers = { ["Content-Type"] = "application/json" }
    function request()
      local device = what == "new" and string.format("%s %d %d", path, number, used) or "bench"
      local user = start + (used * of + number) % count
      used = used + 1
      local body = string.format('{"user":"user%d","pass":"the right one","device":"%s"}', user, device)
      return wrk.format("POST", nil, headers, body)
    end
    function response(status, _, body)
      if status ~= 200 then
        refusal = status .. ": " .. body:gsub('[%c\\"]', "'")
      end
    end
  end
end

function done(summary, latency)
  local most, ran, refused = 0, 0, ""
  for _, thread in ipairs(threads) do
    most = math.max(most, thread:get("used"))
    ran = math.max(ran, thread:get("ran_out"))
    refused = thread:get("refusal") ~= "" and thread:get("refusal") or refused
  end
  local e = summary.errors
  print(string.format(
    'result {"requests":%d,"seconds":%.6f,"p50_ms":%.3f,"p99_ms":%.3f,"max_ms":%.3f,"status_errors":%d,' ..
    '"socket_errors":%d,"used":%d,"ran_out":%d,"refusal":"%s"}',
    summary.requests, summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3,
    latency.max / 1e3, e.status, e.connect + e.read + e.write + e.timeout, most * #threads, ran, refused))
end
