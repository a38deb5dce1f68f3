-- +goose Up
-- Fabric, migration 12: an environment that a restore leaves without a route
-- has no champion.
--
-- Runs by goose and by psql like migration 1, after migration 11.

set role fabric_owner;

grant delete on fabric.model_alias to fabric_app;
comment on column fabric.model_alias.action is 'Promotion or restore that moved it here.';

insert into fabric.schema_version (version) values (12);
reset role;
