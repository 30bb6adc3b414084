# One record a line in, as a JSON string; `key TAB record` out, for kcat -K '\t'. Used by publish.py, with jq -r.
# The record stays as it is. The key is its keen_id; where that is no plain text (absent, or with a control character),
# or where jq cannot read what others can, the key is sent as null: the record's own keen_id is what counts.
. as $record
| (try (fromjson | .keen_id | if type == "string" and length < 1000 and (test("[\u0000-\u001f]") | not) then . else "" end) catch "")
  + "\t" + $record
