-- +goose Up
-- Fabric, migration 6: what each region holds, and the way back.
--
-- Runs by goose and by psql like migration 1, after migration 5.

set role fabric_owner;

-- ---------------------------------------------------------------- replicas of packages

create table fabric.model_replica (
  tenant      fabric.name   not null,
  model       fabric.name   not null,
  number      integer       not null,
  region      fabric.name   not null,
  attempt     integer       not null default 1 check (attempt > 0),
  state       text          not null default 'asked' check (state in ('asked', 'held', 'failed')),
  package     fabric.digest not null,
  repository  text          not null,
  registry    text          not null default '',
  layers      integer       not null default 0,
  referrers   integer       not null default 0,
  size_bytes  bigint        not null default 0,
  bundle      jsonb         not null default '{}',
  cause       text          not null default '',
  asked_at    timestamptz   not null default now(),
  checked_at  timestamptz,
  primary key (tenant, model, number, region),
  foreign key (tenant, model, number) references fabric.model_version (tenant, model, number)
);
comment on table  fabric.model_replica            is 'What each region''s mirror holds of a package. A version is promoted only to regions that hold it.';
comment on column fabric.model_replica.tenant     is 'Owner.';
comment on column fabric.model_replica.model      is 'Model id.';
comment on column fabric.model_replica.number     is 'Version number.';
comment on column fabric.model_replica.region     is 'Region of the mirror.';
comment on column fabric.model_replica.attempt    is 'How often it was asked for; part of the workflow id.';
comment on column fabric.model_replica.state      is 'asked, held (copied and verified at the far end) or failed.';
comment on column fabric.model_replica.package    is 'Digest of the OCI manifest.';
comment on column fabric.model_replica.repository is 'OCI repository, the same in every mirror.';
comment on column fabric.model_replica.registry   is 'Base URL of the mirror that the region pulls from.';
comment on column fabric.model_replica.layers     is 'Layers whose digests were compared there.';
comment on column fabric.model_replica.referrers  is 'Signatures and statements that are attached there.';
comment on column fabric.model_replica.size_bytes is 'Bytes that were read there.';
comment on column fabric.model_replica.bundle     is 'Descriptor of the signed replication statement.';
comment on column fabric.model_replica.cause      is 'Why it failed.';
comment on column fabric.model_replica.asked_at   is 'When it was last asked for.';
comment on column fabric.model_replica.checked_at is 'When it was last verified, or found wanting.';

-- ---------------------------------------------------------------- recovery points

create table fabric.recovery_point (
  tenant   fabric.name   not null,
  sequence bigint        not null check (sequence > 0),
  digest   fabric.digest not null,
  previous text          not null,
  point    jsonb         not null,
  bundle   jsonb         not null,
  action   text          not null,
  snapshot bigint        not null,
  items    integer       not null,
  reason   text          not null default '',
  actor    text          not null,
  at       timestamptz   not null,
  primary key (tenant, sequence),
  unique (tenant, action),
  unique (tenant, digest),
  check ((sequence = 1) = (previous = ''))
);
comment on table  fabric.recovery_point          is 'Signed lists of what a tenant ran, each naming the one before. Only grows.';
comment on column fabric.recovery_point.tenant   is 'Whose models and routes.';
comment on column fabric.recovery_point.sequence is 'Counts from 1 without a gap.';
comment on column fabric.recovery_point.digest   is 'Of the canonical bytes.';
comment on column fabric.recovery_point.previous is 'Digest of the point before; empty for the first.';
comment on column fabric.recovery_point.point    is 'Descriptor of the recovery point.';
comment on column fabric.recovery_point.bundle   is 'Descriptor of the bundle over it.';
comment on column fabric.recovery_point.action   is 'What took it: asking twice is one point.';
comment on column fabric.recovery_point.snapshot is 'Version of the data plane''s snapshot that it was taken of.';
comment on column fabric.recovery_point.items    is 'How many items it lists.';
comment on column fabric.recovery_point.reason   is 'Why it was taken, in a person''s words.';
comment on column fabric.recovery_point.actor    is 'Subject of the token that asked.';
comment on column fabric.recovery_point.at       is 'When.';
create trigger only_grows before update or delete or truncate on fabric.recovery_point for each statement execute function fabric.refuse_change();

-- ---------------------------------------------------------------- who may see and do what

-- +goose StatementBegin
do $policies$
declare
  t text;
begin
  foreach t in array array['model_replica', 'recovery_point'] loop
    execute format('alter table fabric.%I enable row level security', t);
    execute format('alter table fabric.%I force row level security', t);
    execute format('create policy tenant on fabric.%I for all to fabric_app using (tenant = (select fabric.tenant())) with check (tenant = (select fabric.tenant()))', t);
    execute format('create policy system on fabric.%I for all to fabric_system using (true) with check (true)', t);
  end loop;
end
$policies$;
-- +goose StatementEnd

grant select, insert, update on fabric.model_replica to fabric_app;
grant select, insert on fabric.recovery_point to fabric_app;
grant select on fabric.model_replica, fabric.recovery_point to fabric_system;

-- Kinds of action are words of the program, which knows them all: a list here
-- would have to be written again with each new one.
alter table fabric.action drop constraint action_kind_check, add constraint action_kind_check check (kind ~ '^[a-z][a-z-]{0,31}$');
comment on column fabric.action.kind is 'promotion, policy, tuning or restore.';

insert into fabric.schema_version (version) values (6);
reset role;
