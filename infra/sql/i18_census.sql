-- +goose Up
-- Fabric, migration 18: the control plane counts what waits for people, for its
-- operators.
--
-- Runs by goose and by psql like migration 1, after migration 17.

set role fabric_owner;

grant select on fabric.ballot, fabric.canary_fact to fabric_system;

insert into fabric.schema_version (version) values (18);
reset role;
