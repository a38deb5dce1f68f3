-- +goose Up
-- Fabric, migration 4: where a run stands, for those who hold it or go on from it.
--
-- Runs by goose and by psql like migration 1, after migration 3.

set role fabric_owner;

alter table fabric.round add column state_after jsonb not null default '{}';
comment on column fabric.round.state_after is 'Descriptor of the server''s optimiser state after the round: with the weights, a checkpoint.';

alter table fabric.run add column paused boolean not null default false;
comment on column fabric.run.paused is 'Somebody asked it to begin no further round, and nobody to go on.';

insert into fabric.schema_version (version) values (4);
reset role;
