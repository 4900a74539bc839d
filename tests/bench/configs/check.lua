-- Counts answers that are not a 200 with the right body.
local threads = {}

function setup(thread)
  table.insert(threads, thread)
end

function init()
  wrong, right = 0, 0
end

function response(status, headers, body)
  if status == 200 and #body == 1024 and body:find("^x+$") then
    right = right + 1
  else
    wrong = wrong + 1
  end
end

function done()
  for _, thread in ipairs(threads) do
    io.write(string.format("checked right=%d wrong=%d\n", thread:get("right"), thread:get("wrong")))
  end
end
