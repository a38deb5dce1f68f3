-- +goose Up
-- Fabric, migration 23: decisions about copies of requests, which a version on
-- trial was sent and nobody was answered with.
--
-- Runs by goose and by psql like migration 1, after migration 22.

set role fabric_owner;

alter table fabric.decision add column mirrored boolean not null default false;
comment on column fabric.decision.mirrored is 'A copy of a request that another version had answered: nobody got what came of it, and it is no traffic.';
create index decision_mirrored on fabric.decision (tenant, model, region, at) where mirrored;

insert into fabric.schema_version (version) values (23);
reset role;
