# One record a line in, `key TAB record` out, for kcat -K '\t'. Used by: jq -Rr -f scripts/keyed.jq
# The record stays as it is, byte for byte. The key is its keen_id; a key that is no plain text (absent, or with a
# control character) is sent as null: the record's own keen_id is what counts.
. as $record
| if test("^[ \t\r]*$") then empty
  # U+FFFD is what jq makes of bytes that are no UTF-8.
  elif contains("\ufffd") then error("it is not UTF-8 (or holds U+FFFD itself)")
  elif utf8bytelength > 1000000 then error("it is larger than 1,000,000 bytes, which the broker does not take")
  else (try fromjson catch error("it is not JSON: \($record[0:60])"))
    | (if type == "object" then .keen_id else null end)
    | (if type == "string" and (test("[\u0000-\u001f]") | not) then . else "" end) + "\t" + $record
  end
