DROP TRIGGER user_replaced;
DROP TRIGGER key_replaced;
DROP TRIGGER user_changed;
DROP TRIGGER user_deleted;
DROP TRIGGER key_changed;
DROP TRIGGER key_deleted;
DROP TABLE changes;
