-- +goose Up
-- Fabric, migration 19: the newest runs and actions are found without a look at
-- all of them.
--
-- Runs by goose and by psql like migration 1, after migration 18.

set role fabric_owner;

create index run_newest on fabric.run (tenant, (id::text) collate "C");
create index action_newest on fabric.action (tenant, kind, created_at, (id::text) collate "C");

insert into fabric.schema_version (version) values (19);
reset role;
