-- +goose Up
-- Fabric, migration 22: what stages and updates were like is counted, for
-- operators and for the policy loop.
--
-- Runs by goose and by psql like migration 1, after migration 21.

set role fabric_owner;

alter table fabric.submission add column norm double precision;
comment on column fabric.submission.norm is 'Euclidean norm of a trained update that counts; null where it is masked, refused or none.';

create index submission_at on fabric.submission using brin (tenant, at);
create index stage_closed on fabric.stage using brin (tenant, closed_at) with (pages_per_range = 16);

insert into fabric.schema_version (version) values (22);
reset role;
