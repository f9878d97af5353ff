-- Remembers up to where the feed has lost rows, before they leave; for processes without the switch.
UPDATE saga_meta
SET value = $1
WHERE name = 'feed_forgotten' AND value < $1
