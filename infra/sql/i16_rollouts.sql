-- +goose Up
-- Fabric, migration 16: grants, what rollouts saw and did, and what a version's
-- scorecard lets it do.
--
-- Runs by goose and by psql like migration 1, after migration 15.

set role fabric_owner;

-- ---------------------------------------------------------------- grants

create table fabric.plan_grant (
  tenant    fabric.name   not null,
  action    fabric.name   not null,
  id        fabric.digest not null,
  body      json          not null,
  minted_at timestamptz   not null default now(),
  primary key (tenant, action)
);
comment on table  fabric.plan_grant           is 'Permission to carry out one plan of one action: what writes looks it up. Only grows.';
comment on column fabric.plan_grant.tenant    is 'Tenant of the action.';
comment on column fabric.plan_grant.action    is 'Action id.';
comment on column fabric.plan_grant.id        is 'Digest of the body without the id.';
comment on column fabric.plan_grant.body      is 'promotion.Grant as it was minted.';
comment on column fabric.plan_grant.minted_at is 'When.';

-- ---------------------------------------------------------------- rollouts

create table fabric.canary_fact (
  tenant fabric.name not null,
  action fabric.name not null,
  number integer     not null check (number > 0),
  kind   text        not null check (kind in ('step', 'look', 'hold', 'ask', 'pause', 'resume', 'abort', 'back', 'end')),
  fact   json        not null,
  at     timestamptz not null default now(),
  primary key (tenant, action, number)
);
comment on table  fabric.canary_fact        is 'What a rollout saw and did, in its order. Only grows.';
comment on column fabric.canary_fact.tenant is 'Tenant of the promotion.';
comment on column fabric.canary_fact.action is 'Action id of the promotion.';
comment on column fabric.canary_fact.number is 'From 1.';
comment on column fabric.canary_fact.kind   is 'What happened.';
comment on column fabric.canary_fact.fact   is 'canary.Fact as it was noted.';
comment on column fabric.canary_fact.at     is 'When it was written down.';

-- ---------------------------------------------------------------- scorecards

create table fabric.version_card (
  tenant     fabric.name   not null,
  model      fabric.name   not null,
  version    integer       not null check (version > 0),
  sequence   integer       not null check (sequence > 0),
  card       fabric.digest not null,
  status     text          not null,
  unproven   text          not null default '',
  at         timestamptz   not null default now(),
  primary key (tenant, model, version, sequence)
);
comment on table  fabric.version_card          is 'Scorecards of versions; the newest one counts. Only grows.';
comment on column fabric.version_card.tenant   is 'Owner of the model.';
comment on column fabric.version_card.model    is 'Model id.';
comment on column fabric.version_card.version  is 'Version number.';
comment on column fabric.version_card.sequence is 'Counts the cards of a version from 1.';
comment on column fabric.version_card.card     is 'Digest of the card, which is a blob.';
comment on column fabric.version_card.status   is 'What the card says as a whole.';
comment on column fabric.version_card.unproven is 'Why it does not let the version be promoted; empty when it does.';
comment on column fabric.version_card.at       is 'When it was written down.';

-- +goose StatementBegin
do $guard$
declare
  name text;
begin
  foreach name in array array['plan_grant', 'canary_fact', 'version_card'] loop
    execute format('alter table fabric.%I enable row level security', name);
    execute format('alter table fabric.%I force row level security', name);
    execute format('create policy tenant on fabric.%I for all to fabric_app using (tenant = (select fabric.tenant())) with check (tenant = (select fabric.tenant()))', name);
    execute format('create policy system on fabric.%I for all to fabric_system using (true) with check (true)', name);
    execute format('create trigger only_grows before update or delete or truncate on fabric.%I for each statement execute function fabric.refuse_change()', name);
  end loop;
end
$guard$;
-- +goose StatementEnd
grant select, insert on fabric.plan_grant, fabric.canary_fact, fabric.version_card to fabric_app;

insert into fabric.schema_version (version) values (16);
reset role;
