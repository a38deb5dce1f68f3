-- +goose Up
-- Fabric, migration 9: what is said of a round's weights, and the
-- evidence of a promotion.
--
-- Runs by goose and by psql like migration 1, after migration 8.

set role fabric_owner;

alter table fabric.round
  add column provenance jsonb not null default '{}',
  add column statement  text  not null default '';
comment on column fabric.round.provenance is 'Descriptor of the bundle that says where the weights come from; {} before the end, and of a round that failed.';
comment on column fabric.round.statement  is 'Identity of what it says: the round after names it.';

alter table fabric.action
  add column pack        jsonb not null default '{}',
  add column pack_bundle jsonb not null default '{}';
comment on column fabric.action.pack        is 'Descriptor of the evidence pack of an applied promotion; {} until it is made. Written once.';
comment on column fabric.action.pack_bundle is 'Descriptor of the bundle over the pack.';

insert into fabric.schema_version (version) values (9);
reset role;
