-- SQLite guest: create, insert 100,000 rows, index, join, update, delete; on a database file.
-- usage: sqlite /work/work.db ".read /work/work.sql"
PRAGMA journal_mode = DELETE;
PRAGMA cache_size = 500;
CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT NOT NULL, size INTEGER NOT NULL, weight REAL);
CREATE TABLE place (id INTEGER PRIMARY KEY, item INTEGER NOT NULL, shelf TEXT NOT NULL);
-- Most indexes come first: this SQLite finds no directory for the temporary file of a big sort.
CREATE INDEX item_name ON item(name);
CREATE INDEX place_item ON place(item, shelf);
BEGIN;
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100000)
INSERT INTO item SELECT i, printf('item %06d', i * 7919 % 100003), i * 104729 % 1000, i / 7.0 FROM n;
COMMIT;
SELECT 'items', count(*), sum(size), max(name) FROM item;
BEGIN;
INSERT INTO place SELECT id, id * 31 % 100000 + 1, 'shelf ' || (id % 41) FROM item WHERE id % 2 = 0;
COMMIT;
CREATE INDEX place_shelf ON place(shelf) WHERE id % 4 = 0;
SELECT 'join', count(*), sum(i.size), round(sum(i.weight), 3)
  FROM item i JOIN place p ON p.item = i.id WHERE i.name > 'item 050000';
SELECT shelf, count(*), sum(size) FROM place JOIN item ON item.id = place.item
  GROUP BY shelf ORDER BY 3 DESC LIMIT 5;
UPDATE item SET size = size + 1 WHERE id IN (SELECT item FROM place WHERE shelf LIKE '%7');
DELETE FROM place WHERE item % 3 = 0;
SELECT 'crossed', count(*), sum(a.size * b.size % 1009) FROM item a JOIN item b
  WHERE a.id % 50 = 0 AND b.id <= 2000 AND (a.size + b.size) % 7 = 3;
WITH RECURSIVE
  x(cx) AS (SELECT -2.0 UNION ALL SELECT cx + 0.05 FROM x WHERE cx < 1.2),
  y(cy) AS (SELECT -1.0 UNION ALL SELECT cy + 0.1 FROM y WHERE cy < 1.0),
  m(i, cx, cy, x, y) AS (SELECT 0, cx, cy, 0.0, 0.0 FROM x, y
    UNION ALL SELECT i + 1, cx, cy, x * x - y * y + cx, 2.0 * x * y + cy FROM m
    WHERE x * x + y * y < 4.0 AND i < 28)
SELECT 'mandelbrot', sum(n), count(*) FROM (SELECT max(i) AS n FROM m GROUP BY cx, cy);
SELECT 'after', (SELECT sum(size) FROM item), (SELECT count(*) FROM place);
SELECT 'names', group_concat(name, ',') FROM (SELECT name FROM item ORDER BY name DESC LIMIT 3);
