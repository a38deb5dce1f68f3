-- +goose Up
-- Fabric, migration 11: the clipping norm of rounds in which it adapts.
--
-- Runs by goose and by psql like migration 1, after migration 10.

set role fabric_owner;

alter table fabric.round add column clip double precision not null default 0 check (clip >= 0);
comment on column fabric.round.clip is 'Norm that the updates of the round were clipped to, known once it is over; 0 where it does not adapt.';
alter table fabric.round add column clip_after double precision not null default 0 check (clip_after >= 0);
comment on column fabric.round.clip_after is 'Norm of the round after it: with the weights, a checkpoint.';

insert into fabric.schema_version (version) values (11);
reset role;
