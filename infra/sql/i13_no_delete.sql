-- +goose Up
-- Fabric, migration 13: an environment that serves nothing is a row that says
-- so. Migration 12 let the role that tenants' commands run as delete the row;
-- that role deletes nothing.
--
-- Runs by goose and by psql like migration 1, after migration 12.

set role fabric_owner;

revoke delete on fabric.model_alias from fabric_app;
alter table fabric.model_alias alter column number drop not null;
comment on column fabric.model_alias.number is 'Version number; null after a restore that left the environment without a route.';

insert into fabric.schema_version (version) values (13);
reset role;
