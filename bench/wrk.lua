-- Arguments: API key, request body. The last line printed is the result as JSON.
function init(args)
  wrk.method = "POST"
  wrk.body = args[2]
  wrk.headers["Authorization"] = "Bearer " .. args[1]
  wrk.headers["Content-Type"] = "application/json"
end

function done(summary, latency, requests)
  local e = summary.errors
  local bad = e.status + e.connect + e.read + e.write + e.timeout
  io.write(string.format(
    '{"seconds": %.6f, "requests": %d, "errors": %d, "p50_us": %d, "p99_us": %d}\n',
    summary.duration / 1e6, summary.requests - e.status, bad,
    latency:percentile(50), latency:percentile(99)))
end
